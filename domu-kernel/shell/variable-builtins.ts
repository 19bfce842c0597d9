// export, readonly, local, unset, set, shift, read, getopts: the shell's own commands for variables and parameters.
import { XenError } from '#pvbus';
import { readPart, type Waiting, writeText } from '../process/transfer.ts';
import type { Stdio } from '../userland.ts';
import type { Builtin } from './builtins.ts';
import { splitLine } from './fields.ts';
import { controlJobs } from './job-control.ts';
import { builtinOptions, count } from './options.ts';
import type { Shell } from './shell.ts';
import { OPTIONS, type OptionLetter } from './state.ts';
import { ShellError } from './syntax.ts';

function assignment(word: string): [name: string, value: string | undefined] {
  const [, name, value] = /^([A-Za-z_]\w*)(?:=([\s\S]*))?$/.exec(word) ?? [];
  if (name === undefined) throw new XenError('EINVAL', `${word}: bad variable name`);
  return [name, value];
}
/** So that a shell that reads it has the same word. */
const quoted = (value: string): string => `'${value.replaceAll("'", "'\"'\"'")}'`;
const named = (name: string, value: string | undefined): string =>
  value === undefined ? name : `${name}=${quoted(value)}`;

/** `export` or `readonly`: without names, or with -p, those that are so. */
function* declare(
  what: 'export' | 'readonly',
  { shell, args, io }: { shell: Shell; args: readonly string[]; io: Stdio },
): Waiting<number> {
  const declared = what === 'export' ? shell.exported : shell.readonlys;
  const { args: words } = builtinOptions(args, 'p');
  if (words.length === 0) {
    for (const name of [...declared].sort())
      yield* writeText(io[1], `${what} ${named(name, shell.variables.get(name))}\n`);
  }
  for (const word of words) {
    const [name, value] = assignment(word);
    if (value !== undefined) shell.assign(name, value);
    declared.add(name);
  }
  return 0;
}
function local(shell: Shell, args: readonly string[]): number {
  const own = shell.locals.at(-1);
  if (own === undefined) throw new ShellError('not in a function');
  for (const word of args) {
    const [name, value] = assignment(word);
    if (!own.has(name)) own.set(name, shell.variables.get(name));
    if (value !== undefined) shell.assign(name, value);
  }
  return 0;
}
function unset(shell: Shell, args: readonly string[]): number {
  const { options, args: names } = builtinOptions(args, 'fv');
  for (const name of names) {
    if (options.has('f')) shell.functions.delete(name);
    else shell.unset(assignment(`${name}=`)[0]);
  }
  return 0;
}

// ---- set, shift ----

function* set(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  if (args.length === 0) {
    for (const [name, value] of [...shell.variables].sort()) yield* writeText(io[1], `${named(name, value)}\n`);
    return 0;
  }
  const from = yield* setOptions(shell, args, io);
  if (from < args.length || args[from - 1] === '--') shell.parameters = args.slice(from);
  return 0;
}
/** Takes options up to the first word that is none, and says where that is. */
export function* setOptions(shell: Shell, args: readonly string[], io: Stdio, others = ''): Waiting<number> {
  let at = 0;
  for (; /^[-+]./.test(args[at] ?? '') && args[at] !== '--'; at++) {
    const [sign, ...letters] = args[at]!;
    for (const letter of letters) {
      if (letter === 'o') yield* setByName(shell, sign === '-', args[++at], io);
      else if (Object.hasOwn(OPTIONS, letter))
        yield* switchOption(shell, letter as OptionLetter, sign === '-'); // an own key
      else if (!others.includes(letter)) throw new ShellError(`Illegal option ${sign}${letter}`);
    }
  }
  // A lone '-' takes back what shows what is done.
  if (args[at] === '-') shell.setOption('x', false);
  return args[at] === '--' || args[at] === '-' ? at + 1 : at;
}
function* switchOption(shell: Shell, letter: OptionLetter, on: boolean): Waiting<void> {
  if (letter === 'm') yield* controlJobs(shell, on);
  shell.setOption(letter, on);
}
function* setByName(shell: Shell, on: boolean, name: string | undefined, io: Stdio): Waiting<void> {
  const options = Object.entries(OPTIONS) as [OptionLetter, string][]; // its own keys
  if (name !== undefined) {
    const [letter] = options.find(([, called]) => called === name) ?? [];
    if (letter === undefined) throw new ShellError(`Illegal option -o ${name}`);
    return yield* switchOption(shell, letter, on);
  }
  if (on) yield* writeText(io[1], 'Current option settings\n');
  for (const [letter, called] of options) {
    const has = shell.options.has(letter);
    yield* writeText(io[1], on ? `${called.padEnd(16)}${has ? 'on' : 'off'}\n` : `set ${has ? '-' : '+'}o ${called}\n`);
  }
}
function shift(shell: Shell, [by = '1']: readonly string[]): number {
  if (count(by) > shell.parameters.length) throw new ShellError("can't shift that many");
  shell.parameters = shell.parameters.slice(count(by));
  return 0;
}

