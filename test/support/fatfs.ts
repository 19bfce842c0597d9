// FatFs compiled, and volumes on memory disks.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileFatFs, FatCore } from '../../domu-kernel/fs/fat-core.ts';
import { FatVolume, type MountOptions } from '../../domu-kernel/fs/fat-volume.ts';
import { type LabelledVolume, VolumeFiles } from '../../domu-kernel/guest-api/volume-files.ts';
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

const files = new WeakMap<LabelledVolume, VolumeFiles>();
/** By paths, as guest programs have them. */
export function filesOn(volume: LabelledVolume): VolumeFiles {
  const known = files.get(volume) ?? new VolumeFiles(volume);
  files.set(volume, known);
  return known;
}

const FM_FAT = 1;
const FM_FAT32 = 2;
const FM_SFD = 8;
const CLUSTER = 512;
/** The smallest of each kind with some room. */
const SIZES = { 12: 1 << 20, 16: 4 << 20, 32: 34 << 20 } as const;
export type FatBits = keyof typeof SIZES;
const empty = new Map<FatBits, Uint8Array>();

export function emptyFat(bits: FatBits): MemoryDisk {
  let image = empty.get(bits);
  if (!image) {
    const disk = new MemoryDisk(SIZES[bits]);
    const core = new FatCore(fatFsModule, disk, mountOptions.wallMs);
    const options = core.alloc(16);
    core.view.setUint8(options, (bits === 32 ? FM_FAT32 : FM_FAT) | FM_SFD);
    core.view.setUint8(options + 1, 2);
    core.view.setUint32(options + 12, CLUSTER, true);
    core.call('format', () => core.x.f_mkfs(core.putString(core.path, ''), options, core.buffer, 65536));
    image = disk.bytes;
    empty.set(bits, image);
  }
  return new MemoryDisk(image.slice());
}
