// Patterns of names: *, ?, [abc], [!a-z]. A backslash takes what follows as it is.

/** In time of pattern times name, whatever they are. */
export function matches(pattern: string, name: string): boolean {
  const tokens = compile(pattern);
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

type Token = '*' | ((c: string) => boolean);

function compile(pattern: string): Token[] {
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
/** `end`: where its ']' is. Undefined: the '[' is one. */
function setAt(pattern: string, from: number): { has: (c: string) => boolean; end: number } | undefined {
  let at = from + 1;
  const negated = pattern[at] === '!' || pattern[at] === '^';
  if (negated) at++;
  const ranges: [string, string][] = [];
  for (const first = at; pattern[at] !== ']' || at === first; at++) {
    let c = pattern[at];
    if (c === '\\') c = pattern[++at];
    if (c === undefined) return undefined;
    const to = pattern[at + 2];
    if (pattern[at + 1] === '-' && to !== undefined && to !== ']') {
      ranges.push([c, to]);
      at += 2;
    } else ranges.push([c, c]);
  }
  return { has: c => ranges.some(([low, high]) => c >= low && c <= high) !== negated, end: at };
}

export const isPattern = (pattern: string): boolean => /(?<!\\)(?:\\\\)*[*?[]/.test(pattern);
export const escaped = (text: string): string => text.replace(/[*?[\]\\!^-]/g, '\\$&');
