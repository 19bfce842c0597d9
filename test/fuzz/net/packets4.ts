// What neighbours on the link may send a host: ARP, IPv4 and its fragments, ICMP, UDP, each right but for what it is wrong in.
// Whatever comes: what is sent back is bounded by what came and is itself right, what is kept is bounded, a datagram is delivered
// as it was sent or not at all, and when the flood is over an honest neighbour is heard.

import { ARP_ENTRIES } from '../../../domu-kernel/net/arp.ts';
import { addBytes, finish, verifies } from '../../../domu-kernel/net/checksum.ts';
import { ETH_HLEN, equalMac, isGroupMac, writeEthernet } from '../../../domu-kernel/net/ethernet.ts';
import { MIN_PATH_MTU } from '../../../domu-kernel/net/icmp.ts';
import { Ipv4Header, readIpv4, writeIpv4 } from '../../../domu-kernel/net/ipv4.ts';
import { MAX_DATAGRAMS, MAX_HELD_BYTES } from '../../../domu-kernel/net/reassembly.ts';
import type { UdpSocket } from '../../../domu-kernel/net/udp.ts';
import { LossyWire } from '../../support/lossy-wire.ts';
import fc from '../../support/properties.ts';
import { seeded } from '../../support/random.ts';
import { Stack } from '../../support/stack.ts';

const OWN = 0x0a000001;
const HONEST = 0x0a00004d;
const OTHERS = [0x0a000002, 0x0a0000fe, 0x08080808];
const GATEWAY = 0x0a0000fe;
const PORT = 7;
const HONEST_MAC = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 0x4d);
const PEER_MAC = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 9);
const BROADCAST = Uint8Array.of(255, 255, 255, 255, 255, 255);

const address = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(OWN, ...OTHERS) },
  { weight: 2, arbitrary: fc.constantFrom(0, 0xffffffff, 0x0a0000ff, 0x0a000000, 0x7f000001, 0xe0000001, 0xf0000001) },
  { weight: 2, arbitrary: fc.integer({ min: 0x0a000000, max: 0x0a0000ff }) },
);
const mac = fc.constantFrom(PEER_MAC, PEER_MAC, HONEST_MAC, BROADCAST, new Uint8Array(6));
const mostly = <T>(usual: T, other: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: other });
const word = fc.nat(0xffff);

const arp = fc.record({
  kind: fc.constant('arp' as const),
  operation: fc.oneof({ weight: 5, arbitrary: fc.constantFrom(1, 2) }, { weight: 1, arbitrary: word }),
  sender: address,
  senderMac: mac,
  target: address,
  types: mostly([1, 0x0800, 6, 4], fc.tuple(word, word, fc.nat(255), fc.nat(255))),
});
/** What a packet carries: the first bytes of each kind are right, or nearly. */
const payload = fc.oneof(
  fc.record({
    protocol: fc.constant(17),
    port: fc.constantFrom(PORT, PORT, 68, 9, 0),
    said: fc.oneof({ weight: 6, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: word }),
    sum: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: word }),
    bytes: fc.oneof(fc.nat(60), fc.nat(3000), fc.constantFrom(0, 1472, 8000, 65_507)),
  }),
  fc.record({
    protocol: fc.constant(1),
    type: fc.constantFrom(8, 8, 0, 3, 3, 11, 12, 13, 5),
    code: fc.constantFrom(0, 1, 3, 4, 13, 255),
    mtu: fc.constantFrom(0, 68, 576, 1400, 0xffff),
    quoted: fc.record({
      protocol: fc.constantFrom(17, 17, 1, 6),
      destination: address,
      source: mostly(OWN, address),
      port: word,
    }),
    right: fc.boolean(),
    bytes: fc.oneof(fc.nat(60), fc.constantFrom(0, 7, 1480, 20_000)),
  }),
  fc.record({ protocol: fc.constantFrom(6, 2, 47, 255), bytes: fc.nat(100) }),
);
const packet = fc.record({
  kind: fc.constant('packet' as const),
  source: address,
  destination: mostly(OWN, address),
  ttl: mostly(64, fc.nat(255)),
  id: fc.nat(3),
  options: mostly(0, fc.integer({ min: 1, max: 10 })),
  payload,
  /** Of the payload, how much each part carries, and which is sent when; none: it is whole. */
  parts: fc.oneof(fc.constant(undefined), fc.record({ size: fc.constantFrom(8, 64, 1000, 1480), order: fc.nat(9) })),
  /** A part that lies: moved, or without its end. */
  shift: mostly(0, fc.integer({ min: -8192, max: 8191 })),
  version: mostly(0x45, fc.nat(255)),
  total: mostly(0, fc.integer({ min: -40, max: 40 })),
  header: mostly(0, word),
  flags: fc.constantFrom(0, 0, 0, 1, 2),
});
const act = fc.oneof(
  { weight: 4, arbitrary: arp },
  { weight: 12, arbitrary: packet },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('send' as const),
      to: fc.constantFrom(...OTHERS, HONEST),
      bytes: fc.nat(3000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.constantFrom(1, 200, 1000, 31_000) }),
  },
);
type Act = typeof act extends fc.Arbitrary<infer A> ? A : never;
type Packet = Extract<Act, { kind: 'packet' }>;
type Made = Packet['payload'];
const dressed = fc.record({
  act,
  to: mostly('own' as 'own' | 'all' | 'other', fc.constantFrom('all', 'other')),
  cut: mostly(0, fc.nat(60)),
  padded: mostly(0, fc.nat(60)),
  damage: mostly<[number, number] | undefined>(undefined, fc.tuple(fc.nat(19), fc.nat(255))),
});

