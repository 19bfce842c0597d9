// What comes out of descriptors of the host into a bridge: frames in a stream as QEMU has them, and what Linux says of a TAP's
// frames. Whatever it is, the bridge's other ports get what a frame can be and no byte that was not in one.

import { type Epoll, NETRXF_csum_blank, viewOf, XEN_NETIF_MAX_TX_SIZE } from '#pvbus';
import { Bridge } from '../../../dom0/backends/netback/bridge.ts';
import { ETH_HLEN, Frame, SourcePage } from '../../../dom0/backends/netback/frame.ts';
import { ExternalPort } from '../../../dom0/backends/netback/ports/external-port.ts';
import { FrameReader, FrameWriter, MAX_STREAM_FRAME } from '../../../dom0/backends/netback/ports/frame-stream.ts';
import { HEADER_BYTES, VirtioNetHeader } from '../../../dom0/backends/netback/ports/virtio-net-header.ts';
import { MAX_SEGMENTS } from '../../../dom0/backends/netback/segments.ts';
import { ALL_VLANS, NO_VLAN, PortVlans } from '../../../dom0/backends/netback/vlans.ts';
import fc from '../../support/properties.ts';
import { seeded } from '../../support/random.ts';
import { tcpFrame } from '../../support/tcp-packet.ts';

const MAC = (last: number): Uint8Array => Uint8Array.of(2, 0, 0, 0, 0, last);
const VLAN = 10;
/** Of what is sent here, what is looked at. */
const MAX_OUT = 1 << 18;
const silent = { info: () => {}, warn: () => {}, error: () => {} };

/** Lengths as its peer says them, and how much of each frame it sends. */
const said = fc.oneof(
  { weight: 30, arbitrary: fc.integer({ min: ETH_HLEN, max: 300 }) },
  { weight: 1, arbitrary: fc.integer({ min: ETH_HLEN, max: MAX_STREAM_FRAME }) },
  { weight: 2, arbitrary: fc.constantFrom(0, 13, MAX_STREAM_FRAME, MAX_STREAM_FRAME + 1, 0x80000000, 0xffffffff) },
);

const reader = new FrameReader();
const writer = new FrameWriter();
reader.clear();
const input = reader.room;
const inputBytes = new Uint8Array(viewOf(input.address, input.bytes));
const output = writer.pending.address;
const outputBytes = new Uint8Array(viewOf(output, MAX_OUT));
const taken = new Frame();

/** Where a frame of the stream begins, and how long it is; it ends at what no frame can be. */
function framesOf(stream: Uint8Array): { readonly frames: [number, number][]; readonly broken: boolean } {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  const frames: [number, number][] = [];
  for (let at = 0; at + 4 <= stream.length; ) {
    const length = view.getUint32(at);
    if (length < 14 || length > 69_632) return { frames, broken: true };
    if (at + 4 + length > stream.length) break;
    frames.push([at + 4, length]);
    at += 4 + length;
  }
  return { frames, broken: false };
}

