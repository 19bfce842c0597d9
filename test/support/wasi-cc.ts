// C compiled for WASI preview1 by Debian's clang and wasi-libc (packages clang, lld, wasi-libc,
// libclang-rt-dev-wasm32). What is built is kept in the cache of `cached-build.ts`:
//
//   const program = await compileWasi('test/wasi/path-open.c');            // the path of a .wasm
//   const others = await compileWasi(['a.c', 'b.c'], { flags: ['-O2'] });
//
// `whyNoWasi()` says what is missing, for test.skipIf. Sources may use what `programs/posix/` adds to wasi-libc
// of 2022 (setjmp, names without a meaning here) if they ask for it by `posix`.
import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cachedBuild, hashOf } from './cached-build.ts';
import { Unavailable } from './programs/unavailable.ts';

const run = promisify(execFile);
const SYSROOT = '/usr/include/wasm32-wasi';
const POSIX = fileURLToPath(new URL('programs/posix', import.meta.url));
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** What a checkout is called in programs and their names: one that was compiled in another checkout is as good. */
const ANY_ROOT = '/xenolith/';
const MAX_OUTPUT = 64 << 20;

export interface WasiOptions {
  /** For the compiler and the linker: `-O2`, `-DX`, `-I…`, `-lm`; before the sources. */
  readonly flags?: readonly string[];
  /** Names of POSIX that are not in wasi-libc; `setjmp` makes a module with exceptions (the legacy encoding). */
  readonly posix?: boolean;
  readonly setjmp?: boolean;
  /** Who knows what the sources are says so; else they are preprocessed, and the result is the key. */
  readonly key?: string;
}

/** What is not installed here, if anything. */
export function whyNoWasi(): string | undefined {
  if (!existsSync(SYSROOT)) return 'no wasi-libc here (apt-get install wasi-libc libclang-rt-dev-wasm32)';
  return version() === undefined ? 'no clang here (apt-get install clang lld)' : undefined;
}

let known: string | undefined;
function version(): string | undefined {
  known ??= spawnSync('clang', ['--version'], { encoding: 'utf8' }).stdout?.split('\n')[0];
  return known;
}

/** The path of the program; built if it is not kept. Throws Unavailable, or an error with what clang said. */
export async function compileWasi(sources: string | readonly string[], options: WasiOptions = {}): Promise<string> {
  const missing = whyNoWasi();
  if (missing !== undefined) throw new Unavailable(missing);
  const files = typeof sources === 'string' ? [sources] : sources;
  const added = [join(POSIX, 'posix.c'), ...(options.setjmp ? [join(POSIX, 'setjmp.c')] : [])];
  const all = options.posix || options.setjmp ? [...files, ...added] : files;
  const flags = [...flagsOf(options), ...(options.flags ?? [])];
  const given = [...flags, options.key ?? ''].map(text => text.replaceAll(ROOT, ANY_ROOT));
  const key = hashOf([version() ?? '', ...given, await contentOf(all, flags, options.key)]);
  return cachedBuild(`${key}.wasm`, async out => {
    await clang([...flags, ...all, '-o', out]);
  });
}

function flagsOf(options: WasiOptions): string[] {
  const target = ['--target=wasm32-wasi', '-nostdlibinc', ...(options.posix ? ['-isystem', POSIX] : [])];
  const exceptions = ['-mexception-handling', '-mllvm', '-wasm-enable-sjlj', '-isystem', POSIX];
  return [
    ...target,
    ...['-isystem', SYSROOT],
    `-ffile-prefix-map=${ROOT}=${ANY_ROOT}`,
    ...(options.posix ? ['-include', 'posix.h'] : []),
    ...(options.setjmp ? exceptions : []),
  ];
}

/** Preprocessed text holds every header; our own small sources are always looked at. */
async function contentOf(files: readonly string[], flags: readonly string[], key: string | undefined): Promise<string> {
  const ours = key === undefined ? files : files.filter(file => file.startsWith(POSIX));
  if (ours.length === 0) return '';
  const compiler = flags.filter(flag => !flag.startsWith('-l') && !flag.startsWith('-Wl,'));
  return hashOf([await clang([...compiler, '-E', '-P', ...ours])]);
}

async function clang(args: readonly string[]): Promise<string> {
  const { stdout } = await run('clang', args, { maxBuffer: MAX_OUTPUT }).catch(error => {
    throw new Error(`clang ${args.join(' ')}\n${(error as { stderr?: string }).stderr ?? error}`);
  });
  return stdout;
}
