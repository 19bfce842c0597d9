// Patterns of names: *, ?, [abc], [!a-z], [[:digit:]]. A backslash takes what follows as it is.

type Token = '*' | ((c: string) => boolean);

export class Pattern {
  readonly #tokens: readonly Token[];

  constructor(pattern: string) {
    this.#tokens = compile([...pattern]);
  }
  /** In time of pattern times name, whatever they are. */
  matches(name: string): boolean {
    return this.matchesAll([...name]);
  }
  /** The same of characters. */
  matchesAll(name: readonly string[]): boolean {
    const tokens = this.#tokens;
    let at = 0;
    let token = 0;
    let star = -1;
    let starAt = 0;
    while (at < name.length) {
      const t = tokens[token];
      if (t === '*') {
        star = token++;
        starAt = at;
      } else if (t?.(name[at]!)) {
        token++;
        at++;
      } else if (star >= 0) {
        token = star + 1;
        at = ++starAt;
      } else return false;
    }
    while (tokens[token] === '*') token++;
    return token === tokens.length;
  }
}

function compile(pattern: readonly string[]): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < pattern.length; at++) {
    const c = pattern[at]!;
    if (c === '*') tokens.push('*');
    else if (c === '?') tokens.push(() => true);
    else if (c === '[') {
      const set = setAt(pattern, at);
      tokens.push(set?.has ?? (other => other === '['));
      at = set?.end ?? at;
    } else {
      const literal = c === '\\' && at + 1 < pattern.length ? pattern[++at]! : c;
      tokens.push(other => other === literal);
    }
  }
  return tokens;
}

/** As the C locale has them. */
const CLASSES: Readonly<Record<string, RegExp>> = {
  alnum: /[A-Za-z0-9]/,
  alpha: /[A-Za-z]/,
  blank: /[ \t]/,
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what the class is of
  cntrl: /[\x00-\x1f\x7f]/,
  digit: /[0-9]/,
  graph: /[!-~]/,
  lower: /[a-z]/,
  print: /[ -~]/,
  punct: /[!-/:-@[-`{-~]/,
  space: /[ \t-\r]/,
  upper: /[A-Z]/,
  xdigit: /[0-9A-Fa-f]/,
};

/** `end`: where its ']' is. Undefined: the '[' is one. */
function setAt(pattern: readonly string[], from: number): { has: (c: string) => boolean; end: number } | undefined {
  let at = from + 1;
  const negated = pattern[at] === '!';
  if (negated) at++;
  const ranges: [low: string, high: string][] = [];
  const classes: RegExp[] = [];
  for (const first = at; pattern[at] !== ']' || at === first; at++) {
    const named = classAt(pattern, at);
    if (named !== undefined) {
      classes.push(CLASSES[named]!);
      at += named.length + 3;
      continue;
    }
    if (pattern[at] === '\\') at++;
    const low = pattern[at];
    if (low === undefined) return undefined;
    let high = low;
    if (pattern[at + 1] === '-' && pattern[at + 2] !== undefined && pattern[at + 2] !== ']') {
      at += pattern[at + 2] === '\\' ? 3 : 2;
      high = pattern[at] ?? '\\';
    }
    ranges.push([low, high]);
  }
  const has = (c: string): boolean =>
    (ranges.some(([low, high]) => c >= low && c <= high) || classes.some(one => one.test(c))) !== negated;
  return { has, end: at };
}
/** The name of what is at `[:`, if there is such a class. */
function classAt(pattern: readonly string[], at: number): string | undefined {
  if (pattern[at] !== '[') return undefined;
  const [, name] = /^\[:([a-z]+):\]/.exec(pattern.slice(at, at + 12).join('')) ?? [];
  return name !== undefined && Object.hasOwn(CLASSES, name) ? name : undefined;
}

export const isPattern = (pattern: string): boolean => /(?<!\\)(?:\\\\)*[*?[]/.test(pattern);
export const escaped = (text: string): string => text.replace(/[*?[\]\\!:^-]/g, '\\$&');