/** The byte at `at` of what a datagram of this id carries: a part of another would show. */
const mark = (id: number, at: number): number => (id * 53 + at * 7 + (at >> 8)) & 255;

function messageOf(made: Made, id: number): Uint8Array {
  const { bytes } = made;
  if ('port' in made) {
    const message = Uint8Array.from({ length: 8 + bytes }, (_, at) => mark(id, at - 8));
    const view = new DataView(message.buffer);
    view.setUint16(0, 5000);
    view.setUint16(2, made.port);
    view.setUint16(4, made.said ?? message.length);
    view.setUint16(6, made.sum);
    return message;
  }
  const message = Uint8Array.from({ length: 8 + bytes }, (_, at) => at);
  if (!('type' in made)) return message;
  const view = new DataView(message.buffer);
  message.set([made.type, made.code, 0, 0, 0, 0]);
  view.setUint16(6, made.mtu);
  if (message.length >= 36 && made.type !== 8) {
    const { quoted } = made;
    writeIpv4(view, 8, 8, 1, 64, quoted.protocol, quoted.source, quoted.destination);
    view.setUint16(28, PORT);
    view.setUint16(30, quoted.port);
  }
  view.setUint16(2, made.right || made.type === 8 ? finish(addBytes(view, 0, message.length)) : 1);
  return message;
}

function framesOf({ payload, source, destination, ...packet }: Packet): Uint8Array[] {
  const message = messageOf(payload, packet.id);
  const size = packet.parts?.size ?? message.length;
  const frames: Uint8Array[] = [];
  for (let from = 0; from === 0 || from < message.length; from += size) {
    const part = message.subarray(from, from + size);
    const headerLength = 20 + 4 * packet.options;
    const frame = new Uint8Array(ETH_HLEN + headerLength + part.length).fill(1);
    const view = new DataView(frame.buffer);
    writeIpv4(view, ETH_HLEN, part.length, packet.id, packet.ttl, payload.protocol, source, destination);
    frame[ETH_HLEN] = packet.version === 0x45 ? 0x45 + packet.options : packet.version;
    view.setUint16(ETH_HLEN + 2, headerLength + part.length + packet.total);
    const offset = packet.parts === undefined ? 0 : from / 8 + (frames.length === 1 ? packet.shift : 0);
    const more = from + size < message.length ? 0x2000 : 0;
    view.setUint16(ETH_HLEN + 6, (offset & 0x1fff) | more);
    frame.set(part, ETH_HLEN + headerLength);
    // One that is elsewhere carries what belongs there: what is wrong is what it overlaps, or leaves out.
    if (packet.shift !== 0 && frames.length === 1 && packet.parts !== undefined && 'port' in payload)
      for (let i = 0; i < part.length; i++)
        frame[ETH_HLEN + headerLength + i] = mark(packet.id, (offset & 0x1fff) * 8 - 8 + i);
    frames.push(frame);
  }
  // In any order.
  const { order = 0 } = packet.parts ?? {};
  return order === 0 ? frames : [...frames.splice(order % frames.length), ...frames];
}

