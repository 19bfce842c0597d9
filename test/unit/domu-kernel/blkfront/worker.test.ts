// blkfront against a backend that behaves, and against one that does not: the disk is given up, what waits
// fails with EIO, one line says why, and the guest lives. Acts are numbered as in the list of hostile acts.
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ, BLKIF_OP_WRITE, domid, ERRNO } from '#pvbus';
import { SharedBuffers } from '../../../../domu-kernel/drivers/blkfront/buffers.ts';
import { SharedRings } from '../../../../domu-kernel/drivers/blkfront/rings.ts';
import { BlkGuest, BlkRig, ImageFile, type RingEnd } from '../../../support/blk-rig.ts';
import { HostileBackend, type SeenRequest } from '../../../support/hostile-backend.ts';

const SIZE = 1 << 20;
const SECTORS = SIZE / 512;
const PROPERTIES = { sectors: SECTORS, readOnly: false, flush: true, discardGranularity: 512 };

let rig: BlkRig;
let image: ImageFile;
beforeEach(() => {
  rig = new BlkRig();
  image = new ImageFile(new Uint8Array(SIZE).map((_, i) => (i >> 9) & 0xff));
});
afterEach(() => {
  expect(rig.core.internalErrors).toEqual([]);
  image.remove();
});

describe('a disk', () => {
  it('reads and writes any number of sectors anywhere, and nothing beside them', () => {
    const { disk } = rig.guest().connect(image);
    const model = new Uint8Array(readFileSync(image.path));
    for (const [sector, count] of [
      [0, 1],
      [3, 7],
      [8, 8],
      [5, 9],
      [100, 256],
      [101, 257],
      [0, SECTORS],
      [SECTORS - 1, 1],
      [17, 1500],
      [4, 0],
    ] as const) {
      const data = new Uint8Array(count * 512).map((_, i) => (i * 31 + sector) & 0xff);
      disk.write(sector, data);
      model.set(data, sector * 512);
      const into = new Uint8Array(count * 512);
      disk.read(sector, into);
      expect(Buffer.from(into).equals(Buffer.from(data)), `${count} at ${sector}`).toBe(true);
    }
    disk.flush();
    expect(Buffer.from(model).equals(readFileSync(image.path))).toBe(true);
    disk.discard(8, 64);
    const into = new Uint8Array(64 * 512).fill(1);
    disk.read(8, into);
    expect(into.every(b => b === 0)).toBe(true);
  });

  it('moves 128 KiB with one request', () => {
    const guest = rig.guest().connect(image);
    guest.disk.read(0, new Uint8Array(128 * 1024));
    expect(guest.worker.stats.requests).toBe(1);
    expect(rig.stats(guest.key!)).toMatchObject({ rd_req: 1, rd_sect: 256 });
  });

  it('on a backend without indirect requests uses smaller ones', () => {
    const guest = rig.guest().connect(image, { maxSegments: 0 });
    guest.disk.read(0, new Uint8Array(128 * 1024));
    expect(guest.worker.stats.requests).toBe(3);
  });

  it.each([
    ['beyond its end', () => [SECTORS, 512] as const, 'EINVAL'],
    ['across its end', () => [SECTORS - 1, 1024] as const, 'EINVAL'],
    ['before its start', () => [-1, 512] as const, 'EINVAL'],
    ['between two sectors', () => [0.5, 512] as const, 'EINVAL'],
    ['of half a sector', () => [0, 256] as const, 'EINVAL'],
    ['at no number', () => [Number.NaN, 512] as const, 'EINVAL'],
  ])('refuses a range %s without asking its backend', async (_, range, code) => {
    const guest = rig.guest().connect(image);
    const [sector, bytes] = range();
    expect(() => guest.disk.read(sector, new Uint8Array(bytes))).toThrow(expect.objectContaining({ code }));
    await expect(guest.disk.submitWrite(sector, new Uint8Array(bytes))).rejects.toMatchObject({ code });
    expect(guest.worker.stats.requests).toBe(0);
  });

  it('that is read-only says so', () => {
    const guest = rig.guest().connect(image, { readOnly: true });
    expect(() => guest.disk.write(0, new Uint8Array(512))).toThrow(/xvda: write of 1 sectors at 0: .*read-only/);
    expect(() => guest.disk.discard(0, 1)).toThrow(expect.objectContaining({ code: 'EROFS' }));
    guest.disk.read(0, new Uint8Array(512));
    guest.disk.flush();
  });

  it('serves more submitted transfers than it has slots, and a blocking call among them', async () => {
    const { disk, worker } = rig.guest().connect(image);
    const buffers = Array.from({ length: 100 }, () => new Uint8Array(3 * 4096));
    const all = buffers.map((buffer, i) => disk.submitRead(i * 8, buffer));
    const into = new Uint8Array(512);
    disk.read(5, into);
    expect(into[0]).toBe(5);
    let left = all.length;
    for (const promise of all) void promise.then(() => left--);
    for (let i = 0; left > 0 && i < 1000; i++) {
      rig.step();
      worker.step();
      await Promise.resolve();
    }
    expect(left).toBe(0);
    expect(buffers.map(buffer => buffer[0])).toEqual(buffers.map((_, i) => (i * 8) & 0xff));
    expect(worker.idle).toBe(true);
  });

  it('used ring by ring keeps 32 requests in flight and matches every answer', () => {
    const guest = rig.guest().connect(image);
    const { worker } = guest;
    const sectorOf = new Map<number, number>();
    let sent = 0;
    let answered = 0;
    const send = (slot: number): void => {
      sectorOf.set(slot, (sent * 8) % SECTORS);
      worker.queue(slot, BLKIF_OP_READ, (sent++ * 8) % SECTORS, 4096);
    };
    for (let i = 0; i < 32; i++) send(worker.acquire(4096));
    worker.push();
    expect(worker.inFlight).toBe(32);
    while (answered < 500) {
      rig.step();
      guest.step();
      for (let slot = worker.reap(); slot >= 0; slot = worker.reap()) {
        answered++;
        expect(worker.status(slot)).toBe(0);
        expect(worker.buffer(slot)[0]).toBe(sectorOf.get(slot)! & 0xff);
        worker.hold(slot);
        send(slot);
      }
      worker.push();
    }
    expect(guest.broken).toEqual([]);
  });

  it('asks again what a lost backend has not answered, in the old order', () => {
    const guest = rig.guest();
    guest.setup();
    guest.worker.resume(); // to a backend that never looks at its ring
    const [low, middle, slot] = [0, 1, 2].map(() => guest.worker.acquire(4096)) as [number, number, number];
    const order: number[] = [];
    rig.openImage = c => ({
      sizeBytes: c.sizeBytes,
      read: (_into, _offset, _length, at) => void order.push(at / 512),
      write: (from, offset, _length, at) => void order.push(at / 512, from[offset]!),
      flush: () => {},
      discard: () => {},
    });
    guest.worker.buffer(slot).fill(0xee);
    guest.worker.queue(slot, BLKIF_OP_WRITE, 40, 4096);
    guest.worker.queue(middle, BLKIF_OP_READ, 16, 4096);
    guest.worker.queue(low, BLKIF_OP_READ, 24, 4096);
    guest.worker.push();
    guest.worker.suspend();
    guest.worker.queue(guest.worker.acquire(4096), BLKIF_OP_READ, 8, 4096); // made while there is no backend
    expect(guest.worker.inFlight).toBe(3);

    guest.connect(image);
    rig.run();
    guest.step();
    expect(order).toEqual([40, 0xee, 16, 24, 8]);
    expect(guest.worker.stats.replayed).toBe(3);
    expect(guest.worker.idle).toBe(true);
  });

  it('by several rings asks again what a lost backend has not answered, by fewer and in the old order of each', () => {
    const guest = rig.guest();
    guest.setup(256, { queues: 3, order: 0 });
    guest.worker.resume();
    const slots = Array.from({ length: 12 }, () => guest.worker.acquire(4096)).reverse();
    for (const [i, slot] of slots.entries()) guest.worker.queue(slot, BLKIF_OP_READ, i * 8, 4096);
    guest.worker.push();
    guest.worker.suspend();
    guest.worker.queue(guest.worker.acquire(4096), BLKIF_OP_READ, 12 * 8, 4096);
    const order: number[] = [];
    rig.openImage = c => ({
      ...{ sizeBytes: c.sizeBytes, write: () => {}, flush: () => {}, discard: () => {} },
      read: (_into, _offset, _length, at) => void order.push(at / 4096),
    });
    guest.connect(image, { ringShape: { queues: 2, order: 0 } });
    rig.run();
    guest.step();
    expect(guest.worker.idle).toBe(true);
    expect(guest.worker.stats.replayed).toBe(12);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 13 }, (_, i) => i));
    // The backend takes a ring after the other: each of them is in its order.
    const breaks = order.filter((at, i) => i > 0 && at < order[i - 1]!);
    expect(breaks.length).toBe(1);
  });

  it('takes what was to be written along to a backend in another domain', () => {
    const guest = rig.guest().connect(image);
    const slot = guest.worker.acquire(4096);
    guest.worker.buffer(slot).fill(0x5a);
    guest.worker.queue(slot, BLKIF_OP_WRITE, 0, 4096);
    guest.worker.suspend();
    const driver = rig.core.guest({ pages: 128 });
    const buffers = new SharedBuffers(guest.vcpu.grants, domid(driver.domid));
    const port = guest.vcpu.events.allocUnbound(domid(driver.domid));
    const rings = new SharedRings(guest.vcpu.grants, domid(driver.domid));
    guest.worker.attach(rings, buffers, [port], 256);
    guest.worker.resume();
    const backend = new HostileBackend(driver.kernel(), domid(guest.guest.domid), rings.rings[0]!.refs[0]!, port);
    const [request] = backend.take();
    const page = backend.vcpu.grants.map(domid(guest.guest.domid), [request!.gref])[0]!.page;
    expect(page.bytes.every(b => b === 0x5a)).toBe(true);
  });
});

