// The processes of a guest: their table, and who of them runs next on vCPU 0. (Of another vCPU: those that lodge there.)
import { type Clock, XenError } from '#pvbus';
import type { Body } from './body.ts';
import { type ExitStatus, Process, ProcessExit, type ProcessParts } from './process.ts';
import { actionOf, type SignalName } from './signals.ts';
import type { Wait } from './wait.ts';

/** How long a process runs before others have a turn. */
export const SLICE_NS = 5e6;
/** How long who has used up its slice waits at most for those that have not. */
const PATIENCE_NS = 4 * SLICE_NS;
const MAX_PROCESSES = 1024;
const MAX_PID = 32_768;
/** Turns of a step: the drivers come before more. */
const TURNS = 16;
/** Processes that run while one waits for a disk: each takes room of the same stack. */
const MAX_NESTED = 2;

export interface SpawnParts extends Omit<ProcessParts, 'pid' | 'pgid'> {
  /** Of a group that is there; else it is the first of its own. */
  readonly pgid?: number;
  readonly memoryLimit?: number;
  /** As its parent does, else. */
  readonly ignored?: ReadonlySet<SignalName>;
  readonly onEnd?: (status: ExitStatus) => void;
  readonly body: (process: Process) => Body;
}

/** What a process of the table waits for, besides its state. */
interface Waiting {
  readonly leave: (() => void)[];
  deadlineNs: number;
}

export class Processes {
  readonly #clock: Clock;
  readonly #table = new Map<number, Process>();
  readonly #waiting = new Map<Process, Waiting>();
  /** Ready: woken or new, and those whose slice was over. */
  #woken: Process[] = [];
  #spent: Process[] = [];
  /** When the first of #spent was put there. */
  #spentNs = 0;
  /** The last that had a turn was one of them. */
  #ranSpent = false;
  #running: Process[] = [];
  #nestedNs = 0;
  #lastPid = 0;
  /** The process that becomes the parent of orphans, and is sent no signals. */
  init: Process | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  // ---- the table ----

