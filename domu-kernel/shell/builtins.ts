// Commands that are the shell's own: they change it, or need what it knows.
import { XenError } from '#pvbus';
import { DEFAULT_PATH } from '../process/exec.ts';
import { signalNamed } from '../process/signals.ts';
import { attempt, readAll, readLine, type Waiting, writeText } from '../process/transfer.ts';
import { Wait, YIELD } from '../process/wait.ts';
import { WASM_PAGE } from '../process/web-assembly.ts';
import type { Stdio } from '../userland.ts';
import { OpenDiskFile } from '../wasi/open-vnode.ts';
import { describe, type Job } from './jobs.ts';
import { parse } from './parser.ts';
import { absolutePath, fromCwd } from './paths.ts';
import { ExitShell, LeaveLoop, type Shell } from './shell.ts';
import { ShellError } from './syntax.ts';
import { evaluateTest } from './test.ts';

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
  shell.variables.set('OLDPWD', shell.cwd);
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
function* exportNames(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  if (args.length === 0) {
    for (const name of [...shell.exported].sort()) yield* writeText(io[1], `${name}=${shell.variable(name)}\n`);
  }
  for (const word of args) {
    const [, name, value] = /^([A-Za-z_]\w*)(?:=([\s\S]*))?$/.exec(word) ?? [];
    if (name === undefined) throw new XenError('EINVAL', `export ${word}: not a name`);
    if (value !== undefined) shell.variables.set(name, value);
    shell.exported.add(name);
  }
  return 0;
}
function unset(shell: Shell, args: readonly string[]): number {
  for (const name of args) {
    shell.variables.delete(name);
    shell.exported.delete(name);
  }
  return 0;
}
function* set(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  if (args[0] === '--') {
    shell.parameters = args.slice(1);
    return 0;
  }
  if (args.length > 0) throw new XenError('EINVAL', `set ${args[0]}: only 'set -- WORD...'`);
  for (const [name, value] of [...shell.variables].sort()) yield* writeText(io[1], `${name}=${value}\n`);
  return 0;
}
function shift(shell: Shell, [by = '1']: readonly string[]): number {
  if (count(by) > shell.parameters.length) return 1;
  shell.parameters = shell.parameters.slice(count(by));
  return 0;
}
function* read(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const names = args.filter(word => word !== '-r');
  const line = yield* readLine(io[0]);
  const words = (line ?? '').trim();
  const last = names.length - 1;
  let rest = words;
  (names.length > 0 ? names : ['REPLY']).forEach((name, i) => {
    const [word = ''] = i < last ? (/^\S*/.exec(rest) ?? []) : [rest];
    shell.variables.set(name, word);
    rest = rest.slice(word.length).trimStart();
  });
  return line === undefined ? 1 : 0;
}
function* test(shell: Shell, args: readonly string[]): Waiting<number> {
  return yield* attempt(() => (evaluateTest(args, path => shell.find(fromCwd(shell.cwd, path))) ? 0 : 1));
}
function* bracket(shell: Shell, args: readonly string[]): Waiting<number> {
  if (args.at(-1) !== ']') throw new ShellError("[: no ']' at its end");
  return yield* test(shell, args.slice(0, -1));
}
function leave(again: boolean): Builtin {
  return (_shell, [levels = '1']) => {
    throw new LeaveLoop(Math.max(1, count(levels)), again);
  };
}
function* source(shell: Shell, [path]: readonly string[], io: Stdio): Waiting<number> {
  if (path === undefined) throw new XenError('EINVAL', 'the name of a file is missing');
  const file = yield* attempt(() => new OpenDiskFile(shell.system.mounts.find(fromCwd(shell.cwd, path))));
  try {
    return yield* shell.list(parse(yield* readAll(file, MAX_SOURCE)), io);
  } finally {
    file.release();
  }
}
function* evaluate(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  return yield* shell.list(parse(args.join(' ')), io);
}

// ---- jobs ----

function* jobs(shell: Shell, _args: readonly string[], io: Stdio): Waiting<number> {
  for (const job of shell.jobs.list()) {
    const state = job.update(shell.system.processes);
    yield* writeText(io[1], `${describe(job, state)}\n`);
    job.told = state;
    if (state === 'done') shell.jobs.remove(job);
  }
  return 0;
}
function jobOf(shell: Shell, word: string | undefined): Job {
  const job = shell.jobs.find(word);
  if (job === undefined) throw new XenError('ESRCH', `${word ?? 'current'}: no such job`);
  return job;
}
function* fg(shell: Shell, [word]: readonly string[], io: Stdio): Waiting<number> {
  const job = jobOf(shell, word);
  yield* writeText(io[1], `${job.text}\n`);
  job.told = 'running';
  shell.system.terminal.foreground = job.pgid;
  shell.system.processes.killGroup(job.pgid, 'SIGCONT');
  return yield* shell.foreground(job, io);
}
function* bg(shell: Shell, [word]: readonly string[], io: Stdio): Waiting<number> {
  const job = jobOf(shell, word);
  job.told = 'running';
  shell.system.processes.killGroup(job.pgid, 'SIGCONT');
  yield* writeText(io[1], `[${job.id}] ${job.text} &\n`);
  return 0;
}
function* wait(shell: Shell, args: readonly string[]): Waiting<number> {
  const { processes } = shell.system;
  const named = args.map(word => shell.jobs.ofProcess(Number(word)) ?? jobOf(shell, word));
  let status = 0;
  for (const job of args.length > 0 ? named : [...shell.jobs.list()]) {
    while (job.update(processes) === 'running') yield new Wait([shell.self.childChanged]);
    if (job.update(processes) === 'done') shell.jobs.remove(job);
    status = args.length > 0 ? job.number : 0;
  }
  return status;
}
function* kill(shell: Shell, args: readonly string[]): Waiting<number> {
  const { processes } = shell.system;
  const named = /^-(?:s)?(.*)$/.exec(args[0] ?? '')?.[1];
  const spelled = named === '' ? args[1] : named;
  const signal = signalNamed(spelled ?? 'SIGTERM');
  if (signal === undefined && spelled !== '0') throw new XenError('EINVAL', `${spelled}: no such signal`);
  const targets = args.slice(named === undefined ? 0 : named === '' ? 2 : 1);
  if (targets.length === 0) throw new XenError('EINVAL', 'whom?');
  for (const target of targets) {
    const pid = Number(target);
    if (target.startsWith('%')) {
      if (signal) processes.killGroup(jobOf(shell, target).pgid, signal);
      continue;
    }
    const process = Number.isInteger(pid) ? processes.get(pid) : undefined;
    if (process === undefined) throw new XenError('ESRCH', `${target}: no such process`);
    if (signal) processes.kill(process, signal);
  }
  // What it has sent to itself comes before what follows.
  if (shell.self.pending.length > 0) yield YIELD;
  return 0;
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

export const BUILTINS: ReadonlyMap<string, Builtin> = new Map<string, Builtin>([
  [':', nothing],
  ['true', nothing],
  ['false', failure],
  ['cd', cd],
  ['pwd', pwd],
  ['echo', echo],
  ['exit', exit],
  ['export', exportNames],
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
  ['jobs', jobs],
  ['fg', fg],
  ['bg', bg],
  ['wait', wait],
  ['kill', kill],
  ['ulimit', ulimit],
  ['which', which],
  ['type', which],
]);
