// Pieces of memory that are written to a disk together, by both ends in one thread.
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { type DiskImage, RawFile } from '../../../../dom0/backends/blkback/disk-image.ts';
import type { Piece } from '../../../../domu-kernel/block-device.ts';
import { Partition } from '../../../../domu-kernel/fs/partitions.ts';
import { BlkRig, ImageFile } from '../../../support/blk-rig.ts';
import { seeded } from '../../../support/random.ts';

const SECTORS = 4096;
const files: ImageFile[] = [];
afterEach(() => {
  for (const file of files.splice(0)) file.remove();
});
function connected(rig = new BlkRig(), maxSegments = 256) {
  const image = new ImageFile(SECTORS * 512);
  files.push(image);
  return { image, ...rig.guest().connect(image, { maxSegments }) };
}
const piece = (sector: number, count: number, value: number): Piece => ({
  sector,
  bytes: new Uint8Array(count * 512).fill(value),
});

describe('pieces that are written together', () => {
  it('are one request where they are neighbours, and go out with one notification', () => {
    const { disk, worker, image } = connected();
    const before = { ...worker.stats };
    disk.writeAll([piece(8, 8, 1), piece(16, 8, 2), piece(24, 1, 3), piece(100, 8, 4), piece(200, 8, 5)]);
    expect(worker.stats.requests - before.requests).toBe(3);
    expect(worker.stats.notified - before.notified).toBe(1);
    const bytes = readFileSync(image.path);
    expect([7, 8, 16, 24, 25, 100, 207].map(sector => bytes[sector * 512])).toEqual([0, 1, 2, 3, 0, 4, 5]);
    expect(worker.idle).toBe(true);
  });

  it.each([11, 256])('are all where they belong, however many, in requests of %i segments', maxSegments => {
    const { disk, image } = connected(undefined, maxSegments);
    const random = seeded(maxSegments);
    const model = new Uint8Array(SECTORS * 512);
    for (let round = 1; round <= 20; round++) {
      const pieces: Piece[] = [];
      for (let sector = 0; sector < SECTORS; ) {
        const count = Math.min(1 + Math.floor(random() * 90), SECTORS - sector);
        if (random() < 0.6) pieces.push(piece(sector, count, 1 + Math.floor(random() * 255)));
        sector += count;
      }
      for (const { sector, bytes } of pieces) model.set(bytes, sector * 512);
      disk.writeAll(pieces);
      expect(Buffer.compare(readFileSync(image.path), model), `round ${round}`).toBe(0);
    }
  });

  it('fail as one when one of them does, after all that are under way, and leave the disk usable', () => {
    const rig = new BlkRig();
    let refused = 0;
    rig.openImage = ({ fd, sizeBytes }): DiskImage => {
      const file = new RawFile(fd, sizeBytes);
      return {
        sizeBytes,
        read: (...args) => file.read(...args),
        flush: () => file.flush(),
        discard: (...args) => file.discard(...args),
        write(from, offset, length, at) {
          if (at === 100 * 512 && refused++ === 0) throw new Error('a bad sector');
          file.write(from, offset, length, at);
        },
      };
    };
    const { disk, worker, image } = connected(rig);
    const pieces = Array.from({ length: 60 }, (_, n) => piece(n * 50, 8, 7));
    expect(() => disk.writeAll(pieces)).toThrow('xvda: write of 8 sectors at 100: EIO');
    expect(worker.idle).toBe(true);
    disk.writeAll(pieces);
    expect(readFileSync(image.path)[2950 * 512]).toBe(7);
  });

  it('fail when the disk is gone, before and while they are written', () => {
    const { disk, worker, blocking } = connected();
    const wait = blocking.waitUntil;
    blocking.waitUntil = condition => {
      worker.fail(19);
      worker.detach();
      wait(condition);
    };
    const pieces = Array.from({ length: 60 }, (_, n) => piece(n * 50, 8, 7));
    expect(() => disk.writeAll(pieces)).toThrow(/^xvda: write.* ENODEV$/);
    expect(() => disk.writeAll(pieces)).toThrow('the disk is gone');
  });

  it('are refused when one is not on the disk, or not in its partition, before any is written', () => {
    const { disk, worker, image } = connected();
    expect(() => disk.writeAll([piece(0, 8, 1), piece(SECTORS - 4, 8, 1)])).toThrow('the disk has 4096');
    const partition = new Partition(disk, { number: 1, start: 64, sectors: 64 });
    expect(() => partition.writeAll([piece(0, 8, 1), piece(60, 8, 1)])).toThrow();
    expect(worker.stats.requests).toBe(0);
    partition.writeAll([piece(0, 8, 1), piece(56, 8, 2)]);
    const bytes = readFileSync(image.path);
    expect([63, 64, 120, 127, 128].map(sector => bytes[sector * 512])).toEqual([0, 1, 2, 2, 0]);
  });
});
