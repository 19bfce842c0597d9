// How a shell starts processes and waits for them: pipelines, subshells, jobs.
import { XenError } from '#pvbus';
import type { OpenFile } from '../process/open-file.ts';
import { Pipe } from '../process/pipe.ts';
import type { Process } from '../process/process.ts';
import type { SignalName } from '../process/signals.ts';
import { readAll, tell, type Waiting } from '../process/transfer.ts';
import { Wait, YIELD } from '../process/wait.ts';
import type { Userland } from '../userland.ts';
import { Job, Jobs } from './jobs.ts';
import type { OpenFiles } from './open-files.ts';
import type { Shell } from './shell.ts';
import { ShellState } from './state.ts';
import { type Command, type List, ShellError } from './syntax.ts';

/** What `$(...)` keeps, in bytes. */
const MAX_OUTPUT = 16 * 2 ** 20;

interface Subshell {
  /** What it has open. */
  readonly files?: OpenFiles;
  /** Of its job; the first of one of its own, else, where jobs have groups. */
  readonly pgid?: number | undefined;
  readonly ignored?: ReadonlySet<SignalName>;
  readonly tested?: number;
}

export abstract class Launcher extends ShellState {
  readonly system: Userland;
  readonly jobs: Jobs;
  /** With a user. */
  interactive = false;
  /** Jobs have groups of their own, and one of them has the terminal. */
  jobControl = false;
  /** By ^C. */
  interrupted = false;
  /** Conditions and the like around what runs: a failure there is an answer, and no reason to end. */
  tested = 0;
  /** What runs, as it was written. */
  text = '';
  /** The words of the command that is about to run had a `$(...)`, whose status is the command's if nothing else is run. */
  substituted = false;

  constructor(system: Userland, self: Process, name: string, parameters: readonly string[]) {
    super(self, name, parameters);
    this.system = system;
    this.jobs = new Jobs(system.processes);
  }

  /** A shell that knows what this one knows now, and changes nothing of it. */
  abstract fork(self: Process): Shell;

  /** Until it has ended, or was stopped and is in the list of jobs. */
  *foreground(job: Job): Waiting<number> {
    const { terminal, processes } = this.system;
    if (this.jobControl) terminal.foreground = job.pgid;
    let state = job.update(processes);
    try {
      for (; state === 'running' || (state === 'stopped' && !this.jobControl); state = job.update(processes))
        yield new Wait([this.self.childChanged]);
    } finally {
      if (this.jobControl) terminal.foreground = this.self.pgid;
      // The user did not want to wait for it any longer.
      if (state === 'running' && job.update(processes) !== 'done') this.jobs.add(job);
    }
    const [, , stderr] = this.io.stdio;
    if (state === 'stopped') {
      this.jobs.add(job);
      job.told = 'stopped';
      yield* tell(stderr, this.jobs.describe(job, 'stopped'));
      this.status = job.number;
      return this.status;
    }
    this.jobs.remove(job);
    this.status = job.number;
    const { signal } = job.status;
    if (this.jobControl && signal === 'SIGINT') {
      // As dash: the keys were the job's alone, and mean its shell too.
      processes.kill(this.self, 'SIGINT');
      yield YIELD;
    }
    if (!this.interactive) return this.status;
    if (signal && signal !== 'SIGPIPE') yield* tell(stderr, signal);
    return this.status;
  }

  /** A process for each command, their pipes between them. */
  launch(commands: readonly Command[], background: boolean): Process[] {
    const processes: Process[] = [];
    let input: OpenFile | undefined;
    try {
      for (const [i, command] of commands.entries()) {
        const pipe = i < commands.length - 1 ? new Pipe() : undefined;
        const files = background && i === 0 ? this.unseen() : this.io.copy();
        try {
          if (input) files.put(0, input);
          if (pipe) files.put(1, pipe.writer);
          const run = (shell: Shell): Waiting<unknown> => shell.command(command, true);
          const ignored = background ? this.ignoredUnseen : this.traps.ignored;
          const tested = background ? 0 : this.tested;
          processes.push(this.subshell(run, { files, ignored, tested, pgid: processes[0]?.pgid }));
        } finally {
          files.release();
          pipe?.writer.release();
          input?.release();
          input = pipe?.reader;
        }
      }
      return processes;
    } catch (error) {
      for (const process of processes) this.system.processes.kill(process, 'SIGTERM');
      throw error;
    } finally {
      input?.release();
    }
  }
  /** What a job in the background has open: without a user nobody could have it read. */
  protected unseen(): OpenFiles {
    const files = this.io.copy();
    return this.jobControl ? files : files.withoutInput();
  }
  /** What it ignores: without job control the keys concern it as well. */
  protected get ignoredUnseen(): ReadonlySet<SignalName> {
    const { ignored } = this.traps;
    return this.jobControl ? ignored : new Set([...ignored, 'SIGINT', 'SIGQUIT']);
  }
  private group(pgid: number | undefined): { pgid?: number } {
    if (pgid !== undefined) return { pgid };
    return this.jobControl ? {} : { pgid: this.self.pgid };
  }
  program(argv: readonly string[], assigned: ReadonlyMap<string, string>): Process {
    const limit = this.memoryLimit === undefined ? {} : { memoryLimit: this.memoryLimit };
    return this.system.spawn({
      ...{ parent: this.self, argv, cwd: this.cwd, stdio: this.io.all, ignored: this.traps.ignored },
      env: this.environment(assigned),
      ...limit,
      ...this.group(undefined),
    });
  }
  subshell(
    run: (shell: Shell) => Waiting<unknown>,
    { files = this.io, pgid, ignored = this.traps.ignored, tested = this.tested }: Subshell = {},
  ): Process {
    return this.system.spawn({
      ...{ parent: this.self, argv: ['sh'], env: this.self.env, cwd: this.cwd, stdio: files.all, ignored },
      routine: self => {
        // Now: what this shell does next is not that one's.
        const shell = this.fork(self);
        shell.tested = tested;
        return shell.ending(run(shell));
      },
      ...this.group(pgid),
    });
  }

  *output(list: List): Waiting<string> {
    const pipe = new Pipe();
    try {
      const job = this.#outputJob(list, pipe);
      const text = yield* readAll(pipe.reader, MAX_OUTPUT);
      this.substituted = true;
      yield* this.foreground(job);
      return text;
    } catch (error) {
      if (error instanceof XenError && error.code === 'EFBIG')
        throw new ShellError(`$(): more than ${MAX_OUTPUT} bytes`);
      throw error;
    } finally {
      pipe.reader.release();
    }
  }
  #outputJob(list: List, pipe: Pipe): Job {
    const files = this.io.copy();
    try {
      files.put(1, pipe.writer);
      const run = (shell: Shell): Waiting<unknown> => shell.list(list, true);
      return new Job([this.subshell(run, { files, pgid: this.self.pgid, tested: 0 })], '$()');
    } finally {
      files.release();
      pipe.writer.release();
    }
  }
}
