// RFC 826, and what a hostile neighbour may and may not do to the cache.
import { beforeEach, describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../../../domu-kernel/net/address.ts';
import { ARP_ENTRIES, ARP_TRIES, Arp } from '../../../../domu-kernel/net/arp.ts';
import { BROADCAST_MAC } from '../../../../domu-kernel/net/ethernet.ts';
import { HELD_FRAMES, type HeldFrame } from '../../../../domu-kernel/net/held-frames.ts';
import { ManualClock } from './wire.ts';

const OUR_MAC = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 1);
const PEER_MAC = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 2);
const OTHER_MAC = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 3);
const US = parseIpv4('10.0.0.1')!;
const PEER = parseIpv4('10.0.0.2')!;

let clock: ManualClock;
let sent: Uint8Array[];
let lost: { address: number; held: readonly HeldFrame[] }[];
let arp: Arp;

beforeEach(() => {
  clock = new ManualClock();
  sent = [];
  lost = [];
  arp = new Arp(
    {
      mac: OUR_MAC,
      address: () => US,
      isOnLink: address => address >>> 8 === US >>> 8,
      transmit(frame, length) {
        sent.push(frame.slice(0, length));
        return true;
      },
      unreachable: (address, held) => lost.push({ address, held }),
    },
    clock,
  );
});

function packet(operation: number, sha: Uint8Array, spa: number, tpa: number, tha = new Uint8Array(6)): Uint8Array {
  const frame = new Uint8Array(42);
  const view = new DataView(frame.buffer);
  frame.set(BROADCAST_MAC);
  frame.set(sha, 6);
  view.setUint16(12, 0x0806);
  view.setUint16(14, 1);
  view.setUint16(16, 0x0800);
  frame[18] = 6;
  frame[19] = 4;
  view.setUint16(20, operation);
  frame.set(sha, 22);
  view.setUint32(28, spa);
  frame.set(tha, 32);
  view.setUint32(38, tpa);
  return frame;
}
const input = (frame: Uint8Array, length = frame.length) => arp.input(frame, new DataView(frame.buffer), length);
const heldFrame = (n = 0): Uint8Array => new Uint8Array(60).fill(n);

describe('resolving', () => {
  it('asks by broadcast, holds the frame, and sends it once the answer is there', () => {
    expect(arp.lookup(PEER)).toBeUndefined();
    arp.hold(PEER, heldFrame(7), 60, 0);
    expect(sent).toEqual([packet(1, OUR_MAC, US, PEER)]);
    input(packet(2, PEER_MAC, PEER, US, OUR_MAC));
    expect(sent[1]!.subarray(0, 6)).toEqual(PEER_MAC);
    expect(sent[1]!.subarray(6)).toEqual(heldFrame(7).subarray(6));
    expect(arp.lookup(PEER)).toEqual(PEER_MAC);
    expect(arp.deadline()).toBeUndefined();
  });

  it('asks again every second, gives up after the last try and hands the held frames back', () => {
    arp.hold(PEER, heldFrame(), 60, 0);
    for (let i = 1; i < ARP_TRIES; i++) {
      expect(arp.step()).toBe('idle');
      clock.advanceMs(1000);
      expect(arp.deadline()).toBe(clock.now());
      expect(arp.step()).toBe('progress');
      expect(sent).toHaveLength(i + 1);
    }
    clock.advanceMs(1000);
    arp.step();
    expect(lost.map(l => [l.address, l.held.length])).toEqual([[PEER, 1]]);
    expect(arp.size).toBe(0);
    expect(sent).toHaveLength(ARP_TRIES);
  });

  it('holds a bounded number of frames for one address; the oldest goes first', () => {
    for (let i = 0; i < HELD_FRAMES + 5; i++) arp.hold(PEER, heldFrame(i), 60, 0);
    input(packet(2, PEER_MAC, PEER, US, OUR_MAC));
    const frames = sent.slice(1);
    expect(frames.map(f => f[20])).toEqual(Array.from({ length: HELD_FRAMES }, (_, i) => i + 5));
    expect(arp.stats.heldDropped).toBe(5);
  });

  it('uses an old answer while it is asked for again, and forgets it when nobody answers', () => {
    arp.hold(PEER, heldFrame(), 60, 0);
    input(packet(2, PEER_MAC, PEER, US, OUR_MAC));
    clock.advanceMs(61_000);
    const before = sent.length;
    expect(arp.lookup(PEER)).toEqual(PEER_MAC);
    expect(sent).toHaveLength(before + 1);
    for (let i = 0; i < ARP_TRIES; i++) {
      clock.advanceMs(1000);
      arp.step();
    }
    expect(arp.lookup(PEER)).toBeUndefined();
  });
});

describe('answering', () => {
  it('answers who asks for our address, and learns the asker', () => {
    input(packet(1, PEER_MAC, PEER, US));
    const reply = packet(2, OUR_MAC, US, PEER, PEER_MAC);
    reply.set(PEER_MAC, 0);
    expect(sent).toEqual([reply]);
    expect(arp.lookup(PEER)).toEqual(PEER_MAC);
  });
  it('answers a probe (RFC 5227: sender 0.0.0.0) and learns nothing from it', () => {
    input(packet(1, PEER_MAC, 0, US));
    expect(sent).toHaveLength(1);
    expect(arp.size).toBe(0);
  });
  it('leaves requests for others alone', () => {
    input(packet(1, PEER_MAC, PEER, PEER + 5));
    expect(sent).toEqual([]);
    expect(arp.size).toBe(0);
  });
  it('announces our address with a gratuitous request', () => {
    arp.announce();
    expect(sent).toEqual([packet(1, OUR_MAC, US, US)]);
  });
  it('takes a gratuitous announcement for an address it knows, not for one it does not', () => {
    input(packet(1, OTHER_MAC, PEER, PEER));
    expect(arp.size).toBe(0);
    input(packet(1, PEER_MAC, PEER, US));
    clock.advanceMs(2000);
    input(packet(1, OTHER_MAC, PEER, PEER));
    expect(arp.lookup(PEER)).toEqual(OTHER_MAC);
  });
});

