// The parts with faults that take the place of plain ones, each over a plain one of its kind.
import { describe, expect, it } from 'vitest';
import {
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  type Clock,
  checkPlan,
  type EvtchnPort,
  type Injected,
  type Planted,
  port,
} from '#pvbus';
import type { DiskImage } from '../../../../dom0/backends/blkback/disk-image.ts';
import { Later } from '../../../../dom0/backends/blkback/disk-image.ts';
import { FaultyDisk } from '../../../../dom0/backends/blkback/faulty-disk.ts';
import { FaultyLink } from '../../../../dom0/backends/netback/faulty-link.ts';
import { Frame, SourcePage } from '../../../../dom0/backends/netback/frame.ts';
import { DeviceFaults } from '../../../../dom0/faults/device-faults.ts';
import { FaultyNotifier } from '../../../../dom0/faults/faulty-notifier.ts';
import { LateWork } from '../../../../dom0/faults/late-work.ts';

class HandClock implements Clock {
  ns = 1e9;
  now(): number {
    return this.ns;
  }
  wallMs(): number {
    return 0;
  }
}

function planted(...faults: object[]): Planted[] {
  const checked = checkPlan(faults, 'p');
  if ('problems' in checked) throw new Error(JSON.stringify(checked.problems));
  return checked.plan.faults.map(fault => ({ plan: 'p', seed: 1, startedNs: 0, fault }));
}

function rig(...faults: object[]) {
  const clock = new HandClock();
  const told: Injected[] = [];
  const device = new DeviceFaults('vbd 1 of dom1', clock, injected => void told.push(injected));
  device.plant(planted(...faults));
  return { clock, told, device, late: new LateWork() };
}

const SECTOR = 512;
const page = (byte: number, sectors = 8): Uint8Array => new Uint8Array(sectors * SECTOR).fill(byte);

class ByteDisk implements DiskImage {
  readonly sizeBytes = 64 * SECTOR;
  readonly #bytes = new Uint8Array(this.sizeBytes);

