// FatFs compiled, and volumes on memory disks.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileFatFs } from '../../domu-kernel/fs/fat-core.ts';
import { FatVolume, type MountOptions } from '../../domu-kernel/fs/fat-volume.ts';
import { MemoryDisk } from './memory-disk.ts';

const path = fileURLToPath(new URL('../../node_modules/fatfs-wasm/ff.wasm', import.meta.url));
export const fatFsModule = compileFatFs(readFileSync(path));

/** The time in every file system under test. */
export const TEST_TIME = Date.UTC(2026, 10, 21, 9, 30, 12);
export const mountOptions: MountOptions = { module: fatFsModule, wallMs: () => TEST_TIME };

export function formattedDisk(bytes = 4 << 20, label = 'TEST'): MemoryDisk {
  const disk = new MemoryDisk(bytes);
  FatVolume.format(disk, mountOptions, label);
  disk.reads = disk.writes = disk.flushes = 0;
  return disk;
}
export const mounted = (disk: MemoryDisk): FatVolume => FatVolume.mount(disk, mountOptions);
