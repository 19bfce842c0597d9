// command, type, which: what a name is, before it is run.
import { DEFAULT_PATH } from '../process/exec.ts';
import { attempt, type Waiting, writeText } from '../process/transfer.ts';
import type { Stdio } from '../userland.ts';
import { BUILTINS, type Builtin, SPECIAL_BUILTINS } from './builtins.ts';
import { builtinOptions } from './options.ts';
import { RESERVED } from './parser.ts';
import { fromCwd } from './paths.ts';
import type { Shell } from './shell.ts';

/** Without functions of the name; -v and -V: only what it would be. */
function* command(shell: Shell, words: readonly string[], io: Stdio): Waiting<number> {
  const { options, args } = builtinOptions(words, 'pvV');
  const [name] = args;
  if (name === undefined) return 0;
  if (options.has('V')) return yield* type(shell, args, io);
  if (options.has('v')) {
    const known = RESERVED.has(name) || BUILTINS.has(name) || shell.functions.has(name);
    const found = known ? name : yield* attempt(() => whereIs(shell, name));
    if (found === undefined) return 127;
    yield* writeText(io[1], `${found}\n`);
    return 0;
  }
  yield* shell.run(args, { functions: false });
  return shell.status;
}
function* type(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  let status = 0;
  for (const name of args) {
    const what = yield* attempt(() => whatIs(shell, name));
    if (what === undefined) status = 127;
    yield* writeText(io[1], `${name}${what === undefined ? ': not found' : ` is ${what}`}\n`);
  }
  return status;
}
function* which(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  let status = 0;
  for (const name of args) {
    const own = BUILTINS.has(name);
    const found = own ? `${name}: of the shell` : yield* attempt(() => whereIs(shell, name));
    if (found === undefined) status = 1;
    else yield* writeText(io[1], `${found}${found === name && !name.includes('/') ? ': of the kernel' : ''}\n`);
  }
  return status;
}
function whatIs(shell: Shell, name: string): string | undefined {
  if (RESERVED.has(name)) return 'a shell keyword';
  if (SPECIAL_BUILTINS.has(name)) return 'a special shell builtin';
  if (shell.functions.has(name)) return 'a shell function';
  if (BUILTINS.has(name)) return 'a shell builtin';
  const found = whereIs(shell, name);
  return found === name && !name.includes('/') ? "a utility of the kernel's" : found;
}
/** The path of a program, or the name of one of the kernel's own. */
function whereIs(shell: Shell, name: string): string | undefined {
  const inPath = name.includes('/') ? [name] : [...pathsOf(shell, name)];
  for (const path of inPath.flatMap(path => [path, `${path}.wasm`])) if (isFile(shell, path)) return path;
  return shell.system.exec.utilities.has(name) ? name : undefined;
}
/** Where a name may be, by PATH. */
export function* pathsOf(shell: Shell, name: string): Generator<string> {
  for (const directory of (shell.variable('PATH') || DEFAULT_PATH).split(':')) yield `${directory || '.'}/${name}`;
}
export function isFile(shell: Shell, path: string): boolean {
  const file = shell.find(fromCwd(shell.cwd, path));
  file?.release();
  return file?.type === 'file';
}

export const NAME_BUILTINS: readonly (readonly [name: string, builtin: Builtin])[] = [
  ['command', command],
  ['type', type],
  ['which', which],
];
