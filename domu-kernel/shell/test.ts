// test and [: files, strings, numbers, ! ( ) -a -o.
import type { Vnode } from '../fs/file-system.ts';
import { ShellError } from './syntax.ts';

const NUMBERS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '-eq': (a, b) => a === b,
  '-ne': (a, b) => a !== b,
  '-lt': (a, b) => a < b,
  '-le': (a, b) => a <= b,
  '-gt': (a, b) => a > b,
  '-ge': (a, b) => a >= b,
};
const STRINGS: Readonly<Record<string, (a: string, b: string) => boolean>> = {
  '=': (a, b) => a === b,
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
};
const MAX_DEPTH = 50;

/** `find`: what is at a path, in use. */
export function evaluateTest(args: readonly string[], find: (path: string) => Vnode | undefined): boolean {
  let at = 0;
  const wrong = (): ShellError => new ShellError(`test ${args.join(' ').slice(0, 60)}: not understood`);
  const or = (depth: number): boolean => {
    let value = and(depth);
    while (args[at] === '-o') {
      at++;
      value = and(depth) || value;
    }
    return value;
  };
  const and = (depth: number): boolean => {
    let value = not(depth);
    while (args[at] === '-a') {
      at++;
      value = not(depth) && value;
    }
    return value;
  };
  const not = (depth: number): boolean => {
    if (depth > MAX_DEPTH) throw wrong();
    if (args[at] === '!' && args.length - at > 1) {
      at++;
      return !not(depth + 1);
    }
    if (args[at] === '(' && args.length - at > 2) {
      at++;
      const value = or(depth + 1);
      if (args[at++] !== ')') throw wrong();
      return value;
    }
    return primary();
  };
  const primary = (): boolean => {
    const first = args[at++];
    if (first === undefined) throw wrong();
    const operator = args[at];
    const second = args[at + 1];
    if (operator !== undefined && second !== undefined && Object.hasOwn({ ...NUMBERS, ...STRINGS }, operator)) {
      at += 2;
      const compare = STRINGS[operator];
      return compare ? compare(first, second) : NUMBERS[operator]!(number(first), number(second));
    }
    if (/^-[nz]$/.test(first) && operator !== undefined) {
      at++;
      return (first === '-z') === (operator === '');
    }
    if (/^-[efdscLh]$/.test(first) && operator !== undefined) {
      at++;
      return isThere(first, operator, find);
    }
    return first !== '';
  };
  const number = (word: string): number => {
    if (/^\s*[-+]?\d{1,15}\s*$/.test(word)) return Number(word);
    throw new ShellError(`test: ${word.slice(0, 40)}: not a number`);
  };
  if (args.length === 0) return false;
  const value = or(0);
  if (at !== args.length) throw wrong();
  return value;
}

function isThere(what: string, path: string, find: (path: string) => Vnode | undefined): boolean {
  const file = path === '' ? undefined : find(path);
  if (file === undefined) return false;
  try {
    if (what === '-f') return file.type === 'file';
    if (what === '-d') return file.type === 'directory';
    if (what === '-c') return file.type === 'character';
    if (what === '-s') return file.attributes().size > 0;
    return what === '-e' || file.type === 'symlink';
  } finally {
    file.release();
  }
}