function arpFrame({ operation, sender, senderMac, target, types }: Omit<Extract<Act, { kind: 'arp' }>, 'kind'>) {
  const frame = new Uint8Array(42);
  const view = new DataView(frame.buffer);
  writeEthernet(frame, BROADCAST, senderMac, 0x0806);
  const [hardware, protocol, hardwareLength, protocolLength] = types as [number, number, number, number];
  view.setUint16(14, hardware);
  view.setUint16(16, protocol);
  frame.set([hardwareLength, protocolLength], 18);
  view.setUint16(20, operation);
  frame.set(senderMac, 22);
  view.setUint32(28, sender);
  view.setUint32(38, target);
  return frame;
}
const RIGHT_ARP = [1, 0x0800, 6, 4];

/** A host with a program that hears one port, and what is known of what it may say. */
class Victim {
  readonly wire = new LossyWire(seeded(1));
  readonly net: Stack;
  readonly socket: UdpSocket;
  readonly sent: Uint8Array[] = [];
  private readonly into = new Ipv4Header();
  /** Bytes that may be sent: those that came, those a program sends, and what asking for neighbours takes. */
  private allowed = 200;
  private said = 0;
  /** A header has said of a part's bytes that they are another's: whoever sends those may send any. */
  lied = false;

  constructor() {
    const { a, clock } = this.wire;
    a.tap = frame => {
      this.check(frame);
      this.said += frame.length;
      if (this.said > this.allowed) throw new Error(`${this.said} bytes are sent of ${this.allowed}`);
      this.sent.push(frame);
      return false;
    };
    this.net = new Stack({
      device: a,
      config: { address: OWN, netmask: 0xffffff00, gateway: GATEWAY },
      clock,
      random: seeded(2),
    });
    this.socket = this.net.udp.bind(PORT);
    this.socket.onMessage(data => {
      const id = (((data[0] ?? 0) - mark(0, 0)) * 29) & 255; // 53 * 29 = 1 modulo 256
      if (this.lied) return;
      for (const [at, byte] of data.entries()) if (byte !== mark(id, at)) throw new Error(`byte ${at} of another`);
    });
    this.socket.onError(() => {});
    // Who answers is known, so that answers leave.
    for (const sender of [0x0a000002, GATEWAY])
      this.input(arpFrame({ operation: 1, sender, senderMac: PEER_MAC, target: OWN, types: RIGHT_ARP }));
  }

  /** What leaves is right, and goes to a host. */
  private check(frame: Uint8Array): void {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    const wrong = (what: string): never => {
      throw new Error(`${what}: ${Buffer.from(frame.subarray(0, 60)).toString('hex')}`);
    };
    if (!equalMac(frame, 6, this.wire.a.mac)) wrong('from another');
    if (view.getUint16(12) === 0x0806) return;
    if (view.getUint16(12) !== 0x0800) wrong('no IPv4');
    if (isGroupMac(frame)) wrong('for everybody');
    if (readIpv4(view, ETH_HLEN, frame.length - ETH_HLEN, this.into) !== undefined) wrong('no packet');
    const { source, destination, protocol, payloadAt, payloadLength, isFragment } = this.into;
    const isHost = destination !== OWN && destination !== 0 && destination >>> 28 !== 14 && destination !== 0xffffffff;
    if (source !== OWN || !isHost) wrong('from or to');
    if (this.into.totalLength !== frame.length - ETH_HLEN) wrong('its length');
    if (protocol === 1 && !isFragment && !verifies(view, payloadAt, payloadLength)) wrong('its checksum');
  }

