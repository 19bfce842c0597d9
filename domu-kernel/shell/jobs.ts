// Pipelines that a shell has started and has not forgotten.
import { type ExitStatus, exitNumber, type Process } from '../process/process.ts';
import type { Processes } from '../process/processes.ts';
import type { SignalName } from '../process/signals.ts';

export type JobState = 'running' | 'stopped' | 'done';

/** By signal, what a user is told of who was ended or stopped by it; else its name. */
const WORDS: Partial<Record<SignalName, string>> = {
  SIGHUP: 'Hangup',
  SIGINT: 'Interrupt',
  SIGQUIT: 'Quit',
  SIGILL: 'Illegal instruction',
  SIGABRT: 'Aborted',
  SIGFPE: 'Floating point exception',
  SIGKILL: 'Killed',
  SIGSEGV: 'Segmentation fault',
  SIGPIPE: 'Broken pipe',
  SIGALRM: 'Alarm clock',
  SIGTERM: 'Terminated',
};
/** Whose statuses `wait` may still be asked for: of more than these those that began first are forgotten. */
const MAX_DONE = 256;
/** A line's column of the command. */
const COLUMN = 33;

export class Job {
  readonly pgid: number;
  readonly text: string;
  /** In the order of the pipeline. */
  readonly processes: readonly Process[];
  /** Of the last process, once all have ended. */
  status: ExitStatus = { code: 0 };
  /** In the shell's list. */
  id = 0;
  /** What the user was told last. */
  told: JobState = 'running';
  #left: Set<Process>;

  constructor(processes: readonly Process[], text: string) {
    this.processes = processes;
    this.pgid = processes[0]?.pgid ?? 0;
    this.text = text;
    this.#left = new Set(processes);
  }
  /** Takes the statuses of those that have ended. */
  update(table: Processes): JobState {
    for (const process of this.#left) {
      if (process.status === undefined) continue;
      this.#left.delete(process);
      const status = table.get(process.pid) === process ? table.reap(process) : process.status;
      if (process === this.processes.at(-1)) this.status = status;
    }
    if (this.#left.size === 0) return 'done';
    if (![...this.#left].every(process => process.stopped)) return 'running';
    this.status = { code: 0, signal: 'SIGTSTP' };
    return 'stopped';
  }
  get number(): number {
    return exitNumber(this.status);
  }
  /** It was started under job control: its processes are a group. */
  get isGroup(): boolean {
    return this.pgid === this.processes[0]?.pid;
  }
  kill(table: Processes, signal: SignalName): void {
    if (this.isGroup) table.killGroup(this.pgid, signal);
    else for (const process of this.#left) table.kill(process, signal);
  }
}

export class Jobs {
  readonly #table: Processes;
  /** By their numbers. */
  #jobs: Job[] = [];
  /** Those that were stopped last, then those that run: '%+' is the first, '%-' the second. */
  #order: Job[] = [];

  constructor(table: Processes) {
    this.#table = table;
  }
  /** Into the list, if it is not there; it is the one that was stopped or went to the background last. */
  add(job: Job): void {
    if (!this.#jobs.includes(job)) {
      const done = this.#order.filter(other => other.update(this.#table) === 'done');
      for (const old of done.slice(MAX_DONE)) this.remove(old);
      job.id = 1;
      while (this.#jobs.some(other => other.id === job.id)) job.id++;
      this.#jobs.push(job);
      this.#jobs.sort((a, b) => a.id - b.id);
    }
    const others = this.#order.filter(other => other !== job);
    const stopped = (other: Job): boolean => other.update(this.#table) === 'stopped';
    const before = stopped(job) ? 0 : others.filter(stopped).length;
    this.#order = [...others.slice(0, before), job, ...others.slice(before)];
  }
  remove(job: Job): void {
    this.#jobs = this.#jobs.filter(other => other !== job);
    this.#order = this.#order.filter(other => other !== job);
  }
  list(): readonly Job[] {
    return this.#jobs;
  }
  /** '%1', '%%', '%+', '%-', '%how it begins', '%?what is in it'. */
  find(word = '%%'): Job | undefined {
    const name = word.replace(/^%/, '');
    if (/^\d+$/.test(name)) return this.#jobs.find(job => job.id === Number(name));
    if (/^[%+]?$/.test(name)) return this.#order[0];
    if (name === '-') return this.#order[1];
    const fits = ({ text }: Job): boolean =>
      name.startsWith('?') ? text.includes(name.slice(1)) : text.startsWith(name);
    const [found, ...more] = this.#jobs.filter(fits);
    return more.length === 0 ? found : undefined;
  }
  /** The job that a process is of. */
  ofProcess(pid: number): Job | undefined {
    return this.#jobs.find(({ processes }) => processes.some(process => process.pid === pid));
  }
  /** A line for each that has changed since the user was told; those that are done leave the list. */
  changes(): string[] {
    const lines: string[] = [];
    for (const job of this.#jobs) {
      const state = job.update(this.#table);
      if (state !== job.told) lines.push(this.describe(job, state));
      job.told = state;
      if (state === 'done') this.remove(job);
    }
    return lines;
  }
  update(): void {
    for (const job of this.#jobs) job.update(this.#table);
  }
  anyStopped(): boolean {
    return this.#jobs.some(job => job.update(this.#table) === 'stopped');
  }
  describe(job: Job, state: JobState, pid = ''): string {
    const mark = job === this.#order[0] ? '+' : job === this.#order[1] ? '-' : ' ';
    const { code, signal } = job.status;
    const ended = signal ? (WORDS[signal] ?? signal) : code === 0 ? 'Done' : `Done(${code})`;
    const word = state === 'done' ? ended : state === 'stopped' ? 'Stopped' : 'Running';
    return `${`[${job.id}] ${mark} ${pid}${word}`.padEnd(COLUMN)}${job.text}`;
  }
}
