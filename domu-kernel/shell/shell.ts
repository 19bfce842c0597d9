// The shell: a routine that runs what the parser has read. What waits is yielded, so that others run meanwhile.
import { messageOf, XenError } from '#pvbus';
import type { Vnode } from '../fs/file-system.ts';
import type { Routine } from '../process/body.ts';
import { DEFAULT_PATH } from '../process/exec.ts';
import type { OpenFile } from '../process/open-file.ts';
import { Pipe } from '../process/pipe.ts';
import type { Process } from '../process/process.ts';
import { attempt, readAll, readLine, type Waiting, writeText } from '../process/transfer.ts';
import { Wait, YIELD } from '../process/wait.ts';
import type { Stdio, Userland } from '../userland.ts';
import { OpenDiskFile } from '../wasi/open-vnode.ts';
import { BUILTINS } from './builtins.ts';
import { expandText, expandWords, type Surroundings } from './expand.ts';
import { describe, Job, Jobs } from './jobs.ts';
import { parse } from './parser.ts';
import { fromCwd } from './paths.ts';
import {
  type AndOr,
  type Command,
  type CompoundCommand,
  IncompleteInput,
  type List,
  type Pipeline,
  type Redirection,
  ShellError,
  type SimpleCommand,
} from './syntax.ts';

/** What `$(...)` keeps. */
const MAX_OUTPUT = 2 ** 20;
const MAX_DEPTH = 64;

/** The shell ends. */
export class ExitShell extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}
/** `break` and `continue`, of so many loops. */
export class LeaveLoop extends Error {
  levels: number;
  readonly again: boolean;
  constructor(levels: number, again: boolean) {
    super('not in a loop');
    this.levels = levels;
    this.again = again;
  }
}
/** ^C: back to the prompt. */
class Interrupted extends Error {}

export interface ShellOptions {
  /** $0 */
  readonly name?: string;
  readonly parameters?: readonly string[];
}

export class Shell implements Surroundings {
  readonly system: Userland;
  readonly self: Process;
  readonly name: string;
  parameters: readonly string[];
  cwd: string;
  status = 0;
  /** WebAssembly pages a process may have at most. */
  memoryLimit: number | undefined;
  readonly variables: Map<string, string>;
  readonly exported: Set<string>;
  readonly jobs: Jobs;
  /** Of the last job that went to the background. */
  lastBackground = 0;
  /** With a user: jobs have groups of their own, and one of them has the terminal. */
  #interactive = false;
  #interrupted = false;
  #depth = 0;

  constructor(system: Userland, self: Process, { name = 'sh', parameters = [] }: ShellOptions = {}) {
    this.system = system;
    this.self = self;
    this.name = name;
    this.parameters = parameters;
    this.cwd = self.cwd;
    this.memoryLimit = Number.isFinite(self.memoryLimit) ? self.memoryLimit : undefined;
    this.variables = new Map(self.env);
    if (!this.variables.has('PATH')) this.variables.set('PATH', DEFAULT_PATH);
    this.exported = new Set(this.variables.keys());
    this.jobs = new Jobs(system.processes);
  }

  // ---- from outside ----

