// RFC 791, 815, 5722, 8200: what becomes of parts, in any order, doubled, lost, or of somebody who means no good.
import { describe, expect, it } from 'vitest';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { MAX_DATAGRAMS, MAX_HELD_BYTES, MAX_PARTS, Reassembly } from '../../../../domu-kernel/net/reassembly.ts';
import fc from '../../../support/properties.ts';
import { ManualClock } from './wire.ts';

const HEAD = 20;
const SECOND = 1e9;
const ME = IpAddress.v4(0x0a000002);
const clock = new ManualClock();

interface Sent {
  readonly offset: number;
  readonly more: boolean;
  readonly bytes: Uint8Array;
}
function stack() {
  const expired: Uint8Array[] = [];
  const reassembly = new Reassembly(clock, 30 * SECOND, first => expired.push(first));
  const hear = ({ offset, more, bytes }: Sent, { from = 1, id = 7 } = {}): Uint8Array | undefined => {
    const packet = new Uint8Array(HEAD + bytes.length);
    packet.fill(offset & 0xff, 0, HEAD);
    packet.set(bytes, HEAD);
    const datagram = reassembly.add(packet, {
      source: IpAddress.v4(0x0a000000 + from),
      destination: ME,
      id,
      offset,
      more,
      at: 0,
      payloadAt: HEAD,
      length: bytes.length,
    });
    if (datagram === undefined) return undefined;
    expect(datagram.head).toEqual(new Uint8Array(HEAD));
    const whole = new Uint8Array(datagram.length!);
    datagram.copyTo(whole, 0);
    return whole;
  };
  return { reassembly, hear, expired };
}
const stream = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 31) ^ (i >> 8));
function cut(data: Uint8Array, room: number): Sent[] {
  const parts: Sent[] = [];
  for (let offset = 0; offset < data.length; offset += room) {
    parts.push({ offset, more: offset + room < data.length, bytes: data.slice(offset, offset + room) });
  }
  return parts;
}
/** A number of units of 8 bytes in a part, a size, and an order in which parts come, some twice. */
const plan = fc.record({
  units: fc.integer({ min: 1, max: 184 }),
  size: fc.integer({ min: 1, max: 9000 }),
  order: fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 40 }),
  doubled: fc.nat(3),
});
function shuffled<T>(all: readonly T[], order: readonly number[]): T[] {
  const left = [...all];
  const out: T[] = [];
  for (let i = 0; left.length > 0; i++) out.push(...left.splice(order[i % order.length]! % left.length, 1));
  return out;
}

