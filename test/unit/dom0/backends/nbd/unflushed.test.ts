import { expect, it } from 'vitest';
import { NBD_CMD_WRITE } from '#pvbus';
import { SpareChunks, Unflushed } from '../../../../../dom0/backends/nbd/unflushed.ts';

const MIB = 1 << 20;

it('memory of what is flushed is what the next writes of any disk of the thread are kept in', () => {
  const spare = new SpareChunks();
  const disks = [new Unflushed(spare), new Unflushed(spare)] as const;
  const fill = (disk: Unflushed): Set<ArrayBufferLike> =>
    new Set(Array.from({ length: 32 }, (_, n) => disk.add(NBD_CMD_WRITE, n * MIB, MIB, MIB).buffer));
  const first = fill(disks[0]);
  expect(first.size).toBe(32);
  disks[0].drop(disks[0].next);
  expect([disks[0].bytes, disks[0].size]).toEqual([0, 0]);
  expect(fill(disks[1])).toEqual(first);
  disks[1].drop(disks[1].next);
  spare.clear();
  for (const buffer of fill(disks[0])) expect(first.has(buffer)).toBe(false);
});
