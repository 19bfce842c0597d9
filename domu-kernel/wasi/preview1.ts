// The import modules of a WASI program: every call, by name.
import { FileSystemBusy } from '../fs/file-system.ts';
import { brokenPipe, type Process } from '../process/process.ts';
import { Wait } from '../process/wait.ts';
import { type Layouts, PREVIEW1_LAYOUTS, UNSTABLE_LAYOUTS, WHENCE_OF_0 } from './abi.ts';
import { argsEnvironCalls } from './args-environ.ts';
import { clockCalls } from './clock.ts';
import { errnoOfThrown } from './errno.ts';
import { fdCalls } from './fd.ts';
import type { Outcome, WasiCall, WasiCalls, WasiKernel } from './kernel.ts';
import { pathCalls } from './path.ts';
import { pollCalls } from './poll.ts';
import { procCalls } from './proc.ts';
import { randomCalls } from './random.ts';
import { readWriteCalls } from './read-write.ts';
import { sockCalls } from './sock.ts';
import { xenolithSockCalls } from './xenolith-sock.ts';

/** What a call throws is its answer: an errno, or a wait for a file system that is busy with another call. */
function answered(call: WasiCall): WasiCall {
  return (process: Process, ...args: never[]): Outcome => {
    try {
      return call(process, ...args);
    } catch (error) {
      if (error instanceof FileSystemBusy) return new Wait([error.idle]);
      return errnoOfThrown(brokenPipe(process, error) ?? error);
    }
  };
}
const allAnswered = (calls: WasiCalls): WasiCalls =>
  Object.fromEntries(Object.entries(calls).map(([name, call]) => [name, answered(call)]));

const callsOf = (kernel: WasiKernel, layouts: Layouts) => ({
  ...argsEnvironCalls,
  ...clockCalls(kernel),
  ...fdCalls(kernel, layouts),
  ...readWriteCalls,
  ...pathCalls(kernel, layouts),
  ...pollCalls(kernel, layouts),
  ...procCalls,
  ...randomCalls(kernel),
  ...sockCalls,
});

/** wasi_snapshot_preview1, all 46. */
export const preview1 = (kernel: WasiKernel): WasiCalls => allAnswered(callsOf(kernel, PREVIEW1_LAYOUTS));

/** wasi_unstable, which came before it. */
export function unstable(kernel: WasiKernel): WasiCalls {
  const calls = callsOf(kernel, UNSTABLE_LAYOUTS);
  return allAnswered({
    ...calls,
    fd_seek: (process: Process, fd: number, delta: bigint, whence: number, result: number): number =>
      calls.fd_seek(process, fd, delta, WHENCE_OF_0[whence] ?? -1, result),
  });
}

/** Those that need nothing of the kernel but time and random numbers, for either of the two. */
export const localCalls = (kernel: Pick<WasiKernel, 'clock' | 'random'>): WasiCalls =>
  allAnswered({ ...clockCalls(kernel), ...randomCalls(kernel), sched_yield: procCalls.sched_yield });

/** Every module that a program may import from, by its name. */
export const wasiImports = (kernel: WasiKernel): Readonly<Record<string, WasiCalls>> => ({
  wasi_snapshot_preview1: preview1(kernel),
  wasi_unstable: unstable(kernel),
  xenolith_sock: allAnswered(xenolithSockCalls(kernel)),
});
