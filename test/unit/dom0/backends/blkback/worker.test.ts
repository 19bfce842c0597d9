// blkback's worker against frontends that behave, and against one that does not: what it does costs it its
// device or its request, is logged with its name, and the guest beside it reads on. Acts are numbered as in
// the list of hostile acts.
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, truncateSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  blkif_sring_entry,
  checkPlan,
  domid,
  PAGE_SIZE,
  type Planted,
  sring,
} from '#pvbus';
import { RawFile } from '../../../../../dom0/backends/blkback/disk-image.ts';
import { MAX_PERSISTENT_GRANTS } from '../../../../../dom0/backends/blkback/request-pages.ts';
import type { BlkbackEvent } from '../../../../../dom0/backends/blkback/worker.ts';
import { type BlkGuest, BlkRig, ImageFile } from '../../../../support/blk-rig.ts';
import { HostileFrontend } from '../../../../support/hostile-frontend.ts';

const SIZE = 1 << 20;
const SECTORS = SIZE / 512;
const hash = (image: ImageFile): string => createHash('sha256').update(readFileSync(image.path)).digest('hex');

let rig: BlkRig;
let images: ImageFile[];
/** The guest that behaves, on an image of its own. */
let neighbour: BlkGuest;
let image: ImageFile;
let hostile: HostileFrontend;
let key: string;

function newImage(fill: number): ImageFile {
  const made = new ImageFile(new Uint8Array(SIZE).fill(fill));
  images.push(made);
  return made;
}
function newHostile(dataPages = 16): HostileFrontend {
  const guest = rig.core.guest({ pages: dataPages + 64 });
  return new HostileFrontend(guest.kernel(), domid(0), dataPages);
}
const ringOf = (front: HostileFrontend, place: { ringRef?: number; eventChannel?: number } = {}) => ({
  domid: front.vcpu.domid,
  rings: [{ ringRefs: [place.ringRef ?? front.refs[0]!], eventChannel: place.eventChannel ?? front.port }],
});
/** The device of `key` has this fault from its next connection on. */
function plant(key: string, fault: object): void {
  const checked = checkPlan([fault], 'p');
  if ('problems' in checked) throw new Error(JSON.stringify(checked.problems));
  const planted: Planted[] = checked.plan.faults.map(each => ({ plan: 'p', seed: 1, startedNs: 0, fault: each }));
  rig.worker.handle({ op: 'faults', key, label: key, planted });
}
/** The neighbour does real I/O, and every byte is right. */
function neighbourWorks(): void {
  const data = new Uint8Array(200 * 512).map((_, i) => i % 251);
  neighbour.disk.write(100, data);
  const back = new Uint8Array(data.length);
  neighbour.disk.read(100, back);
  expect(Buffer.from(back).equals(Buffer.from(data))).toBe(true);
}

beforeEach(() => {
  rig = new BlkRig();
  images = [];
  neighbour = rig.guest().connect(newImage(1));
  image = newImage(7);
  hostile = newHostile();
  key = rig.connect(ringOf(hostile), image);
  rig.run();
});
afterEach(() => {
  neighbourWorks();
  expect(rig.core.internalErrors).toEqual([]);
  for (const i of images) i.remove();
});

/** Send one request and take its response. */
function ask(fill: (index: number) => void): number {
  hostile.send(fill);
  rig.run();
  const response = hostile.response();
  expect(response, 'a request is answered').toBeDefined();
  expect(hostile.response(), 'and once').toBeUndefined();
  return response!.status;
}
const read = (refs: readonly number[], sector = 0) =>
  ask(i => hostile.write(i, { operation: BLKIF_OP_READ, sector_lo: sector, segments: refs.map(gref => ({ gref })) }));

