// The shell: a routine that runs what the parser has read. What waits is yielded, so that others run meanwhile.
import { messageOf, XenError } from '#pvbus';
import type { Vnode } from '../fs/file-system.ts';
import type { Body } from '../process/body.ts';
import type { Process } from '../process/process.ts';
import { attempt, readAll, readPart, tell, type Waiting } from '../process/transfer.ts';
import type { Userland } from '../userland.ts';
import { OpenDiskFile } from '../wasi/open-vnode.ts';
import { converse } from './converse.ts';
import { Interpreter } from './interpreter.ts';
import { ExitShell, LeaveLoop, Replaced, ReturnFrom } from './leaving.ts';
import { OpenFiles } from './open-files.ts';
import { Commands, parseLines } from './parser.ts';
import { fromCwd } from './paths.ts';
import { IncompleteInput, ShellError } from './syntax.ts';
import { setOptions } from './variable-builtins.ts';

/** Of a script, in bytes. */
const MAX_SCRIPT = 2 ** 20;

export interface ShellOptions {
  /** $0 */
  readonly name?: string;
  readonly parameters?: readonly string[];
}

export class Shell extends Interpreter {
  /** The user was told of jobs that are stopped: by the command that runs, or by the one before. */
  warned: 'now' | boolean = false;
  /** Where `set -m` has taken the terminal. */
  giveTerminalBack: (() => void) | undefined;

  constructor(system: Userland, self: Process, { name = 'sh', parameters = [] }: ShellOptions = {}) {
    super(system, self, name, parameters);
  }
  get own(): this {
    return this;
  }

  // ---- from outside ----

