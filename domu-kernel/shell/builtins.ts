// Commands that are the shell's own: they change it, or need what it knows.
import { XenError } from '#pvbus';
import { DEFAULT_PATH } from '../process/exec.ts';
import { type SignalName, signalNamed } from '../process/signals.ts';
import { attempt, readAll, readPart, type Waiting, writeBytes, writeText } from '../process/transfer.ts';
import { WASM_PAGE } from '../process/web-assembly.ts';
import type { Stdio } from '../userland.ts';
import { OpenDiskFile } from '../wasi/open-vnode.ts';
import { splitLine } from './fields.ts';
import { JOB_BUILTINS } from './job-builtins.ts';
import { ExitShell, LeaveLoop, ReturnFrom } from './leaving.ts';
import { absolutePath, fromCwd } from './paths.ts';
import { printf } from './printf.ts';
import type { Shell } from './shell.ts';
import { OPTIONS, type OptionLetter } from './state.ts';
import { ShellError } from './syntax.ts';
import { evaluateTest, type TestedFiles } from './test.ts';

/** The status it returns is the command's. */
export type Builtin = (shell: Shell, args: readonly string[], io: Stdio) => Waiting<number> | number;

const MAX_SOURCE = 2 ** 20;

const nothing = (): number => 0;
const failure = (): number => 1;
function* cd(shell: Shell, [to = shell.variable('HOME') || '/']: readonly string[], io: Stdio): Waiting<number> {
  const path = to === '-' ? shell.variable('OLDPWD') || shell.cwd : to;
  const cwd = absolutePath(shell.cwd, path);
  yield* attempt(() => {
    const there = shell.system.mounts.find(cwd);
    const { type } = there;
    there.release();
    if (type !== 'directory') throw new XenError('ENOTDIR', `${path}: it is no directory`);
  });
  shell.assign('OLDPWD', shell.cwd);
  shell.cwd = cwd;
  if (to === '-') yield* writeText(io[1], `${cwd}\n`);
  return 0;
}
function* pwd(shell: Shell, _args: readonly string[], io: Stdio): Waiting<number> {
  yield* writeText(io[1], `${shell.cwd}\n`);
  return 0;
}
function* echo(_shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const bare = args[0] === '-n';
  yield* writeText(io[1], `${(bare ? args.slice(1) : args).join(' ')}${bare ? '' : '\n'}`);
  return 0;
}
function exit(shell: Shell, [code]: readonly string[]): never {
  throw new ExitShell(code === undefined ? shell.status : count(code) & 0xff);
}
function assignment(what: string, word: string): [name: string, value: string | undefined] {
  const [, name, value] = /^([A-Za-z_]\w*)(?:=([\s\S]*))?$/.exec(word) ?? [];
  if (name === undefined) throw new XenError('EINVAL', `${what} ${word}: not a name`);
  return [name, value];
}
function* exportNames(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  if (args.length === 0) {
    for (const name of [...shell.exported].sort()) yield* writeText(io[1], `${name}=${shell.variable(name)}\n`);
  }
  for (const word of args) {
    const [name, value] = assignment('export', word);
    if (value !== undefined) shell.assign(name, value);
    shell.exported.add(name);
  }
  return 0;
}
function readonlyNames(shell: Shell, args: readonly string[]): number {
  for (const word of args) {
    const [name, value] = assignment('readonly', word);
    if (value !== undefined) shell.assign(name, value);
    shell.readonlys.add(name);
  }
  return 0;
}
function local(shell: Shell, args: readonly string[]): number {
  const own = shell.locals.at(-1);
  if (own === undefined) throw new ShellError('local: not in a function');
  for (const word of args) {
    const [name, value] = assignment('local', word);
    if (!own.has(name)) own.set(name, shell.variables.get(name));
    if (value !== undefined) shell.assign(name, value);
  }
  return 0;
}
function unset(shell: Shell, args: readonly string[]): number {
  for (const name of args.filter(word => word !== '-v' && word !== '-f')) {
    if (args[0] === '-f') shell.functions.delete(name);
    else shell.unset(name);
  }
  return 0;
}
function* set(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  if (args.length === 0) {
    for (const [name, value] of [...shell.variables].sort()) yield* writeText(io[1], `${name}=${value}\n`);
  }
  for (const [i, word] of args.entries()) {
    if (word === '--' || !/^[-+]./.test(word)) {
      shell.parameters = args.slice(word === '--' ? i + 1 : i);
      break;
    }
    for (const letter of word.slice(1)) {
      if (!Object.hasOwn(OPTIONS, letter)) throw new ShellError(`set: Illegal option ${word}`);
      if (word.startsWith('-'))
        shell.options.add(letter as OptionLetter); // an own key of them
      else shell.options.delete(letter as OptionLetter);
    }
  }
  return 0;
}
function back(shell: Shell, [code]: readonly string[]): never {
  throw new ReturnFrom(code === undefined ? shell.status : count(code) & 0xff);
}
function* trap(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const nameOf = (word: string): SignalName | 'EXIT' => {
    const name = word === '0' || word === 'EXIT' ? 'EXIT' : signalNamed(word);
    if (name === undefined) throw new XenError('EINVAL', `${word}: bad trap`);
    return name;
  };
  if (args.length === 0) {
    for (const [name, text] of shell.traps)
      yield* writeText(io[1], `trap -- '${text.replaceAll("'", "'\\''")}' ${name.replace(/^SIG/, '')}\n`);
    return 0;
  }
  const [action = '', ...words] = args;
  const resets = action === '-' || words.length === 0 || /^\d+$/.test(action);
  for (const word of action === '-' || !resets ? words : args) {
    if (resets) shell.traps.delete(nameOf(word));
    else shell.traps.set(nameOf(word), action);
  }
  shell.listen();
  return 0;
}
/** Without functions of the name; -v: only what it would be. */
function* command(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  if (args[0] !== '-v') {
    if (args.length > 0) yield* shell.run(args, new Map(), io, args.join(' '), false);
    return args.length > 0 ? shell.status : 0;
  }
  const [, name = ''] = args;
  const own = BUILTINS.has(name) || shell.functions.has(name);
  const found = own ? name : yield* attempt(() => whereIs(shell, name));
  if (found === undefined) return 127;
  yield* writeText(io[1], `${found.replace(/: of the kernel$/, '')}\n`);
  return 0;
}
function* exec(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  if (args.length === 0) throw new ShellError('exec: only a program; redirections are of one command');
  yield* shell.run(args, new Map(), io, args.join(' '), false);
  throw new ExitShell(shell.status);
}
function* print(_shell: Shell, words: readonly string[], io: Stdio): Waiting<number> {
  const [format, ...args] = operands(words);
  if (format === undefined) throw new ShellError('usage: printf format [arg ...]');
  const { bytes, complaints, wrong } = printf(format, args);
  yield* writeBytes(io[1], bytes);
  for (const complaint of complaints) yield* writeText(io[2], `printf: ${complaint}\n`);
  if (wrong !== undefined) throw new ShellError(wrong);
  return complaints.length > 0 ? 1 : 0;
}
/** Of a command that has no options; '--' may come before them. */
function operands(words: readonly string[]): readonly string[] {
  const [first = ''] = words;
  if (first !== '--' && /^-./.test(first)) throw new ShellError(`Illegal option ${first}`);
  return words.slice(first === '--' ? 1 : 0);
}
function shift(shell: Shell, [by = '1']: readonly string[]): number {
  if (count(by) > shell.parameters.length) return 1;
  shell.parameters = shell.parameters.slice(count(by));
  return 0;
}
function* read(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const raw = args[0] === '-r';
  const names = raw ? args.slice(1) : args;
  let line = '';
  const kept: boolean[] = [];
  let ended = false;
  for (let more = true; more; ) {
    const { text, whole } = yield* readPart(io[0]);
    more = false;
    ended = !whole;
    for (let at = 0; at < text.length; at++) {
      const escaped = !raw && text[at] === '\\';
      if (escaped && at === text.length - 1) more = whole;
      else {
        line += text[escaped ? ++at : at];
        kept.push(escaped);
      }
    }
  }
  const into = names.length > 0 ? names : ['REPLY'];
  const fields = splitLine(line, kept, shell.ifs, into.length);
  for (const [i, name] of into.entries()) shell.assign(assignment('read', name)[0], fields[i] ?? '');
  return ended ? 1 : 0;
}
function* test(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const files: TestedFiles = {
    find: (path, follow) => shell.find(fromCwd(shell.cwd, path), follow),
    isTerminal: fd => io[fd as 0 | 1 | 2]?.kind === 'terminal',
  };
  return yield* attempt(() => (evaluateTest(args, files) ? 0 : 1));
}
function* bracket(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  if (args.at(-1) !== ']') throw new ShellError('missing ]');
  return yield* test(shell, args.slice(0, -1), io);
}
function leave(again: boolean): Builtin {
  return (shell, [levels = '1']) => {
    if (shell.loops === 0) return 0;
    shell.status = 0;
    throw new LeaveLoop(Math.min(shell.loops, Math.max(1, count(levels))), again);
  };
}
function* source(shell: Shell, [path]: readonly string[], io: Stdio): Waiting<number> {
  if (path === undefined) throw new XenError('EINVAL', 'the name of a file is missing');
  const file = yield* attempt(() => new OpenDiskFile(shell.system.mounts.find(fromCwd(shell.cwd, path))));
  try {
    return yield* shell.source(yield* readAll(file, MAX_SOURCE), io);
  } catch (error) {
    if (error instanceof ReturnFrom) return error.code;
    throw error;
  } finally {
    file.release();
  }
}
function* evaluate(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  return yield* shell.source(args.join(' '), io);
}