  /** Throws EAGAIN when there are too many. On a throw `fds` are the caller's still. */
  spawn({ body, pgid, memoryLimit, ignored, onEnd, ...parts }: SpawnParts): Process {
    if (this.#table.size >= MAX_PROCESSES) throw new XenError('EAGAIN', `there are ${MAX_PROCESSES} processes already`);
    const pid = this.#newPid();
    const process = new Process({ ...parts, pid, pgid: pgid ?? pid }, this.#clock.now());
    process.memoryLimit = memoryLimit ?? parts.parent?.memoryLimit ?? Number.POSITIVE_INFINITY;
    process.ignored = ignored ?? parts.parent?.ignored ?? process.ignored;
    process.onEnd = onEnd;
    process.body = body(process);
    this.#table.set(pid, process);
    parts.parent?.children.add(process);
    this.#woken.push(process);
    return process;
  }
  #newPid(): number {
    do this.#lastPid = this.#lastPid === MAX_PID ? 1 : this.#lastPid + 1;
    while (this.#table.has(this.#lastPid) || this.#isGroup(this.#lastPid));
    return this.#lastPid;
  }
  #isGroup(pgid: number): boolean {
    for (const process of this.#table.values()) if (process.pgid === pgid) return true;
    return false;
  }
  get(pid: number): Process | undefined {
    return this.#table.get(pid);
  }
  /** By pid. */
  list(): Process[] {
    return [...this.#table.values()].sort((a, b) => a.pid - b.pid);
  }
  /** Whatever becomes of it: the domain ends. Init goes on. */
  killAll(): void {
    for (const process of this.list()) if (process !== this.init) this.kill(process, 'SIGKILL');
  }
  /** Those of a group that have not ended. */
  group(pgid: number): Process[] {
    return this.list().filter(process => process.pgid === pgid && process.state !== 'zombie');
  }
  /** Who runs now, the innermost. */
  get current(): Process | undefined {
    return this.#running.at(-1);
  }
  /** Forget a child that has ended; its status. */
  reap(process: Process): ExitStatus {
    if (process.status === undefined) throw new Error(`process ${process.pid} has not ended`);
    this.#table.delete(process.pid);
    process.parent?.children.delete(process);
    return process.status;
  }

  // ---- running ----

  /** Run those that are ready, for about a slice. 'idle': all of them wait. */
  step(): 'progress' | 'idle' {
    if (this.#table.size === 0) return 'idle';
    const began = this.#clock.now();
    this.#expire(began);
    let next = this.#next(began);
    if (next === undefined) return 'idle';
    for (let turns = 1; next !== undefined; turns++) {
      this.#turn(next);
      const now = this.#clock.now();
      if (turns === TURNS || now - began >= SLICE_NS / 2) break;
      next = this.#next(now);
    }
    return 'progress';
  }
  /** The same while the process that runs waits for a disk. */
  stepNested(): 'progress' | 'idle' {
    return this.#mayNest ? this.step() : 'idle';
  }
  get #mayNest(): boolean {
    return this.#running.length <= MAX_NESTED;
  }
  /** When stepNested may have something to do next, ns. */
  nestedDeadline(): number | undefined {
    return this.#mayNest ? this.deadline() : undefined;
  }
  /** When a process is to be woken next, ns. */
  deadline(): number | undefined {
    let first = Number.POSITIVE_INFINITY;
    for (const { deadlineNs } of this.#waiting.values()) if (deadlineNs < first) first = deadlineNs;
    return first === Number.POSITIVE_INFINITY ? undefined : first;
  }
  #expire(now: number): void {
    for (const [process, { deadlineNs }] of this.#waiting) {
      if (deadlineNs > now) continue;
      process.outOfTime = process.callEndsNs !== undefined && process.callEndsNs <= now;
      this.#wake(process);
    }
  }
  #next(now: number): Process | undefined {
    // Not twice in a row: while the host has the vCPU away, or looks at the clock are rare, they are late all the time.
    const late = this.#spent.length > 0 && now - this.#spentNs > PATIENCE_NS && !this.#ranSpent;
    const woken = late ? undefined : this.#woken.shift();
    this.#ranSpent = woken === undefined;
    if (woken) return woken;
    this.#spentNs = now;
    return this.#spent.shift();
  }
  #queue(process: Process, spent: boolean): void {
    if (process.stopped) return; // `#continue` does this
    if (!spent) this.#woken.push(process);
    else if (this.#spent.push(process) === 1) this.#spentNs = this.#clock.now();
  }

  #turn(process: Process): void {
    const outcome = this.#run(process);
    if (process.state === 'zombie') return;
    if (outcome === undefined) this.#queue(process, true);
    else this.#wait(process, outcome);
    // order: after that, since who catches a signal is to look again at once.
    for (let signal = process.pending.shift(); signal; signal = process.pending.shift()) {
      if (this.#act(process, signal) === 'ended') return;
    }
  }
  #run(process: Process): Wait | undefined {
    const began = this.#clock.now();
    const nested = this.#nestedNs;
    this.#running.push(process);
    try {
      return process.body?.run(began + SLICE_NS);
    } catch (error) {
      // Whatever else it is, it is the kernel's own fault.
      if (!(error instanceof ProcessExit)) throw error;
      this.#end(process, error.status);
      return undefined;
    } finally {
      this.#running.pop();
      const took = this.#clock.now() - began;
      process.cpuNs += took - (this.#nestedNs - nested);
      this.#nestedNs = nested + took;
    }
  }

  #wait(process: Process, { queues, deadlineNs = Number.POSITIVE_INFINITY, limitMs }: Wait): void {
    if (queues.length === 0 && deadlineNs === 0) {
      this.#queue(process, true);
      return;
    }
    process.state = 'waits';
    const wake = (): void => this.#wake(process);
    const leave = queues.map(queue => queue.add(wake));
    let end = deadlineNs;
    if (limitMs !== undefined && !process.outOfTime) {
      process.callEndsNs ??= this.#clock.now() + limitMs * 1e6;
      end = Math.min(end, process.callEndsNs);
    }
    this.#waiting.set(process, { leave, deadlineNs: end });
  }
  #leave(process: Process): void {
    for (const leave of this.#waiting.get(process)?.leave ?? []) leave();
    this.#waiting.delete(process);
  }
  #wake(process: Process): void {
    if (process.state !== 'waits') return;
    this.#leave(process);
    process.state = 'ready';
    this.#queue(process, false);
  }