  /**
   * `sh -c TEXT NAME ARGS`, `sh FILE ARGS`, `sh -s ARGS`, or `sh` alone: with a user where stdin is a terminal. Options of `set`
   * before that.
   */
  main(args: readonly string[]): Waiting<number | Body> {
    return this.ending(this.#main(args));
  }
  *#main(args: readonly string[]): Waiting<unknown> {
    const at = yield* setOptions(this, args, this.io.stdio, 'cis');
    const has = (letter: string): boolean =>
      args.slice(0, at).some(word => /^-[^-]/.test(word) && word.includes(letter));
    if (has('c') && at === args.length) throw new ShellError('-c requires an argument');
    const [first, second] = args.slice(at);
    if (has('c')) {
      this.name = second ?? this.name;
      this.parameters = args.slice(at + 2);
      return yield* this.source(first ?? '', true);
    }
    if (has('s')) this.parameters = args.slice(at);
    else if (first !== undefined) {
      this.name = first;
      this.parameters = args.slice(at + 1);
      return yield* this.source(yield* this.#file(first));
    }
    if (this.io.stdio[0].kind === 'terminal') return yield* converse(this);
    return yield* this.#stdin();
  }
  /** Line by line, and no byte beyond what is run: its commands may read the rest. */
  *#stdin(): Waiting<number> {
    let text = '';
    let end: string | undefined;
    for (let more = true; more; ) {
      const { text: part, whole } = yield* readPart(this.io.stdio[0], MAX_SCRIPT);
      text += whole ? `${part}\n` : part;
      if (text.length > MAX_SCRIPT) throw new XenError('EFBIG', `a command of more than ${MAX_SCRIPT} bytes`);
      more = whole;
      // A here-document is not parsed anew with each of its lines.
      if (more && end !== undefined && part !== end && part.replace(/^\t+/, '') !== end) continue;
      const list = parseLines(text, more);
      end = list instanceof IncompleteInput ? list.end : undefined;
      if (list instanceof IncompleteInput) continue;
      text = '';
      if (!this.options.has('n')) yield* this.list(list);
    }
    return this.status;
  }
  *#file(path: string): Waiting<string> {
    const [type, file] = yield* attempt(() => {
      const vnode = this.system.mounts.find(fromCwd(this.cwd, path));
      return [vnode.type, new OpenDiskFile(vnode)] as const;
    });
    try {
      if (type !== 'file') throw new XenError('EISDIR', `${path}: it is no file`);
      return yield* readAll(file, MAX_SCRIPT);
    } finally {
      file.release();
    }
  }
  script(text: string): Waiting<number | Body> {
    return this.ending(this.source(text));
  }
  /** Its process is one of the shell's own commands. */
  asProgram(): Waiting<number | Body> {
    return this.ending(this.run(this.self.argv, { functions: false }));
  }
  /** Each of its lines is read when those before it have been run. */
  *source(text: string, exits = false): Waiting<number> {
    const commands = new Commands(text);
    let list = commands.next();
    if (list === undefined) this.status = 0;
    for (; list !== undefined; list = commands.next())
      if (!this.options.has('n')) yield* this.list(list, exits && commands.atEnd());
    return this.status;
  }
  /** To the end of `run`, and what is to be done then: `trap ... EXIT`; or a program in its place. */
  *ending(run: Waiting<unknown>): Waiting<number | Body> {
    this.io = OpenFiles.takenFrom(this.self.fds);
    this.#listen();
    try {
      yield* this.#ended(run);
      const last = this.traps.last();
      if (last === undefined) return this.status;
      this.statusBefore = this.status;
      const { status } = this;
      const left = yield* this.#ended(this.source(last));
      return left ? this.status : status;
    } catch (error) {
      if (!(error instanceof Replaced)) throw error;
      return yield* this.#replaced(error);
    } finally {
      this.leaveTerminal();
      this.io.release();
    }
  }
  leaveTerminal(): void {
    this.giveTerminalBack?.();
    this.giveTerminalBack = undefined;
  }
  /** Its status says how; whether that was not by itself. */
  *#ended(run: Waiting<unknown>): Waiting<boolean> {
    try {
      yield* run;
      return false;
    } catch (error) {
      if (error instanceof ExitShell || error instanceof ReturnFrom) this.status = error.code;
      else if (!(error instanceof LeaveLoop)) yield* this.complain(error);
      return true;
    }
  }
  *#replaced({ argv, env, files }: Replaced): Waiting<number | Body> {
    const { self } = this;
    self.become(argv, env, this.cwd);
    self.ignored = this.traps.ignored;
    if (this.memoryLimit !== undefined) self.memoryLimit = this.memoryLimit;
    files.giveTo(self.fds);
    return yield* this.system.exec.run(self);
  }
  /** A shell that knows what this one knows now, and changes nothing of it. */
  fork(self: Process): Shell {
    const shell = new Shell(this.system, self, this);
    shell.learnFrom(this);
    shell.loops = this.loops;
    // In a function it still is; what is local there ends with it.
    if (this.locals.length > 0) shell.locals.push(new Map());
    return shell;
  }

  /** Whether it stays although its user wants to leave: once it says that there are jobs which are stopped. */
  *warns(): Waiting<boolean> {
    if (!this.interactive || this.warned !== false || !this.jobs.anyStopped()) return false;
    this.warned = 'now';
    yield* tell(this.io.stdio[2], 'You have stopped jobs.');
    return true;
  }

  // ---- signals ----

  /** From here on they are heard: those of a user, and those that have traps. */
  #listen(): void {
    const { self, system } = this;
    self.catches = signal => {
      const trapped = this.traps.hears(signal);
      if (this.interactive && signal === 'SIGINT' && !trapped) this.interrupted = true;
      const taken = trapped || (this.interactive && signal !== 'SIGCONT' && signal !== 'SIGHUP');
      if (taken) system.processes.nudge(self);
      return taken;
    };
  }
  *trapped(): Waiting<void> {
    for (let action = this.traps.next(); action !== undefined; action = this.traps.next()) {
      const { status, statusBefore } = this;
      this.statusBefore = status;
      try {
        yield* this.source(action);
      } finally {
        this.statusBefore = statusBefore;
      }
      this.status = status;
    }
  }
  *complain(error: unknown): Waiting<void> {
    if (!(error instanceof ShellError || error instanceof XenError)) throw error;
    yield* tell(this.io.stdio[2], `${this.name}: ${messageOf(error)}`);
    this.status = 2;
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
