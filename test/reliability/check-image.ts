// What must be in a guest's image, given what it has been told is on it.
import { closeSync, openSync, readSync } from 'node:fs';
import { BLOCK_SECTORS, BLOCKS, SECTOR_BYTES, stampOf } from './stamp.ts';

export const IMAGE_BYTES = BLOCKS * BLOCK_SECTORS * SECTOR_BYTES;

/**
 * Acknowledged blocks that are not there, or sectors nobody wrote; each in words. Blocks up to number `acked` are flushed
 * (-1: none is); the writer may have written more, on top of older blocks: a sector may hold the block that is
 * acknowledged or a later one of its place.
 */
export function checkImage(path: string, acked: number): string[] {
  const bytes = new Uint8Array(IMAGE_BYTES);
  const fd = openSync(path, 'r');
  try {
    if (readSync(fd, bytes, 0, IMAGE_BYTES, 0) !== IMAGE_BYTES) throw new Error(`${path} is too short`);
  } finally {
    closeSync(fd);
  }
  const wrong: string[] = [];
  for (let block = 0; block < BLOCKS; block++) {
    // The last one of this place that is acknowledged; -1 when none is.
    const least = acked < block ? -1 : acked - ((((acked - block) % BLOCKS) + BLOCKS) % BLOCKS);
    for (let part = 0; part < BLOCK_SECTORS; part++) {
      const at = (block * BLOCK_SECTORS + part) * SECTOR_BYTES;
      const seq = stampOf(new Uint32Array(bytes.buffer, at, SECTOR_BYTES / 4), part);
      if (seq === undefined || (seq >= 0 && seq % BLOCKS !== block))
        wrong.push(`sector ${part} of place ${block} is foreign`);
      else if (seq < least) wrong.push(`place ${block} sector ${part} has ${seq}; ${least} was acknowledged`);
    }
  }
  return wrong;
}