describe('an honest request', () => {
  it('reads from the image into the granted page, and no further', () => {
    hostile.page(2).bytes.fill(0x55);
    expect(read([hostile.refs[1]!])).toBe(BLKIF_RSP_OKAY);
    expect(hostile.page(1).bytes.every(b => b === 7)).toBe(true);
    expect(hostile.page(2).bytes.every(b => b === 0x55)).toBe(true);
  });

  it('moves parts of pages in any order of pages', () => {
    for (let i = 0; i < SECTORS; i++) rigWrite(i, i & 0xff);
    const segments = [
      { gref: hostile.refs[5]!, first_sect: 7, last_sect: 7 },
      { gref: hostile.refs[2]!, first_sect: 0, last_sect: 2 },
      { gref: hostile.refs[3]!, first_sect: 0, last_sect: 7 },
    ];
    expect(ask(i => hostile.write(i, { operation: BLKIF_OP_READ, sector_lo: 10, segments }))).toBe(BLKIF_RSP_OKAY);
    expect(hostile.page(5).bytes[7 * 512]).toBe(10);
    expect([0, 1, 2, 3].map(s => hostile.page(2).bytes[s * 512])).toEqual([11, 12, 13, 0]);
    expect([0, 7].map(s => hostile.page(3).bytes[s * 512])).toEqual([14, 21]);
  });

  it('of segments that lie side by side is one access to the image', () => {
    const accesses: string[] = [];
    rig.openImage = c => {
      const raw = new RawFile(c.fd, c.sizeBytes);
      return {
        sizeBytes: c.sizeBytes,
        read: (into, offset, length, at) => {
          accesses.push(`${at}+${length}`);
          raw.read(into, offset, length, at);
        },
        write: (...args) => raw.write(...args),
        flush: () => raw.flush(),
        discard: (...args) => raw.discard(...args),
      };
    };
    const other = rig.guest().connect(newImage(3));
    other.disk.read(0, new Uint8Array(128 * 1024));
    expect(accesses).toEqual(['0+131072']);
  });

  it('for a flush reaches the image, with its data after it', () => {
    hostile.page(1).bytes.fill(9);
    expect(ask(i => hostile.write(i, { operation: BLKIF_OP_FLUSH_DISKCACHE }))).toBe(BLKIF_RSP_OKAY);
    const segments = [{ gref: hostile.refs[1]! }];
    expect(ask(i => hostile.write(i, { operation: BLKIF_OP_FLUSH_DISKCACHE, segments }))).toBe(BLKIF_RSP_OKAY);
    expect(readFileSync(image.path)[0]).toBe(9);
    expect(rig.stats(key)).toMatchObject({ f_req: 2 });
  });

  it('for a barrier is flushed before and after', () => {
    const acts: string[] = [];
    rig.openImage = c => ({
      sizeBytes: c.sizeBytes,
      read: () => {},
      write: (_, __, length) => void acts.push(`write ${length}`),
      flush: () => void acts.push('flush'),
      discard: () => {},
    });
    const other = newHostile();
    rig.connect(ringOf(other), image, { key: 'other' });
    const segments = [{ gref: other.refs[1]! }];
    other.write(0, { operation: BLKIF_OP_WRITE, segments });
    other.write(1, { operation: BLKIF_OP_WRITE_BARRIER, segments });
    other.write(2, { operation: BLKIF_OP_WRITE_BARRIER });
    other.setReqProd(3);
    other.notify();
    rig.run();
    expect([0, 1, 2].map(() => other.response()?.status)).toEqual([0, 0, 0]);
    expect(acts).toEqual(['write 4096', 'flush', 'write 4096', 'flush', 'flush']);
  });

  it('is answered with its id and operation, however many come at once', () => {
    for (let i = 0; i < 32; i++) hostile.write(i, { id: 1000 + i, segments: [{ gref: hostile.refs[1]! }] });
    hostile.setReqProd(32);
    hostile.notify();
    rig.run();
    for (let i = 0; i < 32; i++) expect(hostile.response()).toEqual({ id: 1000 + i, operation: 0, status: 0 });
    expect(hostile.response()).toBeUndefined();
  });

  /** What has been published when each of 32 requests, all in the ring at once, reaches the image. */
  function publishedAt(eachTakesNs: number): number[] {
    const seen: number[] = [];
    rig.openImage = c => ({
      sizeBytes: c.sizeBytes,
      read: () => {
        seen.push(slow.rspProd());
        rig.core.clock.advance(eachTakesNs);
      },
      write: () => {},
      flush: () => {},
      discard: () => {},
    });
    const slow = newHostile();
    rig.connect(ringOf(slow), image, { key: 'slow' });
    for (let i = 0; i < 32; i++) slow.write(i, { segments: [{ gref: slow.refs[1]! }] });
    slow.setReqProd(32);
    slow.notify();
    rig.run();
    expect(slow.rspProd()).toBe(32);
    return seen;
  }
  it('of many is answered together with others while that costs no time', () => {
    const seen = publishedAt(1000);
    expect([seen[15], seen[16]]).toEqual([0, 16]); // half of the ring with one wake-up
    expect(new Set(seen).size).toBeLessThanOrEqual(6);
  });
  it('of many on a slow image does not wait for the others', () => {
    const seen = publishedAt(1e6);
    expect(seen.every((published, i) => i - published <= 4)).toBe(true);
  });

  function rigWrite(sector: number, byte: number): void {
    new RawFile(image.fd, SIZE).write(new Uint8Array(512).fill(byte), 0, 512, sector * 512);
  }
});

