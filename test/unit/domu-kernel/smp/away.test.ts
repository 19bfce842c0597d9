// A process that another vCPU runs, as vCPU 0 has it.
import { expect, it } from 'vitest';
import { FrameAllocator, systemClock } from '#pvbus';
import { MemoryCharge } from '../../../../domu-kernel/process/memory-charge.ts';
import { Processes } from '../../../../domu-kernel/process/processes.ts';
import type { Program, RuntimeParts } from '../../../../domu-kernel/process/runtime.ts';
import { WASM_PAGE, WebAssemblyEngine } from '../../../../domu-kernel/process/web-assembly.ts';
import { Away } from '../../../../domu-kernel/smp/away.ts';
import { Told } from '../../../../domu-kernel/smp/lodging.ts';
import { FdTable } from '../../../../domu-kernel/wasi/fd-table.ts';

it('has what a call has stored while the program was copied to come back', () => {
  const memory = new WebAssemblyEngine.Memory({ initial: 2, maximum: 2 });
  const charge = new MemoryCharge(new FrameAllocator(0, 64));
  charge.take(2);
  const told = new Told();
  told.limit = WASM_PAGE;
  // fd_write(..., 16): one byte was written.
  const imports: RuntimeParts['imports'] = {
    wasi: {
      fd_write: process => {
        process.view.setUint32(16, 1, true);
        return 0;
      },
    },
  };
  const parts = { clock: systemClock, imports } as RuntimeParts; // no more of it is asked for
  let away: Away | undefined;
  new Processes(systemClock).spawn({
    ...{ parent: undefined, argv: [], env: new Map(), cwd: '/', fds: new FdTable(), directories: [] },
    body: process => {
      away = new Away(1, 1, { process, program: {} as Program, charge, parts }, told, () => {});
      return away;
    },
    onEnd: () => {},
  });
  away!.lodged(memory);
  away!.called({ op: 'call', key: 1, seq: 7, from: 'wasi', name: 'fd_write', args: [] });
  const copied = memory.buffer.slice(0);
  away!.run();
  away!.left({ memory: copied, globals: {}, fuelled: 1 }, 7);
  const back = away!.takeBack()!;
  expect(back.answer).toBe(0);
  expect(new DataView(back.from.memory).getUint32(16, true)).toBe(1);
});
