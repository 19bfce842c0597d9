// The kernel's entry: the domain's shell evaluates the bundle of this file and calls `start`.
import { attachVcpu, type ControlMessage, crashExit } from '#pvbus';
import { compileFatFs } from './fs/fat-core.ts';
import { ffWasm } from './fs/ff-wasm.ts';
import { Kernel } from './kernel.ts';
import { runProgram } from './run-program.ts';

// Taken before the program's globals replace it.
const nextTurn = setImmediate;

/** Become vCPU 0 of the domain whose control socket is `controlFd`. */
export function start({ controlFd, boot }: { controlFd: number; boot?: ControlMessage }): void {
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
  try {
    kernel = new Kernel({ vcpu, fatFs: () => compileFatFs(ffWasm) });
    bringUp(kernel).catch(crash);
    drive(kernel, crash);
  } catch (error) {
    crash(error);
  }
}

async function bringUp(kernel: Kernel): Promise<void> {
  await kernel.start();
  const { globals, ended } = runProgram(kernel);
  Object.assign(globalThis, globals);
  await ended;
  kernel.shutdown('poweroff');
}

/** The loop of a vCPU: steps, then a turn of promise jobs, and sleep when neither left anything to do. */
function drive(kernel: Kernel, crash: (error: unknown) => never): void {
  const turn = (): void => {
    try {
      if (!stepUntilIdle(kernel)) {
        kernel.block();
        stepUntilIdle(kernel);
      }
    } catch (error) {
      crash(error);
    }
    nextTurn(turn);
  };
  turn();
}

/** True when there was anything to do. */
function stepUntilIdle(kernel: Kernel): boolean {
  let progress = false;
  while (kernel.step() === 'progress') progress = true;
  return progress;
}