describe('an image that keeps others waiting', () => {
  /** How often it is told, of a vbd with turns of `turnNs` that begin so long after the one before has ended. */
  function toldSlow(turnNs: number, gapsNs: readonly number[]): number {
    const { clock } = rig.core;
    const wait = (): void => clock.advance(turnNs);
    rig.openImage = ({ sizeBytes }) => ({ sizeBytes, read: wait, write: wait, flush: wait, discard: wait });
    const front = newHostile();
    rig.connect(ringOf(front), image, { key: 'slow' });
    rig.run();
    for (const gap of gapsNs) {
      clock.advance(gap);
      front.send(i => front.write(i, { segments: [{ gref: front.refs[1]! }] }));
      rig.run();
      expect(front.response()?.status).toBe(BLKIF_RSP_OKAY);
    }
    const told: readonly BlkbackEvent[] = rig.failures;
    return told.filter(({ op }) => op === 'slow').length;
  }
  it('in three turns soon after one another is told, once', () => {
    expect(toldSlow(150e6, Array(20).fill(9e9))).toBe(1);
  });
  it('now and then, in all of its life, is not', () => {
    expect(toldSlow(150e6, Array(20).fill(11e9))).toBe(0);
  });
  it('twice, and twice again later, is not; a third time soon after, it is', () => {
    expect(toldSlow(150e6, [1e9, 1e9, 60e9, 1e9])).toBe(0);
    expect(toldSlow(150e6, [1e9, 1e9, 60e9, 1e9, 1e9])).toBe(1);
  });
  it('for longer than that with each turn is told', () => {
    expect(toldSlow(30e9, [1e9, 1e9, 1e9])).toBe(1);
  });
  it('in turns that are not long is not', () => {
    expect(toldSlow(99e6, Array(20).fill(0))).toBe(0);
  });
});

describe('a ring that cannot be', () => {
  const indices: [string, (front: HostileFrontend) => void][] = [
    ['claims 33 requests (act 1)', front => front.setReqProd(33)],
    ['claims 2^31 requests (act 2)', front => front.setReqProd(2 ** 31)],
    ['claims 2^32 - 1 requests', front => front.setReqProd(-1)],
    [
      'goes backwards (act 3)',
      front => {
        front.send(i => front.write(i, { segments: [{ gref: front.refs[1]! }] }));
        rig.run();
        front.setReqProd(0);
      },
    ],
  ];
  it.each(indices)('fault 14: %s: the device is given up, once, with its name, and nothing is replayed', (_, act) => {
    const before = rig.stats(key)!.rd_req;
    act(hostile);
    hostile.notify();
    rig.run();
    expect(rig.failures).toEqual([
      {
        op: 'failed',
        key,
        code: 'EINVAL',
        message: `vbd 51712 of dom${hostile.vcpu.domid}: its ring claims more requests than it holds`,
      },
    ]);
    expect(rig.stats(key)).toBeUndefined();
    expect(before).toBeLessThanOrEqual(1);
    hostile.setReqProd(1);
    expect(() => hostile.notify()).not.toThrow();
    rig.run();
    expect(rig.failures.length).toBe(1);
    for (const ref of hostile.refs) expect(hostile.vcpu.grants.endAccess(ref)).toBe(true); // all unmapped
  });

  it('whose response indices are overwritten costs only its owner its notifications (acts 5, 6)', () => {
    const words = hostile.ring.words;
    Atomics.store(words, sring.at.rsp_prod / 4, 12345);
    Atomics.store(words, sring.at.rsp_event / 4, -1);
    hostile.send(i => hostile.write(i, { id: 77, segments: [{ gref: hostile.refs[1]! }] }));
    rig.run();
    expect(hostile.rspProd()).toBe(1);
    expect(hostile.response()).toEqual({ id: 77, operation: 0, status: 0 });
    expect(hostile.events).toBe(0);
  });

  it('that wraps through 2^32 legally works (act 4)', () => {
    rig.disconnect(key);
    const start = 2 ** 32 - 5;
    for (const field of ['req_prod', 'rsp_prod'] as const) {
      Atomics.store(hostile.ring.words, sring.at[field] / 4, start | 0);
    }
    hostile.prod = start;
    hostile.cons = start;
    const port = hostile.vcpu.events.allocUnbound(domid(0));
    rig.connect(ringOf(hostile, { eventChannel: port }), image);
    for (let n = 0; n < 12; n++) {
      hostile.write(hostile.prod, { id: n, segments: [{ gref: hostile.refs[1]! }] });
      hostile.prod = (hostile.prod + 1) >>> 0;
      hostile.setReqProd(hostile.prod);
      hostile.vcpu.events.notify(port);
      rig.run();
      expect(hostile.rspProd()).toBe(hostile.prod);
      expect(hostile.response()).toEqual({ id: n, operation: 0, status: 0 });
      hostile.cons >>>= 0;
    }
    expect(rig.failures).toEqual([]);
  });
});

