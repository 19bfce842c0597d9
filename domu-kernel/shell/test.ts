// test and [: files, strings, numbers, ! ( ) -a -o, as POSIX has them for up to four words, and from there by what binds more.
import type { Vnode } from '../fs/file-system.ts';
import { ShellError } from './syntax.ts';

/** What it is asked of. */
export interface TestedFiles {
  /** In use; undefined when nothing is there. `follow`: symlinks in the last place. */
  find(path: string, follow: boolean): Vnode | undefined;
  isTerminal(fd: number): boolean;
}

const NUMBERS: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  '-eq': (a, b) => a === b,
  '-ne': (a, b) => a !== b,
  '-lt': (a, b) => a < b,
  '-le': (a, b) => a <= b,
  '-gt': (a, b) => a > b,
  '-ge': (a, b) => a >= b,
};
const STRINGS: Readonly<Record<string, (a: string, b: string) => boolean>> = {
  '=': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
};
const FILES: Readonly<Record<string, (a: Vnode | undefined, b: Vnode | undefined) => boolean>> = {
  '-ef': (a, b) => a !== undefined && b !== undefined && a.fs === b.fs && a.attributes().ino === b.attributes().ino,
  '-nt': (a, b) => a !== undefined && b !== undefined && a.attributes().mtimeNs > b.attributes().mtimeNs,
  '-ot': (a, b) => a !== undefined && b !== undefined && a.attributes().mtimeNs < b.attributes().mtimeNs,
};
const there = (): boolean => true;
const isWritable = (file: Vnode): boolean => !file.fs.readOnly && !file.attributes().isReadOnly;
/** Nobody has rights of his own: what is there is read and run by all. Not among them: what no file of a guest is. */
const FILE: Readonly<Record<string, (file: Vnode) => boolean>> = {
  ...{ '-e': there, '-r': there, '-x': there, '-O': there, '-G': there },
  '-f': ({ type }) => type === 'file',
  '-d': ({ type }) => type === 'directory',
  '-c': ({ type }) => type === 'character',
  '-h': ({ type }) => type === 'symlink',
  '-L': ({ type }) => type === 'symlink',
  '-s': file => file.type === 'directory' || file.attributes().size > 0,
  '-w': file => file.type === 'character' || isWritable(file),
};
const NEVER = new Set(['-b', '-g', '-k', '-p', '-S', '-u']);
const MAX_DEPTH = 50;

const isBinary = (word: string | undefined): boolean =>
  word !== undefined &&
  ['-a', '-o', NUMBERS, STRINGS, FILES].some(of => (typeof of === 'string' ? of === word : Object.hasOwn(of, word)));
const isUnary = (word: string): boolean =>
  word === '-n' || word === '-z' || word === '-t' || NEVER.has(word) || Object.hasOwn(FILE, word);

/** Throws ShellError where they are no expression. */
export function evaluateTest(args: readonly string[], files: TestedFiles): boolean {
  if (args.length === 0) return false;
  if (args.length <= 4) {
    // They decide by their number, whatever else they might be.
    if (args.length === 3 && isBinary(args[1])) return new Expression(args, files).binary();
    if (args.length >= 3 && args[0] === '(' && args.at(-1) === ')') return evaluateTest(args.slice(1, -1), files);
    if (args.length >= 3 && args[0] === '!') return !evaluateTest(args.slice(1), files);
  }
  return new Expression(args, files).value();
}

class Expression {
  readonly #args: readonly string[];
  readonly #files: TestedFiles;
  #at = 0;
  #depth = 0;

  constructor(args: readonly string[], files: TestedFiles) {
    this.#args = args;
    this.#files = files;
  }
  value(): boolean {
    const value = this.#or();
    if (this.#at < this.#args.length) throw this.#wrong(`${this.#next}: unexpected operator`);
    return value;
  }
  /** Of three words, with the operator between the others. */
  binary(): boolean {
    const [first = '', operator = '', second = ''] = this.#args;
    if (operator === '-a') return first !== '' && second !== '';
    if (operator === '-o') return first !== '' || second !== '';
    return this.#compare(first, operator, second);
  }

  get #next(): string | undefined {
    return this.#args[this.#at];
  }
  #wrong(why: string): ShellError {
    return new ShellError(why.slice(0, 80));
  }
  #or(): boolean {
    let value = this.#and();
    while (this.#takes('-o')) value = this.#and() || value;
    return value;
  }
  #and(): boolean {
    let value = this.#not();
    while (this.#takes('-a')) value = this.#not() && value;
    return value;
  }
  #not(): boolean {
    if (++this.#depth > MAX_DEPTH) throw this.#wrong(`more than ${MAX_DEPTH} expressions in one another`);
    const negated = this.#next === '!' && !this.#standsAlone() && this.#takes('!');
    const value = negated ? !this.#not() : this.#primary();
    this.#depth--;
    return value;
  }
  /** What would be an operator is what another one compares, or there is nothing behind it. */
  #standsAlone(): boolean {
    const [next, afterNext] = this.#args.slice(this.#at + 1);
    return next === undefined || (afterNext !== undefined && isBinary(next));
  }
  #primary(): boolean {
    const first = this.#next;
    if (first === undefined) throw this.#wrong('argument expected');
    this.#at++;
    const operand = this.#next;
    if (first === '(' && operand !== undefined && !this.#isCompared()) {
      const value = this.#or();
      if (!this.#takes(')')) throw this.#wrong('closing paren expected');
      return value;
    }
    if (isUnary(first) && operand !== undefined && !this.#isCompared()) {
      this.#at++;
      return this.#unary(first, operand);
    }
    if (operand === undefined || !isBinary(operand) || operand === '-a' || operand === '-o') return first !== '';
    const second = this.#args[this.#at + 1];
    if (second === undefined) throw this.#wrong(`${operand}: argument expected`);
    this.#at += 2;
    return this.#compare(first, operand, second);
  }
  /** The word that was taken stands before an operator of two, and that before a word. */
  #isCompared(): boolean {
    return isBinary(this.#next) && this.#at + 1 < this.#args.length;
  }
  #takes(word: string): boolean {
    if (this.#next !== word) return false;
    this.#at++;
    return true;
  }

  #unary(operator: string, operand: string): boolean {
    if (operator === '-n') return operand !== '';
    if (operator === '-z') return operand === '';
    if (operator === '-t') return this.#files.isTerminal(Number(this.#number(operand)));
    const is = FILE[operator];
    return is !== undefined && this.#of(operand, file => file !== undefined && is(file), !/[hL]/.test(operator));
  }
  #compare(first: string, operator: string, second: string): boolean {
    const strings = STRINGS[operator];
    if (strings) return strings(first, second);
    const numbers = NUMBERS[operator];
    if (numbers) return numbers(this.#number(first), this.#number(second));
    return this.#of(first, one => this.#of(second, other => FILES[operator]!(one, other)));
  }
  #of(path: string, ask: (file: Vnode | undefined) => boolean, follow = true): boolean {
    const file = path === '' ? undefined : this.#files.find(path, follow);
    try {
      return ask(file);
    } finally {
      file?.release();
    }
  }
  #number(word: string): bigint {
    const value = /^\s*[-+]?\d{1,19}\s*$/.test(word) ? BigInt(word.trim().replace('+', '')) : undefined;
    if (value === undefined || value !== BigInt.asIntN(64, value)) throw this.#wrong(`Illegal number: ${word}`);
    return value;
  }
}
