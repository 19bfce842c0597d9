// The ext4 driver compiled, and volumes that mke2fs made, on memory disks.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileExt4 } from '../../domu-kernel/fs/ext4/core.ts';
import { type Ext4Options, Ext4Volume } from '../../domu-kernel/fs/ext4/volume.ts';
import type { SectorDevice } from '../../domu-kernel/fs/sector-device.ts';
import type { WasmModule } from '../../domu-kernel/process/web-assembly.ts';
import { TEST_TIME } from './fatfs.ts';
import { MemoryDisk } from './memory-disk.ts';
import { ext4Wasm } from './programs/ext4.ts';
import { Unavailable } from './programs/unavailable.ts';

const SBIN = '/usr/sbin';
const toolsMissing = ['mke2fs', 'e2fsck', 'debugfs'].every(tool => existsSync(join(SBIN, tool)))
  ? undefined
  : 'no mke2fs, e2fsck and debugfs here (Debian: e2fsprogs)';

async function compiled(): Promise<WasmModule | string> {
  if (toolsMissing !== undefined) return toolsMissing;
  try {
    return compileExt4(readFileSync(await ext4Wasm()));
  } catch (error) {
    if (error instanceof Unavailable) return error.message;
    throw error;
  }
}
const built = await compiled();
/** Why there is no ext4 here, if there is none. */
export const whyNoExt4 = typeof built === 'string' ? built : undefined;

export function ext4Options(more: Partial<Ext4Options> = {}): Ext4Options {
  if (typeof built === 'string') throw new Error(built);
  return { module: built, wallNs: () => BigInt(TEST_TIME) * 1_000_000n, ...more };
}

/** What mke2fs is told, by what it is called here. */
export const LAYOUTS = {
  ext4: ['-t', 'ext4', '-b', '4096'],
  'ext4 of 1 KiB blocks': ['-t', 'ext4', '-b', '1024'],
  'ext4 with inline data': ['-t', 'ext4', '-b', '4096', '-O', 'inline_data,metadata_csum_seed'],
  'ext4 without checksums': ['-t', 'ext4', '-b', '4096', '-O', '^metadata_csum,^64bit'],
  ext3: ['-t', 'ext3', '-b', '4096'],
  ext2: ['-t', 'ext2', '-b', '4096'],
} as const;
export type Layout = keyof typeof LAYOUTS;

/** In a file of a directory that is gone afterwards. */
export function withFile<T>(bytes: Uint8Array | undefined, act: (path: string, folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-ext4-'));
  try {
    const path = join(folder, 'image');
    if (bytes) writeFileSync(path, bytes);
    return act(path, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
function run(tool: string, args: readonly string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(join(SBIN, tool), args, { encoding: 'utf8', maxBuffer: 64 << 20 });
  return { status, text: `${stdout}${stderr}` };
}
/** An image by mke2fs; `from`: a directory whose files are in it. */
export function madeExt4(options: readonly string[], bytes: number, from?: string): Uint8Array {
  return withFile(undefined, path => {
    const seed = ['-U', '6b1b1e28-5e2c-4a4e-9d2b-0d1f5c3c7a11', '-E', 'hash_seed=6b1b1e28-5e2c-4a4e-9d2b-0d1f5c3c7a12'];
    const files = from === undefined ? [] : ['-d', from];
    const { status, text } = run('mke2fs', ['-q', '-F', ...seed, ...options, ...files, path, `${bytes >> 10}k`]);
    if (status !== 0) throw new Error(`mke2fs: ${text}`);
    return new Uint8Array(readFileSync(path));
  });
}
const empty = new Map<Layout, Uint8Array>();
export function emptyExt4(layout: Layout): MemoryDisk {
  let image = empty.get(layout);
  image ??= madeExt4(LAYOUTS[layout], 8 << 20);
  empty.set(layout, image);
  return new MemoryDisk(image.slice());
}
export const mountedExt4 = (disk: SectorDevice, more: Partial<Ext4Options> = {}): Ext4Volume =>
  Ext4Volume.mount(disk, ext4Options(more));

/** What `e2fsck -fn` complains of; '' when there is nothing. With '-p' or '-fy' it repairs `image`, in place. */
export function e2fsck(image: Uint8Array, option: '-fn' | '-p' | '-fy' | '-fyD' = '-fn'): string {
  return withFile(image, path => {
    const { status, text } = run('e2fsck', [option, path]);
    if (option !== '-fn') image.set(readFileSync(path));
    return status === 0 ? '' : `status ${status}\n${text}`;
  });
}
/** What debugfs says to a command. */
export function debugfs(image: Uint8Array, ...commands: readonly string[]): string {
  return withFile(image, (path, folder) => {
    const script = join(folder, 'commands');
    writeFileSync(script, `${commands.join('\n')}\n`);
    const { text } = run('debugfs', ['-w', '-f', script, path]);
    image.set(readFileSync(path));
    return text;
  });
}
