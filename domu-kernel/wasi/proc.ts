// proc_exit, proc_raise, sched_yield.
import { XenError } from '#pvbus';
import type { Process } from '../process/process.ts';
import type { SignalName } from '../process/signals.ts';
import { Wait } from '../process/wait.ts';
import type { Outcome } from './kernel.ts';

/** By WASI's numbers, which are not Linux's from 16 on. */
const SIGNALS: readonly (SignalName | undefined)[] = [
  undefined,
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGKILL',
  'SIGUSR1',
  'SIGSEGV',
  'SIGUSR2',
  'SIGPIPE',
  'SIGALRM',
  'SIGTERM',
  'SIGCHLD',
  'SIGCONT',
  'SIGSTOP',
  'SIGTSTP',
  'SIGTTIN',
  'SIGTTOU',
  'SIGURG',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGVTALRM',
  'SIGPROF',
  'SIGWINCH',
  'SIGIO',
  'SIGPWR',
  'SIGSYS',
];

const YIELDED = {};

export const procCalls = {
  /** As a parent sees it, 0 to 255. */
  proc_exit(process: Process, code: number): never {
    return process.exit(code);
  },
  /** Does what the signal does by default: a program can catch none. Signal 0 does nothing. */
  proc_raise(process: Process, number: number): Outcome {
    const signal = SIGNALS[number >>> 0];
    if (number >>> 0 >= SIGNALS.length) throw new XenError('EINVAL', `signal ${number >>> 0}`);
    return (signal && process.raise(signal)) ?? 0;
  },
  /** Others that are ready run first. */
  sched_yield(process: Process): Outcome {
    if (process.call === YIELDED) return 0;
    process.call = YIELDED;
    return new Wait([], 0);
  },
};
