// Commands that are the shell's own: they change it, or need what it knows.
import { XenError } from '#pvbus';
import { attempt, readAll, type Waiting, writeBytes, writeText } from '../process/transfer.ts';
import { WASM_PAGE } from '../process/web-assembly.ts';
import type { Stdio } from '../userland.ts';
import { OpenDiskFile } from '../wasi/open-vnode.ts';
import { JOB_BUILTINS } from './job-builtins.ts';
import { ExitShell, LeaveLoop, ReturnFrom } from './leaving.ts';
import { isFile, NAME_BUILTINS, pathsOf } from './name-builtins.ts';
import { builtinOptions, count } from './options.ts';
import { absolutePath, fromCwd } from './paths.ts';
import { printf } from './printf.ts';
import type { Shell } from './shell.ts';
import { SIGNAL_BUILTINS } from './signal-builtins.ts';
import { ShellError } from './syntax.ts';
import { evaluateTest, type TestedFiles } from './test.ts';
import { VARIABLE_BUILTINS } from './variable-builtins.ts';

/** The status it returns is the command's. */
export type Builtin = (shell: Shell, args: readonly string[], io: Stdio) => Waiting<number> | number;

const MAX_SOURCE = 2 ** 20;

const nothing = (): number => 0;
const failure = (): number => 1;
/** -P and -L say the same here: the directory's name is the one without '..'. */
function* cd(shell: Shell, words: readonly string[], io: Stdio): Waiting<number> {
  const [to = shell.variable('HOME')] = builtinOptions(words, 'LP').args;
  const named = to === '-' ? shell.variable('OLDPWD') || shell.cwd : to;
  const near = /^\.{0,2}(\/|$)/.test(named) ? [] : (shell.variables.get('CDPATH') ?? '').split(':').filter(Boolean);
  const { path, cwd } = yield* attempt(() => {
    const inPath = near.map(directory => `${directory}/${named}`).find(path => isDirectory(shell, path));
    const path = inPath ?? named;
    const cwd = absolutePath(shell.cwd, path);
    if (!isDirectory(shell, cwd)) {
      shell.system.mounts.find(cwd).release();
      throw new XenError('ENOTDIR', `${path}: it is no directory`);
    }
    return { path: inPath, cwd };
  });
  shell.assign('OLDPWD', shell.cwd);
  shell.cwd = cwd;
  if (to === '-' || path !== undefined) yield* writeText(io[1], `${cwd}\n`);
  return 0;
}
function isDirectory(shell: Shell, path: string): boolean {
  const there = shell.find(fromCwd(shell.cwd, path));
  there?.release();
  return there?.type === 'directory';
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
function* exit(shell: Shell, [code]: readonly string[]): Waiting<number> {
  if (yield* shell.warns()) return 0;
  throw new ExitShell(code === undefined ? (shell.statusBefore ?? shell.status) : count(code) & 0xff);
}
function back(shell: Shell, [code]: readonly string[]): never {
  throw new ReturnFrom(code === undefined ? shell.status : count(code) & 0xff);
}
/** Alone its redirections are what it does. */
function exec(shell: Shell, args: readonly string[]): number {
  if (args.length > 0) throw shell.replacement(args);
  return 0;
}
function* print(_shell: Shell, words: readonly string[], io: Stdio): Waiting<number> {
  const [format, ...args] = builtinOptions(words).args;
  if (format === undefined) throw new ShellError('usage: printf format [arg ...]');
  const { bytes, complaints, wrong } = printf(format, args);
  yield* writeBytes(io[1], bytes);
  for (const complaint of complaints) yield* writeText(io[2], `printf: ${complaint}\n`);
  if (wrong !== undefined) throw new ShellError(wrong);
  return complaints.length > 0 ? 1 : 0;
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
    const wanted = count(levels);
    if (wanted < 1) throw new ShellError(`Illegal number: ${levels}`);
    if (shell.loops === 0) return 0;
    shell.status = 0;
    throw new LeaveLoop(Math.min(shell.loops, wanted), again);
  };
}
function* source(shell: Shell, args: readonly string[]): Waiting<number> {
  const [name] = builtinOptions(args).args;
  if (name === undefined) return 0;
  const file = yield* attempt(() => {
    const path = name.includes('/') ? name : [...pathsOf(shell, name)].find(path => isFile(shell, path));
    if (path === undefined) throw new XenError('ENOENT', `${name}: not found`);
    return new OpenDiskFile(shell.system.mounts.find(fromCwd(shell.cwd, path)));
  });
  try {
    return yield* shell.source(yield* readAll(file, MAX_SOURCE));
  } catch (error) {
    if (error instanceof ReturnFrom) return error.code;
    throw error;
  } finally {
    file.release();
  }
}
function* evaluate(shell: Shell, args: readonly string[]): Waiting<number> {
  return yield* shell.source(args.join(' '));
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
    'local',
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
  ['exec', exec],
  ['printf', print],
  ['return', back],
  ['test', test],
  ['[', bracket],
  ['break', leave(false)],
  ['continue', leave(true)],
  ['.', source],
  ['source', source],
  ['eval', evaluate],
  ...VARIABLE_BUILTINS,
  ...NAME_BUILTINS,
  ...JOB_BUILTINS,
  ...SIGNAL_BUILTINS,
  ['ulimit', ulimit],
]);
