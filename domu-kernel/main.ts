// The kernel's entry: the domain's shell evaluates the bundle of this file and calls what it exports, as
// guest-kernel.ts says.
import { attachVcpu, type ControlMessage, crashExit, domainLayout, PAGE_SIZE, reserveViews } from '#pvbus';
import { drive } from './drive.ts';
import { compileFatFs } from './fs/fat-core.ts';
import { ffWasm } from './fs/ff-wasm.ts';
import type { Threads } from './guest-kernel.ts';
import { Kernel } from './kernel.ts';
import { Rehearsal, rootWithProgram, TEXT } from './rehearsal.ts';
import { loadProgram, type RunningProgram } from './run-program.ts';

export { startSibling } from './smp/sibling.ts';

// Taken before the program's globals replace it.
const nextTurn = setImmediate;

interface Handed extends Threads {
  readonly controlFd: number;
  readonly boot: ControlMessage;
  readonly ext4?: Uint8Array | undefined;
}

/** Become vCPU 0 of the domain whose control socket is `controlFd`. */
export function start(handed: Handed): void {
  attach(handed)();
}
/** The part of a start that only looks at the domain's memory; what it returns is the rest. */
export function attach(handed: Handed): () => void {
  const { controlFd, boot, ext4 } = handed;
  const vcpu = attachVcpu(controlFd, boot);
  let kernel: Kernel | undefined;
  const crash = (error: unknown): never => {
    try {
      kernel?.lastWords(error);
    } catch {
      // The console is what failed, perhaps: the crash record says what there is to say.
    }
    return crashExit(vcpu, error);
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  const orCrash = <T>(body: () => T): T => {
    try {
      return body();
    } catch (error) {
      return crash(error);
    }
  };
  const guest = orCrash(() => new Kernel({ vcpu, fatFs: () => compileFatFs(ffWasm), ext4 }));
  kernel = guest;
  guest.threads = handed;
  const program = orCrash(() => loadProgram(guest));
  return () =>
    orCrash(() => {
      bringUp(guest, program).catch(crash);
      drive(guest, crash);
    });
}

/** Address space is made ready for domains of at most so many MiB; larger ones start a few ms later. */
const RESERVED_MIB = 256;

/** Many more than a start takes. */
const REHEARSAL_TURNS = 1000;

/** Everything of a start that can be had before there is a domain: code that has run, a view for its memory. */
export async function rehearse(): Promise<void> {
  for (const module of [TEXT, rootWithProgram()]) {
    const rehearsal = new Rehearsal(vcpu => new Kernel({ vcpu, fatFs: () => compileFatFs(ffWasm) }), module);
    for (let turn = 0; !rehearsal.step(); turn++) {
      if (turn === REHEARSAL_TURNS) throw new Error('the rehearsal comes to no end');
      await new Promise(resolve => nextTurn(resolve));
    }
    rehearsal.release();
  }
  reserveViews(domainLayout(RESERVED_MIB * 256, 1).frames * PAGE_SIZE);
}

async function bringUp(kernel: Kernel, program: () => RunningProgram): Promise<void> {
  await kernel.start();
  const { globals, ended } = program();
  Object.assign(globalThis, globals);
  await ended;
  kernel.shutdown('poweroff');
}
