// A config file and what the command line adds to it -> a DomainConfig.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { DomainConfig } from '#pvbus';
import { parseConfig } from './parse.ts';
import { ConfigError, Settings } from './settings.ts';
import { type ValidateOptions, validateConfig } from './validate.ts';

/** Xen: ERROR_FAIL, what xl exits with when it cannot read a file. */
const UNREADABLE = 3;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  EACCES: 'Permission denied',
  EISDIR: 'Is a directory',
  ENOTDIR: 'Not a directory',
  ELOOP: 'Too many levels of symbolic links',
  ENAMETOOLONG: 'File name too long',
};

/** `path` as the person gave it, relative to `cwd`. */
export function readConfigFile(path: string, cwd: string): Buffer {
  try {
    return readFileSync(resolve(cwd, path));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new ConfigError(`Failed to read config file: ${path}: ${REASONS[code ?? ''] ?? message}`, UNREADABLE);
  }
}

/** `assignments` are `key=value` arguments; they come after the file, so they win. */
export function readConfig(
  content: Uint8Array,
  source: string,
  assignments: readonly string[],
  options: ValidateOptions,
): DomainConfig {
  return validateConfig(parseConfig(withAssignments(content, assignments), source), options);
}

/** File and line of a key, as the errors of `readConfig` have them. */
export function keyPlaces(
  content: Uint8Array,
  source: string,
  assignments: readonly string[],
): (key: string) => string {
  const settings = new Settings(parseConfig(withAssignments(content, assignments), source), () => {});
  return key => settings.at(key);
}

/** The text that xl parses. */
export function withAssignments(content: Uint8Array, assignments: readonly string[]): Uint8Array {
  const added = assignments.length === 0 ? '' : `\n${assignments.map(line => `${line}\n`).join('')}\n`;
  return Buffer.concat([content, Buffer.from(added)]);
}
