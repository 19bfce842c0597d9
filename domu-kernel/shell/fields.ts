// Splitting at what IFS says: blanks of it separate together, each other character by itself.

export const DEFAULT_IFS = ' \t\n';

interface Split {
  readonly pieces: string[];
  /** It begins with blanks, at which a word that stands before it ends. */
  readonly before: boolean;
  /** How it ends, where that is the end of a word. */
  readonly after: 'blank' | 'separator' | undefined;
}
export function split(value: string, ifs: string): Split {
  const isBlank = (c: string): boolean => DEFAULT_IFS.includes(c) && ifs.includes(c);
  const pieces: string[] = [];
  let at = 0;
  const skipBlanks = (): boolean => {
    const from = at;
    while (at < value.length && isBlank(value[at]!)) at++;
    return at > from;
  };
  // With a separator behind them they are one with that.
  const before = skipBlanks() && (at === value.length || !ifs.includes(value[at]!));
  let after: Split['after'] = before && at === value.length ? 'blank' : undefined;
  while (at < value.length) {
    const from = at;
    while (at < value.length && !ifs.includes(value[at]!)) at++;
    pieces.push(value.slice(from, at));
    after = skipBlanks() ? 'blank' : undefined;
    if (at < value.length && ifs.includes(value[at]!)) {
      at++;
      skipBlanks();
      after = 'separator';
    }
  }
  return { pieces, before, after };
}

/** For `read`: so many fields at most, the last one with all that is left. `escaped`: characters that separate nothing. */
export function splitLine(line: string, escaped: readonly boolean[], ifs: string, most: number): string[] {
  const separates = (i: number): boolean => !escaped[i] && ifs.includes(line[i]!);
  const isBlank = (i: number): boolean => separates(i) && DEFAULT_IFS.includes(line[i]!);
  let [from, to] = [0, line.length];
  while (from < to && isBlank(from)) from++;
  while (to > from && isBlank(to - 1)) to--;
  const fields: string[] = [];
  for (let at = from; fields.length < most - 1 && at < to; from = at) {
    while (at < to && !separates(at)) at++;
    fields.push(line.slice(from, at));
    while (at < to && isBlank(at)) at++;
    if (at < to && separates(at) && !isBlank(at)) {
      at++;
      while (at < to && isBlank(at)) at++;
    }
  }
  if (from < to) fields.push(line.slice(from, withoutLast(line, from, to, separates, isBlank)));
  return fields;
}
/** The last field loses a separator at its end that is no blank, if that is the only one in it. */
function withoutLast(
  line: string,
  from: number,
  to: number,
  separates: (i: number) => boolean,
  isBlank: (i: number) => boolean,
): number {
  if (to === from || !separates(to - 1) || isBlank(to - 1)) return to;
  for (let i = from; i < to - 1; i++) if (separates(i) && !isBlank(i)) return to;
  let end = to - 1;
  while (end > from && isBlank(end - 1)) end--;
  return line.length > 0 ? end : to;
}
