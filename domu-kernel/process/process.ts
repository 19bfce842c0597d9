// A process of a guest: a WASI program, or a routine of the kernel's own such as the shell.
import { XenError } from '#pvbus';
import { WaitQueue } from '../wait-queue.ts';
import type { FdTable } from '../wasi/fd-table.ts';
import type { Body } from './body.ts';
import { actionOf, SIGNALS, type SignalName } from './signals.ts';
import { Wait } from './wait.ts';
import type { WasmMemory } from './web-assembly.ts';

/** Either a code of the program's own, or the signal that ended it. */
export interface ExitStatus {
  readonly code: number;
  readonly signal?: SignalName;
}
/** As a shell says it: 128 and the signal's number for who was killed. */
export const exitNumber = ({ code, signal }: ExitStatus): number => (signal ? 128 + SIGNALS[signal] : code & 0xff);

/** Thrown by a call after which the process that made it does not go on. */
export class ProcessExit extends Error {
  override readonly name = 'ProcessExit';
  readonly status: ExitStatus;
  constructor(status: ExitStatus) {
    super(`exit ${exitNumber(status)}`);
    this.status = status;
  }
}

/** What who ignores SIGPIPE, or catches it, is told in its place; undefined where `error` is something else. */
export function brokenPipe(process: Process, error: unknown): XenError | undefined {
  if (!(error instanceof ProcessExit) || error.status.signal !== 'SIGPIPE') return undefined;
  const survives = process.ignores('SIGPIPE') || process.catches?.('SIGPIPE');
  return survives ? new XenError('EPIPE', 'nobody reads it any more') : undefined;
}

export interface ProcessParts {
  readonly pid: number;
  readonly parent: Process | undefined;
  /** Process group. */
  readonly pgid: number;
  readonly argv: readonly string[];
  readonly env: ReadonlyMap<string, string>;
  /** Absolute. */
  readonly cwd: string;
  readonly fds: FdTable;
  /** The directories that a program of it finds open, by name and path; else / and its working directory. */
  readonly directories?: readonly (readonly [name: string, path: string])[] | undefined;
  /** Of its descriptors from 3 on, sockets that a program of it keeps; else none. */
  readonly listeners?: number;
}

/** Of a process that another vCPU runs. */
export interface Elsewhere {
  readonly vcpu: number;
  /** It is in no call. */
  readonly computes: boolean;
  /** That it has run there. */
  readonly cpuNs: number;
}

const programDirectories = (cwd: string): readonly (readonly [name: string, path: string])[] => [
  ['/', '/'],
  ['.', cwd],
];

export class Process {
  readonly pid: number;
  /** None: nobody waits for it, it is forgotten when it ends. */
  parent: Process | undefined;
  pgid: number;
  argv: readonly string[];
  env: ReadonlyMap<string, string>;
  cwd: string;
  readonly fds: FdTable;
  directories: readonly (readonly [name: string, path: string])[];
  listeners: number;
  readonly children = new Set<Process>();
  /** Wakes when a child has ended, stopped or gone on. */
  readonly childChanged = new WaitQueue();
  /** Of the call under way, whatever must survive until it is made again; cleared when the call ends. */
  call: object | undefined;
  /** When a wait that is limited is over, ns; and that it is: the call is not to wait again. */
  callEndsNs: number | undefined;
  outOfTime = false;

  // ---- the scheduler's ----
  body: Body | undefined;
  state: 'ready' | 'waits' | 'zombie' = 'ready';
  /** By a signal; whatever its state says waits until it may go on. */
  stopped = false;
  /** Once it is a zombie. */
  status: ExitStatus | undefined;
  /** Signals that came while it ran. */
  readonly pending: SignalName[] = [];
  /** Takes a signal in place of what that does by default: true when it was taken. SIGKILL and SIGSTOP are not asked about. */
  catches: ((signal: SignalName) => boolean) | undefined;
  /** Signals that do nothing to it, nor to those that it starts; of SIGCONT only that it goes on. */
  ignored: ReadonlySet<SignalName> = new Set();
  /** ns of this vCPU, without those of processes that ran while it waited for a disk. */
  cpuNs = 0;
  elsewhere: Elsewhere | undefined;
  /** It is a script, and runs the program that is to run it. */
  interpreted = false;
  /** Charged to the domain, in bytes; and what tells of it. */
  memoryBytes = 0;
  /** WebAssembly pages at most. */
  memoryLimit = Number.POSITIVE_INFINITY;
  readonly startedNs: number;
  /** Called once, when it has ended. */
  onEnd: ((status: ExitStatus) => void) | undefined;

