// D15: both ends of a disk in one thread, one step of either at a time, in an order drawn from a seed. What
// the file holds and what every read returned is compared with a model of the disk.
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import type { RingShape } from '../../domu-kernel/drivers/blkfront/rings.ts';
import { BlkRig, ImageFile } from '../support/blk-rig.ts';
import fc from '../support/properties.ts';

const SIZE = 4 << 20;
const SECTORS = SIZE / 512;
/** Large enough for several requests of a transfer. */
const MAX_SECTORS = 700;

/** mulberry32: a seed names a run. */
function random(seed: number): (below: number) => number {
  let a = seed | 0;
  return below => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

let images: ImageFile[] = [];
afterEach(() => {
  for (const image of images) image.remove();
  images = [];
});
function newImage(content: Uint8Array | number): ImageFile {
  const image = new ImageFile(content);
  images.push(image);
  return image;
}

interface Running {
  readonly from: number;
  readonly to: number;
}

/** `ops` random operations, any number of them in flight, none overlapping another. Returns how many ran. */
async function play(
  seed: number,
  ops: number,
  options: { persistent?: boolean; maxSegments?: number; ringShape?: RingShape } = {},
) {
  const rig = new BlkRig();
  const pick = random(seed);
  const model = new Uint8Array(SIZE).map(() => pick(256));
  const image = newImage(model);
  const guest = rig.guest().connect(image, options);
  const { disk } = guest;
  const running = new Set<Running>();
  const failures: unknown[] = [];
  let started = 0;
  let finished = 0;

  const track = (range: Running, promise: Promise<void>, check: () => void): void => {
    running.add(range);
    promise
      .then(check)
      .catch(error => failures.push(error))
      .finally(() => {
        running.delete(range);
        finished++;
      });
  };
  const start = (): void => {
    const count = pick(4) === 0 ? 1 + pick(MAX_SECTORS) : 1 + pick(16);
    const from = pick(SECTORS - count);
    const range = { from, to: from + count };
    if ([...running].some(r => r.from < range.to && range.from < r.to)) return;
    started++;
    const bytes = count * 512;
    const expected = model.slice(from * 512, from * 512 + bytes);
    switch (pick(10)) {
      case 0:
        track({ from: 0, to: 0 }, disk.submitFlush(), () => {});
        return;
      case 1:
        model.fill(0, from * 512, from * 512 + bytes);
        track(range, disk.submitDiscard(from, count), () => {});
        return;
      case 2:
      case 3:
      case 4:
      case 5: {
        const data = new Uint8Array(bytes).map(() => pick(256));
        model.set(data, from * 512);
        track(range, disk.submitWrite(from, data), () => {});
        return;
      }
      default: {
        const into = new Uint8Array(bytes);
        track(range, disk.submitRead(from, into), () => {
          if (!Buffer.from(into).equals(Buffer.from(expected))) throw new Error(`read of ${count} at ${from} differs`);
        });
      }
    }
  };

  let quiet = 0;
  while (started < ops || running.size > 0) {
    const act = pick(5);
    if (act === 0 && started < ops) start();
    else if (act < 3) quiet = guest.step() === 'idle' ? quiet + 1 : 0;
    else quiet = rig.step() === 'idle' ? quiet + 1 : 0;
    // Promises of what has ended settle between steps, as between two blocks of a kernel.
    if (pick(8) === 0 || quiet > 20) await Promise.resolve();
    if (quiet > 400 && started === ops) throw new Error(`seed ${seed}: ${running.size} requests hang`);
  }
  expect(failures, `seed ${seed}`).toEqual([]);
  expect(Buffer.from(model).equals(readFileSync(image.path)), `seed ${seed}: the file differs`).toBe(true);
  expect(guest.log.lines).toEqual([]);
  expect(rig.log.lines).toEqual([]);
  expect(rig.core.internalErrors).toEqual([]);
  return { rig, guest, finished };
}

describe('blkfront and blkback in one thread', () => {
  it('leave in the file what was written, and read what is in the file, over thousands of operations', async () => {
    const { rig, guest, finished } = await play(1, 4000);
    expect(finished).toBe(4000);
    const stats = rig.stats(guest.key!)!;
    expect(stats.errors).toBe(0);
    expect(guest.worker.stats.responses).toBe(guest.worker.stats.requests);
    expect(stats.rd_req + stats.wr_req + stats.f_req + stats.ds_req).toBe(guest.worker.stats.requests);
    expect(stats.evicted).toBe(0);
  });

  it('do so with a backend that maps and unmaps for each request', async () => {
    const { rig, guest } = await play(2, 1000, { persistent: false });
    rig.disconnect(guest.key!);
    expect(guest.buffers!.release() + guest.rings!.release()).toBe(0); // nothing is mapped any more
  });

  it('do so with a backend that has no indirect requests', async () => {
    await play(3, 1000, { maxSegments: 0 });
  });

  it('do so by three rings of two pages', async () => {
    const { rig, guest } = await play(4, 1000, { ringShape: { queues: 3, order: 1 } });
    rig.disconnect(guest.key!);
    expect(guest.buffers!.release() + guest.rings!.release()).toBe(0);
  });

  it('do so whatever order their steps have', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async seed => {
        await play(seed, 120);
      }),
      { numRuns: 15, seed: 42 },
    );
  });

  it('give everything back when the disk is taken away', async () => {
    const { rig, guest } = await play(5, 200);
    const { core } = rig;
    rig.disconnect(guest.key!);
    guest.worker.fail(19);
    guest.worker.detach();
    expect(guest.buffers!.release() + guest.rings!.release()).toBe(0);
    const free = guest.vcpu.frames.available;
    const again = rig.guest();
    expect(again.vcpu.frames.available).toBe(free);
    expect(core.internalErrors).toEqual([]);
  });
});
