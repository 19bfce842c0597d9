// The options of a command, and what comes besides them.
import { XenError } from '#pvbus';

export interface KnownOptions {
  /** Letters that may be given, as getopts has them: 'ab:'. */
  readonly options: string;
  /** No option comes after the first argument. */
  readonly optionsFirst?: boolean;
  /** The letter that is meant by a number alone: '-5'. */
  readonly number?: string;
}
export interface GivenOptions {
  /** Letter by letter, with what follows one that takes an argument ('' without). */
  readonly options: ReadonlyMap<string, string>;
  readonly args: readonly string[];
}

/** '--' ends them. */
export function parsedOptions(
  words: readonly string[],
  { options: known, optionsFirst, number }: KnownOptions,
): GivenOptions {
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
/** Of one of the shell's own commands. */
export const builtinOptions = (words: readonly string[], options = ''): GivenOptions =>
  parsedOptions(words, { options, optionsFirst: true });

/** Of a command's argument. */
export function count(word: string): number {
  if (/^-?\d{1,9}$/.test(word)) return Number(word);
  throw new XenError('EINVAL', `Illegal number: ${word}`);
}