  #memory: WasmMemory | undefined;
  #known = Number.POSITIVE_INFINITY;
  #bytes = new Uint8Array();
  #view = new DataView(new ArrayBuffer(0));

  constructor(parts: ProcessParts, startedNs = 0) {
    this.pid = parts.pid;
    this.parent = parts.parent;
    this.pgid = parts.pgid;
    this.argv = parts.argv;
    this.env = parts.env;
    this.cwd = parts.cwd;
    this.fds = parts.fds;
    this.directories = parts.directories ?? programDirectories(parts.cwd);
    this.listeners = parts.listeners ?? 0;
    this.startedNs = startedNs;
  }

  /** It is to run another program, as execve(2) has it: it is who it was, and catches nothing. */
  become(argv: readonly string[], env: ReadonlyMap<string, string>, cwd: string): void {
    this.argv = argv;
    this.env = env;
    this.cwd = cwd;
    this.directories = programDirectories(cwd);
    this.listeners = 0;
    this.catches = undefined;
    this.interpreted = false;
  }
  /** ns that it has run, wherever. */
  get usedNs(): number {
    return this.cpuNs + (this.elsewhere?.cpuNs ?? 0);
  }

  /** Of a WASI program, all of it, from its start to its end. */
  get memory(): WasmMemory | undefined {
    return this.#memory;
  }
  set memory(memory: WasmMemory | undefined) {
    this.#memory = memory;
    this.#look();
  }
  /** The program knows no more than so many bytes of its memory: what lies behind them is the kernel's. */
  limitMemory(bytes: number): void {
    this.#known = bytes;
    this.#look();
  }
  /** Of its memory as it is now: not to be kept over a call in which it might grow. */
  get bytes(): Uint8Array {
    if (this.#bytes.buffer !== this.#memory?.buffer) this.#look();
    return this.#bytes;
  }
  get view(): DataView {
    if (this.#view.buffer !== this.#memory?.buffer) this.#look();
    return this.#view;
  }
  #look(): void {
    const buffer = this.#memory?.buffer ?? new ArrayBuffer(0);
    const length = Math.min(this.#known, buffer.byteLength);
    this.#bytes = new Uint8Array(buffer, 0, length);
    this.#view = new DataView(buffer, 0, length);
  }

  /** Does not return: the process ends with that code. */
  exit(code: number): never {
    throw new ProcessExit({ code });
  }
  /** Throws when a signal has come meanwhile after which it does not go on. */
  endIfKilled(): void {
    const signal = this.pending.find(name => actionOf(name) === 'end' && !this.catches && !this.ignores(name));
    if (signal) throw new ProcessExit({ code: 0, signal });
  }
  ignores(signal: SignalName): boolean {
    return signal !== 'SIGKILL' && signal !== 'SIGSTOP' && this.ignored.has(signal);
  }
  /** The call under way has its answer. */
  endCall(): void {
    this.call = undefined;
    this.callEndsNs = undefined;
    this.outOfTime = false;
  }
  /** A signal to itself, within a call of its own. A Wait when it has stopped: what follows comes after it. */
  raise(signal: SignalName): Wait | undefined {
    if (this.call === RAISED || this.ignores(signal)) return undefined;
    const action = actionOf(signal);
    if (action === 'end') throw new ProcessExit({ code: 0, signal });
    if (action !== 'stop') return undefined;
    this.call = RAISED;
    this.pending.push(signal);
    return new Wait([], 0);
  }
}

/** The state of a raise that has stopped its process already. */
const RAISED = {};