  read(into: Uint8Array, offset: number, length: number, at: number): void {
    into.set(this.#bytes.subarray(at, at + length), offset);
  }
  write(from: Uint8Array, offset: number, length: number, at: number): void {
    this.#bytes.set(from.subarray(offset, offset + length), at);
  }
  flush(): void {}
  discard(at: number, length: number): void {
    this.#bytes.fill(0, at, at + length);
  }
}

const OPERATIONS = { read: BLKIF_OP_READ, write: BLKIF_OP_WRITE, flush: BLKIF_OP_FLUSH_DISKCACHE };
/** A disk with these faults, and requests as the vbd makes them. */
function faultyDisk(...faults: object[]) {
  const parts = rig(...faults);
  const plain = new ByteDisk();
  const pieces: number[] = [];
  const by = (): DiskImage => {
    pieces.push(1);
    return plain;
  };
  const disk = new FaultyDisk({ plain, by, faults: parts.device, clock: parts.clock });
  const begin = (op: keyof typeof OPERATIONS, sector: number, sectors: number): void =>
    disk.announce(OPERATIONS[op], sector, sectors);
  const write = (sector: number, bytes: Uint8Array): void => {
    begin('write', sector, bytes.length / SECTOR);
    disk.write(bytes, 0, bytes.length, sector * SECTOR);
  };
  const read = (sector: number, sectors = 8): Uint8Array => {
    const into = new Uint8Array(sectors * SECTOR);
    begin('read', sector, sectors);
    disk.read(into, 0, into.length, sector * SECTOR);
    return into;
  };
  const flush = (): void => {
    begin('flush', 0, 0);
    disk.flush();
  };
  const kept = (sector: number, sectors = 8): Uint8Array => {
    const into = new Uint8Array(sectors * SECTOR);
    plain.read(into, 0, into.length, sector * SECTOR);
    return into;
  };
  return { ...parts, plain, disk, write, read, flush, kept, pieces };
}

it('tells what it has seen and not befallen half a second later, once', () => {
  const { clock, told, device } = rig({ part: 'disk', op: 'write', nth: 9, error: 'EIO' });
  for (let i = 0; i < 3; i++) device.befalls('disk', 'write');
  device.befalls('disk', 'read');
  device.flush();
  expect([told, device.deadline]).toEqual([[], clock.ns + 500e6]);
  clock.ns += 500e6;
  device.flush();
  expect(told).toEqual([expect.objectContaining({ counts: { seen: 3, injected: 0 }, occurrences: [] })]);
  clock.ns += 1e9;
  device.flush();
  expect([told.length, device.deadline]).toEqual([1, undefined]);
});

describe('a disk with a fault', () => {
  it('fails the request that is chosen, and has done nothing of it', () => {
    const { write, kept, device, told } = faultyDisk({ part: 'disk', op: 'write', nth: 2, error: 'ENOSPC' });
    write(0, page(1));
    expect(() => write(0, page(2))).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    expect(kept(0)).toEqual(page(1));
    write(0, page(3));
    expect(kept(0)).toEqual(page(3));
    device.flush();
    expect(told).toMatchObject([{ occurrences: [2], counts: { seen: 3, injected: 1 }, where: 'vbd 1 of dom1' }]);
  });
  it('is chosen by sectors: a request that touches one of them counts', () => {
    const { write } = faultyDisk({ part: 'disk', sectors: '16-23', error: 'EIO' });
    write(8, page(1));
    write(24, page(1));
    expect(() => write(20, page(1))).toThrow('injected');
    expect(() => write(15, page(1))).toThrow('injected');
  });
  it('tears a write at a byte', () => {
    const { write, kept } = faultyDisk({ part: 'disk', op: 'write', nth: 2, torn: 1536 });
    write(0, page(1));
    expect(() => write(0, page(2))).toThrow(expect.objectContaining({ code: 'EIO' }));
    expect(kept(0)).toEqual(new Uint8Array([...page(2, 3), ...page(1, 5)]));
  });
  it('fault 24: flips one bit, the same one from the same seed, and never in the page of the guest', () => {
    const flipped = (): number => {
      const { write, kept } = faultyDisk({ part: 'disk', op: 'write', corrupt: true });
      const bytes = page(0);
      write(0, bytes);
      expect(bytes).toEqual(page(0));
      const at = kept(0).findIndex(byte => byte !== 0);
      expect(Math.log2(kept(0)[at]!) % 1).toBe(0);
      expect(kept(0).filter(byte => byte !== 0).length).toBe(1);
      return at * 256 + kept(0)[at]!;
    };
    expect(flipped()).toBe(flipped());
    const { read } = faultyDisk({ part: 'disk', op: 'read', corrupt: 700 });
    expect(read(0).findIndex(byte => byte !== 0)).toBe(700);
  });
  it('fault 22: goes by other system calls where one is to be short or interrupted', () => {
    const { write, kept, pieces } = faultyDisk(
      { part: 'disk', op: 'write', nth: 1, short: 100 },
      { part: 'disk', op: 'write', nth: 2, error: 'EINTR' },
    );
    write(0, page(1));
    write(8, page(2));
    expect(pieces.length).toBe(2);
    expect([kept(0), kept(8)]).toEqual([page(1), page(2)]);
  });
  it('ends early where it is truncated', () => {
    const { write, read } = faultyDisk({ part: 'disk', truncate: 4096 });
    write(0, page(1));
    expect(() => write(4, page(1))).toThrow('the image ends at 4096');
    expect(() => read(8)).toThrow('the image ends at 4096');
  });
  it('puts a request off until its time, and counts it once', () => {
    const { write, kept, clock, device, told } = faultyDisk({ part: 'disk', nth: 1, delay: 10 });
    expect(() => write(0, page(1))).toThrow(Later);
    clock.ns += 5e6;
    expect(() => write(0, page(1))).toThrow(Later);
    expect(kept(0)).toEqual(page(0));
    clock.ns += 5e6;
    write(0, page(1));
    expect(kept(0)).toEqual(page(1));
    device.flush();
    expect(told).toMatchObject([{ occurrences: [1], counts: { seen: 1 } }]);
  });
  it('that stalls goes on with the very request when the fault is taken away', () => {
    const { write, kept, disk, device } = faultyDisk({ part: 'disk', nth: 1, stall: true });
    expect(() => write(0, page(1))).toThrow(Later);
    device.plant([]);
    disk.reconsider();
    write(0, page(1));
    expect(kept(0)).toEqual(page(1));
  });
  it('fault 28: asks for the end of its process before it does the request, or when it has', () => {
    const before = faultyDisk({ part: 'disk', op: 'write', kill: 'before' });
    expect(() => before.write(0, page(1))).toThrow(Later);
    expect(before.kept(0)).toEqual(page(0));
    expect(before.told).toMatchObject([{ process: { kill: true }, occurrences: [1] }]);
    const after = faultyDisk({ part: 'disk', op: 'write', kill: 'after' });
    expect(() => after.write(0, page(1))).toThrow(Later);
    expect(after.kept(0)).toEqual(page(1));
    expect(after.told).toMatchObject([{ process: { kill: true }, occurrences: [1] }]);
  });
  it('fault 23: with a cache shows what was written, keeps what was flushed, and loses the rest', () => {
    const { write, read, flush, kept } = faultyDisk(
      { name: 'cache', part: 'disk', op: 'write', cache: true },
      { name: 'lose', part: 'disk', op: 'read', nth: 3, lose: true },
    );
    write(0, page(1));
    expect([read(0), kept(0)]).toEqual([page(1), page(0)]);
    flush();
    expect(kept(0)).toEqual(page(1));
    write(0, page(2));
    write(16, page(3));
    expect(read(0)).toEqual(page(2));
    expect(read(0)).toEqual(page(1));
    expect(read(16)).toEqual(page(0));
  });
  it('fault 23: with a cache that keeps a part has the rest on the medium at once: torn, and in any order', () => {
    const half = { name: 'half', part: 'disk', op: 'write', cache: 0.5 };
    const sectorsOf = (bytes: Uint8Array): number[] =>
      Array.from({ length: bytes.length / SECTOR }, (_, i) => bytes[i * SECTOR]!);
    const left = (...more: object[]): number[] => {
      const { write, read, flush, kept } = faultyDisk({ ...half, ...more[0] });
      write(0, page(1, 32));
      flush();
      expect(kept(0, 32)).toEqual(page(1, 32));
      for (let version = 2; version < 5; version++) write(0, page(version, 32));
      expect(read(0, 32)).toEqual(page(4, 32));
      const now = sectorsOf(kept(0, 32));
      flush();
      expect(kept(0, 32)).toEqual(page(4, 32));
      return now;
    };
    // The first write that is not there, the second that is though the third is not, and so on.
    expect(new Set(left())).toEqual(new Set([1, 2, 3, 4]));
    expect(left()).toEqual(left());
    const blocks = left({ atomic: 4096 });
    expect(blocks).toEqual(blocks.map((_, i) => blocks[i - (i % 8)]));
    expect(new Set(blocks).size).toBeGreaterThan(1);
  });
  it('is the plain disk again when the cache ends', () => {
    const { write, disk, kept } = faultyDisk({ part: 'disk', op: 'write', cache: true });
    write(0, page(5));
    disk.end();
    expect(kept(0)).toEqual(page(5));
  });
});

const MAC = { one: [2, 0, 0, 0, 0, 1], two: [2, 0, 0, 0, 0, 2] };

function faultyLink(...faults: object[]) {
  const parts = rig(...faults);
  const passed: number[][] = [];
  const take = (frame: Frame): boolean => {
    const bytes = new Uint8Array(frame.length);
    frame.copy(0, frame.length, bytes, 0);
    passed.push([...bytes]);
    return true;
  };
  const isOf = (header: Uint8Array, at: number, peer: string | number): boolean =>
    (peer === 1 ? MAC.one : MAC.two).every((octet, i) => header[at + i] === octet);
  const link = new FaultyLink(
    { port: { name: 'vif1.0', deliver: take }, uplink: { forward: frame => Number(take(frame)) } },
    { ...parts, faults: parts.device, isOf, isThere: () => true },
  );
  const frame = (number: number, from = MAC.two): Frame => {
    const made = new Frame();
    made.begin(0, 0);
    made.add(new SourcePage(Uint8Array.from([...MAC.one, ...from, 8, 0, number])), 0, 15);
    made.readHeader();
    return made;
  };
  const numbers = (): number[] => passed.map(bytes => bytes[14]!);
  return { ...parts, link, frame, passed, numbers };
}

describe('a link with a fault', () => {
  it('loses and doubles the frames that are chosen', () => {
    const { link, frame, numbers } = faultyLink(
      { part: 'net', op: 'rx', nth: 2, drop: true },
      { part: 'net', op: 'rx', nth: 3, duplicate: 2 },
    );
    for (const n of [1, 2, 3, 4]) link.deliver(frame(n));
    expect(numbers()).toEqual([1, 3, 3, 3, 4]);
  });
  it('lets the next frame overtake one, and is one way only where it says so', () => {
    const { link, frame, numbers } = faultyLink({ part: 'net', op: 'tx', nth: 1, reorder: true });
    link.deliver(frame(9));
    for (const n of [1, 2, 3]) link.forward(frame(n), 0);
    expect(numbers()).toEqual([9, 2, 1, 3]);
  });
  it('lets a frame that waits to be overtaken go when the plan is another', () => {
    const { link, frame, numbers } = faultyLink({ part: 'net', op: 'rx', nth: [1, 2], reorder: true });
    for (const n of [1, 2]) link.deliver(frame(n));
    expect(numbers()).toEqual([]);
    link.letGo();
    expect(numbers()).toEqual([1, 2]);
    link.deliver(frame(3));
    expect(numbers()).toEqual([1, 2, 3]);
  });
  it('delays frames, which are copies: the sender may use its page again', () => {
    const { link, late, clock, passed } = faultyLink({ part: 'net', delay: 5 });
    const bytes = Uint8Array.from([...MAC.one, ...MAC.two, 8, 0, 7]);
    const frame = new Frame();
    frame.begin(0, 0);
    frame.add(new SourcePage(bytes), 0, bytes.length);
    frame.readHeader();
    link.deliver(frame);
    bytes.fill(0);
    expect(passed).toEqual([]);
    clock.ns += 5e6;
    expect(late.step(clock.ns)).toBe(true);
    expect(passed).toEqual([[...MAC.one, ...MAC.two, 8, 0, 7]]);
  });
  it('flips one bit of a copy', () => {
    const { link, frame, passed } = faultyLink({ part: 'net', corrupt: 14 });
    link.deliver(frame(0));
    expect(Math.log2(passed[0]![14]!) % 1).toBe(0);
  });
  it('is a partition between two where a peer is named', () => {
    const { link, frame, numbers } = faultyLink({ part: 'net', peer: 2, drop: true });
    link.deliver(frame(1, MAC.two));
    link.deliver(frame(2, MAC.one));
    expect(numbers()).toEqual([2]);
  });
  it('chooses the same frames by chance from the same seed', () => {
    const lost = (): number[] => {
      const { link, frame, numbers } = faultyLink({ part: 'net', probability: '30%', drop: true });
      for (let n = 0; n < 200; n++) link.deliver(frame(n));
      return numbers();
    };
    expect(lost()).toEqual(lost());
    expect(lost().length).toBeLessThan(170);
  });
});

describe('notifications with a fault', () => {
  function notifier(...faults: object[]) {
    const parts = rig(...faults);
    const sent: EvtchnPort[] = [];
    const faulty = new FaultyNotifier({ notify: p => void sent.push(p) }, { ...parts, faults: parts.device });
    return { ...parts, sent, faulty };
  }
  it('are lost, and come in a storm', () => {
    const { faulty, sent } = notifier(
      { part: 'event', op: 'send', nth: 1, drop: true },
      { part: 'event', op: 'send', nth: 3, duplicate: 1000 },
    );
    for (let i = 0; i < 3; i++) faulty.notify(port(4));
    expect(sent.length).toBe(1 + 1001);
  });
  it('come late, in both directions', () => {
    const { faulty, late, clock, sent } = notifier({ part: 'event', delay: 20 });
    let heard = 0;
    const hear = faulty.hears(
      () => {
        heard++;
      },
      port(4),
      9,
    );
    faulty.notify(port(4));
    hear();
    expect([sent.length, heard, late.length]).toEqual([0, 0, 2]);
    late.step(clock.ns + 19e6);
    expect(heard).toBe(0);
    late.step(clock.ns + 20e6);
    expect([sent.length, heard, late.length]).toEqual([1, 1, 0]);
  });
  it('are chosen by the port that the guest has, in both directions', () => {
    const { faulty, sent } = notifier({ part: 'event', port: 9, drop: true });
    const heard: number[] = [];
    const [one, other] = [
      [4, 9],
      [5, 10],
    ].map(([local, remote]) => faulty.hears(() => void heard.push(remote!), port(local!), remote!));
    one!();
    other!();
    for (const local of [4, 5]) faulty.notify(port(local));
    expect([heard, sent]).toEqual([[10], [5]]);
  });
  it('are overtaken by the next one, or come when the plan changes', () => {
    const { faulty, sent } = notifier({ part: 'event', op: 'send', nth: [1, 4], reorder: true });
    for (const local of [1, 2, 3, 4]) faulty.notify(port(local));
    expect(sent).toEqual([2, 1, 3]);
    faulty.letGo();
    expect(sent).toEqual([2, 1, 3, 4]);
  });
  it('are held back 256 at a time, and not at all beyond that', () => {
    const { faulty, late, clock, sent } = notifier({ part: 'event', delay: 20 });
    for (let i = 0; i < 1000; i++) faulty.notify(port(4));
    expect([sent.length, late.length]).toEqual([744, 256]);
    late.step(clock.ns + 20e6);
    faulty.notify(port(4));
    expect([sent.length, late.length]).toEqual([1000, 1]);
  });
});
