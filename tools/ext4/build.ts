// libext2fs of e2fsprogs for WebAssembly, with the C of domu-kernel/fs/ext4: Debian's clang, lld and wasi-libc, and
// e2fsprogs' sources where they lie. Nothing of theirs is kept in this project.
import { execFile, spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { keptBuild } from '../kept-build.ts';
import type { SourcePackage } from './debian-source.ts';

const run = promisify(execFile);

export const E2FSPROGS: SourcePackage = {
  name: 'e2fsprogs',
  version: '1.47.0',
  suite: 'bookworm',
  sha256: '6667afde56eef0c6af26684974400e4d2288ea49e9441bf5e6229195d51a3578',
};
const ROOT = new URL(import.meta.url.endsWith('.ts') ? '../../' : '../', import.meta.url);
export const OUR_C = fileURLToPath(new URL('domu-kernel/fs/ext4', ROOT));
/** Where the shells of domains find it. */
export const INSTALLED = fileURLToPath(new URL('dist/ext4.wasm', ROOT));
const SYSROOT = '/usr/include/wasm32-wasi';
const LIBRARIES = '/usr/lib/wasm32-wasi';
const STACK = 1 << 20;
/** Bitmaps of large volumes, and what of a volume is being looked at. */
const MAX_MEMORY = 256 << 20;

/** What of libext2fs is wanted; the linker leaves out what nobody calls. */
const FILES = `alloc alloc_stats alloc_tables badblocks bb_inode bitmaps bitops blkmap64_ba blkmap64_rb blknum block bmap
  check_desc closefs crc16 csum dblist dir_iterate dirblock dirhash expanddir ext_attr extent fallocate fileio freefs
  gen_bitmap gen_bitmap64 get_num_dirs hashmap i_block icount ind_block inline inline_data inode io_manager link lookup
  mkdir mkjournal namei native newdir openfs orphan progress punch rbtree read_bb rw_bitmaps sha512 swapfs symlink
  unlink valid_blk version alloc_sb`;
const SIZES: Readonly<Record<string, number>> = { SHORT: 2, INT: 4, LONG: 4, LONG_LONG: 8 };
const ERROR_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_';

/** What is not installed here, if anything. */
export function whyNoCompiler(): string | undefined {
  if (!existsSync(SYSROOT)) return 'no wasi-libc here (apt-get install wasi-libc libclang-rt-dev-wasm32)';
  const { status } = spawnSync('clang', ['--version']);
  return status === 0 ? undefined : 'no clang here (apt-get install clang lld)';
}

/** Why this user cannot put it there, if so. */
export function whyNotInstallable(): string | undefined {
  try {
    accessSync(dirname(INSTALLED), constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return `${dirname(INSTALLED)}: ${code}: it is for whoever installed the package to do`;
  }
}

/** `source`: e2fsprogs, unpacked. `work`: a directory of ours, made and left. */
export async function buildExt4(source: string, work: string, out: string, signal?: AbortSignal): Promise<void> {
  const lib = join(source, 'lib');
  writeHeaders(join(lib, 'ext2fs'), work);
  const flags = [
    ...['--target=wasm32-wasi', '-nostdlibinc', '-isystem', SYSROOT, '-O2', '-ffunction-sections', '-fdata-sections'],
    ...[work, join(work, 'ext2fs'), OUR_C, lib, join(lib, 'ext2fs')].map(folder => `-I${folder}`),
  ];
  const ours = readdirSync(OUR_C).filter(file => file.endsWith('.c'));
  const units = [
    ...FILES.trim()
      .split(/\s+/)
      .map(name => ({ from: join(lib, 'ext2fs', `${name}.c`), flags: [...flags, '-w'] })),
    ...ours.map(file => ({ from: join(OUR_C, file), flags: [...flags, '-Wall', '-Werror'] })),
  ].map((unit, i) => ({ ...unit, to: join(work, `${i}.o`) }));
  const left = [...units];
  const compile = async (): Promise<void> => {
    for (let unit = left.pop(); unit; unit = left.pop())
      await clang([...unit.flags, '-c', unit.from, '-o', unit.to], signal);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, compile));
  const linking = [
    ...['--target=wasm32-wasi', '-nostartfiles', `-L${LIBRARIES}`],
    ...['--no-entry', '--gc-sections', '--strip-all', `--max-memory=${MAX_MEMORY}`].map(flag => `-Wl,${flag}`),
    ...[`-Wl,-z,stack-size=${STACK}`, '-o', out, ...units.map(({ to }) => to)],
  ];
  await clang(linking, signal);
}

/** Whole or not at all. The same one stays: hosts that run may read the file that was there when they began, no other. */
export function installExt4(built: string): void {
  const folder = dirname(INSTALLED);
  for (const path of new Set([folder, keptBuild(folder)].map(one => join(one, basename(INSTALLED))))) {
    if (existsSync(path) && readFileSync(path).equals(readFileSync(built))) continue;
    const beside = `${path}.${process.pid}`;
    copyFileSync(built, beside);
    renameSync(beside, path);
  }
}

/** What e2fsprogs' own build makes of its templates. */
function writeHeaders(ext2fs: string, work: string): void {
  mkdirSync(join(work, 'ext2fs'), { recursive: true });
  const put = (name: string, text: string): void => writeFileSync(join(work, 'ext2fs', name), text);
  const types = readFileSync(join(ext2fs, 'ext2_types.h.in'), 'utf8');
  put('ext2_types.h', types.replace(/@SIZEOF_(\w+)@/g, (_, type) => String(SIZES[type])).replace(/@\w+@/g, ''));
  const table = readFileSync(join(ext2fs, 'ext2_err.et.in'), 'utf8');
  const errors = [...table.matchAll(/^ec\s+(\w+),\s*"((?:[^"\\]|\\.)*)"/gm)];
  const base = Array.from('ext2').reduce((n, letter) => n * 64 + 1 + ERROR_LETTERS.indexOf(letter), 0) * 256;
  const defines = errors.map(([, name], i) => `#define ${name} (${(base % 2 ** 32) + i}L)\n`);
  put('ext2_err.h', `#include <et/com_err.h>\n${defines.join('')}`);
  put('messages.h', errors.map(([, name, text]) => `{${name}, "${text}"},\n`).join(''));
}

async function clang(args: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  await run('clang', args, { signal }).catch(error => {
    throw new Error(`clang ${args.join(' ')}\n${(error as { stderr?: string }).stderr ?? error}`);
  });
}