it('fault 15: half a request in a slot is not looked at before its frontend says that it is there', () => {
  const page = hostile.page(1).bytes.fill(0xee);
  const write = { operation: BLKIF_OP_WRITE, segments: [{ gref: hostile.refs[1]! }], sector_lo: 8 };
  // Its header, with the segment of nobody's page; then, after the backend has looked, the rest.
  hostile.write(0, { ...write, segments: [{ gref: 4711 }], sector_lo: SECTORS + 1 });
  hostile.notify();
  rig.run();
  expect(hostile.response()).toBeUndefined();
  expect(rig.stats(key)).toMatchObject({ wr_req: 0 });
  expect(ask(i => hostile.write(i, write))).toBe(BLKIF_RSP_OKAY);
  const bytes = readFileSync(image.path);
  expect(bytes.subarray(8 * 512, 8 * 512 + PAGE_SIZE).equals(page)).toBe(true);
  expect(bytes.subarray(8 * 512 + PAGE_SIZE).every(byte => byte === 7)).toBe(true);
  expect(rig.log.lines).toEqual([]);
});

describe('a request that cannot be', () => {
  const one = () => [{ gref: hostile.refs[1]! }];
  const acts: [string, (i: number) => void, number][] = [
    ['of operation 255 (act 8)', i => hostile.write(i, { operation: 255, segments: one() }), BLKIF_RSP_EOPNOTSUPP],
    [
      'for a secure discard',
      i => hostile.writeDiscard(i, { lo: 8, hi: 0, countLo: 8, countHi: 0, flag: 1 }),
      BLKIF_RSP_EOPNOTSUPP,
    ],
    ['of 0 segments (act 9)', i => hostile.write(i, { nr_segments: 0 }), BLKIF_RSP_ERROR],
    ['of 12 segments (act 9)', i => hostile.write(i, { nr_segments: 12 }), BLKIF_RSP_ERROR],
    ['of 255 segments (act 9)', i => hostile.write(i, { nr_segments: 255 }), BLKIF_RSP_ERROR],
    [
      'of 257 indirect segments (act 9)',
      i => hostile.writeIndirect(i, { op: BLKIF_OP_READ, nr_segments: 257, refs: [hostile.refs[1]!] }),
      BLKIF_RSP_ERROR,
    ],
    [
      'with first_sect > last_sect (act 10)',
      i => hostile.write(i, { segments: [{ gref: hostile.refs[1]!, first_sect: 5, last_sect: 4 }] }),
      BLKIF_RSP_ERROR,
    ],
    [
      'with last_sect 8 (act 10)',
      i => hostile.write(i, { segments: [{ gref: hostile.refs[1]!, last_sect: 8 }] }),
      BLKIF_RSP_ERROR,
    ],
    [
      'across the end of the disk (act 11)',
      i => hostile.write(i, { operation: BLKIF_OP_WRITE, sector_lo: SECTORS - 1, segments: one() }),
      BLKIF_RSP_ERROR,
    ],
    [
      'whose sector wraps 2^64 (act 11)',
      i =>
        hostile.write(i, {
          operation: BLKIF_OP_WRITE,
          sector_lo: 0xffffffff,
          sector_hi: 0xffffffff,
          segments: one(),
        }),
      BLKIF_RSP_ERROR,
    ],
    [
      'to discard a range that wraps (act 13)',
      i => hostile.writeDiscard(i, { lo: 8, hi: 0, countLo: 0xfffffff8, countHi: 0xffffffff }),
      BLKIF_RSP_ERROR,
    ],
    [
      'indirect in indirect (act 14)',
      i => hostile.writeIndirect(i, { op: 6, nr_segments: 1, refs: [hostile.refs[1]!] }),
      BLKIF_RSP_ERROR,
    ],
    [
      'for an indirect flush (act 14)',
      i => hostile.writeIndirect(i, { op: BLKIF_OP_FLUSH_DISKCACHE, nr_segments: 1, refs: [hostile.refs[1]!] }),
      BLKIF_RSP_ERROR,
    ],
    [
      'whose indirect page was never granted',
      i => hostile.writeIndirect(i, { op: BLKIF_OP_WRITE, nr_segments: 12, refs: [4000] }),
      BLKIF_RSP_ERROR,
    ],
    [
      'whose indirect segments leave their pages',
      i => {
        hostile.writeSegment(hostile.page(3), 0, { gref: hostile.refs[1]!, first_sect: 0, last_sect: 255 });
        hostile.writeIndirect(i, { op: BLKIF_OP_WRITE, nr_segments: 1, refs: [hostile.refs[3]!] });
      },
      BLKIF_RSP_ERROR,
    ],
    [
      'on a gref that was never granted (act 15)',
      i => hostile.write(i, { segments: [{ gref: 500 }] }),
      BLKIF_RSP_ERROR,
    ],
    ['on gref 2^32 - 1 (act 15)', i => hostile.write(i, { segments: [{ gref: 0xffffffff }] }), BLKIF_RSP_ERROR],
    [
      'on a good gref and a bad one',
      i => hostile.write(i, { operation: BLKIF_OP_WRITE, segments: [...one(), { gref: 500 }] }),
      BLKIF_RSP_ERROR,
    ],
  ];
  it.each(acts)('%s is answered with an error; the ring goes on, the image is as it was', (_, fill, status) => {
    const before = hash(image);
    expect(ask(fill)).toBe(status);
    expect(hash(image)).toBe(before);
    expect(rig.log.lines.filter(line => line.includes(`dom${hostile.vcpu.domid}`)).length).toBe(1);
    expect(read([hostile.refs[1]!])).toBe(BLKIF_RSP_OKAY);
    expect(rig.failures).toEqual([]);
  });

  it('on a page granted to another domain is answered with an error (act 15)', () => {
    const { grants } = hostile.vcpu;
    const peer = domid(neighbour.guest.domid);
    const shared = grants.allocShared(peer, 1);
    const ref = grants.grantAccess(peer, shared.gfn);
    expect(read([ref])).toBe(BLKIF_RSP_ERROR);
    // The neighbour's own grefs mean something else, or nothing, in this domain.
    expect(read([neighbour.buffers!.refs[0]! + 300])).toBe(BLKIF_RSP_ERROR);
  });

  it('to read into a page granted for reading only is answered with an error, the page untouched (act 15)', () => {
    rig.disconnect(key);
    for (const persistent of [true, false]) {
      const port = hostile.vcpu.events.allocUnbound(domid(0));
      const { grants } = hostile.vcpu;
      const shared = grants.allocShared(domid(0), 1, true);
      shared.bytes.fill(0x33);
      const ref = grants.grantAccess(domid(0), shared.gfn, true);
      hostile.prod = hostile.cons = 0;
      hostile.ring.bytes.fill(0, 0, 64);
      rig.connect(ringOf(hostile, { eventChannel: port }), image, { persistent });
      hostile.write(0, { segments: [{ gref: ref }] });
      hostile.setReqProd(hostile.prod++ + 1);
      hostile.vcpu.events.notify(port);
      rig.run();
      expect(hostile.response()?.status).toBe(BLKIF_RSP_ERROR);
      expect(shared.bytes.every(b => b === 0x33)).toBe(true);
      if (!persistent) {
        hostile.write(1, { operation: BLKIF_OP_WRITE, segments: [{ gref: ref }] });
        hostile.setReqProd(hostile.prod++ + 1);
        hostile.vcpu.events.notify(port);
        rig.run();
        expect(hostile.response()?.status).toBe(BLKIF_RSP_OKAY);
        expect(readFileSync(image.path)[PAGE_SIZE - 1]).toBe(0x33);
      }
      rig.disconnect(key);
      expect(grants.endAccess(ref)).toBe(true);
    }
  });

  it('changed after it was published harms only its owner (act 7)', () => {
    // The slot is overwritten between the backend's steps, and while it holds the request's copy.
    hostile.write(0, { segments: [{ gref: hostile.refs[1]! }] });
    rig.openImage = c => {
      const raw = new RawFile(c.fd, c.sizeBytes);
      return {
        sizeBytes: c.sizeBytes,
        read: (into, offset, length, at) => {
          hostile.ring.bytes.fill(0xff, 64, 64 + blkif_sring_entry.size);
          raw.read(into, offset, length, at);
        },
        write: () => {
          throw new Error('a read became a write');
        },
        flush: () => {},
        discard: () => {},
      };
    };
    rig.disconnect(key);
    const port = hostile.vcpu.events.allocUnbound(domid(0));
    rig.connect(ringOf(hostile, { eventChannel: port }), image);
    hostile.setReqProd(1);
    hostile.vcpu.events.notify(port);
    rig.run();
    expect(hostile.response()).toEqual({ id: 0, operation: BLKIF_OP_READ, status: BLKIF_RSP_OKAY });
    expect(hostile.page(1).bytes.every(b => b === 7)).toBe(true);
  });

  it('a thousand times is a thousand answers and a dozen log lines', () => {
    for (let n = 0; n < 1000; n++) expect(ask(i => hostile.write(i, { nr_segments: 0 }))).toBe(BLKIF_RSP_ERROR);
    expect(rig.stats(key)?.errors).toBe(1000);
    expect(rig.log.lines.length).toBeLessThan(15);
  });
});

