// The shell: a routine that runs what the parser has read. What waits is yielded, so that others run meanwhile.
import { messageOf, XenError } from '#pvbus';
import type { Vnode } from '../fs/file-system.ts';
import { nullFile } from '../process/null-file.ts';
import type { OpenFile } from '../process/open-file.ts';
import type { Process } from '../process/process.ts';
import type { SignalName } from '../process/signals.ts';
import { TextFile } from '../process/text-file.ts';
import { attempt, readAll, type Waiting, writeText } from '../process/transfer.ts';
import { YIELD } from '../process/wait.ts';
import type { Stdio, Userland } from '../userland.ts';
import { OpenDiskFile } from '../wasi/open-vnode.ts';
import { BUILTINS, SPECIAL_BUILTINS } from './builtins.ts';
import { converse } from './converse.ts';
import { expandPattern, expandText, expandWords, type Surroundings } from './expand.ts';
import { Pattern } from './glob.ts';
import { Job } from './jobs.ts';
import { Launcher, MAX_OUTPUT } from './launcher.ts';
import { ExitShell, Interrupted, LeaveLoop, ReturnFrom } from './leaving.ts';
import { Commands } from './parser.ts';
import { fromCwd } from './paths.ts';
import {
  type AndOr,
  type Command,
  type CompoundCommand,
  type List,
  type Pipeline,
  type Redirection,
  ShellError,
  type SimpleCommand,
} from './syntax.ts';
import { setOptions } from './variable-builtins.ts';

const MAX_DEPTH = 200;

export interface ShellOptions {
  /** $0 */
  readonly name?: string;
  readonly parameters?: readonly string[];
}

export class Shell extends Launcher implements Surroundings {
  /** Loops around what runs, in this function. */
  loops = 0;
  #depth = 0;
  readonly #signals: SignalName[] = [];

  constructor(system: Userland, self: Process, { name = 'sh', parameters = [] }: ShellOptions = {}) {
    super(system, self, name, parameters);
  }

  // ---- from outside ----

