// A vbd of several rings, and of rings of several pages, before frontends that behave and frontends that do not.
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BlkifRequest,
  BlkifResponse,
  blkif_sring_entry,
  domid,
  FrontRing,
  pageAt,
  sring,
} from '#pvbus';
import type { VbdRingPlace } from '../../../../../dom0/backends/blkback/connection.ts';
import { type BlkGuest, BlkRig, ImageFile } from '../../../../support/blk-rig.ts';
import { HostileFrontend } from '../../../../support/hostile-frontend.ts';

const SIZE = 1 << 20;
let rig: BlkRig;
let image: ImageFile;
let a: HostileFrontend;
let b: HostileFrontend;
let neighbour: BlkGuest;
let other: ImageFile;

/** Two frontends' worth of ring, in one domain: two queues. */
function twoQueues(): readonly [HostileFrontend, HostileFrontend] {
  const kernel = rig.core.guest({ pages: 256 }).kernel();
  return [new HostileFrontend(kernel, domid(0)), new HostileFrontend(kernel, domid(0))];
}
const placeOf = (front: HostileFrontend): VbdRingPlace => ({
  ringRefs: [front.refs[0]!],
  eventChannel: front.port,
});
const connect = (rings: readonly VbdRingPlace[], key = 'both'): string =>
  rig.connect({ domid: a.vcpu.domid, rings }, image, { key });
function send(front: HostileFrontend, operation: number, gref: number | undefined, sector = 0): void {
  front.send(i => front.write(i, { operation, sector_lo: sector, segments: gref === undefined ? [] : [{ gref }] }));
}

beforeEach(() => {
  rig = new BlkRig();
  image = new ImageFile(new Uint8Array(SIZE).fill(7));
  other = new ImageFile(new Uint8Array(SIZE).fill(1));
  neighbour = rig.guest().connect(other);
  [a, b] = twoQueues();
});
afterEach(() => {
  const back = new Uint8Array(4096);
  neighbour.disk.read(0, back);
  expect(back.every(byte => byte === 1)).toBe(true);
  expect(rig.core.internalErrors).toEqual([]);
  image.remove();
  other.remove();
});

describe('a vbd of two queues', () => {
  it('answers each request in the ring that it came by, and tells only that ring', () => {
    connect([placeOf(a), placeOf(b)]);
    send(a, BLKIF_OP_READ, a.refs[1]);
    rig.run();
    a.vcpu.events.poll();
    expect([a.response()?.status, b.response()]).toEqual([0, undefined]);
    expect(a.page(1).bytes[0]).toBe(7);
    const heard = a.events;
    send(b, BLKIF_OP_WRITE, b.refs[2], 8);
    rig.run();
    b.vcpu.events.poll();
    expect([b.response()?.status, a.response(), a.events]).toEqual([0, undefined, heard]);
    expect(b.events).toBe(1);
  });

  it('has flushed what was answered on one queue when a flush on the other is answered', () => {
    const acts: string[] = [];
    rig.openImage = c => ({
      sizeBytes: c.sizeBytes,
      read: () => {},
      write: (_, __, ___, at) => void acts.push(`write ${at / 512}`),
      flush: () => void acts.push('flush'),
      discard: () => {},
    });
    connect([placeOf(a), placeOf(b)]);
    send(a, BLKIF_OP_WRITE, a.refs[1], 8);
    rig.run();
    expect(a.response()?.status).toBe(0);
    send(b, BLKIF_OP_FLUSH_DISKCACHE, undefined);
    send(a, BLKIF_OP_WRITE, a.refs[1], 16);
    rig.run();
    expect(acts.indexOf('write 8')).toBeLessThan(acts.indexOf('flush'));
    expect(b.response()?.status).toBe(0);
  });

  it('that has lost writes at a flush on one queue says so at each later flush, whatever queue', () => {
    let fail = true;
    rig.openImage = c => ({
      ...{ sizeBytes: c.sizeBytes, read: () => {}, write: () => {}, discard: () => {} },
      flush: () => {
        if (fail) throw new Error('EIO');
      },
    });
    connect([placeOf(a), placeOf(b)]);
    send(a, BLKIF_OP_FLUSH_DISKCACHE, undefined);
    rig.run();
    fail = false;
    send(b, BLKIF_OP_FLUSH_DISKCACHE, undefined);
    rig.run();
    expect([a.response()?.status, b.response()?.status]).toEqual([-1, -1]);
  });

  it('one of which is never empty has the other one served', () => {
    const key = connect([placeOf(a), placeOf(b)]);
    for (let i = 0; i < 32; i++) a.write(i, { segments: [{ gref: a.refs[1]! }] });
    a.setReqProd(32);
    a.notify();
    send(b, BLKIF_OP_READ, b.refs[1]);
    rig.step();
    rig.step();
    expect(b.response()?.status).toBe(0);
    rig.run();
    expect(rig.stats(key)?.rd_req).toBe(33);
  });

  it('maps a page that requests of both name once, and lets go of it once', () => {
    const key = connect([placeOf(a), placeOf(b)]);
    const before = rig.core.dom0.domain.grants.mappings;
    for (const front of [a, b]) send(front, BLKIF_OP_READ, a.refs[1]);
    rig.run();
    expect([a.response()?.status, b.response()?.status]).toEqual([0, 0]);
    expect(rig.core.dom0.domain.grants.mappings).toBe(before + 1);
    rig.disconnect(key);
    for (const ref of [...a.refs, ...b.refs]) expect(a.vcpu.grants.endAccess(ref)).toBe(true);
  });

  it('one of which is out of order is given up with both, once', () => {
    const key = connect([placeOf(a), placeOf(b)]);
    b.setReqProd(33);
    b.notify();
    send(a, BLKIF_OP_READ, a.refs[1]);
    rig.run();
    expect(rig.failures.map(({ key: of, code }) => [of, code])).toEqual([[key, 'EINVAL']]);
    expect(rig.stats(key)).toBeUndefined();
    for (const ref of [...a.refs, ...b.refs]) expect(a.vcpu.grants.endAccess(ref)).toBe(true);
  });

  it.each([
    ['a ring that was never granted', () => ({ ...placeOf(b), ringRefs: [5000] }), /gref 5000/],
    ['the event channel of the first', () => ({ ...placeOf(b), eventChannel: a.port }), /port/],
  ])('the second of which has %s is refused, and leaves nothing of the first', (_, second, message) => {
    const mappings = rig.core.dom0.domain.grants.mappings;
    expect(() => connect([placeOf(a), second()])).toThrow(message);
    expect(rig.core.dom0.domain.grants.mappings).toBe(mappings);
    connect([placeOf(a), placeOf(b)]);
    send(b, BLKIF_OP_READ, b.refs[1]);
    rig.run();
    expect(b.response()?.status).toBe(0);
  });
});

