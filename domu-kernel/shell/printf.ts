// printf: %s %b %c %d %i %u %o %x %X %e %f %g %%, with flags, width and precision; escapes of \. As in C, of bytes:
// texts are strings of a character per byte here.
import { fraction, integer, parsedFraction, parsedInteger } from './printf-numbers.ts';

const DIRECTIVE = /%([-+ 0#]*)(\*|\d*)(?:\.(\*|\d*))?([sbcdiuoxXeEfFgG])/y;
/** Of a width or precision. */
const MOST = 10_000;

export interface Printed {
  readonly bytes: Uint8Array;
  /** What is wrong with the arguments, and has a 0 or its beginning in its place. */
  readonly complaints: readonly string[];
  /** What is wrong with the format: nothing was written from there on. */
  readonly wrong?: string;
}

export function printf(format: string, args: readonly string[]): Printed {
  const printer = new Printer(args.map(bytesOf));
  const wrong = printer.all(bytesOf(format));
  const bytes = Buffer.from(printer.text, 'latin1');
  return wrong === undefined
    ? { bytes, complaints: printer.complaints }
    : { bytes, complaints: printer.complaints, wrong };
}
const bytesOf = (text: string): string => Buffer.from(text).toString('latin1');

class Printer {
  text = '';
  readonly complaints: string[] = [];
  readonly #args: readonly string[];
  #next = 0;
  /** \c was in what %b wrote: nothing comes after it. */
  #stopped = false;

  constructor(args: readonly string[]) {
    this.#args = args;
  }
  /** As often as there are arguments; what is wrong with the format. */
  all(format: string): string | undefined {
    for (;;) {
      const from = this.#next;
      const wrong = this.#once(format);
      if (wrong !== undefined || this.#stopped) return wrong;
      if (this.#next === from || this.#next >= this.#args.length) return undefined;
    }
  }
  #once(format: string): string | undefined {
    for (let at = 0; at < format.length && !this.#stopped; ) {
      const c = format[at];
      if (c === '\\') {
        const { text, length } = escapeAt(format, at, /^\\[0-7]{1,3}/);
        this.text += text;
        at += length;
      } else if (c !== '%') this.text += format[at++];
      else if (format[at + 1] === '%') {
        this.text += '%';
        at += 2;
      } else {
        DIRECTIVE.lastIndex = at;
        const directive = DIRECTIVE.exec(format);
        if (directive === null) return `${format.slice(at, at + 8)}: invalid directive`;
        at += directive[0].length;
        const wrong = this.#directive(directive);
        if (wrong !== undefined) return wrong;
      }
    }
    return undefined;
  }
  #directive([whole, flags = '', width = '', precision, kind = 's']: RegExpExecArray): string | undefined {
    const size = this.#size(width);
    const given = precision === undefined ? undefined : this.#size(precision);
    if (Math.max(Math.abs(size), given ?? 0) > MOST) return `${whole}: more than ${MOST} bytes`;
    const digits = given === undefined || given < 0 ? undefined : given;
    const argument = this.#take();
    if (kind === 's') this.text += padded(argument.slice(0, digits), size, flags);
    else if (kind === 'b') this.text += padded(this.#escapes(argument).slice(0, digits), size, flags);
    else if (kind === 'c') this.text += padded(argument[0] ?? '\0', size, flags);
    else {
      const isWhole = /[diuoxX]/.test(kind);
      const isSigned = kind === 'd' || kind === 'i';
      const text = isWhole
        ? integer(
            this.#number(argument, word => parsedInteger(word, isSigned)),
            kind,
            flags,
            digits,
          )
        : fraction(this.#number(argument, parsedFraction), kind, flags, digits);
      const zeros = flags.includes('0') && (isWhole ? digits === undefined : /\d/.test(text));
      this.text += padded(text, size, flags, zeros);
    }
    return undefined;
  }
  #take(): string {
    return this.#args[this.#next++] ?? '';
  }
  #size(text: string): number {
    return Number(text === '*' ? this.#number(this.#take(), word => parsedInteger(word, true)) : text);
  }
  #number<T>(word: string, parse: (word: string) => { readonly value: T; readonly whole: boolean }): T {
    const { value, whole } = parse(word);
    if (!whole) this.complaints.push(`${Buffer.from(word, 'latin1').toString()}: not completely converted`);
    return value;
  }
  #escapes(text: string): string {
    let all = '';
    for (let at = 0; at < text.length; ) {
      if (text.startsWith('\\c', at)) {
        this.#stopped = true;
        break;
      }
      const { text: one, length } =
        text[at] === '\\' ? escapeAt(text, at, /^\\(?:0[0-7]{0,3}|[1-7][0-7]{0,2})/) : { text: text[at]!, length: 1 };
      all += one;
      at += length;
    }
    return all;
  }
}

const LETTERS: Readonly<Record<string, string>> = {
  ...{ a: '\x07', b: '\b', e: '\x1b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', '\\': '\\' },
};
/** What stands at a backslash, and how long that is; `octal`: how a byte's number is written. */
function escapeAt(text: string, at: number, octal: RegExp): { text: string; length: number } {
  const [number] = octal.exec(text.slice(at, at + 5)) ?? [];
  if (number !== undefined)
    return { text: String.fromCharCode(Number.parseInt(number.slice(1), 8) & 0xff), length: number.length };
  const letter = LETTERS[text[at + 1] ?? ''];
  return letter === undefined ? { text: '\\', length: 1 } : { text: letter, length: 2 };
}
function padded(text: string, width: number, flags: string, zeros = false): string {
  if (flags.includes('-') || width < 0) return text.padEnd(Math.abs(width));
  if (!zeros) return text.padStart(width);
  const [, sign = '', rest = ''] = /^([-+ ]?(?:0[xX])?)(.*)$/s.exec(text) ?? [];
  return sign + rest.padStart(width - sign.length, '0');
}
