// Lists, pipelines, commands and functions: what runs in which order, with which variables and files.
import { messageOf, XenError } from '#pvbus';
import type { Vnode } from '../fs/file-system.ts';
import type { OpenFile } from '../process/open-file.ts';
import { brokenPipe } from '../process/process.ts';
import { tell, type Waiting } from '../process/transfer.ts';
import { BUILTINS, SPECIAL_BUILTINS } from './builtins.ts';
import { runCompound } from './compounds.ts';
import { expandText, expandWords, type Surroundings } from './expand.ts';
import { Job } from './jobs.ts';
import { Launcher } from './launcher.ts';
import { ExitShell, Replaced, ReturnFrom } from './leaving.ts';
import type { OpenFiles } from './open-files.ts';
import type { Shell } from './shell.ts';
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

const MAX_DEPTH = 200;
/** What it said was not taken: that fails, and is no mistake of who has called it. */
const UNWRITTEN = /^(EBADF|EIO|ENOSPC|EPIPE)$/;
const NO_VARIABLES: ReadonlyMap<string, string> = new Map();

interface RunOptions {
  /** Of this command alone. */
  readonly assigned?: ReadonlyMap<string, string>;
  /** Whether functions are looked for. */
  readonly functions?: boolean;
  readonly exits?: boolean;
}

export abstract class Interpreter extends Launcher implements Surroundings {
  /** Loops around what runs, in this function. */
  loops = 0;
  /** While a trap's action runs: what $? was before it. */
  statusBefore: number | undefined;
  #depth = 0;

  abstract get own(): Shell;
  abstract trapped(): Waiting<void>;
  abstract complain(error: unknown): Waiting<void>;
  abstract find(path: string, follow?: boolean): Vnode | undefined;