describe('a ring of several pages', () => {
  it('has as many slots as fit, wherever its pages are', () => {
    const pages = 4;
    const slots = 128; // of 112 bytes in 16 KiB
    const mine = pageAt(new ArrayBuffer(pages * 4096), 0, pages);
    FrontRing.init(mine, blkif_sring_entry.size);
    // The backend's pages: every other page of what is shared, the last first.
    const shared = a.vcpu.grants.allocShared(domid(0), 2 * pages);
    const at = (i: number) => shared.page(2 * (pages - 1 - i));
    const ringRefs = Array.from({ length: pages }, (_, i) =>
      a.vcpu.grants.grantAccess(domid(0), shared.gfn + 2 * (pages - 1 - i)),
    );
    /** Without the words that the other end writes. */
    const publish = (): void => {
      for (let i = 0; i < pages; i++) at(i).bytes.set(mine.bytes.subarray(i * 4096, (i + 1) * 4096));
      Atomics.store(at(0).words, sring.at.req_prod / 4, slots);
    };
    for (let i = 0; i < slots; i++) {
      const rw = new BlkifRequest(mine.view, sring.size + i * blkif_sring_entry.size);
      rw.operation = BLKIF_OP_READ;
      rw.nr_segments = 0; // refused, which is an answer too
      rw.id_lo = 1000 + i;
      rw.id_hi = i;
    }
    publish();
    connect([{ ringRefs, eventChannel: a.port }]);
    rig.run();
    expect(Atomics.load(at(0).words, sring.at.rsp_prod / 4)).toBe(slots);
    for (let i = 0; i < pages; i++) mine.bytes.set(at(i).bytes, i * 4096);
    for (let i = 0; i < slots; i++) {
      const { id_lo, id_hi, status } = new BlkifResponse(mine.view, sring.size + i * blkif_sring_entry.size);
      expect([id_lo, id_hi, status]).toEqual([1000 + i, i, -1]);
    }
  });

  it('that claims one request more than its pages hold is given up', () => {
    const guest = rig.guest();
    const ring = guest.setup(256, { queues: 1, order: 2 });
    rig.connect(ring, image, { key: 'greedy' });
    Atomics.store(guest.rings!.rings[0]!.page.words, sring.at.req_prod / 4, 129);
    guest.worker.resume();
    rig.run();
    expect(rig.failures.map(({ key }) => key)).toEqual(['greedy']);
  });

  it('serves a guest with more requests under way than a page has slots', () => {
    const guest = rig.guest({ small: 100, large: 0, largePages: 1 });
    guest.connect(image, { ringShape: { queues: 1, order: 2 } });
    const { worker } = guest;
    for (let i = 0; i < 100; i++) {
      const slot = worker.acquire(4096);
      worker.buffer(slot).fill(i);
      worker.queue(slot, BLKIF_OP_WRITE, i * 8, 4096);
    }
    worker.push();
    expect(worker.inFlight).toBe(100);
    rig.run();
    guest.step();
    const bytes = readFileSync(image.path);
    for (let i = 0; i < 100; i++) expect([bytes[i * 4096], bytes[i * 4096 + 4095]]).toEqual([i, i]);
  });
});