describe('a read-only disk', () => {
  it('refuses to be written, flushed with data, or discarded; its image is untouched (act 12)', () => {
    rig.disconnect(key);
    hostile.prod = hostile.cons = 0;
    hostile.ring.bytes.fill(0, 0, 64);
    const before = hash(image);
    const port = hostile.vcpu.events.allocUnbound(domid(0));
    rig.connect(ringOf(hostile, { eventChannel: port }), image, { readOnly: true });
    const segments = [{ gref: hostile.refs[1]! }];
    hostile.write(0, { operation: BLKIF_OP_WRITE, segments });
    hostile.write(1, { operation: BLKIF_OP_FLUSH_DISKCACHE, segments });
    hostile.writeDiscard(2, { lo: 0, hi: 0, countLo: 8, countHi: 0 });
    hostile.writeIndirect(3, { op: BLKIF_OP_WRITE, nr_segments: 1, refs: [hostile.refs[2]!] });
    hostile.write(4, { operation: BLKIF_OP_READ, segments });
    hostile.setReqProd(5);
    hostile.vcpu.events.notify(port);
    rig.run();
    const statuses = Array.from({ length: 5 }, () => hostile.response()?.status);
    expect(statuses).toEqual([-1, -1, -1, -1, 0]);
    expect(hash(image)).toBe(before);
  });
});