  /** `exits`: nothing comes after it, so that a program of it may take the shell's place. */
  *list(list: List, exits = false): Waiting<number> {
    if (this.#depth === MAX_DEPTH) throw new ShellError(`more than ${MAX_DEPTH} commands in one another`);
    this.#depth++;
    try {
      for (const [i, item] of list.entries()) {
        if (item.background) yield* this.#inBackground(item);
        else yield* this.#andOr(item, exits && i === list.length - 1);
        if (!this.interactive) this.jobs.update();
        if (this.traps.heard) yield* this.trapped();
      }
      return this.status;
    } finally {
      this.#depth--;
    }
  }
  *#andOr({ first, rest, text }: AndOr, exits: boolean): Waiting<number> {
    let last = rest.length === 0 ? first : undefined;
    this.text = text;
    yield* this.#pipeline(first, last === undefined, exits && last !== undefined);
    for (const [i, [operator, pipeline]] of rest.entries()) {
      if ((operator === '&&') !== (this.status === 0)) continue;
      last = i === rest.length - 1 ? pipeline : undefined;
      this.text = text;
      yield* this.#pipeline(pipeline, last === undefined, exits && last !== undefined);
    }
    const failed = this.status !== 0 && last !== undefined && canFail(last);
    if (failed && this.options.has('e') && this.tested === 0) throw new ExitShell(this.status);
    return this.status;
  }
  *#inBackground(item: AndOr): Waiting<void> {
    const { first, rest, text } = item;
    const processes = rest.length === 0 && !first.negated ? this.launch(first.commands, true) : [this.#unseen(item)];
    this.jobs.add(new Job(processes, text));
    this.lastBackground = processes.at(-1)?.pid ?? 0;
    this.status = 0;
    const job = this.jobs.ofProcess(this.lastBackground);
    if (this.interactive) yield* tell(this.io.stdio[2], `[${job?.id}] ${this.lastBackground}`);
  }
  #unseen(item: AndOr) {
    const files = this.unseen();
    try {
      const run = (shell: Shell): Waiting<unknown> => shell.list([{ ...item, background: false }], true);
      return this.subshell(run, { files, ignored: this.ignoredUnseen, tested: 0 });
    } finally {
      files.release();
    }
  }
  *#pipeline({ negated, commands }: Pipeline, tested: boolean, exits: boolean): Waiting<void> {
    const [only] = commands;
    const asked = negated || tested;
    if (asked) this.tested++;
    try {
      if (commands.length === 1 && only) yield* this.command(only, exits && !negated);
      else yield* this.foreground(new Job(this.launch(commands, false), this.text));
    } finally {
      if (asked) this.tested--;
    }
    if (negated) this.status = this.status === 0 ? 1 : 0;
  }
  *asTest<T>(run: Waiting<T>): Waiting<T> {
    this.tested++;
    try {
      return yield* run;
    } finally {
      this.tested--;
    }
  }

  // ---- commands ----

  // Few generators in one another: each of them takes room of the stack, and functions call functions.

  *command(command: Command, exits = false): Waiting<void> {
    try {
      if (command.kind === 'simple') yield* this.#simple(command, exits);
      else if (command.kind === 'subshell' && !(exits && !this.traps.any)) {
        const body = { ...command, kind: 'group' } as const;
        yield* this.foreground(new Job([this.subshell(shell => shell.command(body, true))], this.text));
      } else if (command.redirections.length === 0) yield* runCompound(this, command, exits);
      else yield* this.#redirected(command.redirections, () => runCompound(this, command, exits));
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      yield* this.complain(error);
    }
    if (this.traps.heard) yield* this.trapped();
  }
  *#simple(command: SimpleCommand, exits: boolean): Waiting<void> {
    this.substituted = false;
    const { redirections } = command;
    const argv = yield* expandWords(this, command.words);
    const [, , stderr] = this.io.stdio;
    const act = (): Waiting<void> => this.#assigning(command, argv, stderr, exits);
    if (redirections.length === 0) return yield* act();
    const words = argv[0] === 'command' ? argv.slice(1) : argv;
    // `exec` without a program: for good.
    const stays = words.length === 1 && words[0] === 'exec';
    const done = yield* stays ? this.#redirect(redirections, act, this.io) : this.#redirected(redirections, act);
    if (!done && !this.interactive && SPECIAL_BUILTINS.has(argv[0] ?? '')) throw new ExitShell(this.status);
  }
  *#assigning(command: SimpleCommand, argv: readonly string[], stderr: OpenFile, exits: boolean): Waiting<void> {
    const assigned = command.assignments.length === 0 ? NO_VARIABLES : yield* this.#assigned(command);
    if (this.options.has('x')) {
      const values = [...assigned].map(([name, value]) => `${name}=${value}`);
      yield* tell(stderr, ['+', ...values, ...argv].join(' '));
    }
    if (argv.length > 0) return yield* this.run(argv, { assigned, exits });
    for (const [variable, value] of assigned) this.assign(variable, value);
    if (!this.substituted) this.status = 0;
  }
  /** What runs has other files open. */
  *#redirected(redirections: readonly Redirection[], run: () => Waiting<unknown>): Waiting<boolean> {
    const before = this.io;
    const now = before.copy();
    try {
      return yield* this.#redirect(redirections, run, now);
    } finally {
      this.io = before;
      now.release();
    }
  }
  /** False where one cannot be opened, which has been said then. */
  *#redirect(redirections: readonly Redirection[], run: () => Waiting<unknown>, into: OpenFiles): Waiting<boolean> {
    try {
      for (const redirection of redirections) yield* into.redirect(this.own, redirection);
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      yield* this.complain(error);
      return false;
    }
    this.io = into;
    yield* run();
    return true;
  }
  /** A function, one of the shell's own or a program. */
  *run(
    argv: readonly string[],
    { assigned = NO_VARIABLES, functions = true, exits = false }: RunOptions,
  ): Waiting<void> {
    const [name = '', ...args] = argv;
    const special = SPECIAL_BUILTINS.has(name);
    const body = functions && !special ? this.functions.get(name) : undefined;
    if (body && assigned.size === 0) return yield* this.#call(body, args);
    if (body) return yield* this.#meanwhile(assigned, this.#call(body, args));
    const builtin = BUILTINS.get(name);
    if (!builtin) {
      if (exits && !this.jobControl && !this.traps.any) throw this.replacement(argv, assigned);
      yield* this.foreground(new Job([this.program(argv, assigned)], this.text));
      return;
    }
    const act = function* (shell: Interpreter): Waiting<void> {
      try {
        const status = builtin(shell.own, args, shell.io.stdio);
        shell.status = typeof status === 'number' ? status : yield* status;
      } catch (thrown) {
        const error = brokenPipe(shell.self, thrown) ?? thrown;
        if (!(error instanceof XenError && UNWRITTEN.test(error.code))) throw error;
        yield* tell(shell.io.stdio[2], `${name}: ${messageOf(error)}`);
        shell.status = 1;
      }
    };
    if (!special || !functions) return yield* this.#meanwhile(assigned, this.#going(name, act(this)));
    for (const [variable, value] of assigned) this.assign(variable, value);
    try {
      yield* act(this);
    } catch (error) {
      throw error instanceof XenError ? new ShellError(`${name}: ${messageOf(error)}`) : error;
    }
  }
  /** What is wrong with one of the shell's own commands does not end the script, unless that is a special one. */
  *#going(name: string, run: Waiting<void>): Waiting<void> {
    try {
      yield* run;
    } catch (error) {
      if (!(error instanceof ShellError || error instanceof XenError)) throw error;
      yield* tell(this.io.stdio[2], `${name}: ${messageOf(error)}`);
      this.status = 2;
    }
  }
  /** To be thrown: a program in the shell's place. */
  replacement(argv: readonly string[], assigned: ReadonlyMap<string, string> = NO_VARIABLES): Replaced {
    return new Replaced(argv, this.environment(assigned), this.io.copy());
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
  *#call(body: CompoundCommand, args: readonly string[]): Waiting<void> {
    const { parameters, loops, optionIndex, optionAt } = this;
    const own = new Map<string, string | undefined>();
    this.parameters = args;
    this.loops = 0;
    this.locals.push(own);
    try {
      yield* this.command(body);
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
  *#assigned({ assignments }: SimpleCommand): Waiting<Map<string, string>> {
    const values = new Map<string, string>();
    const names = assignments.map(([name]) => name);
    const expand = function* (shell: Interpreter): Waiting<Map<string, string>> {
      for (const [name, word] of assignments) {
        values.set(name, yield* expandText(shell, word));
        shell.variables.set(name, values.get(name)!);
      }
      return values;
    };
    return names.length === 0 ? values : yield* this.#asBefore(names, expand(this));
  }
}

/** For `set -e`: of other compound commands what is in them has failed, or was a test there. */
function canFail({ negated, commands }: Pipeline): boolean {
  const [only] = commands;
  return !negated && (commands.length > 1 || only?.kind === 'simple' || only?.kind === 'subshell');
}
