// printf: %s %b %c %d %i %u %o %x %X %%, with flags, width and precision; escapes of \.
import { XenError } from '#pvbus';

const DIRECTIVE = /%([-+ 0#]*)(\*|\d*)(?:\.(\*|\d*))?([sbcdiuoxX%])/y;
/** Of a width or precision. */
const MOST = 10_000;

/** `stop`: \c was in what %b wrote. */
export function printf(format: string, args: readonly string[]): { readonly text: string; readonly failed: boolean } {
  let text = '';
  let failed = false;
  let next = 0;
  const take = (): string => args[next++] ?? '';
  const number = (word: string): bigint => {
    if (/^["']./u.test(word)) return BigInt(word.codePointAt(1)!);
    const [, sign, digits] = /^\s*([-+]?)(0[xX][0-9a-fA-F]+|\d+)$/.exec(word) ?? [];
    if (digits === undefined) {
      failed ||= word !== '';
      return 0n;
    }
    const value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits}` : /^0\d/.test(digits) ? digits.slice(1) : digits);
    return sign === '-' ? -value : value;
  };
  do {
    const from = next;
    for (let at = 0; at < format.length; ) {
      const c = format[at]!;
      if (c === '\\') {
        const { text: one, length } = escapeAt(format, at, false);
        text += one;
        at += length;
        continue;
      }
      if (c !== '%') {
        text += c;
        at++;
        continue;
      }
      DIRECTIVE.lastIndex = at;
      const [whole, flags = '', width = '', precision, kind] = DIRECTIVE.exec(format) ?? [];
      if (whole === undefined) throw new XenError('EINVAL', `${format.slice(at, at + 8)}: not a directive`);
      at += whole.length;
      if (kind === '%') {
        text += '%';
        continue;
      }
      const size = bounded(width === '*' ? take() : width);
      const digits = precision === undefined ? undefined : bounded(precision === '*' ? take() : precision);
      const argument = take();
      if (kind === 'b') {
        const { text: one, stop } = escapes(argument);
        text += padded(digits === undefined ? one : one.slice(0, digits), size, flags);
        if (stop) return { text, failed };
      } else if (kind === 's') text += padded(digits === undefined ? argument : argument.slice(0, digits), size, flags);
      else if (kind === 'c') text += padded(argument.slice(0, 1), size, flags);
      else text += integer(number(argument), kind as 'd', flags, size, digits); // what the expression leaves
    }
    if (next === from) break; // it takes no arguments
  } while (next < args.length);
  return { text, failed };
}
function bounded(text: string): number {
  const n = Number(text || '0');
  if (!Number.isInteger(n) || Math.abs(n) > MOST) throw new XenError('EINVAL', `${text}: too wide`);
  return n;
}
function padded(text: string, width: number, flags: string, zeros = false): string {
  if (flags.includes('-') || width < 0) return text.padEnd(Math.abs(width));
  if (!zeros) return text.padStart(width);
  const [, sign = '', rest = ''] = /^([-+ ]?(?:0[xX])?)(.*)$/.exec(text) ?? [];
  return sign + rest.padStart(width - sign.length, '0');
}
function integer(
  value: bigint,
  kind: 'd' | 'i' | 'u' | 'o' | 'x' | 'X',
  flags: string,
  width: number,
  digits?: number,
) {
  const signed = kind === 'd' || kind === 'i';
  const n = signed ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value);
  const base = kind === 'o' ? 8 : kind === 'x' || kind === 'X' ? 16 : 10;
  let text = (n < 0n ? -n : n).toString(base).padStart(digits ?? 1, '0');
  if (kind === 'X') text = text.toUpperCase();
  if (flags.includes('#') && n !== 0n) text = kind === 'o' ? `0${text}` : base === 16 ? `0${kind}${text}` : text;
  const sign = n < 0n ? '-' : !signed ? '' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
  return padded(sign + text, width, flags, flags.includes('0') && digits === undefined);
}

const LETTERS: Readonly<Record<string, string>> = {
  ...{ a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', '\\': '\\' },
};
/** What stands at a backslash, and how long that is. Numbers of %b begin with a 0. */
function escapeAt(text: string, at: number, zero: boolean): { text: string; length: number } {
  const [octal] = (zero ? /^\\0[0-7]{0,3}/ : /^\\[0-7]{1,3}/).exec(text.slice(at, at + 5)) ?? [];
  if (octal !== undefined) {
    const code = Number.parseInt(octal.slice(1) || '0', 8) & 0xff;
    return { text: String.fromCharCode(code), length: octal.length };
  }
  const letter = LETTERS[text[at + 1] ?? ''];
  return letter === undefined ? { text: '\\', length: 1 } : { text: letter, length: 2 };
}
function escapes(text: string): { text: string; stop: boolean } {
  let all = '';
  for (let at = 0; at < text.length; ) {
    if (text[at] !== '\\') {
      all += text[at++];
      continue;
    }
    if (text[at + 1] === 'c') return { text: all, stop: true };
    const { text: one, length } = escapeAt(text, at, true);
    all += one;
    at += length;
  }
  return { text: all, stop: false };
}
