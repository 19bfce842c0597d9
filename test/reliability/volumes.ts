// The kinds of volumes that guests are killed on, and what a tool of the host says of their images.
import { readFileSync } from 'node:fs';
import { FatVolume } from '../../domu-kernel/fs/fat-volume.ts';
import type { LabelledVolume } from '../../domu-kernel/guest-api/volume-files.ts';
import { e2fsck, LAYOUTS, madeExt4, mountedExt4, whyNoExt4 } from '../support/ext4.ts';
import { formattedDisk, mountOptions } from '../support/fatfs.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import { fsck, fsckMissing } from './fsck.ts';

export interface VolumeKind {
  readonly name: string;
  make(bytes: number): Uint8Array;
  /** As the next guest does, which puts in order what it finds; `log` hears of it. */
  mount(image: Uint8Array, log: (line: string) => void): LabelledVolume;
  /** '' for an image with nothing to repair; undefined where nobody can be asked. */
  look(path: string): string | undefined;
}

const fat: VolumeKind = {
  name: 'FAT',
  make: bytes => formattedDisk(bytes).bytes,
  mount: (image, log) => FatVolume.mount(new MemoryDisk(image), { ...mountOptions, log }),
  look: path => (fsckMissing ? undefined : fsck('-n', path)),
};
const ext4: VolumeKind = {
  name: 'ext4',
  make: bytes => madeExt4(LAYOUTS.ext4, bytes),
  mount: (image, log) => mountedExt4(new MemoryDisk(image), { log }),
  look(path) {
    const seen = e2fsck(new Uint8Array(readFileSync(path)));
    // It looks past the journal then.
    return /skipping journal recovery/.test(seen) ? 'the journal is to be recovered' : seen;
  },
};
/** ext4 where it can be built. */
export const volumeKinds: readonly VolumeKind[] = whyNoExt4 === undefined ? [fat, ext4] : [fat];
