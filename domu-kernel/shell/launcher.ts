// How a shell starts processes and waits for them: pipelines, subshells, jobs.
import type { Routine } from '../process/body.ts';
import type { OpenFile } from '../process/open-file.ts';
import { Pipe } from '../process/pipe.ts';
import type { Process } from '../process/process.ts';
import { readAll, type Waiting, writeText } from '../process/transfer.ts';
import { Wait } from '../process/wait.ts';
import type { Stdio, Userland } from '../userland.ts';
import { BUILTINS } from './builtins.ts';
import { describe, Job, Jobs } from './jobs.ts';
import { Interrupted } from './leaving.ts';
import type { Shell } from './shell.ts';
import { ShellState } from './state.ts';
import type { Command, List, SimpleCommand } from './syntax.ts';

/** What `$(...)` keeps. */
export const MAX_OUTPUT = 2 ** 20;

export abstract class Launcher extends ShellState {
  readonly system: Userland;
  readonly jobs: Jobs;
  /** With a user: jobs have groups of their own, and one of them has the terminal. */
  interactive = false;
  /** By ^C. */
  interrupted = false;
  /** Conditions and the like around what runs: a failure there is an answer, and no reason to end. */
  tested = 0;

  constructor(system: Userland, self: Process, name: string, parameters: readonly string[]) {
    super(self, name, parameters);
    this.system = system;
    this.jobs = new Jobs(system.processes);
  }

  /** The words of the command that is about to run had a `$(...)`, whose status is the command's if nothing else is run. */
  substituted = false;

  abstract get stdio(): Stdio;
  /** A shell that knows what this one knows now, and changes nothing of it. */
  abstract fork(self: Process): Shell;
  /** To the end of `run`, and what is to be done then. */
  abstract ending(run: Waiting<number>): Waiting<number>;
  abstract words(command: SimpleCommand): Waiting<string[]>;
  abstract assigned(command: SimpleCommand): Waiting<Map<string, string>>;

  /** Until it has ended, or was stopped and is in the list of jobs. */
  *foreground(job: Job, io: Stdio): Waiting<number> {
    const { terminal, processes } = this.system;
    if (this.interactive) terminal.foreground = job.pgid;
    let state = job.update(processes);
    try {
      for (; state === 'running' || (state === 'stopped' && !this.interactive); state = job.update(processes))
        yield new Wait([this.self.childChanged]);
    } finally {
      if (this.interactive) terminal.foreground = this.self.pgid;
      // The user did not want to wait for it any longer.
      if (state === 'running' && job.update(processes) !== 'done') this.jobs.add(job);
    }
    if (state === 'stopped') {
      this.jobs.add(job);
      job.told = 'stopped';
      yield* writeText(io[2], `${describe(job, 'stopped')}\n`);
      this.status = 148;
      return this.status;
    }
    this.jobs.remove(job);
    this.status = job.number;
    const { signal } = job.status;
    if (signal === 'SIGINT') throw new Interrupted();
    if (signal && signal !== 'SIGPIPE' && this.interactive) yield* writeText(io[2], `${signal}\n`);
    return this.status;
  }

  /** A process for each command, their pipes between them. */
  *launch(commands: readonly Command[], io: Stdio): Waiting<Process[]> {
    const processes: Process[] = [];
    let input: OpenFile | undefined;
    try {
      for (const [i, command] of commands.entries()) {
        const pipe = i < commands.length - 1 ? new Pipe() : undefined;
        try {
          const stdio: Stdio = [input ?? io[0], pipe?.writer ?? io[1], io[2]];
          processes.push(yield* this.launchOne(command, stdio, processes[0]?.pgid));
        } finally {
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
  private *launchOne(command: Command, io: Stdio, pgid: number | undefined): Waiting<Process> {
    if (command.kind !== 'simple') return this.subshell(shell => shell.command(command, shell.stdio, ''), io, pgid);
    const argv = yield* this.words(command);
    const name = argv[0];
    // A redirection that fails is the command's failure, not the pipeline's.
    const own = name === undefined || BUILTINS.has(name) || this.functions.has(name);
    if (own || command.redirections.length > 0 || this.options.has('x'))
      return this.subshell(shell => shell.simple(command, argv, shell.stdio, ''), io, pgid, argv.join(' '));
    return this.program(argv, yield* this.assigned(command), io, pgid);
  }
  private group(pgid: number | undefined): { pgid?: number } {
    if (pgid !== undefined) return { pgid };
    return this.interactive ? {} : { pgid: this.self.pgid };
  }
  program(argv: readonly string[], assigned: ReadonlyMap<string, string>, stdio: Stdio, pgid?: number): Process {
    const env = this.environment(assigned);
    const limit = this.memoryLimit === undefined ? {} : { memoryLimit: this.memoryLimit };
    return this.system.spawn({ parent: this.self, argv, env, cwd: this.cwd, stdio, ...limit, ...this.group(pgid) });
  }
  subshell(
    run: (shell: Shell) => Waiting<unknown>,
    stdio: Stdio,
    pgid?: number,
    text = 'sh',
    tested = this.tested,
  ): Process {
    const knowing = this.fork(this.self);
    const routine = function* (self: Process): Routine {
      const shell = knowing.fork(self);
      shell.tested = tested;
      return yield* shell.ending(
        (function* () {
          yield* run(shell);
          return shell.status;
        })(),
      );
    };
    const argv = [text];
    return this.system.spawn({
      parent: this.self,
      argv,
      env: this.self.env,
      cwd: this.cwd,
      stdio,
      routine,
      ...this.group(pgid),
    });
  }

  *output(list: List): Waiting<string> {
    const pipe = new Pipe();
    const [stdin, , stderr] = this.stdio;
    const job = this.outputJob(list, [stdin, pipe.writer, stderr], pipe);
    try {
      const text = yield* readAll(pipe.reader, MAX_OUTPUT);
      this.substituted = true;
      yield* this.foreground(job, this.stdio);
      return text;
    } finally {
      pipe.reader.release();
    }
  }
  private outputJob(list: List, io: Stdio, pipe: Pipe): Job {
    try {
      return new Job([this.subshell(shell => shell.list(list, shell.stdio), io, this.self.pgid, '$()', 0)], '$()');
    } catch (error) {
      pipe.reader.release();
      throw error;
    } finally {
      pipe.writer.release();
    }
  }
}
