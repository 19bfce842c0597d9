// Keys of a parsed config, each read as the type its reader wants, with libxlutil's complaints.

import type { ConfigValue } from '#pvbus';
import { ConfigError } from './config-error.ts';
import { effectiveValues, type ParsedConfig } from './parse.ts';

export { ConfigError };

export class Settings {
  readonly source: string;
  readonly #warn: (line: string) => void;
  readonly #strict: boolean;
  readonly #values: Map<string, ConfigValue>;
  readonly #lines = new Map<string, number>();
  readonly #added = new Set<string>();
  readonly #read = new Set<string>();

  /** `warn` takes a line for stderr whenever a key is of a type that nobody can use; `strict` makes an error of it. */
  constructor(parsed: ParsedConfig, warn: (line: string) => void, strict = false) {
    this.#warn = warn;
    this.#strict = strict;
    this.source = parsed.source;
    this.#values = effectiveValues(parsed);
    for (const { name, line, op } of parsed.assignments) {
      this.#lines.set(name, line);
      if (op === '+=') this.#added.add(name);
      else this.#added.delete(name);
    }
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** Keys that nobody asked for so far, with their values. */
  unread(): Record<string, ConfigValue> {
    return Object.fromEntries([...this.#values].filter(([key]) => !this.#read.has(key)));
  }

  text(key: string): string | undefined {
    const value = this.#get(key);
    if (value === undefined || typeof value === 'string') return value;
    this.#complain(key, `parameter \`${key}' is a list but should be a single value`);
    return undefined;
  }

  /** C's strtol with base 0: 0x1f is 31, 010 is 8. */
  number(key: string): number | undefined {
    const fault = this.#numberFault(key);
    if (fault !== null) {
      this.#complain(key, fault);
      return undefined;
    }
    const text = this.#get(key);
    return typeof text === 'string' ? parseNumber(text) : undefined;
  }

  /** Like `number`, for a key that the domain cannot do without: a bad value ends the reading. */
  neededNumber(key: string): number | undefined {
    const fault = this.#numberFault(key);
    if (fault !== null) throw this.wrong(key, fault);
    return this.number(key);
  }

  boolean(key: string): boolean | undefined {
    const n = this.number(key);
    return n === undefined ? undefined : n !== 0;
  }

  list(key: string): readonly ConfigValue[] | undefined {
    const value = this.#get(key);
    if (value === undefined || Array.isArray(value)) return value;
    this.#complain(key, `parameter \`${key}' is a single value but should be a list`);
    return undefined;
  }

  /** A list of specifications; an entry that is itself a list is nobody's. */
  specs(key: string): string[] {
    return (this.list(key) ?? []).map((entry, i) => {
      if (typeof entry === 'string') return entry;
      throw this.wrong(key, `entry of \`${key}' is a list but should be a single value`, i);
    });
  }
  /** Each of those read by `read`, whose errors become that entry's. */
  eachSpec<T>(key: string, read: (spec: string, i: number) => T): T[] {
    return this.specs(key).map((spec, i) => {
      try {
        return read(spec, i);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        throw new ConfigError(error.message, error.exitCode, { at: this.at(key), keys: [key, i] });
      }
    });
  }

  /** File and line of a key; the file alone where it is not there. */
  at(key: string): string {
    const line = this.#lines.get(key);
    return line === undefined ? this.source : `${this.source}:${line}`;
  }
  /** An error in words of ours, with file and line. */
  wrong(key: string, message: string, ...entry: number[]): ConfigError {
    return new ConfigError(`${this.at(key)}: ${message}`, 1, { at: this.at(key), keys: [key, ...entry] });
  }
  /** An error in xl's words, which has neither. */
  xlError(key: string, message: string): ConfigError {
    return new ConfigError(message, 1, { at: this.at(key), keys: [key] });
  }

  #numberFault(key: string): string | null {
    const value = this.#get(key);
    if (value === undefined) return null;
    if (Array.isArray(value)) return `parameter \`${key}' is a list but should be a single value`;
    if (this.#added.has(key)) return `can't use += with numbers for parameter \`${key}'`;
    const n = parseNumber(value);
    if (n === undefined) return `parameter \`${key}' is not a valid number`;
    if (!Number.isSafeInteger(n)) {
      return `parameter \`${key}' could not be parsed as a number: Numerical result out of range`;
    }
    return null;
  }

  #get(key: string): ConfigValue | undefined {
    this.#read.add(key);
    return this.#values.get(key);
  }

  #complain(key: string, message: string): void {
    if (this.#strict) throw this.wrong(key, message);
    this.#warn(`${this.at(key)}: warning: ${message}`);
  }
}

/** undefined unless the whole text is a number. */
export function parseNumber(text: string): number | undefined {
  const match = /^[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text);
  if (match === null) return undefined;
  const digits = match[2]!;
  const octal = digits.length > 1 && digits[0] === '0' && !/[xX]/.test(digits);
  return Number(octal ? `0o${digits.slice(1)}` : digits) * (match[1] === '-' ? -1 : 1);
}
