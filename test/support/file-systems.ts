// Every file system of a guest, empty and writable, for tests that hold for all of them.
import { onTestFinished } from 'vitest';
import { unpackArchive } from '../../domu-kernel/fs/archive.ts';
import type { FileSystem } from '../../domu-kernel/fs/file-system.ts';
import { type PageCounter, Tmpfs } from '../../domu-kernel/fs/tmpfs.ts';
import { tarOf } from './archives.ts';
import { emptyFat, type FatBits, mounted, TEST_TIME } from './fatfs.ts';
import { SharedFolderRig } from './shared-folder-rig.ts';

export interface Made {
  readonly fs: FileSystem;
  /** As after a restart of the guest; undefined where nothing outlives it. */
  readonly remount?: () => FileSystem;
  /** That a tool of the host finds it in order. The end of it; of a test, where nobody asks before. */
  readonly check?: () => void;
}
export interface Kind {
  readonly name: string;
  readonly make: () => Made;
  readonly symlinks: boolean;
  readonly links: boolean;
  readonly foldsCase: boolean;
  /** Has an end that a test can reach. */
  readonly bounded: boolean;
  /** What times are kept in. */
  readonly mtimeUnitNs: bigint;
}

/** A counter that has `pages`. */
export function pageCounter(pages: number): PageCounter & { left: number } {
  return {
    left: pages,
    take(count) {
      if (count > this.left) return false;
      this.left -= count;
      return true;
    },
    give(count) {
      this.left += count;
    },
  };
}
export const wallNs = (): bigint => BigInt(TEST_TIME) * 1_000_000n;
export const tmpfs = (limit = 1 << 20): Tmpfs => new Tmpfs({ pages: pageCounter(4096), limit, wallNs });

const fat = (bits: FatBits): Kind => ({
  name: `FAT${bits}`,
  make() {
    const disk = emptyFat(bits);
    return { fs: mounted(disk), remount: () => mounted(disk) };
  },
  symlinks: false,
  links: false,
  foldsCase: true,
  bounded: true,
  mtimeUnitNs: 2_000_000_000n,
});
export const kinds: readonly Kind[] = [
  {
    name: 'tmpfs',
    make: () => ({ fs: tmpfs() }),
    symlinks: true,
    links: true,
    foldsCase: false,
    bounded: true,
    mtimeUnitNs: 1n,
  },
  {
    name: '9p',
    make() {
      const shared = new SharedFolderRig();
      onTestFinished(() => shared.end());
      return { fs: shared.mount(), remount: () => shared.mount() };
    },
    symlinks: true,
    links: true,
    foldsCase: false,
    bounded: false,
    mtimeUnitNs: 1n,
  },
  {
    name: 'an archive',
    make() {
      const fs = tmpfs();
      unpackArchive(tarOf([{ name: './', type: '5' }]), fs.root);
      return { fs };
    },
    symlinks: true,
    links: true,
    foldsCase: false,
    mtimeUnitNs: 1n,
    bounded: true,
  },
  fat(12),
  fat(16),
  fat(32),
];