describe('an address that two claim', () => {
  beforeEach(() => {
    input(packet(1, PEER_MAC, PEER, US));
    input(packet(2, OTHER_MAC, PEER, US, OUR_MAC));
    sent = [];
    expect(arp.lookup(PEER)).toEqual(PEER_MAC);
    expect(arp.step()).toBe('idle');
    clock.advanceMs(1000);
    expect(arp.deadline()).toBe(clock.now());
    arp.step();
    expect(sent).toEqual([packet(1, OUR_MAC, US, PEER)]);
  });
  it('is asked for again, and belongs to the new one when the old one has gone', () => {
    input(packet(2, OTHER_MAC, PEER, US, OUR_MAC));
    expect(arp.lookup(PEER)).toEqual(OTHER_MAC);
    expect(arp.deadline()).toBeUndefined();
  });
  it('stays with the old one when that answers, and one question a second is all it costs', () => {
    input(packet(2, PEER_MAC, PEER, US, OUR_MAC));
    for (let i = 0; i < 100; i++) input(packet(2, OTHER_MAC, PEER, US, OUR_MAC));
    expect(arp.step()).toBe('idle');
    expect(arp.lookup(PEER)).toEqual(PEER_MAC);
    expect(sent).toHaveLength(1);
  });
});

describe('an address that somebody else announces within a second of its last answer', () => {
  beforeEach(() => input(packet(1, PEER_MAC, PEER, US)));
  it.each([
    ['request', packet(1, OTHER_MAC, PEER, PEER)],
    ['answer', packet(2, OTHER_MAC, PEER, PEER, OTHER_MAC)],
  ])(
    'is the new one at once, as with Linux, and asked for at the end of that second: by a gratuitous %s',
    (_, frame) => {
      sent = [];
      for (let i = 0; i < 100; i++) input(frame);
      expect(arp.lookup(PEER)).toEqual(OTHER_MAC);
      expect([sent, arp.step()]).toEqual([[], 'idle']);
      clock.advanceMs(1000);
      arp.step();
      expect(sent).toEqual([packet(1, OUR_MAC, US, PEER)]);
    },
  );
  it('goes back to the old one when that answers', () => {
    input(packet(1, OTHER_MAC, PEER, PEER));
    clock.advanceMs(1000);
    arp.step();
    input(packet(2, PEER_MAC, PEER, US, OUR_MAC));
    expect(arp.lookup(PEER)).toEqual(PEER_MAC);
  });
  it('is not the one of an answer to somebody else', () => {
    input(packet(2, OTHER_MAC, PEER, PEER, PEER_MAC));
    expect(arp.lookup(PEER)).toEqual(PEER_MAC);
  });
});

describe('a hostile neighbour', () => {
  it('cannot make entries by answers to questions nobody asked', () => {
    for (let i = 2; i < 200; i++) input(packet(2, PEER_MAC, US - 1 + i, US, OUR_MAC));
    expect(arp.size).toBe(0);
  });
  it('cannot overturn an answer within a second of it: the first stands', () => {
    arp.hold(PEER, heldFrame(), 60, 0);
    input(packet(2, PEER_MAC, PEER, US, OUR_MAC));
    input(packet(2, OTHER_MAC, PEER, US, OUR_MAC));
    expect(arp.lookup(PEER)).toEqual(PEER_MAC);
  });
  it('cannot grow the cache beyond its bound, nor push out a neighbour in use', () => {
    arp = new Arp(
      { mac: OUR_MAC, address: () => US, isOnLink: () => true, transmit: () => true, unreachable: () => {} },
      clock,
    );
    input(packet(1, PEER_MAC, PEER, US));
    for (let i = 0; i < 5000; i++) {
      clock.ns += 1000;
      arp.lookup(PEER);
      input(packet(1, OTHER_MAC, 0x0b000000 + i, US));
    }
    expect(arp.size).toBe(ARP_ENTRIES);
    expect(arp.lookup(PEER)).toEqual(PEER_MAC);
  });
  it('claiming our address is logged once, counted always, and changes nothing', () => {
    const lines: string[] = [];
    const log = { info() {}, error() {}, warn: (line: string) => lines.push(line) };
    arp = new Arp(
      { mac: OUR_MAC, address: () => US, isOnLink: () => true, transmit: () => true, unreachable: () => {} },
      clock,
      log,
    );
    for (let i = 0; i < 10; i++) input(packet(1, PEER_MAC, US, US));
    expect(lines).toEqual(['arp: 00:16:3e:00:00:02 also claims our address 10.0.0.1']);
    expect(arp.stats.conflicts).toBe(10);
    expect(arp.size).toBe(0);
  });
  it.each([
    ['a packet one byte short', packet(1, PEER_MAC, PEER, US), 41],
    ['a multicast sender', packet(1, Uint8Array.of(1, 0, 0x5e, 0, 0, 1), PEER, US), 42],
    ['a sender of zeros', packet(1, new Uint8Array(6), PEER, US), 42],
    ['our own MAC as sender', packet(1, OUR_MAC, PEER, US), 42],
    ['a sender off the link', packet(2, PEER_MAC, 0x08080808, US), 42],
  ])('%s is ignored', (_what, frame, length) => {
    input(frame, length);
    expect(arp.size).toBe(0);
    expect(arp.stats.ignored).toBe(1);
  });
});
