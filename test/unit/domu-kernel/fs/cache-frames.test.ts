import { describe, expect, it } from 'vitest';
import { CacheFrames } from '../../../../domu-kernel/fs/cache-frames.ts';
import { PageCache } from '../../../../domu-kernel/fs/page-cache.ts';
import { FrameCharge } from '../../../../domu-kernel/memory-frames.ts';
import { FrameAllocator } from '../../../../pvbus/frames.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';
import { seeded } from '../../../support/random.ts';

const PAGE = 4096;
const OWN = 64;
const page = (fill = 0): Uint8Array => new Uint8Array(PAGE).fill(fill);

function make(free: number, most: number) {
  const frames = new FrameAllocator(100, 100 + free);
  const more = new CacheFrames(new FrameCharge(frames), most);
  frames.holder = more;
  const disk = new MemoryDisk(4 << 20);
  const cache = new PageCache(disk, OWN * PAGE, more);
  return { frames, more, disk, cache };
}
const readAll = (cache: PageCache, pages: number): void => {
  for (let n = 0; n < pages; n++) cache.read(8 * n, page());
};

describe('a page cache with frames that are free otherwise', () => {
  it('keeps what it has no room of its own for, and counts none of it as used', () => {
    const { frames, more, disk, cache } = make(1000, 512);
    readAll(cache, 500);
    const { reads } = disk;
    readAll(cache, 500);
    expect(disk.reads).toBe(reads);
    expect(more.spare).toBeGreaterThanOrEqual(500 - OWN);
    expect([frames.unused, frames.available]).toEqual([1000 - more.spare, 1000]);
  });

  it('has no more than its bound, and leaves some frames where they are', () => {
    const bounded = make(1000, 100);
    readAll(bounded.cache, 1000);
    expect(bounded.frames.unused).toBe(900);
    const scarce = make(200, 512);
    readAll(scarce.cache, 1000);
    expect(scarce.frames.unused).toBeGreaterThanOrEqual(64);
    expect(scarce.frames.available).toBe(200);
  });

  it('lets go of them as soon as somebody wants them, in a row or not', () => {
    const { frames, more, disk, cache } = make(1000, 512);
    readAll(cache, 600);
    const charge = new FrameCharge(frames);
    expect(charge.take(900)).toBe(true);
    expect(frames.available).toBe(100);
    expect(more.spare + frames.unused).toBe(100);
    charge.give(900);
    readAll(cache, 600);
    expect(more.spare).toBe(512);
    frames.free(frames.alloc(990), 990);
    expect(more.spare).toBe(0);
    const { reads } = disk;
    readAll(cache, OWN);
    readAll(cache, OWN);
    expect(disk.reads).toBeGreaterThan(reads);
    expect(() => frames.alloc(1001)).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
  });

  it('never lets go of what is not on the disk yet', () => {
    const { frames, disk, cache } = make(1000, 512);
    readAll(cache, 400);
    const model = new Uint8Array(4 << 20);
    const random = seeded(7);
    const charge = new FrameCharge(frames);
    let taken = 0;
    for (let i = 0; i < 3000; i++) {
      const n = Math.floor(random() * 600);
      if (random() < 0.5) {
        cache.write(8 * n, page(i & 255));
        model.fill(i & 255, n * PAGE, (n + 1) * PAGE);
      } else {
        const into = page();
        cache.read(8 * n, into);
        expect(into[17]).toBe(model[n * PAGE]);
      }
      const want = Math.floor(random() * 400);
      if (i % 10 !== 0) continue;
      charge.give(taken);
      taken = charge.take(want) ? want : 0;
      expect(taken).toBe(want);
    }
    cache.flush();
    expect(Buffer.compare(disk.bytes, model)).toBe(0);
    charge.give(taken);
    expect(frames.available).toBe(1000);
  });

  it('and all of it when the disk fails, but for what cannot be written', () => {
    const { frames, more, disk, cache } = make(1000, 512);
    readAll(cache, 600);
    disk.write = () => {
      throw new Error('broken');
    };
    for (let n = 0; n < 300; n++) {
      try {
        cache.write(8 * n, page(1));
      } catch {
        // it stays dirty
      }
    }
    const { spare } = more;
    expect(spare).toBeLessThanOrEqual(OWN + 512 - 300);
    expect(new FrameCharge(frames).take(frames.available - 64)).toBe(true);
    const into = page();
    cache.read(8 * 299, into);
    expect(into[0]).toBe(1);
  });
});