// ---- read ----

function* read(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const { options, args: names } = builtinOptions(args, 'rp:');
  if (names.length === 0) throw new ShellError('arg count');
  for (const name of names) assignment(`${name}=`);
  const prompt = options.get('p');
  if (prompt !== undefined && io[0].kind === 'terminal') yield* writeText(io[2], prompt);
  const { text, kept, whole } = yield* readJoined(io, options.has('r'));
  const fields = splitLine(text, kept, shell.ifs, names.length);
  for (const [i, name] of names.entries()) shell.assign(name, fields[i] ?? '');
  return whole ? 0 : 1;
}
/** A line, and those that go on with it after a backslash; `kept`: characters that a backslash stood before. */
function* readJoined(io: Stdio, raw: boolean): Waiting<{ text: string; kept: boolean[]; whole: boolean }> {
  let joined = '';
  const kept: boolean[] = [];
  for (;;) {
    const { text, whole } = yield* readPart(io[0]);
    let goesOn = false;
    for (let at = 0; at < text.length; at++) {
      const escaped = !raw && text[at] === '\\';
      if (escaped && at === text.length - 1) goesOn = whole;
      else {
        joined += text[escaped ? ++at : at];
        kept.push(escaped);
      }
    }
    if (!goesOn) return { text: joined, kept, whole };
  }
}

// ---- getopts ----

function* getopts(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const [letters, name, ...given] = args;
  if (letters === undefined || name === undefined) throw new ShellError('usage: getopts optstring var [arg ...]');
  const words = given.length > 0 ? given : shell.parameters;
  let { optionIndex: next, optionAt: at } = shell;
  // They are others than before.
  if (next > words.length + 1) [next, at] = [1, 0];
  const found = (letter: string, argument: string | undefined): number => {
    shell.assign('OPTIND', String(next));
    shell.optionAt = at;
    if (argument === undefined) shell.unset('OPTARG');
    else shell.assign('OPTARG', argument);
    shell.assign(assignment(`${name}=`)[0], letter);
    return 0;
  };
  let word = at === 0 ? '' : (words[next - 2] ?? '');
  if (at >= word.length) {
    at = 0;
    word = words[next - 1] ?? '';
    if (/^-./.test(word)) next++;
    if (!/^-./.test(word) || word === '--') return found('?', '') || 1;
    at = 1;
  }
  const letter = word[at++]!;
  const silent = letters.startsWith(':');
  const place = letter === ':' ? -1 : letters.indexOf(letter);
  const complaint = place < 0 ? `Illegal option -${letter}` : `No arg for -${letter} option`;
  if (place >= 0 && letters[place + 1] !== ':') return found(letter, '');
  if (place >= 0) {
    const rest = word.slice(at);
    at = 0;
    const value = rest || words[next - 1];
    if (rest === '' && value !== undefined) next++;
    if (value !== undefined) return found(letter, value);
  }
  if (silent) return found(place < 0 ? '?' : ':', letter);
  yield* writeText(io[2], `${complaint}\n`);
  return found('?', undefined);
}

export const VARIABLE_BUILTINS: readonly (readonly [name: string, builtin: Builtin])[] = [
  ['export', (shell, args, io) => declare('export', { shell, args, io })],
  ['readonly', (shell, args, io) => declare('readonly', { shell, args, io })],
  ['local', local],
  ['unset', unset],
  ['set', set],
  ['shift', shift],
  ['read', read],
  ['getopts', getopts],
];
