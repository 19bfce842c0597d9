// The part of every command line that all commands treat alike.

import { getopt, type LongOption } from '../getopt.ts';
import type { CommandContext } from './command.ts';

export interface CommandLine {
  readonly options: ReadonlySet<string>;
  /** How often, for -w -w. */
  count(option: string): number;
  value(option: string): string | undefined;
  /** Of one that may be given several times, in order. */
  values(option: string): readonly string[];
  readonly args: readonly string[];
}

/**
 * The command line, or the exit code when it is over already: -h, a bad option, too few arguments, or more than `most`.
 * Xen's commands ignore those they have no use for.
 */
export function commandLine(
  args: readonly string[],
  context: CommandContext,
  short: string,
  long: readonly LongOption[],
  required: number,
  most = Number.POSITIVE_INFINITY,
): CommandLine | number {
  const json = context.spec.json ? [{ name: 'json', as: 'json' }] : [];
  const { found, rest, unsupported } = getopt(args, `h${short}`, [...long, ...json, { name: 'help', as: 'h' }]);
  if (found.some(({ option }) => option === 'h')) return context.usage(0);
  if (unsupported !== undefined) {
    context.err(`option \`${unsupported}' not supported.`);
    return 2;
  }
  if (rest.length < required) {
    const plural = required > 1 ? 's' : '';
    context.err(`'xl ${context.spec.name}' requires at least ${required} argument${plural}.\n`);
    return context.usage(2);
  }
  if (rest.length > most) {
    context.err(`'xl ${context.spec.name}': '${rest[most]}' is an argument too many; options are before the first.\n`);
    return context.usage(2);
  }
  return {
    options: new Set(found.map(({ option }) => option)),
    count: option => found.filter(one => one.option === option).length,
    value: option => found.findLast(one => one.option === option)?.value,
    values: option => found.filter(one => one.option === option).map(({ value }) => value),
    args: rest,
  };
}