const endOf = ({ rings: [ring] }: RingEnd) => [ring!.ringRefs[0]!, ring!.eventChannel] as const;

describe('a hostile backend of two rings', () => {
  it('that answers by one what was asked by the other: the disk is given up', () => {
    const guest = new BlkGuest(rig);
    const ring = guest.setup(256, { queues: 2, order: 0 });
    const kernel = rig.core.dom0.kernel(3);
    const [one, two] = ring.rings.map(
      place => new HostileBackend(kernel, domid(ring.domid), place.ringRefs[0]!, place.eventChannel),
    ) as [HostileBackend, HostileBackend];
    guest.disk.setProperties(PROPERTIES);
    guest.worker.resume();
    for (let i = 0; i < 2; i++) guest.worker.queue(guest.worker.acquire(4096), BLKIF_OP_READ, i * 8, 4096);
    guest.worker.push();
    const [first] = one.take();
    const [second] = two.take();
    expect([first, second].every(Boolean)).toBe(true);
    one.answer(second!);
    guest.step();
    expect(guest.broken.map(error => error.code)).toEqual(['EPROTO']);
    expect(guest.worker.failed).toBe(5);
  });
});

describe('a hostile backend', () => {
  let guest: BlkGuest;
  let backend: HostileBackend;
  const settled: [number, number][] = [];
  /** Slots with a request each, as the backend sees them. */
  function inFlight(count: number, operation = BLKIF_OP_READ): SeenRequest[] {
    for (let i = 0; i < count; i++) {
      const slot = guest.worker.acquire(4096);
      guest.worker.queue(slot, operation, i * 8, operation === BLKIF_OP_FLUSH_DISKCACHE ? 0 : 4096, {
        settled: (s, status) => {
          settled.push([s, status]);
          guest.worker.release(s);
        },
      });
    }
    guest.worker.push();
    return backend.take();
  }
  beforeEach(() => {
    settled.length = 0;
    guest = new BlkGuest(rig);
    const ring = guest.setup();
    backend = new HostileBackend(rig.core.dom0.kernel(3), domid(ring.domid), ...endOf(ring));
    guest.disk.setProperties(PROPERTIES);
    guest.worker.resume();
  });

  it('that behaves is believed', () => {
    const requests = inFlight(3);
    for (const r of [...requests].reverse()) backend.answer(r);
    guest.step();
    expect(settled.map(([, status]) => status)).toEqual([0, 0, 0]);
    expect(guest.broken).toEqual([]);
  });

  const MORE = 'its ring holds more responses than requests were made';
  const NOT_ASKED = 'a response to request \\d+/\\d+, which is not in flight';
  const OTHER = 'a response of operation \\d to a request of 0';
  const acts: [string, string, (requests: SeenRequest[]) => void][] = [
    ['act 30: a disk backend that answers more than was asked', MORE, () => backend.setRspProd(3)],
    ['act 30: a disk backend that answers 2^31 requests', MORE, () => backend.setRspProd(2 ** 31)],
    ['act 30: a disk backend that moves rsp_prod backwards', MORE, () => backend.setRspProd(-1)],
    [
      'act 31: a disk backend that answers an id out of range',
      NOT_ASKED,
      ([r]) => backend.answer({ ...r!, id_lo: 40 }),
    ],
    [
      'act 31: a disk backend that answers id 2^32 - 1',
      NOT_ASKED,
      ([r]) => backend.answer({ ...r!, id_lo: 0xffffffff }),
    ],
    [
      'act 31: a disk backend that answers a slot that asked nothing',
      NOT_ASKED,
      ([r]) => backend.answer({ ...r!, id_lo: r!.id_lo ^ 16 }),
    ],
    [
      'act 31: a disk backend that answers an older request of the slot',
      NOT_ASKED,
      ([r]) => backend.answer({ ...r!, id_hi: r!.id_hi - 1 }),
    ],
    [
      'act 31: a disk backend that answers twice',
      NOT_ASKED,
      ([r]) => {
        backend.answer(r!);
        backend.answer(r!);
      },
    ],
    [
      'act 32: a disk backend that answers with another operation',
      OTHER,
      ([r]) => backend.answer({ ...r!, operation: BLKIF_OP_WRITE }),
    ],
    ['act 32: a disk backend that answers a read as indirect', OTHER, ([r]) => backend.answer({ ...r!, operation: 6 })],
  ];
  it.each(acts)('%s: the disk is given up, the guest lives', (_, why, act) => {
    const requests = inFlight(2);
    act(requests);
    guest.step();
    expect(guest.broken.length).toBe(1);
    expect(guest.log.lines.length).toBe(1);
    expect(guest.log.lines[0]).toMatch(new RegExp(`^error: xvda: the backend sent ${why}; the disk is given up$`));
    const failed = settled.filter(([, status]) => status === -ERRNO.EIO);
    expect(settled.length).toBe(2);
    expect(failed.length).toBeGreaterThanOrEqual(1);
    // From now on everything fails at once, and the ring is not looked at any more.
    expect(() => guest.disk.read(0, new Uint8Array(512))).toThrow(expect.objectContaining({ code: 'EIO' }));
    expect(() => guest.disk.flush()).toThrow(expect.objectContaining({ code: 'EIO' }));
    backend.setRspProd(77);
    expect(guest.step()).toBe('progress'); // the event itself
    expect(guest.step()).toBe('idle');
    expect(guest.log.lines.length).toBe(1);
  });

  it('that breaks the ring while a program waits for a read makes the read fail', async () => {
    const waits = guest.disk.submitRead(0, new Uint8Array(512 * 700));
    backend.setRspProd(500);
    guest.step();
    await expect(waits).rejects.toMatchObject({ code: 'EIO' });
    expect(guest.worker.idle).toBe(true);
  });

  it('that answers with a status nobody knows has failed the request', () => {
    const [a, b, c] = inFlight(3);
    backend.answer({ ...a!, status: -2 });
    backend.answer({ ...b!, status: 1 });
    backend.answer({ ...c!, status: -30000 });
    guest.step();
    expect(settled.map(([, status]) => status)).toEqual([-ERRNO.EOPNOTSUPP, -ERRNO.EIO, -ERRNO.EIO]);
    expect(guest.broken).toEqual([]);
  });

  it('that does not know flush after all is asked once', () => {
    guest.blocking.waitUntil = condition => {
      for (const r of backend.take()) backend.answer({ ...r, status: -2 });
      guest.step();
      expect(condition()).toBe(true);
    };
    guest.disk.flush();
    guest.disk.flush();
    expect(guest.worker.stats.requests).toBe(1);
    expect(guest.log.lines.length).toBe(1);
  });

  it('act 33, fault 11: a disk backend that keeps pages mapped after it left keeps them from being used again, and they are counted', () => {
    const [request] = inFlight(1);
    backend.vcpu.grants.map(domid(guest.guest.domid), [request!.gref]);
    backend.answer(request!);
    guest.step();
    const before = guest.vcpu.frames.available;
    guest.worker.fail(ERRNO.ENODEV);
    guest.worker.detach();
    expect(guest.buffers!.release()).toBeGreaterThan(0);
    expect(guest.vcpu.frames.available).toBe(before);
  });

  it('act 34: a disk backend that scribbles over requests and descriptors harms only what it is told itself', () => {
    const requests = inFlight(2);
    backend.ring.page.bytes.fill(0xff, 64);
    for (const r of requests) backend.answer(r);
    guest.step();
    expect(settled.map(([, status]) => status)).toEqual([0, 0]);
    const more = inFlight(2);
    expect(more.map(r => r.operation)).toEqual([BLKIF_OP_READ, BLKIF_OP_READ]);
    expect(more.map(r => r.sector)).toEqual([0, 8]);
  });

  it('act 40: a disk backend sees nothing in the pages but zeros and what was written to the disk', () => {
    const data = new Uint8Array(512).fill(0x77);
    void guest.disk.submitWrite(9, data).catch(() => {});
    const [request] = backend.take();
    const [mapping] = backend.vcpu.grants.map(domid(guest.guest.domid), [request!.gref]);
    expect(mapping!.page.bytes.subarray(0, 512).every(b => b === 0x77)).toBe(true);
    expect(mapping!.page.bytes.subarray(512).every(b => b === 0)).toBe(true);
  });

  it('act 37: the event storm of a disk backend costs a turn each and no more', () => {
    inFlight(1);
    for (let i = 0; i < 1000; i++) backend.vcpu.events.notify(backend.port);
    let turns = 0;
    while (guest.step() === 'progress') turns++;
    expect(turns).toBeLessThanOrEqual(2);
  });
});
