// $((...)): whole numbers of 64 bits, as C has them; names of variables, and assignments to them.
import { ShellError } from './syntax.ts';

/** What expressions read and set. */
export interface Variables {
  variable(name: string): string;
  assign(name: string, value: string): void;
}

type Operator = (a: bigint, b: bigint) => bigint;
const truth = (holds: boolean): bigint => (holds ? 1n : 0n);
/** Those that bind less come first. && and || are not among them: what they do not need is not evaluated. */
const BINARY: readonly Readonly<Record<string, Operator>>[] = [
  { '|': (a, b) => a | b },
  { '^': (a, b) => a ^ b },
  { '&': (a, b) => a & b },
  { '==': (a, b) => truth(a === b), '!=': (a, b) => truth(a !== b) },
  {
    '<=': (a, b) => truth(a <= b),
    '>=': (a, b) => truth(a >= b),
    '<': (a, b) => truth(a < b),
    '>': (a, b) => truth(a > b),
  },
  { '<<': (a, b) => a << (b & 63n), '>>': (a, b) => a >> (b & 63n) },
  { '+': (a, b) => a + b, '-': (a, b) => a - b },
  { '*': (a, b) => a * b, '/': (a, b) => a / divisor(b), '%': (a, b) => a % divisor(b) },
];
const ASSIGNMENT: Readonly<Record<string, Operator>> = {
  '=': (_, b) => b,
  ...Object.fromEntries(
    BINARY.flatMap(level => Object.entries(level).map(([name, act]) => [`${name}=`, act] as const)),
  ),
};
const TOKEN = /\s+|0[xX][0-9a-fA-F]+|\d+|[A-Za-z_]\w*|<<=|>>=|[-+*/%&|^]=|[=!<>]=|<<|>>|\|\||&&|./gsy;
const MAX_DEPTH = 100;
const LARGEST = 2n ** 63n - 1n;

function divisor(b: bigint): bigint {
  if (b === 0n) throw new ShellError('division by zero');
  return b;
}

export function evaluate(text: string, variables: Variables): string {
  const expression = new Expression(text, variables);
  return String(expression.value());
}

class Expression {
  readonly #text: string;
  readonly #words: readonly string[];
  readonly #variables: Variables;
  #at = 0;
  #depth = 0;
  /** It is only read, since something before it has decided. */
  #idle = false;

  constructor(text: string, variables: Variables) {
    this.#text = text;
    this.#words = (text.match(TOKEN) ?? []).filter(token => token.trim() !== '');
    this.#variables = variables;
  }
  value(): bigint {
    if (this.#words.length === 0) return 0n;
    const value = this.#assignment();
    if (this.#at !== this.#words.length) throw this.#bad();
    return value;
  }

  #assignment(): bigint {
    if (++this.#depth > MAX_DEPTH) throw this.#bad();
    const [name, operator] = [this.#words[this.#at] ?? '', this.#words[this.#at + 1] ?? ''];
    const assigns = /^[A-Za-z_]/.test(name) && Object.hasOwn(ASSIGNMENT, operator) && !/^(==|!=|<=|>=)$/.test(operator);
    let value: bigint;
    if (assigns) {
      this.#at += 2;
      const old = operator === '=' ? 0n : this.#read(name);
      const right = this.#assignment();
      value = this.#idle ? 0n : BigInt.asIntN(64, ASSIGNMENT[operator]!(old, right));
      if (!this.#idle) this.#variables.assign(name, String(value));
    } else value = this.#choice();
    this.#depth--;
    return value;
  }
  #choice(): bigint {
    const condition = this.#either();
    if (!this.#takes('?')) return condition;
    const first = this.#unless(condition === 0n, () => this.#assignment());
    if (!this.#takes(':')) throw this.#bad();
    const second = this.#unless(condition !== 0n, () => this.#assignment());
    return condition !== 0n ? first : second;
  }
  #either(): bigint {
    let value = this.#both();
    while (this.#takes('||')) {
      const right = this.#unless(value !== 0n, () => this.#both());
      value = truth(value !== 0n || right !== 0n);
    }
    return value;
  }
  #both(): bigint {
    let value = this.#binary(0);
    while (this.#takes('&&')) {
      const right = this.#unless(value === 0n, () => this.#binary(0));
      value = truth(value !== 0n && right !== 0n);
    }
    return value;
  }
  #binary(level: number): bigint {
    const operators = BINARY[level];
    if (operators === undefined) return this.#unary();
    let value = this.#binary(level + 1);
    for (let word = this.#words[this.#at]; word !== undefined && Object.hasOwn(operators, word); ) {
      this.#at++;
      const right = this.#binary(level + 1);
      if (!this.#idle) value = BigInt.asIntN(64, operators[word]!(value, right));
      word = this.#words[this.#at];
    }
    return value;
  }
  #unary(): bigint {
    if (++this.#depth > MAX_DEPTH) throw this.#bad();
    const value = this.#operand();
    this.#depth--;
    return value;
  }
  #operand(): bigint {
    const word = this.#words[this.#at++];
    if (word === undefined) throw this.#bad();
    if (word === '-') return BigInt.asIntN(64, -this.#unary());
    if (word === '+') return this.#unary();
    if (word === '!') return truth(this.#unary() === 0n);
    if (word === '~') return ~this.#unary();
    if (word === '(') {
      const value = this.#assignment();
      if (!this.#takes(')')) throw this.#bad();
      return value;
    }
    if (/^[A-Za-z_]/.test(word)) return this.#read(word);
    return this.#number(word);
  }
  #read(name: string): bigint {
    if (this.#idle) return 0n;
    return this.#number(this.#variables.variable(name).trim() || '0');
  }
  #number(text: string): bigint {
    const [, sign, digits] = /^([-+]?)(0[xX][0-9a-fA-F]{1,40}|\d{1,40})$/.exec(text) ?? [];
    if (digits === undefined || (/^0\d/.test(digits) && /[89]/.test(digits))) throw this.#bad();
    const value = BigInt(/^0\d/.test(digits) ? `0o${digits.slice(1)}` : digits);
    // As strtoimax(3): what is beyond the largest is the largest.
    return sign === '-' ? -(value > LARGEST ? LARGEST + 1n : value) : value > LARGEST ? LARGEST : value;
  }
  #unless(idle: boolean, read: () => bigint): bigint {
    const was = this.#idle;
    this.#idle ||= idle;
    const value = read();
    this.#idle = was;
    return value;
  }
  #takes(word: string): boolean {
    if (this.#words[this.#at] !== word) return false;
    this.#at++;
    return true;
  }
  #bad(): ShellError {
    return new ShellError(`arithmetic: ${this.#text.trim().slice(0, 60)}`);
  }
}
