// C's printf for columns: widths count bytes, halves round to even.

const width = (text: string): number => Buffer.byteLength(text);

/** `%-40s` */
export const left = (text: string | number, columns: number): string =>
  `${text}${' '.repeat(Math.max(0, columns - width(String(text))))}`;

/** `%5d`, `%16s` */
export const right = (text: string | number, columns: number): string =>
  `${' '.repeat(Math.max(0, columns - width(String(text))))}${text}`;

/** `%8.1f` */
export function tenths(value: number, columns: number): string {
  const tens = Math.floor(value * 10);
  const tie = value * 10 - tens === 0.5;
  return right((tie ? (tens + (tens & 1)) / 10 : value).toFixed(1), columns);
}
