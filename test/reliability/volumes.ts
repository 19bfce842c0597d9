// A kind of volume that guests are killed on, and what a tool of the host says of its images; FAT.
import { FatVolume } from '../../domu-kernel/fs/fat-volume.ts';
import type { LabelledVolume } from '../../domu-kernel/guest-api/volume-files.ts';
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

export const fatVolumes: VolumeKind = {
  name: 'FAT',
  make: bytes => formattedDisk(bytes).bytes,
  mount: (image, log) => FatVolume.mount(new MemoryDisk(image), { ...mountOptions, log }),
  look: path => (fsckMissing ? undefined : fsck('-n', path)),
};