  /** `sh -c TEXT`, `sh FILE ARGS`, or `sh` alone: with a user where stdin is a terminal. */
  *main(args: readonly string[]): Waiting<number> {
    const stdin = this.self.fds.get(0).file;
    if (args[0] === '-c') {
      this.parameters = args.slice(3);
      return yield* this.script(args[1] ?? '');
    }
    if (args[0] !== undefined && args[0] !== '-i') {
      this.parameters = args.slice(1);
      return yield* this.#file(args[0]);
    }
    if (stdin.kind === 'terminal') return yield* this.#converse();
    return yield* this.script(yield* readAll(stdin, MAX_OUTPUT));
  }
  *#file(path: string): Waiting<number> {
    const [text, file] = yield* attempt(() => {
      const vnode = this.system.mounts.find(fromCwd(this.cwd, path));
      return [vnode.type, new OpenDiskFile(vnode)] as const;
    });
    try {
      if (text !== 'file') throw new XenError('EISDIR', `${path}: it is no file`);
      return yield* this.script(yield* readAll(file, MAX_OUTPUT));
    } finally {
      file.release();
    }
  }
  /** All of it, as one. */
  *script(text: string): Waiting<number> {
    try {
      return yield* this.list(parse(text), this.stdio);
    } catch (error) {
      return yield* this.#ended(error);
    }
  }
  /** What the shell's end says of what was thrown. */
  *#ended(error: unknown): Waiting<number> {
    if (error instanceof ExitShell) return error.code;
    if (error instanceof LeaveLoop) return this.status;
    if (error instanceof Interrupted) return 130;
    yield* this.#complain(error, this.stdio[2]);
    return 2;
  }
  get stdio(): Stdio {
    const { fds } = this.self;
    return [fds.get(0).file, fds.get(1).file, fds.get(2).file];
  }
  /** A shell that knows what this one knows now, and changes nothing of it. */
  #fork(self: Process): Shell {
    const shell = new Shell(this.system, self, this);
    shell.cwd = this.cwd;
    shell.status = this.status;
    shell.memoryLimit = this.memoryLimit;
    shell.variables.clear();
    for (const [name, value] of this.variables) shell.variables.set(name, value);
    shell.exported.clear();
    for (const name of this.exported) shell.exported.add(name);
    shell.lastBackground = this.lastBackground;
    return shell;
  }

  // ---- with a user ----

  *#converse(): Waiting<number> {
    const { self, system } = this;
    const { terminal } = system;
    this.#interactive = true;
    self.catches = signal => {
      if (signal === 'SIGINT') {
        this.#interrupted = true;
        system.processes.nudge(self);
      }
      return signal !== 'SIGCONT' && signal !== 'SIGHUP';
    };
    terminal.foreground = self.pgid;
    terminal.leader = self.pgid;
    const [stdin, , stderr] = this.stdio;
    let text = '';
    for (;;) {
      try {
        for (const line of this.jobs.changes()) yield* writeText(stderr, `${line}\n`);
        yield* writeText(stderr, text === '' ? `${system.machine.name}:${this.cwd}# ` : '> ');
        const line = yield* this.#interruptible(readLine(stdin));
        if (line === undefined && text === '') {
          yield* writeText(stderr, 'exit\n');
          return this.status;
        }
        text += `${line ?? ''}\n`;
        const list = parse(text);
        text = '';
        yield* this.#interruptible(this.list(list, this.stdio));
      } catch (error) {
        if (error instanceof ExitShell) return error.code;
        if (error instanceof IncompleteInput) continue;
        text = '';
        if (error instanceof Interrupted) this.status = 130;
        else if (!(error instanceof LeaveLoop)) yield* this.#complain(error, stderr);
      }
    }
  }
  /** Throws Interrupted into what waits when the user has had enough. */
  *#interruptible<T>(inner: Waiting<T>): Waiting<T> {
    this.#interrupted = false;
    for (let next = inner.next(); ; ) {
      if (next.done) return next.value;
      yield next.value;
      if (this.#interrupted) {
        this.#interrupted = false;
        next = inner.throw(new Interrupted());
      } else next = inner.next();
    }
  }
  *#complain(error: unknown, stderr: OpenFile): Waiting<void> {
    if (!(error instanceof ShellError || error instanceof XenError)) throw error;
    yield* writeText(stderr, `${this.name}: ${messageOf(error)}\n`);
    this.status = error instanceof ShellError ? 2 : 1;
  }

  // ---- lists ----

  *list(list: List, io: Stdio): Waiting<number> {
    if (++this.#depth > MAX_DEPTH) throw new ShellError(`more than ${MAX_DEPTH} commands in one another`);
    try {
      for (const item of list) {
        if (item.background) yield* this.#inBackground(item, io);
        else yield* this.#andOr(item, io);
        if (!this.#interactive) this.jobs.update();
      }
      return this.status;
    } finally {
      this.#depth--;
    }
  }
  *#andOr({ first, rest, text }: AndOr, io: Stdio): Waiting<number> {
    yield* this.#pipeline(first, io, text);
    for (const [operator, pipeline] of rest)
      if ((operator === '&&') === (this.status === 0)) yield* this.#pipeline(pipeline, io, text);
    return this.status;
  }
  *#inBackground(item: AndOr, io: Stdio): Waiting<void> {
    const { first, rest, text } = item;
    const processes =
      rest.length === 0 && !first.negated
        ? yield* this.#launch(first.commands, io)
        : [this.#subshell(shell => shell.list([{ ...item, background: false }], shell.stdio), io, undefined, text)];
    const job = new Job(processes, text);
    this.jobs.add(job);
    this.lastBackground = processes.at(-1)?.pid ?? 0;
    this.status = 0;
    if (this.#interactive) yield* writeText(io[2], `[${job.id}] ${this.lastBackground}\n`);
  }
  *#pipeline({ negated, commands }: Pipeline, io: Stdio, text: string): Waiting<void> {
    const [only] = commands;
    if (commands.length === 1 && only) yield* this.#command(only, io, text);
    else yield* this.foreground(new Job(yield* this.#launch(commands, io), text), io);
    if (negated) this.status = this.status === 0 ? 1 : 0;
  }
  /** Until it has ended, or was stopped and is in the list of jobs. */
  *foreground(job: Job, io: Stdio): Waiting<number> {
    const { terminal, processes } = this.system;
    if (this.#interactive) terminal.foreground = job.pgid;
    let state = job.update(processes);
    try {
      for (; state === 'running' || (state === 'stopped' && !this.#interactive); state = job.update(processes))
        yield new Wait([this.self.childChanged]);
    } finally {
      if (this.#interactive) terminal.foreground = this.self.pgid;
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
    if (signal && signal !== 'SIGPIPE' && this.#interactive) yield* writeText(io[2], `${signal}\n`);
    return this.status;
  }

  // ---- processes ----

  /** A process for each command, their pipes between them. */
  *#launch(commands: readonly Command[], io: Stdio): Waiting<Process[]> {
    const processes: Process[] = [];
    let input: OpenFile | undefined;
    try {
      for (const [i, command] of commands.entries()) {
        const pipe = i < commands.length - 1 ? new Pipe() : undefined;
        try {
          const stdio: Stdio = [input ?? io[0], pipe?.writer ?? io[1], io[2]];
          processes.push(yield* this.#launchOne(command, stdio, processes[0]?.pgid));
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
  *#launchOne(command: Command, io: Stdio, pgid: number | undefined): Waiting<Process> {
    if (command.kind !== 'simple') return this.#subshell(shell => shell.#command(command, shell.stdio, ''), io, pgid);
    const argv = yield* expandWords(this, command.words);
    const name = argv[0];
    // A redirection that fails is the command's failure, not the pipeline's.
    if (name === undefined || BUILTINS.has(name) || command.redirections.length > 0)
      return this.#subshell(shell => shell.#simple(command, argv, shell.stdio, ''), io, pgid, argv.join(' '));
    return this.#program(argv, yield* this.#assigned(command), io, pgid);
  }
  #group(pgid: number | undefined): { pgid?: number } {
    if (pgid !== undefined) return { pgid };
    return this.#interactive ? {} : { pgid: this.self.pgid };
  }
  #program(argv: readonly string[], assigned: ReadonlyMap<string, string>, stdio: Stdio, pgid?: number): Process {
    const env = new Map(
      [...this.exported].flatMap(name => {
        const value = this.variables.get(name);
        return value === undefined ? [] : [[name, value] as const];
      }),
    );
    env.set('PWD', this.cwd);
    for (const [name, value] of assigned) env.set(name, value);
    const limit = this.memoryLimit === undefined ? {} : { memoryLimit: this.memoryLimit };
    return this.system.spawn({ parent: this.self, argv, env, cwd: this.cwd, stdio, ...limit, ...this.#group(pgid) });
  }
  #subshell(run: (shell: Shell) => Waiting<unknown>, stdio: Stdio, pgid?: number, text = 'sh'): Process {
    const knowing = this.#fork(this.self);
    const routine = function* (self: Process): Routine {
      const shell = knowing.#fork(self);
      try {
        yield* run(shell);
        return shell.status;
      } catch (error) {
        return yield* shell.#ended(error);
      }
    };
    const argv = [text];
    return this.system.spawn({
      parent: this.self,
      argv,
      env: this.self.env,
      cwd: this.cwd,
      stdio,
      routine,
      ...this.#group(pgid),
    });
  }

  // ---- commands ----

  *#command(command: Command, io: Stdio, text: string): Waiting<unknown> {
    try {
      if (command.kind === 'simple') {
        return yield* this.#simple(command, yield* expandWords(this, command.words), io, text);
      }
      if (command.kind === 'subshell') {
        const run = (shell: Shell): Waiting<unknown> => shell.#compound({ ...command, kind: 'group' }, shell.stdio);
        return yield* this.foreground(new Job([this.#subshell(run, io)], text), io);
      }
      return yield* this.#compound(command, io);
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      yield* this.#complain(error, io[2]);
    }
    return undefined;
  }
  *#simple(command: SimpleCommand, argv: readonly string[], io: Stdio, text: string): Waiting<unknown> {
    const opened: OpenFile[] = [];
    try {
      const redirected = yield* this.#redirected(command.redirections, io, opened);
      const assigned = yield* this.#assigned(command);
      const [name, ...args] = argv;
      if (name === undefined) {
        for (const [variable, value] of assigned) this.variables.set(variable, value);
        if (command.words.length === 0 && !command.assignments.some(([, word]) => word.some(p => p.kind === 'command')))
          this.status = 0;
        return undefined;
      }
      const builtin = BUILTINS.get(name);
      if (builtin === undefined)
        return yield* this.foreground(new Job([this.#program(argv, assigned, redirected)], text), io);
      for (const [variable, value] of assigned) this.variables.set(variable, value);
      const status = builtin(this, args, redirected);
      this.status = typeof status === 'number' ? status : yield* status;
      return undefined;
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      yield* writeText(io[2], `${argv[0] ?? this.name}: ${messageOf(error)}\n`);
      this.status = 1;
      return undefined;
    } finally {
      for (const file of opened) file.release();
    }
  }
  *#assigned({ assignments }: SimpleCommand): Waiting<Map<string, string>> {
    const values = new Map<string, string>();
    for (const [name, word] of assignments) values.set(name, yield* expandText(this, word));
    return values;
  }
  *#compound(
    command: Exclude<CompoundCommand, { kind: 'subshell' }> | GroupOf<CompoundCommand>,
    io: Stdio,
  ): Waiting<unknown> {
    const opened: OpenFile[] = [];
    try {
      const redirected = yield* this.#redirected(command.redirections, io, opened);
      if (command.kind === 'if') yield* this.#if(command, redirected);
      else if (command.kind === 'while') yield* this.#while(command, redirected);
      else if (command.kind === 'for') yield* this.#for(command, redirected);
      else yield* this.list(command.body, redirected);
      return undefined;
    } finally {
      for (const file of opened) file.release();
    }
  }
  *#if({ branches, otherwise }: CompoundCommand & { kind: 'if' }, io: Stdio): Waiting<unknown> {
    for (const [condition, body] of branches)
      if ((yield* this.list(condition, io)) === 0) return yield* this.list(body, io);
    this.status = 0;
    return otherwise && (yield* this.list(otherwise, io));
  }
  *#while({ until, condition, body }: CompoundCommand & { kind: 'while' }, io: Stdio): Waiting<void> {
    let status = 0;
    while (((yield* this.list(condition, io)) === 0) !== until) {
      if (!(yield* this.#turn(body, io))) return;
      status = this.status;
    }
    this.status = status;
  }
  *#for({ name, words, body }: CompoundCommand & { kind: 'for' }, io: Stdio): Waiting<void> {
    const values = words ? yield* expandWords(this, words) : this.parameters;
    this.status = 0;
    for (const value of values) {
      this.variables.set(name, value);
      if (!(yield* this.#turn(body, io))) return;
    }
  }
  /** Of a loop; false when that is over. */
  *#turn(body: List, io: Stdio): Waiting<boolean> {
    // A loop of builtins is like any other hog.
    yield YIELD;
    try {
      yield* this.list(body, io);
    } catch (error) {
      if (!(error instanceof LeaveLoop)) throw error;
      if (--error.levels > 0) throw error;
      return error.again;
    }
    return true;
  }

  // ---- redirections ----

  /** What was opened for them is added to `opened`. */
  *#redirected(redirections: readonly Redirection[], io: Stdio, opened: OpenFile[]): Waiting<Stdio> {
    const stdio: [OpenFile, OpenFile, OpenFile] = [...io];
    for (const { fd, kind, target } of redirections) {
      const word = yield* expandText(this, target);
      if (kind === '&') {
        const from = /^[012]$/.test(word) ? stdio[Number(word)] : undefined;
        if (from === undefined) throw new XenError('EBADF', `&${word}: there is no such descriptor`);
        stdio[fd] = from;
        continue;
      }
      const file = yield* attempt(() => this.system.open(fromCwd(this.cwd, word), kind, stdio));
      opened.push(file);
      stdio[fd] = file;
    }
    return stdio;
  }

  // ---- for expansions ----

  variable(name: string): string {
    if (name === '?') return String(this.status);
    if (name === '$') return String(this.self.pid);
    if (name === '!') return this.lastBackground === 0 ? '' : String(this.lastBackground);
    if (name === '#') return String(this.parameters.length);
    if (name === '@' || name === '*') return this.parameters.join(' ');
    if (name === '0') return this.name;
    if (/^\d$/.test(name)) return this.parameters[Number(name) - 1] ?? '';
    if (name === 'PWD') return this.cwd;
    return this.variables.get(name) ?? '';
  }
  find(path: string): Vnode | undefined {
    try {
      return this.system.mounts.find(path);
    } catch (error) {
      if (error instanceof XenError && /^(ENOENT|ENOTDIR|ELOOP)$/.test(error.code)) return undefined;
      throw error;
    }
  }
  *output(list: List): Waiting<string> {
    const pipe = new Pipe();
    const [stdin, , stderr] = this.stdio;
    const job = this.#outputJob(list, [stdin, pipe.writer, stderr], pipe);
    try {
      const text = yield* readAll(pipe.reader, MAX_OUTPUT);
      yield* this.foreground(job, this.stdio);
      return text;
    } finally {
      pipe.reader.release();
    }
  }
  #outputJob(list: List, io: Stdio, pipe: Pipe): Job {
    try {
      return new Job([this.#subshell(shell => shell.list(list, shell.stdio), io, this.self.pgid)], '$()');
    } catch (error) {
      pipe.reader.release();
      throw error;
    } finally {
      pipe.writer.release();
    }
  }
}

type GroupOf<T> = T extends { kind: 'subshell' | 'group' } ? Omit<T, 'kind'> & { kind: 'group' } : never;
