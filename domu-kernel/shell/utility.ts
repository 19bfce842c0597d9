// A program of the kernel's own: how it is called, and how it says what is wrong.
import { messageOf, XenError } from '#pvbus';
import type { Utility } from '../process/exec.ts';
import type { Process } from '../process/process.ts';
import { type Waiting, writeText } from '../process/transfer.ts';
import type { Stdio, Userland } from '../userland.ts';
import { ShellError } from './syntax.ts';

export interface Call {
  readonly system: Userland;
  readonly self: Process;
  /** Those that begin with '-', letter by letter, with what follows a letter that takes an argument ('' without). */
  readonly options: ReadonlyMap<string, string>;
  readonly args: readonly string[];
  readonly io: Stdio;
}
export interface UtilityProgram {
  /** Letters that may be given, as getopts has them: 'ab:'. */
  readonly options: string;
  /** No option comes after the first argument: what follows is another program's. */
  readonly optionsFirst?: boolean;
  /** The letter that is meant by a number alone: '-5'. */
  readonly number?: string;
  /** The status when it is called in a way that it does not know; 1. */
  readonly misuse?: number;
  readonly run: (call: Call) => Waiting<number> | number;
}

export function asUtility(system: Userland, name: string, program: UtilityProgram): Utility {
  return function* (self) {
    const { fds } = self;
    const io: Stdio = [fds.get(0).file, fds.get(1).file, fds.get(2).file];
    let status = program.misuse ?? 1;
    try {
      const parsed = parsedOptions(self.argv.slice(1), program);
      status = 1;
      const code = program.run({ system, self, io, ...parsed });
      return typeof code === 'number' ? code : yield* code;
    } catch (error) {
      yield* complain({ self, io }, error, name);
      return status;
    }
  };
}
function parsedOptions(
  words: readonly string[],
  { options: known, optionsFirst, number }: UtilityProgram,
): Pick<Call, 'options' | 'args'> {
  const options = new Map<string, string>();
  const args: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (word === '--' || (optionsFirst && !/^-./.test(word)))
      return { options, args: [...args, ...words.slice(word === '--' ? at + 1 : at)] };
    if (!/^-./.test(word)) {
      args.push(word);
      continue;
    }
    if (number !== undefined && /^-\d+$/.test(word)) {
      options.set(number, word.slice(1));
      continue;
    }
    for (let i = 1; i < word.length; i++) {
      const letter = word[i]!;
      const place = letter === ':' ? -1 : known.indexOf(letter);
      if (word.startsWith('--') || place < 0)
        throw new XenError('EINVAL', `${word.startsWith('--') ? word : `-${letter}`}: no such option`);
      const takesMore = known[place + 1] === ':';
      const rest = word.slice(i + 1);
      const value = takesMore ? rest || words[++at] : '';
      if (value === undefined) throw new XenError('EINVAL', `-${letter}: an argument is missing`);
      options.set(letter, value);
      if (takesMore) break;
    }
  }
  return { options, args };
}

/** Says what is wrong, if it is something that a user is to know. */
export function* complain({ self, io }: Pick<Call, 'self' | 'io'>, error: unknown, name = self.argv[0]): Waiting<void> {
  if (!(error instanceof XenError || error instanceof ShellError)) throw error;
  yield* writeText(io[2], `${name}: ${messageOf(error)}\n`);
}
/** Each by itself: what is wrong with one of them is said, and the others are done. */
export function* each<T>(call: Call, all: Iterable<T>, act: (one: T) => Waiting<void>): Waiting<number> {
  let status = 0;
  for (const one of all) {
    try {
      yield* act(one);
    } catch (error) {
      yield* complain(call, error);
      status = 1;
    }
  }
  return status;
}