describe('persistent grants', () => {
  it('of a frontend with more grefs than are kept are evicted, and each request is still right (act 16)', () => {
    const pages = MAX_PERSISTENT_GRANTS + 300;
    const front = newHostile(pages);
    const other = newImage(5);
    const otherKey = rig.connect(ringOf(front), other, { key: 'many' });
    let seen = 0;
    for (let round = 0; round < 2; round++) {
      for (let p = 1; p + 10 < pages; p += 11) {
        const segments = Array.from({ length: 11 }, (_, i) => ({ gref: front.refs[p + i]! }));
        front.page(p).bytes.fill(0);
        front.send(i => front.write(i, { segments }));
        rig.run();
        expect(front.response()?.status).toBe(BLKIF_RSP_OKAY);
        expect(front.page(p).bytes[4095]).toBe(5);
        seen = Math.max(seen, rig.stats(otherKey)!.persistent);
      }
    }
    expect(seen).toBeLessThanOrEqual(MAX_PERSISTENT_GRANTS);
    expect(rig.stats(otherKey)!.evicted).toBeGreaterThan(300);
    rig.disconnect(otherKey);
    for (const ref of front.refs) expect(front.vcpu.grants.endAccess(ref)).toBe(true);
  });

  it('fault 11: cannot be ended while they are mapped; without them each request leaves nothing mapped (act 17)', () => {
    expect(read([hostile.refs[1]!])).toBe(BLKIF_RSP_OKAY);
    expect(hostile.vcpu.grants.endAccess(hostile.refs[1]!)).toBe(false);
    const other = newHostile();
    rig.connect(ringOf(other), newImage(2), { key: 'once', persistent: false });
    other.send(i => other.write(i, { segments: [{ gref: other.refs[1]! }, { gref: other.refs[2]! }] }));
    rig.run();
    expect(other.response()?.status).toBe(BLKIF_RSP_OKAY);
    expect(other.vcpu.grants.endAccess(other.refs[1]!)).toBe(true);
    expect(other.vcpu.grants.endAccess(other.refs[2]!)).toBe(true);
  });
});