  input(frame: Uint8Array, flags = 0): void {
    // What it asks a neighbour before it answers, an error about the least that there is, and an echo in parts.
    this.allowed += frame.length + 64 + 42 + 34 * Math.ceil(frame.length / 512);
    this.net.input(frame, 0, frame.length, flags);
    this.bounded();
  }
  send(to: number, bytes: number): void {
    this.allowed += bytes + 42 + 34 * Math.ceil((bytes + 8) / 512);
    const dotted = [to >>> 24, (to >>> 16) & 255, (to >>> 8) & 255, to & 255].join('.');
    this.socket.sendTo(new Uint8Array(bytes), { address: dotted, port: 9 });
  }
  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 500) {
      this.wire.clock.ns += Math.min(500, left) * 1e6;
      // Neighbours that do not answer are asked three times; of a datagram whose parts did not come an error is told.
      this.allowed += this.net.arp.size * 42 + 5 * 70;
      while (this.net.step() === 'progress');
    }
    this.bounded();
  }
  private bounded(): void {
    const { arp, paths, v4 } = this.net;
    if (arp.size > ARP_ENTRIES || v4.reassembly.size > MAX_DATAGRAMS || v4.reassembly.bytes > MAX_HELD_BYTES)
      throw new Error('more is kept than may be');
    // Of whom nothing was sent to nobody can say what its path carries.
    if (paths.size > OTHERS.length + 1) throw new Error(`${paths.size} paths`);
    for (const to of [...OTHERS, HONEST]) {
      this.net.eth0.v4.own.setV4(to);
      const mtu = this.net.eth0.v4.pathMtu(this.net.eth0.v4.own);
      this.net.eth0.v4.own.setV4(OWN);
      if (mtu < MIN_PATH_MTU) throw new Error(`a path of ${mtu} bytes`);
    }
  }

  /** An honest neighbour asks who we are, and for an echo, in parts. */
  serves(): void {
    this.pass(100_000);
    const { reassembly } = this.net.v4;
    if (reassembly.size !== 0 || reassembly.bytes !== 0) throw new Error(`${reassembly.bytes} bytes are left behind`);
    this.input(arpFrame({ operation: 1, sender: HONEST, senderMac: HONEST_MAC, target: OWN, types: RIGHT_ARP }));
    this.sent.length = 0;
    const quoted = { protocol: 17, destination: OWN, source: OWN, port: 0 } as const; // of an echo there is none
    const payload: Made = { protocol: 1, type: 8, code: 0, mtu: 0, quoted, right: true, bytes: 3000 };
    const asked = framesOf({
      ...{ kind: 'packet', source: HONEST, destination: OWN, ttl: 64, id: 9, options: 0, payload, shift: 0 },
      ...{ parts: { size: 1480, order: 1 }, version: 0x45, total: 0, header: 0, flags: 0 },
    });
    for (const frame of asked) {
      writeEthernet(frame, this.wire.a.mac, HONEST_MAC, 0x0800);
      rightSum(frame);
      this.input(frame);
    }
    const answer = this.sent.filter(frame => equalMac(frame, 0, HONEST_MAC));
    if (answer.length !== asked.length) throw new Error(`an honest neighbour has ${answer.length} parts of its echo`);
  }
}

/** The checksum of the header, as long as it says it is. */
function rightSum(frame: Uint8Array): void {
  const view = new DataView(frame.buffer);
  const length = Math.min((frame[ETH_HLEN]! & 15) * 4, frame.length - ETH_HLEN);
  if (length < 12) return;
  view.setUint16(ETH_HLEN + 10, 0);
  view.setUint16(ETH_HLEN + 10, finish(addBytes(view, ETH_HLEN, length)));
}

export const packets4 = fc.property(fc.array(dressed, { minLength: 1, maxLength: 25 }), acts => {
  const victim = new Victim();
  const { mac: own } = victim.wire.a;
  for (const { act: each, to, cut, padded, damage } of acts) {
    if (each.kind === 'pass') victim.pass(each.ms);
    else if (each.kind === 'send') victim.send(each.to, each.bytes);
    else {
      const frames = each.kind === 'arp' ? [arpFrame(each)] : framesOf(each);
      if (each.kind === 'packet' && (each.total !== 0 || each.version !== 0x45 || damage !== undefined))
        victim.lied = true;
      for (const whole of frames) {
        const target = to === 'own' ? own : to === 'all' ? BROADCAST : HONEST_MAC;
        writeEthernet(whole, target, PEER_MAC, each.kind === 'arp' ? 0x0806 : 0x0800);
        if (damage !== undefined) whole[ETH_HLEN + (damage[0] % (whole.length - ETH_HLEN))]! ^= damage[1];
        if (each.kind === 'packet' && each.header === 0) rightSum(whole);
        const frame = new Uint8Array(Math.max(0, whole.length - cut) + padded);
        frame.set(whole.subarray(0, Math.min(whole.length, frame.length)));
        victim.input(frame, each.kind === 'packet' ? each.flags : 0);
      }
    }
  }
  victim.serves();
});