function* ulimit(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const words = args.filter(word => word !== '-v');
  if (words.some(word => !/^(\d+|unlimited)$/.test(word))) throw new XenError('EINVAL', 'only -v KIB is known');
  const [kib] = words;
  if (kib === undefined) {
    const { memoryLimit } = shell;
    yield* writeText(io[1], `${memoryLimit === undefined ? 'unlimited' : (memoryLimit * WASM_PAGE) / 1024}\n`);
    return 0;
  }
  const pages = kib === 'unlimited' ? undefined : Math.floor((Number(kib) * 1024) / WASM_PAGE);
  const most = shell.self.memoryLimit;
  // As with Linux's hard limit: what a shell was given itself it cannot give more of.
  if ((pages ?? Number.POSITIVE_INFINITY) > most) throw new XenError('EPERM', 'more than this shell may have itself');
  shell.memoryLimit = pages;
  return 0;
}
function* which(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  let status = 0;
  for (const name of args) {
    const found = yield* attempt(() => whereIs(shell, name));
    if (found === undefined) status = 1;
    else yield* writeText(io[1], `${found}\n`);
  }
  return status;
}
function whereIs(shell: Shell, name: string): string | undefined {
  if (BUILTINS.has(name)) return `${name}: of the shell`;
  const directories = (shell.variable('PATH') || DEFAULT_PATH).split(':');
  const paths = name.includes('/') ? [name] : directories.map(directory => `${directory || '.'}/${name}`);
  for (const path of paths.flatMap(path => [path, `${path}.wasm`])) {
    const file = shell.find(fromCwd(shell.cwd, path));
    file?.release();
    if (file?.type === 'file') return path;
  }
  return shell.system.exec.utilities.has(name) ? `${name}: of the kernel` : undefined;
}
function count(word: string): number {
  if (/^-?\d{1,9}$/.test(word)) return Number(word);
  throw new XenError('EINVAL', `${word}: not a number`);
}

/** An assignment before one of these stays, and no function takes their names. */
export const SPECIAL_BUILTINS: ReadonlySet<string> = new Set([
  ...[
    '.',
    ':',
    'break',
    'continue',
    'eval',
    'exec',
    'exit',
    'export',
    'readonly',
    'return',
    'set',
    'shift',
    'trap',
    'unset',
  ],
]);

export const BUILTINS: ReadonlyMap<string, Builtin> = new Map<string, Builtin>([
  [':', nothing],
  ['true', nothing],
  ['false', failure],
  ['cd', cd],
  ['pwd', pwd],
  ['echo', echo],
  ['exit', exit],
  ['export', exportNames],
  ['command', command],
  ['exec', exec],
  ['local', local],
  ['printf', print],
  ['readonly', readonlyNames],
  ['return', back],
  ['trap', trap],
  ['unset', unset],
  ['set', set],
  ['shift', shift],
  ['read', read],
  ['test', test],
  ['[', bracket],
  ['break', leave(false)],
  ['continue', leave(true)],
  ['.', source],
  ['source', source],
  ['eval', evaluate],
  ...JOB_BUILTINS,
  ['ulimit', ulimit],
  ['which', which],
  ['type', which],
]);
