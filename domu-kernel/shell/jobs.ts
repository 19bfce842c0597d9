// Pipelines that a shell has started and has not forgotten.
import { type ExitStatus, exitNumber, type Process } from '../process/process.ts';
import type { Processes } from '../process/processes.ts';

export type JobState = 'running' | 'stopped' | 'done';

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
    return [...this.#left].every(process => process.stopped) ? 'stopped' : 'running';
  }
  get number(): number {
    return exitNumber(this.status);
  }
}

export class Jobs {
  readonly #table: Processes;
  #jobs: Job[] = [];

  constructor(table: Processes) {
    this.#table = table;
  }
  /** Into the list, if it is not there. */
  add(job: Job): void {
    if (this.#jobs.includes(job)) return;
    job.id = (this.#jobs.at(-1)?.id ?? 0) + 1;
    this.#jobs.push(job);
  }
  remove(job: Job): void {
    this.#jobs = this.#jobs.filter(other => other !== job);
  }
  list(): readonly Job[] {
    return this.#jobs;
  }
  /** '%1', '%%', '%+', '1' or nothing at all: the last one. */
  find(word = '%%'): Job | undefined {
    const id = /^%?(\d+)$/.exec(word)?.[1];
    if (id !== undefined) return this.#jobs.find(job => job.id === Number(id));
    return /^%[%+]?$/.test(word) ? this.#jobs.at(-1) : undefined;
  }
  /** The job that a process is the last of. */
  ofProcess(pid: number): Job | undefined {
    return this.#jobs.find(({ processes }) => processes.some(process => process.pid === pid));
  }
  /** A line for each that has changed since the user was told; those that are done leave the list. */
  changes(): string[] {
    const lines: string[] = [];
    for (const job of this.#jobs) {
      const state = job.update(this.#table);
      if (state !== job.told) lines.push(describe(job, state));
      job.told = state;
      if (state === 'done') this.remove(job);
    }
    return lines;
  }
  update(): void {
    for (const job of this.#jobs) job.update(this.#table);
  }
}

export function describe(job: Job, state: JobState): string {
  const { code, signal } = job.status;
  const ended = signal ? signal : code === 0 ? 'Done' : `Exit ${code}`;
  const word = state === 'done' ? ended : state === 'stopped' ? 'Stopped' : 'Running';
  return `[${job.id}]  ${word.padEnd(10)} ${job.text}`;
}
