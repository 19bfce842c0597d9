// What may follow each command, read from the table that its help is made of.

import type { CommandSpec } from '../commands/command.ts';

export interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  /** -q, --quiet, --for= */
  readonly options: readonly string[];
  readonly domains: boolean;
  readonly files: boolean;
  /** Fixed words that the usage names, such as those of `trigger`. */
  readonly words: readonly string[];
}

export const GLOBAL_OPTIONS = ['-v', '-f', '-t', '-T', '-N', '--host'];

export function completedCommand({ name, description, usage, options = '', json }: CommandSpec): CompletedCommand {
  const found = ['-h', ...(json ? ['--json'] : [])];
  for (const line of `${usage}\n${options}`.split('\n')) {
    const [, list] =
      /^\s*((?:-\w|--[a-z][\w-]*)(?:[ =][A-Z/|a-z<>_]+)?(?:, *(?:-\w|--[a-z][\w-]*)(?:=[A-Za-z/_]+)?)*)/.exec(line) ??
      [];
    for (const [, option, value] of (list ?? '').matchAll(/(--[a-z][\w-]*|-\w)(=)?/g)) {
      found.push(`${option}${option!.startsWith('--') && value !== undefined ? '=' : ''}`);
    }
  }
  // Of `<a|b|c>`, unless they are names for something: those begin with a capital.
  const choice = /[<[]([a-z0-9]+(?:\|[a-z0-9]+)+)[\]>]/.exec(usage)?.[1];
  return {
    ...{ name, description, options: [...new Set(found)] },
    domains: /[<[|]?Domain(Id|Name|\(s\)|\||>|\]|,|$)/.test(usage),
    files: /File\b|FILE\b|disk-spec|<filename>/.test(`${usage}`),
    words: choice?.split('|') ?? [],
  };
}
