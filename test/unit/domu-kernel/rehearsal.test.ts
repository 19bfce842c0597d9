import { describe, expect, it } from 'vitest';
import { consoleRing, type Vcpu } from '#pvbus';
import { Kernel } from '../../../domu-kernel/kernel.ts';
import { Rehearsal, rootWithProgram, TEXT } from '../../../domu-kernel/rehearsal.ts';
import { fatFsModule } from '../../support/fatfs.ts';

async function rehearse(boot: (vcpu: Vcpu) => Kernel, module: Uint8Array = TEXT): Promise<void> {
  const rehearsal = new Rehearsal(boot, module);
  try {
    while (!rehearsal.step()) await new Promise(resolve => setImmediate(resolve));
  } finally {
    rehearsal.release();
  }
}

describe('a rehearsal', () => {
  it('is a start of day up to the first line of the program, without a hypervisor', async () => {
    let said = '';
    await rehearse(vcpu => {
      const kernel = new Kernel({ vcpu, fatFs: () => fatFsModule });
      const write = kernel.console.write.bind(kernel.console);
      kernel.console.write = text => {
        write(text);
        const bytes = new Uint8Array(64);
        const n = consoleRing(vcpu.memory.page(kernel.info.console.gfn), 'back').reader.read(bytes);
        said += Buffer.from(bytes.subarray(0, n)).toString();
      };
      return kernel;
    });
    expect(said).toBe('hello\r\n');
  });

  it('of a root is one up to the end of its first program', async () => {
    const told: string[] = [];
    await rehearse(vcpu => {
      const kernel = new Kernel({ vcpu, fatFs: () => fatFsModule });
      const write = kernel.xs.write.bind(kernel.xs);
      kernel.xs.write = (path, value, ...more) => {
        told.push(`${path}=${value}`);
        return write(path, value, ...more);
      };
      return kernel;
    }, rootWithProgram());
    expect(told).toContain('/local/domain/1/data/exit-code=0');
  });

  it('ends with the error of a kernel that cannot start', async () => {
    const failing = (vcpu: Vcpu): Kernel => {
      const kernel = new Kernel({ vcpu, fatFs: () => fatFsModule });
      kernel.start = async () => {
        throw new Error('no start of day');
      };
      return kernel;
    };
    await expect(rehearse(failing)).rejects.toThrow('no start of day');
  });

  it('makes no hypercall, and rings for xenstored twice until the program runs: to ask, and to have heard', async () => {
    const calls: string[] = [];
    const notified: number[] = [];
    await rehearse(vcpu => {
      vcpu.hypercall = (nr, op) => {
        calls.push(`${nr} ${op}`);
        return 0;
      };
      const notify = vcpu.events.notify.bind(vcpu.events);
      vcpu.events.notify = port => {
        notified.push(port);
        notify(port);
      };
      return new Kernel({ vcpu, fatFs: () => fatFsModule });
    });
    const STORE_PORT = 1;
    const CONSOLE_PORT = 2;
    // What comes after the program's line is what the program need not wait for.
    expect(notified.slice(0, 3)).toEqual([STORE_PORT, STORE_PORT, CONSOLE_PORT]);
    expect(calls).toEqual([]);
  });

  it('can be had again and again', async () => {
    for (const module of [TEXT, rootWithProgram(), TEXT, rootWithProgram()])
      await rehearse(vcpu => new Kernel({ vcpu, fatFs: () => fatFsModule }), module);
  });
});