export const frameStreams = fc.property(
  fc.array(said, { maxLength: 8 }),
  fc.array(fc.nat(4000), { maxLength: 6 }),
  fc.nat(9),
  (lengths, cuts, cutOff) => {
    const parts = lengths.map((length, n) => {
      const bytes = new Uint8Array(4 + Math.min(length, 70_000)).fill(n + 1);
      new DataView(bytes.buffer).setUint32(0, length);
      return bytes;
    });
    const whole = Buffer.concat(parts);
    const stream = cutOff < 3 ? whole.subarray(0, Math.max(0, whole.length - cutOff * 7)) : whole;
    const expected = framesOf(stream);
    reader.clear();
    writer.clear();
    const sent: Uint8Array[] = [];
    let [at, broken, got] = [0, false, 0];
    for (const cut of [...cuts, stream.length]) {
      while (at < stream.length && !broken) {
        const { address, bytes } = reader.room;
        if (bytes <= 0) throw new Error('no room for the frame that has begun');
        const part = stream.subarray(at, at + Math.min(bytes, Math.max(1, cut)));
        inputBytes.set(part, address - input.address);
        reader.received(part.length);
        at += part.length;
        for (let length = reader.peek(); length !== 0; length = reader.peek()) {
          if (length < 0) {
            broken = true;
            break;
          }
          reader.take(length, taken, 0);
          const one = expected.frames[got++];
          if (one?.[1] !== length) throw new Error(`frame ${got} has ${length} bytes, not ${one?.[1]}`);
          if (taken.byteAt(length - 1) !== stream[one[0] + length - 1]) throw new Error('another frame’s bytes');
          if (writer.put(taken)) sent.push(stream.subarray(one[0], one[0] + length));
        }
        if (cut < 4000 && cut % 2 === 0) break;
      }
    }
    if (got !== expected.frames.length || broken !== expected.broken)
      throw new Error(`${got} frames of ${expected.frames.length}, ${broken ? '' : 'not '}broken`);
    const { address, bytes } = writer.pending;
    const out = Buffer.from(outputBytes.subarray(address - output, address - output + Math.min(bytes, MAX_OUT)));
    if (out.length < bytes) return;
    const back = framesOf(out);
    if (back.broken || back.frames.length !== sent.length) throw new Error('what is sent is no stream of frames');
    for (const [n, [from, length]] of back.frames.entries())
      if (Buffer.compare(out.subarray(from, from + length), sent[n]!) !== 0) throw new Error('a frame was changed');
  },
);

/** Another end of the bridge, which keeps what it is given in memory as long as a port's. */
class Receiver extends ExternalPort {
  protected override readonly offloads: boolean;
  readonly eager = false;
  frames = 0;
  bytes = 0;
  /** One with a header of what is left to do, as a TAP has it. */
  readonly #out = new Uint8Array(1 << 17);
  readonly #header = new VirtioNetHeader(this.#out);

  constructor(name: string, bridge: Bridge, frame: Frame, offloads: boolean, vlans: PortVlans) {
    const nothing = (): never => {
      throw new Error('it has no descriptor');
    };
    super(name, {
      bridge,
      epoll: {} as Epoll,
      shared: { frame, full: undefined },
      log: silent,
      touched: nothing,
      owns: nothing,
    });
    this.offloads = offloads;
    bridge.detach(this.index(bridge));
    bridge.attach(this, undefined, vlans);
  }
  private index(bridge: Bridge): number {
    return (bridge as unknown as { ports: unknown[] }).ports.indexOf(this);
  }
  open(): void {}
  ready(): void {}
  turn(): void {}
  resume(): void {}
  flush(): void {}
  protected letGo(): void {}
  protected release(): void {}
  protected take(frame: Frame): boolean {
    const { length, gsoSize, flags } = frame;
    if (!this.offloads && (gsoSize !== 0 || (flags & NETRXF_csum_blank) !== 0))
      throw new Error('more than this port can do was left to it');
    if (length < ETH_HLEN) throw new Error(`a frame of ${length} bytes`);
    frame.copy(0, length, this.#out, HEADER_BYTES);
    if (!this.#header.write(frame)) return false;
    const view = new DataView(this.#out.buffer);
    const [csumStart, csumOffset] = [view.getUint16(6, true), view.getUint16(8, true)];
    if (this.#out[0] === 1 && csumStart + csumOffset + 2 > length) throw new Error('a checksum behind the frame');
    if (view.getUint16(2, true) > length) throw new Error('headers longer than the frame');
    this.frames++;
    this.bytes += length;
    return true;
  }
}

const sizes = fc.oneof(
  { weight: 6, arbitrary: fc.nat(200) },
  { weight: 2, arbitrary: fc.constantFrom(1400, 9000) },
  { weight: 1, arbitrary: fc.integer({ min: 65_400, max: XEN_NETIF_MAX_TX_SIZE }) },
);
const tapFrame = fc.record({
  header: fc.record({
    flags: fc.constantFrom(0, 1, 1, 2, 3, 255),
    type: fc.constantFrom(0, 1, 1, 4, 4, 3, 5, 0x81),
    headerLength: fc.nat(0xffff),
    size: fc.oneof(fc.constantFrom(0, 1, 536, 1400, 1448), fc.nat(0xffff)),
    start: fc.nat(200),
    offset: fc.nat(40),
  }),
  ipv6: fc.boolean(),
  vlan: fc.option(fc.constantFrom(VLAN, VLAN, 0, 20, 0x2000, 4095), { nil: undefined }),
  options: fc.constantFrom(0, 0, 8, 16, 40),
  length: sizes,
  changes: fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 3 }),
  cut: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(80) }),
  to: fc.constantFrom(1, 2, 9),
});

