// What a shell knows: variables, functions, options, traps. A subshell begins with a copy.
import { DEFAULT_PATH } from '../process/exec.ts';
import type { Process } from '../process/process.ts';
import { DEFAULT_IFS } from './fields.ts';
import { OpenFiles } from './open-files.ts';
import { type CompoundCommand, ShellError } from './syntax.ts';
import { Traps } from './traps.ts';

/** `set -LETTER`, by what they are called. */
export const OPTIONS = {
  a: 'allexport',
  e: 'errexit',
  f: 'noglob',
  m: 'monitor',
  n: 'noexec',
  u: 'nounset',
  x: 'xtrace',
} as const;
export type OptionLetter = keyof typeof OPTIONS;

export abstract class ShellState {
  readonly self: Process;
  /** $0 */
  name: string;
  #parameters: readonly string[] = [];
  cwd: string;
  status = 0;
  /** WebAssembly pages a process may have at most. */
  memoryLimit: number | undefined;
  readonly variables: Map<string, string>;
  readonly exported: Set<string>;
  readonly readonlys = new Set<string>();
  readonly functions = new Map<string, CompoundCommand>();
  readonly options = new Set<OptionLetter>();
  traps: Traps;
  /** What it has open where it is now. */
  io = new OpenFiles();
  /** $$: of the shell that a user or a program has started, whatever subshells this is in. */
  shellPid: number;
  /** Of each function that is being called, the variables that are its own, with what they were. */
  readonly locals: Map<string, string | undefined>[] = [];
  /** Of getopts: the word that is next, and where in the one before that it goes on. */
  optionIndex = 1;
  optionAt = 0;
  /** Of the last job that went to the background. */
  lastBackground = 0;

  constructor(self: Process, name: string, parameters: readonly string[]) {
    this.self = self;
    this.name = name;
    this.parameters = parameters;
    this.cwd = self.cwd;
    this.shellPid = self.pid;
    this.traps = new Traps(self.ignored);
    this.memoryLimit = Number.isFinite(self.memoryLimit) ? self.memoryLimit : undefined;
    this.variables = new Map(self.env);
    if (!this.variables.has('PATH')) this.variables.set('PATH', DEFAULT_PATH);
    this.exported = new Set(this.variables.keys());
    // Whoever starts a shell does not say how that splits.
    for (const [name, value] of [
      ['IFS', DEFAULT_IFS],
      ['OPTIND', '1'],
      ['PPID', String(self.parent?.pid ?? 0)],
      ['PS4', '+ '],
    ] as const) {
      this.variables.set(name, value);
      this.exported.delete(name);
    }
  }
  protected learnFrom(other: ShellState): void {
    this.shellPid = other.shellPid;
    this.traps = other.traps.forSubshell(this.self.ignored);
    this.cwd = other.cwd;
    this.status = other.status;
    this.memoryLimit = other.memoryLimit;
    this.lastBackground = other.lastBackground;
    this.variables.clear();
    for (const [name, value] of other.variables) this.variables.set(name, value);
    this.exported.clear();
    for (const name of other.exported) this.exported.add(name);
    for (const name of other.readonlys) this.readonlys.add(name);
    for (const [name, body] of other.functions) this.functions.set(name, body);
    for (const option of other.options) this.options.add(option);
  }

  variable(name: string): string {
    if (!this.isSet(name) && this.options.has('u')) throw new ShellError(`${name}: parameter not set`);
    return this.#special(name) ?? this.variables.get(name) ?? '';
  }
  isSet(name: string): boolean {
    if (/^[1-9]\d*$/.test(name)) return Number(name) <= this.parameters.length;
    if (name === '@' || name === '*') return true;
    if (name === '!') return this.lastBackground > 0;
    return this.#special(name) !== undefined || this.variables.has(name);
  }
  #special(name: string): string | undefined {
    if (name === '?') return String(this.status);
    if (name === '$') return String(this.shellPid);
    if (name === '!') return this.lastBackground === 0 ? '' : String(this.lastBackground);
    if (name === '#') return String(this.parameters.length);
    if (name === '-') return [...this.options].sort().join('');
    if (name === '@' || name === '*') return this.parameters.join(this.ifs.slice(0, 1));
    if (name === '0') return this.name;
    if (/^\d+$/.test(name)) return this.parameters[Number(name) - 1] ?? '';
    return name === 'PWD' ? this.cwd : undefined;
  }
  get ifs(): string {
    return this.variables.get('IFS') ?? DEFAULT_IFS;
  }
  get globs(): boolean {
    return !this.options.has('f');
  }
  get parameters(): readonly string[] {
    return this.#parameters;
  }
  set parameters(words) {
    this.#parameters = words;
    this.optionIndex = 1;
    this.optionAt = 0;
  }
  setOption(letter: OptionLetter, on: boolean): void {
    if (on) this.options.add(letter);
    else this.options.delete(letter);
  }
  /** Throws where the name is read-only. */
  assign(name: string, value: string): void {
    if (this.readonlys.has(name)) throw new ShellError(`${name}: is read only`);
    this.variables.set(name, value);
    if (this.options.has('a')) this.exported.add(name);
    if (name !== 'OPTIND') return;
    this.optionIndex = Math.max(1, Number(value) || 1);
    this.optionAt = 0;
  }
  unset(name: string): void {
    if (this.readonlys.has(name)) throw new ShellError(`${name}: is read only`);
    this.variables.delete(name);
    this.exported.delete(name);
  }
  /** As a program's environment. */
  environment(assigned: ReadonlyMap<string, string>): Map<string, string> {
    const env = new Map<string, string>();
    for (const name of this.exported) {
      const value = this.variables.get(name);
      if (value !== undefined) env.set(name, value);
    }
    env.set('PWD', this.cwd);
    for (const [name, value] of assigned) env.set(name, value);
    return env;
  }
}
