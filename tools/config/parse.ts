// Text of an xl.cfg -> assignments. Accepts, refuses and reports what libxlutil 4.17 does, including
// where it gives up: the parser recovers at the end of a statement, and reports a further error only
// after three tokens in order.

import type { ConfigValue } from '#pvbus';
import { Lexer, Report, type Token } from './lexer.ts';

export type { ConfigValue };

export interface Assignment {
  readonly name: string;
  readonly op: '=' | '+=';
  /** What the key means from here on: `+=` has been applied. */
  value: ConfigValue;
  readonly line: number;
}

export interface ParsedConfig {
  readonly source: string;
  readonly ok: boolean;
  readonly assignments: readonly Assignment[];
  /** Every error, one line each, as xl prints them. */
  readonly report: string;
}

const START = "$end or IDENT or NEWLINE or ';'";
const VALUE = "STRING or NUMBER or '['";

/** Unwinds to the statement that holds the error. */
class SyntaxFault extends Error {}
/** Ends the parse: no state is left that could take up again. */
class Abandon extends Error {}

class Parser {
  readonly report: Report;
  readonly assignments: Assignment[] = [];
  readonly #lexer: Lexer;
  #lookahead: Token | null = null;
  #current: Token | null = null;
  /** Tokens that must be taken in order before another error is worth a line. */
  #quiet = 0;

  constructor(bytes: string, source: string) {
    this.report = new Report(source);
    this.#lexer = new Lexer(bytes, this.report);
  }

  run(): void {
    try {
      while (this.#peek().type !== '$end') this.#statement();
    } catch (error) {
      if (!(error instanceof Abandon)) throw error;
    }
    this.report.finish();
  }

  #statement(): void {
    try {
      const token = this.#peek();
      if (token.type === 'NEWLINE' || token.type === ';') this.#take();
      else if (token.type === 'IDENT') this.#assignment();
      else this.#fault(START);
    } catch (error) {
      if (!(error instanceof SyntaxFault)) throw error;
      this.#recover();
    }
  }

  #assignment(): void {
    const name = this.#take();
    const op = this.#peek().type;
    if (op !== '=' && op !== '+=') this.#fault("+= or '='");
    this.#take();
    const value = this.#value(VALUE);
    this.#store(name, op, value);
    const end = this.#peek().type;
    if (end === 'NEWLINE' || end === ';') this.#take();
    else if (end !== '$end') {
      // Only the end of the file may follow an assignment without a terminator.
      this.#complain('$end');
      throw new Abandon();
    }
  }

  #value(expected: string): ConfigValue {
    const token = this.#peek();
    if (token.type === 'STRING' || token.type === 'NUMBER') return this.#take().value;
    if (token.type !== '[') this.#fault(expected);
    this.#take();
    const list: ConfigValue[] = [];
    this.#newlines();
    while (this.#peek().type !== ']') {
      list.push(this.#value("']'"));
      this.#newlines();
      if (this.#peek().type !== ',') break;
      this.#take();
      this.#newlines();
    }
    if (this.#peek().type !== ']') this.#fault("']'");
    this.#take();
    return list;
  }

  #newlines(): void {
    while (this.#peek().type === 'NEWLINE') this.#take();
  }

  #store(name: Token, op: '=' | '+=', value: ConfigValue): void {
    if (this.report.failed) return;
    const earlier = op === '+=' ? this.assignments.findLast(a => a.name === name.value) : undefined;
    const assignment: Assignment = { name: name.value, op, value, line: name.line };
    if (earlier !== undefined) {
      if (Array.isArray(earlier.value) && Array.isArray(value)) {
        assignment.value = [...earlier.value, ...value];
        earlier.value = []; // its entries moved
      } else if (typeof earlier.value === 'string' && typeof value === 'string') {
        assignment.value = earlier.value + value;
      } else {
        const at = this.#current!;
        this.report.lexicalError(at.text, at.line, 'can\'t add [list] to "string" or vice versa');
        return;
      }
    }
    this.assignments.push(assignment);
  }

  #peek(): Token {
    if (this.#lookahead === null) {
      this.#lookahead = this.#lexer.next();
      this.#current = this.#lookahead;
    }
    return this.#lookahead;
  }

  #take(): Token {
    const token = this.#peek();
    this.#lookahead = null;
    if (this.#quiet > 0) this.#quiet--;
    return token;
  }

  #complain(expected: string): void {
    const token = this.#peek();
    if (this.#quiet === 0) {
      const unexpected = /^[A-Z$+]/.test(token.type) ? token.type : `'${token.type}'`;
      const message = `syntax error, unexpected ${unexpected}, expecting ${expected}`;
      this.report.error(token.text, token.line, message);
    }
    this.report.failed = true;
    this.#quiet = 3;
  }

  /** Declared as a property: the compiler then knows that nothing follows a call. */
  readonly #fault: (expected: string) => never = expected => {
    this.#complain(expected);
    throw new SyntaxFault();
  };

  /** Drops the rest of the statement, which only a newline ends. */
  #recover(): void {
    for (;;) {
      const token = this.#peek();
      if (token.type === '$end') throw new Abandon();
      if (token.type === 'NEWLINE') break;
      this.#lookahead = null;
    }
    this.#take();
  }
}

/** Parse a config as `xl create` would; never throws on what the file holds. */
export function parseConfig(content: Uint8Array | string, source: string): ParsedConfig {
  const parser = new Parser(Buffer.from(content).toString('latin1'), source);
  parser.run();
  const { assignments, report } = parser;
  return { source, ok: !report.failed, assignments, report: Buffer.from(report.text, 'latin1').toString('utf8') };
}

/** What each key means at the end of the file; the last assignment first, as libxlutil lists them. */
export function effectiveValues(parsed: ParsedConfig): Map<string, ConfigValue> {
  const values = new Map<string, ConfigValue>();
  for (const { name, value } of parsed.assignments.toReversed()) if (!values.has(name)) values.set(name, value);
  return values;
}