const bytes = new Uint8Array(1 << 17);
const page = new SourcePage(bytes);
const tapHeader = new VirtioNetHeader(bytes);
const frame = new Frame();

export const tapFrames = fc.property(
  fc.array(tapFrame, { minLength: 1, maxLength: 6 }),
  fc.boolean(),
  fc.constantFrom(1500, 9000, 65_517),
  (given, hasVlans, mtu) => {
    const bridge = new Bridge('b', mtu, { capacity: 64, random: seeded(1) });
    const trunk = hasVlans ? new PortVlans(NO_VLAN, new Set([VLAN, 20])) : ALL_VLANS;
    const access = hasVlans ? new PortVlans(VLAN, new Set()) : ALL_VLANS;
    const from = bridge.attach({ name: 'tap', deliver: () => true }, undefined, access);
    const others = [
      new Receiver('plain', bridge, frame, false, trunk),
      new Receiver('able', bridge, frame, true, trunk),
      new Receiver('same', bridge, frame, false, access),
    ];
    for (const { header, ipv6, vlan, options, length, changes, cut, to } of given) {
      // As tap-port.ts reads one.
      const ipOptions = ipv6 ? options & ~7 : Math.min(40, options);
      const whole = tcpFrame({
        to: MAC(to),
        from: MAC(1),
        payload: 0,
        ipv6,
        ipOptions,
        ...(vlan !== undefined && { vlan }),
      });
      const most = Math.max(whole.length, Math.min(length, XEN_NETIF_MAX_TX_SIZE));
      const packet = tcpFrame({
        ...{ to: MAC(to), from: MAC(1), payload: most - whole.length, ipv6, ipOptions },
        ...(vlan !== undefined && { vlan }),
      });
      for (const [at, byte] of changes) if (at < packet.length) packet[at] = byte;
      const view = new DataView(bytes.buffer);
      bytes[0] = header.flags;
      bytes[1] = header.type;
      for (const [n, word] of [header.headerLength, header.size, header.start, header.offset].entries())
        view.setUint16(2 + 2 * n, word, true);
      bytes.set(packet, HEADER_BYTES);
      const taken = packet.length - (cut < packet.length ? cut : 0);
      if (taken < ETH_HLEN || !tapHeader.begin(frame, 0)) continue;
      frame.add(page, HEADER_BYTES, taken);
      frame.readHeader();
      if (frame.length > mtu + 18 && frame.gsoSize === 0) continue;
      const before = others.map(port => ({ frames: port.frames, bytes: port.bytes }));
      bridge.forward(frame, from);
      for (const [n, port] of others.entries()) {
        const more = { frames: port.frames - before[n]!.frames, bytes: port.bytes - before[n]!.bytes };
        if (more.frames > MAX_SEGMENTS || more.bytes > taken + 4 + more.frames * 256)
          throw new Error(`${more.frames} frames of ${more.bytes} bytes of one of ${taken}`);
      }
    }
  },
);