describe('a connection', () => {
  it.each([
    ['ring that was never granted', () => ({ ringRef: 5000 }), /gref 5000 of dom\d+/],
    ['event channel that is not its own (act 28)', () => ({ eventChannel: 4000 }), /port 4000 of dom\d+/],
    [
      'event channel of another domain (act 28)',
      () => ({ eventChannel: neighbour.ring!.rings[0]!.eventChannel + 1 }),
      /port/,
    ],
    ['event channel that is in use (act 28)', () => ({ eventChannel: hostile.port }), /port/],
  ])('with an %s is refused, and leaves nothing behind', (_, wrong, message) => {
    const ring = ringOf(newHostileWithPort(), wrong());
    expect(() => rig.connect(ring, image, { key: 'refused' })).toThrow(message);
    expect(rig.stats('refused')).toBeUndefined();
  });
  const newHostileWithPort = (): HostileFrontend => hostile;

  it('that ends answers what was asked before it, then has nothing mapped and no port bound', () => {
    hostile.write(0, { operation: BLKIF_OP_WRITE, segments: [{ gref: hostile.refs[1]! }] });
    hostile.page(1).bytes.fill(0xab);
    hostile.setReqProd(1);
    rig.disconnect(key);
    expect(hostile.response()).toEqual({ id: 0, operation: BLKIF_OP_WRITE, status: BLKIF_RSP_OKAY });
    expect(readFileSync(image.path)[0]).toBe(0xab);
    for (const ref of hostile.refs) expect(hostile.vcpu.grants.endAccess(ref)).toBe(true);
    expect(() => hostile.vcpu.events.close(hostile.port)).not.toThrow();
  });

  it('whose domain dies at any moment leaves whole sectors in the image (act 18)', () => {
    hostile.page(1).bytes.fill(0xcd);
    hostile.send(i => hostile.write(i, { operation: BLKIF_OP_WRITE, segments: [{ gref: hostile.refs[1]! }] }));
    hostile.send(i => hostile.write(i, { operation: BLKIF_OP_FLUSH_DISKCACHE }));
    rig.core.hypervisor.life.crash(rig.core.hypervisor.domains.byId(hostile.vcpu.domid)!, 'killed by a test');
    rig.core.settle();
    rig.run();
    const bytes = readFileSync(image.path);
    const first = bytes[0]!;
    expect([7, 0xcd]).toContain(first);
    expect(bytes.subarray(0, PAGE_SIZE).every(b => b === first)).toBe(true);
    expect(bytes.subarray(PAGE_SIZE).every(b => b === 7)).toBe(true);
    rig.disconnect(key);
    rig.core.settle();
  });
});

describe('an image that fails', () => {
  it('fault 26: costs the request an error and a log line, and the device nothing', () => {
    truncateSync(image.path, 8192);
    expect(read([hostile.refs[1]!], 100)).toBe(BLKIF_RSP_ERROR);
    expect(rig.log.lines).toEqual([
      expect.stringMatching(/vbd 51712 of dom\d+: request op 0 failed: image, 8 sectors at 100: the image ends at/),
    ]);
    expect(read([hostile.refs[1]!], 0)).toBe(BLKIF_RSP_OKAY);
    rmSync(image.path); // it is there as long as somebody has it open
    expect(read([hostile.refs[1]!], 0)).toBe(BLKIF_RSP_OKAY);
  });

  it('fault 21: at a flush says so at each later one', () => {
    let failing = true;
    const plain = rig.openImage;
    rig.openImage = connection => {
      const file = plain(connection);
      const flush = (): void => {
        if (failing) throw Object.assign(new Error('injected'), { code: 'EIO' });
        file.flush();
      };
      const { sizeBytes } = file;
      return { sizeBytes, read: file.read.bind(file), write: file.write.bind(file), flush, discard: () => {} };
    };
    const guest = rig.guest().connect(newImage(0));
    guest.disk.write(0, new Uint8Array(512).fill(1));
    expect(() => guest.disk.flush()).toThrow(/EIO/);
    failing = false;
    expect(() => guest.disk.flush()).toThrow(/EIO/);
    guest.disk.write(0, new Uint8Array(512).fill(2));
    expect(() => guest.disk.flush()).toThrow(/EIO/);
  });

  it('with every errno there is answers every request once', () => {
    const codes = ['EIO', 'ENOSPC', 'EROFS', 'EDQUOT', 'EBADF'];
    let n = 0;
    const fail = (): never => {
      throw Object.assign(new Error('injected'), { code: codes[n++ % codes.length] });
    };
    rig.openImage = c => ({ sizeBytes: c.sizeBytes, read: fail, write: fail, flush: fail, discard: fail });
    const guest = rig.guest().connect(newImage(0));
    expect(() => guest.disk.read(0, new Uint8Array(300 * 512))).toThrow(/xvda: read of 300 sectors at 0: EIO/);
    expect(() => guest.disk.write(0, new Uint8Array(512))).toThrow(/EIO/);
    expect(() => guest.disk.flush()).toThrow(/EIO/);
    expect(() => guest.disk.discard(0, 8)).toThrow(/EIO/);
    expect(guest.worker.idle).toBe(true);
  });
});