describe('a datagram in parts', () => {
  it('is what was sent, in whatever order its parts come and however often', () => {
    const { reassembly, hear } = stack();
    fc.assert(
      fc.property(plan, ({ units, size, order, doubled }) => {
        const data = stream(Math.min(size, units * 8 * MAX_PARTS));
        const parts = shuffled(cut(data, units * 8), order);
        const wholes = parts.flatMap((part, i) => [
          // A double of the last one to come would begin another datagram.
          ...(i < parts.length - 1 && i % 4 < doubled ? [hear(part)] : []),
          hear(part),
        ]);
        expect(wholes.slice(0, -1).every(each => each === undefined)).toBe(true);
        expect(wholes.at(-1)).toEqual(data);
        expect([reassembly.size, reassembly.bytes]).toEqual([0, 0]);
      }),
    );
  });
  it('of which a part says something else than another is dropped, whatever else of it comes', () => {
    fc.assert(
      fc.property(plan, fc.nat(9000), fc.integer({ min: 1, max: 2000 }), ({ units, size, order }, at, length) => {
        const { hear, reassembly } = stack();
        const room = units * 8;
        const data = stream(Math.min(Math.max(size, room + 1), room * MAX_PARTS));
        const parts = cut(data, room);
        const offset = (at % data.length) & ~7;
        // It covers bytes of others, which are not all it covers, or are other bytes.
        const evil = { offset, more: true, bytes: new Uint8Array((length & ~7) + 8).fill(0xee) };
        const end = offset + evil.bytes.length;
        // Exactly in the place of others it contradicts nobody until they come, which may be too late.
        fc.pre(offset % room !== 0 || end % room !== 0 || end >= data.length);
        const wholes = shuffled([...parts, evil], order).map(part => hear(part));
        const complete = wholes.filter(each => each !== undefined);
        // The last of the honest ones may have come before it: then nothing of it is held against them.
        for (const whole of complete) expect(whole).toEqual(data);
        if (complete.length === 0) expect(reassembly.stats.refused).toBe(1);
        expect(reassembly.bytes).toBeLessThanOrEqual(evil.bytes.length + 256);
      }),
    );
  });
  it.each<[string, Sent[]]>([
    ['two that overlap by 8 bytes', [part(0, 16), part(8, 16)]],
    ['one within another', [part(0, 64), part(16, 8)]],
    ['one around another', [part(16, 8), part(8, 32)]],
    ['a double with other bytes', [part(0, 8), part(0, 8, true, 9)]],
    ['one behind the last', [part(8, 4, false), part(16, 8)]],
    ['two that are last', [part(8, 4, false), part(16, 4, false)]],
    ['a last one in front of another', [part(16, 8), part(8, 4, false)]],
    ['the last one again, as one that is not last, and longer', [part(8, 8, false), part(8, 16)]],
    ['a double that is last, of one that is not', [part(8, 8), part(8, 8, false)]],
    ['one beyond 65535 bytes', [part(0, 8), part(65528, 8, false)]],
  ])('is refused: %s', (_, parts) => {
    const { reassembly, hear } = stack();
    for (const each of parts) expect(hear(each)).toBeUndefined();
    expect(reassembly.stats.refused).toBe(1);
    expect(reassembly.bytes).toBe(0);
    // RFC 5722: those that have not come yet are dropped too.
    for (const each of cut(stream(24), 8)) expect(hear(each)).toBeUndefined();
  });
  it('in more parts than anybody makes is refused', () => {
    const { reassembly, hear } = stack();
    for (const each of cut(stream(8 * (MAX_PARTS + 1)), 8)) expect(hear(each)).toBeUndefined();
    expect([reassembly.stats.refused, reassembly.bytes]).toEqual([1, 0]);
  });
  it('is forgotten after its time, and its sender hears of it where the first part came', () => {
    const { reassembly, hear, expired } = stack();
    hear(part(0, 8), { id: 1 });
    hear(part(8, 8), { id: 2 });
    expect(reassembly.deadline()).toBe(clock.now() + 30 * SECOND);
    clock.advanceMs(29_999);
    expect(reassembly.step()).toBe('idle');
    clock.advanceMs(1);
    expect(reassembly.step()).toBe('progress');
    expect(expired).toEqual([Uint8Array.from([...new Uint8Array(HEAD), ...part(0, 8).bytes])]);
    expect([reassembly.size, reassembly.bytes, reassembly.deadline()]).toEqual([0, 0, undefined]);
    expect(hear(part(8, 8, false), { id: 1 })).toBeUndefined();
  });
  it('of one host and another, and of one id and another, have nothing to do with each other', () => {
    const { hear } = stack();
    const [first, second] = cut(stream(16), 8) as [Sent, Sent];
    hear(first, { from: 1, id: 1 });
    expect(hear(second, { from: 2, id: 1 })).toBeUndefined();
    expect(hear(second, { from: 1, id: 2 })).toBeUndefined();
    expect(hear(second, { from: 1, id: 1 })).toEqual(stream(16));
  });
});

describe('a flood of parts', () => {
  it('is kept from costing more than a bounded number of bytes, and drops its own', () => {
    const { reassembly, hear } = stack();
    const [first, second] = cut(stream(4000), 2000) as [Sent, Sent];
    hear(first, { from: 1 });
    for (let id = 0; id < 10 * MAX_DATAGRAMS; id++) {
      hear(part(0, 1480), { from: 66, id });
      for (let at = 1; at < 20 && id % 3 === 0; at++) hear(part(at * 2000, 1480), { from: 66, id });
      expect(reassembly.size).toBeLessThanOrEqual(MAX_DATAGRAMS);
      expect(reassembly.bytes).toBeLessThanOrEqual(MAX_HELD_BYTES);
    }
    expect(reassembly.stats.evicted).toBeGreaterThan(8 * MAX_DATAGRAMS);
    expect(hear(second, { from: 1 })).toEqual(stream(4000));
  });
});

function part(offset: number, length: number, more = true, value = 0x11): Sent {
  return { offset, more, bytes: new Uint8Array(length).fill(value) };
}
