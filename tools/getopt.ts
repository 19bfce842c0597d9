// Options the way xl takes them: glibc's getopt_long in REQUIRE_ORDER, which stops at the first argument
// that is no option.

export interface LongOption {
  readonly name: string;
  /** The short option it stands for; a name of its own when there is none. */
  readonly as: string;
  readonly value?: boolean;
}

export interface Options {
  /** In order of appearance; `value` is '' for an option without one. */
  readonly found: readonly { readonly option: string; readonly value: string }[];
  readonly rest: readonly string[];
  /** The first option that isn't one, as xl names it. What precedes it is in `found`. */
  readonly unsupported?: string;
}

/** `short` as for getopt(3): letters, each followed by ':' when it takes a value. */
export function getopt(args: readonly string[], short: string, long: readonly LongOption[] = []): Options {
  const found: { option: string; value: string }[] = [];
  let i = 0;
  for (; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--') {
      i++;
      break;
    }
    if (arg === '-' || !arg.startsWith('-')) break;
    if (arg.startsWith('--')) {
      const [, name, , given] = /^--([^=]*)(=(.*))?$/s.exec(arg) ?? [];
      const option = longOption(name ?? '', long);
      const value = option?.value ? (given ?? args[++i]) : given === undefined ? '' : undefined;
      if (option === undefined || value === undefined) return { found, rest: [], unsupported: name ?? '' };
      found.push({ option: option.as, value });
      continue;
    }
    for (let at = 1; at < arg.length; at++) {
      const option = arg[at]!;
      const place = option === ':' ? -1 : short.indexOf(option);
      if (place < 0) return { found, rest: [], unsupported: option };
      if (short[place + 1] !== ':') {
        found.push({ option, value: '' });
        continue;
      }
      const value = at + 1 < arg.length ? arg.slice(at + 1) : args[++i];
      if (value === undefined) return { found, rest: [], unsupported: option };
      found.push({ option, value });
      break;
    }
  }
  return { found, rest: args.slice(i) };
}

/** An unambiguous beginning will do. */
function longOption(name: string, long: readonly LongOption[]): LongOption | undefined {
  const exact = long.find(option => option.name === name);
  if (exact !== undefined || name === '') return exact;
  const matches = long.filter(option => option.name.startsWith(name));
  return matches.length === 1 ? matches[0] : undefined;
}
