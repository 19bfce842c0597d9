// ext4 as guests are killed on it.
import { readFileSync } from 'node:fs';
import { e2fsck, LAYOUTS, madeExt4, mountedExt4, whyNoExt4 } from '../support/ext4.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import type { VolumeKind } from './volumes.ts';

/** Where it can be built. */
export const ext4Volumes: VolumeKind | undefined =
  whyNoExt4 === undefined
    ? {
        name: 'ext4',
        make: bytes => madeExt4(LAYOUTS.ext4, bytes),
        mount: (image, log) => mountedExt4(new MemoryDisk(image), { log }),
        look(path) {
          const seen = e2fsck(new Uint8Array(readFileSync(path)));
          // It looks past the journal then.
          return /skipping journal recovery/.test(seen) ? 'the journal is to be recovered' : seen;
        },
      }
    : undefined;
