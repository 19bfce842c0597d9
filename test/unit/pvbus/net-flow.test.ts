// Which queue a frame is for: the same for all of a flow, whatever else is in it.
import { describe, expect, it } from 'vitest';
import { Frame, SourcePage } from '../../../dom0/backends/netback/frame.ts';
import { flowHash } from '../../../pvbus/net-flow.ts';
import fc from '../../support/properties.ts';
import { tcpFrame } from '../../support/tcp-packet.ts';

/** A frame of `bytes` in parts of `size`. */
function frameOf(bytes: Uint8Array, size = bytes.length): Frame {
  const frame = new Frame();
  frame.begin(0, 0);
  const page = new SourcePage(bytes);
  for (let at = 0; at < bytes.length; at += size) frame.add(page, at, Math.min(size, bytes.length - at));
  frame.readHeader();
  return frame;
}
const hash = (bytes: Uint8Array, size?: number): number => flowHash(frameOf(bytes, size));
const [to, from] = [Uint8Array.of(2, 0, 0, 0, 0, 2), Uint8Array.of(2, 0, 0, 0, 0, 1)];

describe.each([
  ['IPv4', false, 14, 34],
  ['IPv6', true, 14, 54],
])('a flow of %s', (_name, ipv6, ip, tcp) => {
  const packet = (payload: number, source: number): Uint8Array => {
    const frame = tcpFrame({ to, from, payload, ipv6 });
    new DataView(frame.buffer).setUint16(tcp, source);
    return frame;
  };
  it('is one by its addresses and ports, however long its frames are and in how many parts', () => {
    const whole = hash(packet(10_000, 1234));
    expect(hash(packet(1, 1234))).toBe(whole);
    expect(hash(packet(1000, 1234), 17)).toBe(whole);
    const tagged = packet(100, 1234);
    const frame = new Uint8Array(tagged.length + 4);
    frame.set(tagged.subarray(0, 12));
    frame.set([0x81, 0, 0, 7], 12);
    frame.set(tagged.subarray(12), 16);
    expect(hash(frame)).toBe(whole);
  });
  it('is another one with any other address or port, and 1000 of them use four queues alike', () => {
    const one = packet(100, 1234);
    const whole = hash(one);
    for (let at = ip + (ipv6 ? 8 : 12); at < tcp + 4; at++) {
      const other = one.slice();
      other[at]! ^= 1;
      expect(hash(other)).not.toBe(whole);
    }
    const used = [0, 0, 0, 0];
    for (let port = 0; port < 1000; port++) used[hash(packet(100, port)) % 4]!++;
    expect(Math.min(...used)).toBeGreaterThan(150);
  });
});

describe('what has no ports', () => {
  it('is told apart by its addresses: pieces of a packet stay together', () => {
    const first = tcpFrame({ to, from, payload: 100 });
    first[20] = 0x20; // more of it follows
    const second = first.slice();
    second[21] = 9;
    second.fill(7, 34);
    expect(hash(second)).toBe(hash(first));
  });
  it('any bytes have a hash, that is an index once reduced', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 14, maxLength: 100 }), fc.integer({ min: 1, max: 40 }), (bytes, size) => {
        const h = hash(bytes, size);
        expect(Number.isInteger(h) && h >= 0).toBe(true);
        expect(h).toBe(hash(bytes));
      }),
    );
  });
});
