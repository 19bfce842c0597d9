// Numbers of printf: how they are read, as C's strtol and strtod do, and how they are written.

interface Parsed<T> {
  readonly value: T;
  /** There was nothing else in the word. */
  readonly whole: boolean;
}

export function parsedInteger(word: string, signed: boolean): Parsed<bigint> {
  const character = quoted(word);
  if (character !== undefined) return { value: BigInt(character), whole: true };
  const [text = '', sign, digits = ''] = /^\s*([-+]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)/.exec(word) ?? [];
  const size = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits || '0');
  const [least, most] = signed ? [-(2n ** 63n), 2n ** 63n - 1n] : [1n - 2n ** 64n, 2n ** 64n - 1n];
  const exact = sign === '-' ? -size : size;
  const value = exact < least ? least : exact > most ? most : exact;
  return { value, whole: text.length === word.length && value === exact };
}
export function parsedFraction(word: string): Parsed<number> {
  const character = quoted(word);
  if (character !== undefined) return { value: character, whole: true };
  const [text = '', sign, digits = '0'] =
    /^\s*([-+]?)(0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|inf(?:inity)?|nan)/i.exec(word) ?? [];
  const size = /^i/i.test(digits) ? Number.POSITIVE_INFINITY : Number(digits);
  return { value: sign === '-' ? -size : size, whole: text.length === word.length };
}
/** The number of the character after a quote. */
function quoted(word: string): number | undefined {
  return /^["']./s.test(word) ? Buffer.from(word.slice(1), 'latin1').toString().codePointAt(0) : undefined;
}

/** `kind`: one of d i u o x X. */
export function integer(value: bigint, kind: string, flags: string, digits: number | undefined): string {
  const signed = kind === 'd' || kind === 'i';
  const n = signed ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value);
  const base = kind === 'o' ? 8 : /x/i.test(kind) ? 16 : 10;
  let text = n === 0n && digits === 0 ? '' : (n < 0n ? -n : n).toString(base).padStart(digits ?? 1, '0');
  if (kind === 'X') text = text.toUpperCase();
  if (flags.includes('#') && base === 8) text = text.replace(/^(?!0)/, '0');
  if (flags.includes('#') && base === 16 && n !== 0n) text = `0${kind}${text}`;
  return (n < 0n ? '-' : signed ? signOf(flags) : '') + text;
}
/** `kind`: one of e E f F g G. */
export function fraction(value: number, kind: string, flags: string, digits = 6): string {
  const size = Math.abs(value);
  const sign = value < 0 || Object.is(value, -0) ? '-' : signOf(flags);
  let text: string;
  if (!Number.isFinite(size)) text = Number.isNaN(size) ? 'nan' : 'inf';
  else if (/f/i.test(kind)) text = fixed(size, digits);
  else if (/e/i.test(kind)) text = exponential(size, digits);
  else {
    const precision = digits || 1;
    const exponent = Number(/e(.*)$/.exec(exponential(size, precision - 1))?.[1]);
    const short = exponent < -4 || exponent >= precision;
    text = short ? exponential(size, precision - 1) : fixed(size, precision - 1 - exponent);
    if (!flags.includes('#')) text = text.replace(/\.0*(?=e|$)|(\.\d*?)0+(?=e|$)/, '$1');
  }
  if (flags.includes('#') && !text.includes('.')) text = text.replace(/^\d+/, '$&.');
  return sign + (/[EFG]/.test(kind) ? text.toUpperCase() : text);
}
const signOf = (flags: string): string => (flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '');
function fixed(size: number, digits: number): string {
  const text = String(scaled(size, digits)).padStart(digits + 1, '0');
  return digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}
function exponential(size: number, digits: number): string {
  let exponent = Number(/e(.*)$/.exec(size.toExponential())?.[1]);
  let text = size === 0 ? '0'.repeat(digits + 1) : String(scaled(size, digits - exponent));
  if (text.length > digits + 1) {
    exponent++;
    text = text.slice(0, -1);
  }
  const mantissa = digits === 0 ? text : `${text[0]}.${text.slice(1)}`;
  return `${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
}
/** Times a power of ten, as a whole number: exactly, and halves to even, as C does and Number's own methods do not. */
function scaled(size: number, power: number): bigint {
  let [top, bottom] = inHalves(size);
  if (power < 0) bottom *= 10n ** BigInt(-power);
  else top *= 10n ** BigInt(power);
  const n = top / bottom;
  const twice = (top % bottom) * 2n;
  return twice > bottom || (twice === bottom && n % 2n === 1n) ? n + 1n : n;
}
/** What it is as a fraction. */
function inHalves(size: number): [top: bigint, bottom: bigint] {
  let bottom = 1n;
  let whole = size;
  for (; !Number.isInteger(whole); whole *= 2) bottom *= 2n;
  return [BigInt(whole), bottom];
}