  /**
   * `sh -c TEXT NAME ARGS`, `sh FILE ARGS`, `sh -s ARGS`, or `sh` alone: with a user where stdin is a terminal. Options of `set`
   * before that.
   */
  *main(args: readonly string[]): Waiting<number> {
    const stdin = this.self.fds.get(0).file;
    let at = 0;
    const has = (letter: string): boolean =>
      args.slice(0, at).some(word => /^-[^-]/.test(word) && word.includes(letter));
    try {
      at = yield* setOptions(this, args, this.stdio, 'cis');
      if (has('c') && at === args.length) throw new ShellError('-c requires an argument');
    } catch (error) {
      return yield* this.#endedBy(error);
    }
    const [first, second] = args.slice(at);
    if (has('c')) {
      this.name = second ?? this.name;
      this.parameters = args.slice(at + 2);
      return yield* this.script(first ?? '');
    }
    if (has('s')) this.parameters = args.slice(at);
    else if (first !== undefined) {
      this.name = first;
      this.parameters = args.slice(at + 1);
      return yield* this.#file(first);
    }
    if (stdin.kind === 'terminal') return yield* this.ending(this.#withUser());
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
  *script(text: string): Waiting<number> {
    return yield* this.ending(this.source(text, this.stdio));
  }
  /** Each of its lines is read when those before it have been run. */
  *source(text: string, io: Stdio): Waiting<number> {
    const commands = new Commands(text);
    let list = commands.next();
    if (list === undefined) this.status = 0;
    for (; list !== undefined; list = commands.next()) if (!this.options.has('n')) yield* this.list(list, io);
    return this.status;
  }
  *#withUser(): Waiting<number> {
    this.listen();
    return yield* converse(this);
  }
  /** To the end of `run`, and what is to be done then: `trap ... EXIT`. */
  *ending(run: Waiting<number>): Waiting<number> {
    this.status = yield* this.#ended(run);
    const last = this.traps.get('EXIT');
    if (!last) return this.status;
    this.traps.delete('EXIT');
    const { status } = this;
    const code = yield* this.#ended(this.source(last, this.stdio), status);
    return code;
  }
  /** How it ended; `otherwise` where that was by itself. */
  *#ended(run: Waiting<number>, otherwise?: number): Waiting<number> {
    try {
      const code = yield* run;
      return otherwise ?? code;
    } catch (error) {
      return yield* this.#endedBy(error);
    }
  }
  *#endedBy(error: unknown): Waiting<number> {
    if (error instanceof ExitShell || error instanceof ReturnFrom) return error.code;
    if (error instanceof LeaveLoop) return this.status;
    if (error instanceof Interrupted) return 130;
    yield* this.complain(error, this.stdio[2]);
    return 2;
  }
  get stdio(): Stdio {
    const { fds } = this.self;
    return [fds.get(0).file, fds.get(1).file, fds.get(2).file];
  }
  /** A shell that knows what this one knows now, and changes nothing of it. */
  fork(self: Process): Shell {
    const shell = new Shell(this.system, self, this);
    shell.learnFrom(this);
    shell.loops = this.loops;
    return shell;
  }

  /** From here on signals are heard: those of a user, and those that have traps. */
  listen(): void {
    const { self, system } = this;
    self.catches = signal => {
      const trap = this.traps.get(signal);
      if (trap) this.#signals.push(signal);
      if (this.interactive && signal === 'SIGINT') this.interrupted = true;
      const taken = trap !== undefined || (this.interactive && signal !== 'SIGCONT' && signal !== 'SIGHUP');
      if (taken) system.processes.nudge(self);
      return taken;
    };
  }
  *#trapped(io: Stdio): Waiting<void> {
    for (let signal = this.#signals.shift(); signal; signal = this.#signals.shift()) {
      const { status } = this;
      yield* this.source(this.traps.get(signal) ?? '', io);
      this.status = status;
    }
  }
  *complain(error: unknown, stderr: OpenFile): Waiting<void> {
    if (!(error instanceof ShellError || error instanceof XenError)) throw error;
    yield* writeText(stderr, `${this.name}: ${messageOf(error)}\n`);
    this.status = 2;
  }

  // ---- lists ----

  *list(list: List, io: Stdio): Waiting<number> {
    if (++this.#depth > MAX_DEPTH) throw new ShellError(`more than ${MAX_DEPTH} commands in one another`);
    try {
      for (const item of list) {
        if (item.background) yield* this.#inBackground(item, io);
        else yield* this.#andOr(item, io);
        if (!this.interactive) this.jobs.update();
        if (this.#signals.length > 0) yield* this.#trapped(io);
      }
      return this.status;
    } finally {
      this.#depth--;
    }
  }
  *#andOr({ first, rest, text }: AndOr, io: Stdio): Waiting<number> {
    let last = rest.length === 0 ? first : undefined;
    yield* this.#pipeline(first, io, text, last === undefined);
    for (const [i, [operator, pipeline]] of rest.entries()) {
      if ((operator === '&&') !== (this.status === 0)) continue;
      last = i === rest.length - 1 ? pipeline : undefined;
      yield* this.#pipeline(pipeline, io, text, last === undefined);
    }
    const failed = this.status !== 0 && last !== undefined && canFail(last);
    if (failed && this.options.has('e') && this.tested === 0) throw new ExitShell(this.status);
    return this.status;
  }
  *#inBackground(item: AndOr, io: Stdio): Waiting<void> {
    const { first, rest, text } = item;
    const processes =
      rest.length === 0 && !first.negated
        ? yield* this.launch(first.commands, io)
        : [this.subshell(shell => shell.list([{ ...item, background: false }], shell.stdio), io, undefined, text, 0)];
    const job = new Job(processes, text);
    this.jobs.add(job);
    this.lastBackground = processes.at(-1)?.pid ?? 0;
    this.status = 0;
    if (this.interactive) yield* writeText(io[2], `[${job.id}] ${this.lastBackground}\n`);
  }
  *#pipeline({ negated, commands }: Pipeline, io: Stdio, text: string, tested: boolean): Waiting<void> {
    const [only] = commands;
    const run = function* (shell: Shell): Waiting<void> {
      if (commands.length === 1 && only) yield* shell.command(only, io, text);
      else yield* shell.foreground(new Job(yield* shell.launch(commands, io), text), io);
    };
    if (negated || tested) yield* this.#asTest(run(this));
    else yield* run(this);
    if (negated) this.status = this.status === 0 ? 1 : 0;
  }
  *#asTest<T>(run: Waiting<T>): Waiting<T> {
    this.tested++;
    try {
      return yield* run;
    } finally {
      this.tested--;
    }
  }
  // ---- commands ----

  *command(command: Command, io: Stdio, text: string): Waiting<unknown> {
    try {
      if (command.kind === 'simple') {
        this.substituted = false;
        return yield* this.simple(command, yield* this.words(command), io, text);
      }
      if (command.kind === 'subshell') {
        const run = (shell: Shell): Waiting<unknown> => shell.#compound({ ...command, kind: 'group' }, shell.stdio);
        return yield* this.foreground(new Job([this.subshell(run, io)], text), io);
      }
      return yield* this.#compound(command, io);
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      yield* this.complain(error, io[2]);
    }
    return undefined;
  }
  *words({ words }: SimpleCommand): Waiting<string[]> {
    return yield* expandWords(this, words);
  }
  *simple(command: SimpleCommand, argv: readonly string[], io: Stdio, text: string): Waiting<unknown> {
    const opened: OpenFile[] = [];
    try {
      const redirected = yield* this.#redirected(command.redirections, io, opened);
      const assigned = yield* this.assigned(command);
      if (this.options.has('x')) {
        const values = [...assigned].map(([name, value]) => `${name}=${value}`);
        yield* writeText(io[2], `${['+', ...values, ...argv].join(' ')}\n`);
      }
      if (argv.length > 0) return yield* this.run(argv, assigned, redirected, text);
      for (const [variable, value] of assigned) this.assign(variable, value);
      if (!this.substituted) this.status = 0;
      return undefined;
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      const name = argv[0] ?? this.name;
      if (SPECIAL_BUILTINS.has(name)) throw new ShellError(`${name}: ${messageOf(error)}`);
      return yield* this.#failed(name, error, io);
    } finally {
      for (const file of opened) file.release();
    }
  }
  /** A function, one of the shell's own or a program; `functions`: whether the first is looked for. */
  *run(
    argv: readonly string[],
    assigned: ReadonlyMap<string, string>,
    io: Stdio,
    text: string,
    functions = true,
  ): Waiting<unknown> {
    const [name = '', ...args] = argv;
    const body = functions && !SPECIAL_BUILTINS.has(name) ? this.functions.get(name) : undefined;
    if (body) return yield* this.#meanwhile(assigned, this.#call(body, args, io));
    const builtin = BUILTINS.get(name);
    if (!builtin) return yield* this.foreground(new Job([this.program(argv, assigned, io)], text), io);
    const act = function* (shell: Shell): Waiting<void> {
      const status = builtin(shell, args, io);
      shell.status = typeof status === 'number' ? status : yield* status;
    };
    if (!SPECIAL_BUILTINS.has(name)) return yield* this.#meanwhile(assigned, this.#going(name, act(this), io));
    for (const [variable, value] of assigned) this.assign(variable, value);
    return yield* act(this);
  }
  /** What is wrong with one of the shell's own commands does not end the script, unless that is a special one. */
  *#going(name: string, run: Waiting<void>, io: Stdio): Waiting<void> {
    try {
      yield* run;
    } catch (error) {
      if (!(error instanceof ShellError || error instanceof XenError)) throw error;
      yield* this.#failed(name, error, io);
    }
  }
  *#failed(name: string, error: Error, io: Stdio): Waiting<void> {
    yield* writeText(io[2], `${name}: ${messageOf(error)}\n`);
    this.status = 2;
  }
  /** With variables that are as they were afterwards. */
  *#meanwhile<T>(assigned: ReadonlyMap<string, string>, run: Waiting<T>): Waiting<T> {
    return yield* this.#asBefore([...assigned.keys()], this.#with(assigned, run));
  }
  *#with<T>(assigned: ReadonlyMap<string, string>, run: Waiting<T>): Waiting<T> {
    for (const [name, value] of assigned) {
      this.assign(name, value);
      this.exported.add(name);
    }
    return yield* run;
  }
  /** Variables of these names are afterwards as they were. */
  *#asBefore<T>(names: readonly string[], run: Waiting<T>): Waiting<T> {
    const before = names.map(name => [name, this.variables.get(name), this.exported.has(name)] as const);
    try {
      return yield* run;
    } finally {
      for (const [name, value, exported] of before) {
        if (value === undefined) this.variables.delete(name);
        else this.variables.set(name, value);
        if (!exported) this.exported.delete(name);
      }
    }
  }
  *#call(body: CompoundCommand, args: readonly string[], io: Stdio): Waiting<void> {
    const { parameters, loops, optionIndex, optionAt } = this;
    const own = new Map<string, string | undefined>();
    this.parameters = args;
    this.loops = 0;
    this.locals.push(own);
    try {
      yield* this.command(body, io, '');
    } catch (error) {
      if (!(error instanceof ReturnFrom)) throw error;
      this.status = error.code;
    } finally {
      this.locals.pop();
      for (const [name, value] of own) {
        if (value === undefined) this.variables.delete(name);
        else this.variables.set(name, value);
      }
      this.parameters = parameters;
      this.loops = loops;
      this.optionIndex = optionIndex;
      this.optionAt = optionAt;
    }
  }
  /** Each sees those before it. */
  *assigned({ assignments }: SimpleCommand): Waiting<Map<string, string>> {
    const values = new Map<string, string>();
    const names = assignments.map(([name]) => name);
    const expand = function* (shell: Shell): Waiting<Map<string, string>> {
      for (const [name, word] of assignments) {
        values.set(name, yield* expandText(shell, word));
        shell.variables.set(name, values.get(name)!);
      }
      return values;
    };
    return names.length === 0 ? values : yield* this.#asBefore(names, expand(this));
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
      else if (command.kind === 'case') yield* this.#case(command, redirected);
      else if (command.kind === 'function') {
        this.functions.set(command.name, command.body);
        this.status = 0;
      } else yield* this.list(command.body, redirected);
      return undefined;
    } finally {
      for (const file of opened) file.release();
    }
  }
  *#if({ branches, otherwise }: CompoundCommand & { kind: 'if' }, io: Stdio): Waiting<unknown> {
    for (const [condition, body] of branches)
      if ((yield* this.#asTest(this.list(condition, io))) === 0) return yield* this.list(body, io);
    if (otherwise) return yield* this.list(otherwise, io);
    this.status = 0;
    return undefined;
  }
  *#while({ until, condition, body }: CompoundCommand & { kind: 'while' }, io: Stdio): Waiting<void> {
    let status = 0;
    // The condition is of the loop as well: break leaves it from there.
    const goesOn = function* (shell: Shell): Waiting<boolean> {
      return ((yield* shell.#asTest(shell.list(condition, io))) === 0) !== until;
    };
    for (;;) {
      const turn = yield* this.#turn(goesOn(this));
      if (turn === 'leave') return;
      if (turn === 'again') continue;
      if (!turn) break;
      if ((yield* this.#turn(this.list(body, io))) === 'leave') return;
      status = this.status;
    }
    this.status = status;
  }
  *#for({ name, words, body }: CompoundCommand & { kind: 'for' }, io: Stdio): Waiting<void> {
    const values = words ? yield* expandWords(this, words) : this.parameters;
    this.status = 0;
    for (const value of values) {
      this.assign(name, value);
      if ((yield* this.#turn(this.list(body, io))) === 'leave') return;
    }
  }
  *#case({ word, branches }: CompoundCommand & { kind: 'case' }, io: Stdio): Waiting<void> {
    const text = yield* expandText(this, word);
    for (const [patterns, body] of branches) {
      for (const pattern of patterns) {
        if (!new Pattern(yield* expandPattern(this, pattern)).matches(text)) continue;
        if (body.length > 0) yield* this.list(body, io);
        else this.status = 0;
        return;
      }
    }
    this.status = 0;
  }
  /** Of a loop: what it comes to, or how the loop goes on. */
  *#turn<T>(part: Waiting<T>): Waiting<T | 'leave' | 'again'> {
    // A loop of builtins is like any other hog.
    yield YIELD;
    this.loops++;
    try {
      return yield* part;
    } catch (error) {
      if (!(error instanceof LeaveLoop)) throw error;
      if (--error.levels > 0) throw error;
      return error.again ? 'again' : 'leave';
    } finally {
      this.loops--;
    }
  }

  // ---- redirections ----

  /** What was opened for them is added to `opened`. */
  *#redirected(redirections: readonly Redirection[], io: Stdio, opened: OpenFile[]): Waiting<Stdio> {
    const stdio: [OpenFile, OpenFile, OpenFile] = [...io];
    for (const { fd, kind, target } of redirections) {
      const word = yield* expandText(this, target);
      if (kind === '<<' || (kind === '&' && word === '-')) {
        stdio[fd] = kind === '<<' ? new TextFile(word) : nullFile;
        continue;
      }
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

  find(path: string, follow = true): Vnode | undefined {
    try {
      return this.system.mounts.find(path, { follow: follow ? 'always' : 'slash' });
    } catch (error) {
      if (error instanceof XenError && /^(ENOENT|ENOTDIR|ELOOP|ENAMETOOLONG)$/.test(error.code)) return undefined;
      throw error;
    }
  }
}

/** For `set -e`: of other compound commands what is in them has failed, or was a test there. */
function canFail({ negated, commands }: Pipeline): boolean {
  const [only] = commands;
  return !negated && (commands.length > 1 || only?.kind === 'simple' || only?.kind === 'subshell');
}

type GroupOf<T> = T extends { kind: 'subshell' | 'group' } ? Omit<T, 'kind'> & { kind: 'group' } : never;