  // ---- signals ----

  /** What a signal does, now, or once the call is over in which the process is. */
  kill(process: Process, signal: SignalName): void {
    if (process.state === 'zombie') return;
    if (this.#running.includes(process)) process.pending.push(signal);
    else this.#act(process, signal);
  }
  /** How many there were. */
  killGroup(pgid: number, signal: SignalName): number {
    const members = this.group(pgid);
    for (const process of members) this.kill(process, signal);
    return members.length;
  }
  #act(process: Process, signal: SignalName): 'ended' | undefined {
    const action = actionOf(signal);
    // Linux: the first process is sent nothing it does not ask for.
    if (process === this.init && action !== 'continue') {
      process.catches?.(signal);
      return undefined;
    }
    // What was stopped goes on, whatever it does about it.
    if (action === 'continue') this.#continue(process);
    if (process.ignores(signal)) return undefined;
    if (signal !== 'SIGKILL' && signal !== 'SIGSTOP' && process.catches?.(signal)) return undefined;
    if (action === 'stop') this.#stop(process);
    if (action !== 'end') return undefined;
    this.#end(process, { code: 0, signal });
    return 'ended';
  }
  #stop(process: Process): void {
    if (process.stopped) return;
    process.stopped = true;
    process.body?.pause?.(true);
    this.#unqueue(process);
    process.parent?.childChanged.wakeAll();
  }
  #continue(process: Process): void {
    if (!process.stopped) return;
    process.stopped = false;
    process.body?.pause?.(false);
    if (process.state === 'ready' && !this.#running.includes(process)) this.#queue(process, false);
    process.parent?.childChanged.wakeAll();
  }
  #unqueue(process: Process): void {
    this.#woken = this.#woken.filter(other => other !== process);
    this.#spent = this.#spent.filter(other => other !== process);
  }
  /** A process that waits is to look again: something it catches has come. */
  nudge(process: Process): void {
    this.#wake(process);
  }

  #end(process: Process, status: ExitStatus): void {
    this.#leave(process);
    this.#unqueue(process);
    process.state = 'zombie';
    process.stopped = false;
    process.status = status;
    const { body } = process;
    process.body = undefined;
    body?.release();
    process.fds.closeAll();
    process.call = undefined;
    process.memory = undefined;
    this.#orphan(process);
    process.onEnd?.(status);
    if (process.parent) {
      this.kill(process.parent, 'SIGCHLD');
      process.parent.childChanged.wakeAll();
    } else this.reap(process);
  }
  #orphan(process: Process): void {
    const heir = this.init === process || this.init?.state === 'zombie' ? undefined : this.init;
    for (const child of process.children) {
      child.parent = heir;
      if (heir) heir.children.add(child);
      else if (child.status) this.#table.delete(child.pid);
    }
    const groups = new Set([...process.children].map(({ pgid }) => pgid));
    process.children.clear();
    for (const pgid of groups) this.#abandon(pgid);
    if (heir) heir.childChanged.wakeAll();
  }
  /** Of a group without anybody outside who could have it go on, nobody stays stopped. */
  #abandon(pgid: number): void {
    const members = this.group(pgid);
    const cared = ({ parent }: Process): boolean =>
      parent !== undefined && parent !== this.init && parent.pgid !== pgid;
    if (members.some(cared) || !members.some(({ stopped }) => stopped)) return;
    this.killGroup(pgid, 'SIGHUP');
    this.killGroup(pgid, 'SIGCONT');
  }
}