describe('with a fault planted', () => {
  it.each(['no_space', 'eagain'])(
    'fault 10: pages that cannot be mapped (%s) fail their request, and none stays mapped',
    error => {
      const front = newHostile();
      // The first is the ring's own.
      plant('unmappable', { part: 'grant', nth: 3, error });
      rig.connect(ringOf(front), image, { key: 'unmappable', persistent: false });
      const statuses = [0, 1, 2].map(() => {
        const segments = [1, 2, 3].map(i => ({ gref: front.refs[i]! }));
        front.send(i => front.write(i, { segments }));
        rig.run();
        for (const i of [1, 2, 3]) expect(front.vcpu.grants.endAccess(front.refs[i]!)).toBe(true);
        for (const i of [1, 2, 3]) front.refs[i] = front.vcpu.grants.grantAccess(front.peer, front.shared.gfn + i);
        return front.response()?.status;
      });
      expect(statuses).toEqual([BLKIF_RSP_OKAY, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY]);
      expect(front.response()).toBeUndefined();
    },
  );

  it('fault 10: of the pages of a request of which one is not granted none stays mapped', () => {
    const front = newHostile();
    rig.connect(ringOf(front), image, { key: 'partly', persistent: false });
    const ask = (refs: readonly number[]): number | undefined => {
      front.send(i => front.write(i, { segments: refs.map(gref => ({ gref })) }));
      rig.run();
      return front.response()?.status;
    };
    const [, first, second] = front.refs;
    expect(ask([first!, 4711, second!])).toBe(BLKIF_RSP_ERROR);
    for (const ref of [first!, second!]) expect(front.vcpu.grants.endAccess(ref)).toBe(true);
  });

  it('fault 25: a disk that is to take ten seconds holds up nobody else, and no more than a ring of requests', () => {
    const front = newHostile();
    plant('slow', { part: 'disk', nth: 1, delay: '10s' });
    rig.connect(ringOf(front), newImage(9), { key: 'slow' });
    for (let i = 0; i < 32; i++) front.write(i, { segments: [{ gref: front.refs[1]! }] });
    front.setReqProd(32);
    front.notify();
    for (let second = 0; second < 9; second++) {
      rig.run();
      neighbourWorks();
      rig.core.clock.advance(1e9);
    }
    expect(front.response()).toBeUndefined();
    rig.core.clock.advance(1e9);
    rig.run();
    for (let id = 0; id < 32; id++) expect(front.response()).toMatchObject({ id, status: BLKIF_RSP_OKAY });
    expect(front.response()).toBeUndefined();
  });
});

describe('many guests', () => {
  it('on one thread each have their turn: a ring that is never empty starves nobody', () => {
    // The hostile ring is refilled whenever it is looked at.
    let refilled = 0;
    rig.openImage = c => ({
      sizeBytes: c.sizeBytes,
      read: () => {
        if (refilled++ > 5000) return;
        hostile.write(hostile.prod, { segments: [{ gref: hostile.refs[1]! }] });
        hostile.setReqProd(++hostile.prod);
      },
      write: () => {},
      flush: () => {},
      discard: () => {},
    });
    rig.disconnect(key);
    const port = hostile.vcpu.events.allocUnbound(domid(0));
    rig.connect(ringOf(hostile, { eventChannel: port }), image);
    hostile.send(i => hostile.write(i, { segments: [{ gref: hostile.refs[1]! }] }));
    hostile.vcpu.events.notify(port);
    for (let i = 0; i < 10; i++) {
      const before = refilled;
      rig.step();
      expect(refilled - before).toBeLessThanOrEqual(33);
    }
    neighbourWorks();
    expect(rig.stats(key)!.oo_req).toBeGreaterThan(5);
  });
});
