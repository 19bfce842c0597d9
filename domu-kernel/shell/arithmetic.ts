// $((...)): whole numbers, names of variables, + - * / % comparisons ! && || and parentheses.
import { ShellError } from './syntax.ts';

const BINARY: readonly Readonly<Record<string, (a: number, b: number) => number>>[] = [
  { '||': (a, b) => Number(a !== 0 || b !== 0) },
  { '&&': (a, b) => Number(a !== 0 && b !== 0) },
  { '==': (a, b) => Number(a === b), '!=': (a, b) => Number(a !== b) },
  {
    '<=': (a, b) => Number(a <= b),
    '>=': (a, b) => Number(a >= b),
    '<': (a, b) => Number(a < b),
    '>': (a, b) => Number(a > b),
  },
  { '+': (a, b) => a + b, '-': (a, b) => a - b },
  { '*': (a, b) => a * b, '/': (a, b) => Math.trunc(a / divisor(b)), '%': (a, b) => a % divisor(b) },
];
const MAX_DEPTH = 100;

function divisor(b: number): number {
  if (b === 0) throw new ShellError('division by zero');
  return b;
}

export function evaluate(text: string, variable: (name: string) => string): number {
  const tokens = text.match(/\s+|\d+|[A-Za-z_]\w*|[|&=!<>]=|\|\||&&|[-+*/%()<>!]|./gsy) ?? [];
  const words = tokens.filter(token => token.trim() !== '');
  let at = 0;
  const bad = (): ShellError => new ShellError(`arithmetic: ${text.trim().slice(0, 60)}`);
  const binary = (level: number, depth: number): number => {
    const operators = BINARY[level];
    if (operators === undefined) return unary(depth);
    let value = binary(level + 1, depth);
    for (let word = words[at]; word !== undefined && Object.hasOwn(operators, word); word = words[at]) {
      at++;
      value = operators[word]!(value, binary(level + 1, depth));
    }
    return value;
  };
  const unary = (depth: number): number => {
    if (depth > MAX_DEPTH) throw bad();
    const word = words[at++];
    if (word === undefined) throw bad();
    if (word === '-') return -unary(depth + 1);
    if (word === '+') return unary(depth + 1);
    if (word === '!') return Number(unary(depth + 1) === 0);
    if (word === '(') {
      const value = binary(0, depth + 1);
      if (words[at++] !== ')') throw bad();
      return value;
    }
    const number = /^\d/.test(word) ? word : /^[A-Za-z_]/.test(word) ? variable(word).trim() || '0' : '';
    if (!/^-?\d{1,15}$/.test(number)) throw bad();
    return Number(number);
  };
  if (words.length === 0) return 0;
  const value = binary(0, 0);
  if (at !== words.length) throw bad();
  return value + 0; // no -0
}
