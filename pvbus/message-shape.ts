// Small checkers for messages of another process: each reads one value once and returns a fresh,
// plain copy, or throws EINVAL naming the field. Written by hand so that pvbus needs no schema package.

import { XenError } from './errors.ts';

export type Shape<T> = (value: unknown, where: string) => T;
export type Shaped<S> = S extends Shape<infer T> ? T : never;

const wrong = (where: string, expected: string): never => {
  throw new XenError('EINVAL', `${where}: expected ${expected}`);
};

export const text =
  (maxLength = 4096): Shape<string> =>
  (value, where) =>
    typeof value === 'string' && value.length <= maxLength
      ? value
      : wrong(where, `a string of at most ${maxLength} characters`);

/** Bytes; those of a decoded frame are its own. */
export const bytes =
  (maxLength: number): Shape<Uint8Array> =>
  (value, where) =>
    value instanceof Uint8Array && value.length <= maxLength ? value : wrong(where, `at most ${maxLength} bytes`);

export const integer =
  (min = 0, max = 0xffff_ffff): Shape<number> =>
  (value, where) =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max
      ? value
      : wrong(where, `an integer from ${min} to ${max}`);

/** A finite number that isn't negative: a duration, a counter that may have outgrown 2^53. */
export const quantity: Shape<number> = (value, where) => {
  const n = typeof value === 'bigint' ? Number(value) : value;
  return typeof n === 'number' && Number.isFinite(n) && n >= 0 ? n : wrong(where, 'a number that is not negative');
};

export const flag: Shape<boolean> = (value, where) =>
  typeof value === 'boolean' ? value : wrong(where, 'true or false');

export const nothing: Shape<null> = (value, where) =>
  value === null || value === undefined ? null : wrong(where, 'nothing');

export const nullable =
  <T>(shape: Shape<T>): Shape<T | null> =>
  (value, where) =>
    value === null || value === undefined ? null : shape(value, where);

export const oneOf =
  <const T extends readonly string[]>(...names: T): Shape<T[number]> =>
  (value, where) =>
    names.includes(value as T[number]) ? (value as T[number]) : wrong(where, `one of ${names.join(', ')}`);

export const listOf =
  <T>(item: Shape<T>, maxLength = 1024): Shape<T[]> =>
  (value, where) => {
    if (!Array.isArray(value) || value.length > maxLength)
      return wrong(where, `a list of at most ${maxLength} entries`);
    return value.map((entry, i) => item(entry, `${where}[${i}]`));
  };

const isPlainObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  Object.getPrototypeOf(value) === Object.prototype;

export const mapOf =
  <T>(item: Shape<T>, maxSize = 1024): Shape<Record<string, T>> =>
  (value, where) => {
    if (!isPlainObject(value)) return wrong(where, 'a map');
    const entries = Object.entries(value);
    if (entries.length > maxSize) return wrong(where, `a map of at most ${maxSize} entries`);
    const copy: Record<string, T> = Object.create(null);
    for (const [key, entry] of entries) copy[key] = item(entry, `${where}.${key}`);
    return { ...copy };
  };

type Fields = Readonly<Record<string, Shape<unknown>>>;
export type RecordOf<F extends Fields> = { -readonly [K in keyof F]: Shaped<F[K]> };

/** Exactly these fields; what the sender added beyond them is dropped, so that versions may grow. */
export const record =
  <const F extends Fields>(fields: F): Shape<RecordOf<F>> =>
  (value, where) => {
    if (!isPlainObject(value)) return wrong(where, 'a map');
    const copy: Record<string, unknown> = {};
    for (const [key, shape] of Object.entries(fields)) {
      copy[key] = shape(Object.hasOwn(value, key) ? value[key] : undefined, `${where}.${key}`);
    }
    return copy as RecordOf<F>; // built key by key from the same table as the type
  };
