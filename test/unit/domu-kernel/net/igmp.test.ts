// RFC 9776 and RFC 2236: what a host says of the groups of IPv4 that its sockets have joined, and to whose questions.
import { describe, expect, it } from 'vitest';
import { formatIpv4 } from '../../../../domu-kernel/net/address.ts';
import { addBytes, finish, verifies } from '../../../../domu-kernel/net/checksum.ts';
import { MAX_SOURCES } from '../../../../domu-kernel/net/group-reports.ts';
import { PROTOCOL_IGMP } from '../../../../domu-kernel/net/igmp.ts';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { writeIpv4WithAlert } from '../../../../domu-kernel/net/ipv4.ts';
import { MOST_GROUPS } from '../../../../domu-kernel/net/joined-groups.ts';
import { socketBytes } from '../../../../domu-kernel/net/socket-address.ts';
import { MOST_MEMBERSHIPS } from '../../../../domu-kernel/net/socket-groups.ts';
import { UdpDatagramSocket } from '../../../../domu-kernel/net/udp-datagram-socket.ts';
import { LossyWire } from '../../../support/lossy-wire.ts';
import { seeded } from '../../../support/random.ts';
import { Stack } from '../../../support/stack.ts';

const ONE = '239.1.2.3';
const TWO = '224.0.0.251';
const NAMES: Readonly<Record<number, string>> = { 1: 'is in', 2: 'is ex', 3: 'to in', 4: 'to ex' };
const V2: Readonly<Record<number, string>> = { 22: 'report', 23: 'leave' };

/** 10.0.0.1, and nobody but the test at the other end. */
class Alone {
  readonly wire = new LossyWire(seeded(1));
  readonly net: Stack;
  private readonly sent: Uint8Array[] = [];
  private last = 0;

  constructor() {
    this.wire.a.tap = frame => {
      if (frame[23] === PROTOCOL_IGMP) this.sent.push(frame);
      return true;
    };
    const config = { address: 0x0a000001, netmask: 0xffffff00 };
    this.net = new Stack({ device: this.wire.a, config, clock: this.wire.clock, random: seeded(2) });
  }
  socket(): UdpDatagramSocket {
    return new UdpDatagramSocket(this.net.udp, 4);
  }
  joined(...groups: string[]): UdpDatagramSocket {
    const socket = this.socket();
    for (const group of groups) socket.groups.join(bytes(group), 0);
    return socket;
  }
  pass(seconds: number): void {
    const { clock } = this.wire;
    const end = clock.ns + seconds * 1e9;
    for (;;) {
      while (this.net.step() === 'progress');
      const next = this.net.deadline();
      if (next === undefined || next > end) break;
      clock.ns = Math.max(clock.ns, next);
    }
    clock.ns = end;
  }
  /** A message of IGMP from the router 10.0.0.9, its checksum filled in. */
  hear(message: readonly number[], to = '224.0.0.1', spoil = 0): void {
    const frame = new Uint8Array(38 + message.length);
    const view = new DataView(frame.buffer);
    frame.set([1, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0]);
    writeIpv4WithAlert(view, 14, message.length, PROTOCOL_IGMP, 0x0a000009, IpAddress.from(to).d);
    frame.set(message, 38);
    view.setUint16(40, (finish(addBytes(view, 38, message.length)) + spoil) & 0xffff);
    this.net.input(frame, 0, frame.length, 0);
  }
  /** What was said since this was asked. */
  said(): string[] {
    return this.sent.splice(0).map(frame => {
      const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
      const end = 14 + view.getUint16(16);
      expect([frame.length, view.getUint8(14), view.getUint8(22), view.getUint32(34)]).toEqual([
        end,
        0x46,
        1,
        0x94040000,
      ]);
      expect([verifies(view, 14, 24), verifies(view, 38, end - 38)]).toEqual([true, true]);
      expect([...frame.subarray(0, 6)]).toEqual([1, 0, 0x5e, frame[31]! & 127, frame[32], frame[33]]);
      expect(formatIpv4(view.getUint32(26))).toBe('10.0.0.1');
      const to = formatIpv4(view.getUint32(30));
      if (frame[38] !== 0x22) return `${to}: ${V2[frame[38]!]} ${formatIpv4(view.getUint32(42))}`;
      const records: string[] = [];
      let at = 46;
      for (let i = 0; i < view.getUint16(44); i++) {
        const start = at + 8;
        const count = view.getUint16(at + 2);
        const sources = Array.from({ length: count }, (_, each) => ` ${formatIpv4(view.getUint32(start + each * 4))}`);
        records.push(`${NAMES[frame[at]!]} ${formatIpv4(view.getUint32(at + 4))}${sources.join('')}`);
        at = start + count * 4;
      }
      expect(at).toBe(end);
      return `${to}: ${records.join(', ')}`;
    });
  }
  /** After all that is to be said of it has been. */
  quiet(): this {
    this.pass(30);
    this.said();
    return this;
  }
  /** Queries that were answered or kept to be. */
  heeded(): number {
    const { queries } = this.net.eth0.v4.igmp.stats;
    const more = queries - this.last;
    this.last = queries;
    return more;
  }
}
const bytes = (group: string): Uint8Array => socketBytes(IpAddress.from(group), 4);
const octets = (...all: string[]): number[] => all.flatMap(one => [...bytes(one)]);
const v2 = (code: number, group = '0.0.0.0'): number[] => [0x11, code, 0, 0, ...octets(group)];
const v3 = (code: number, group = '0.0.0.0', sources: string[] = [], robustness = 2): number[] => [
  ...v2(code, group),
  ...[robustness, 125, sources.length >> 8, sources.length & 255, ...octets(...sources)],
];
const codeOf = (act: () => unknown): string => {
  try {
    act();
    return 'ok';
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe('groups that sockets have joined', () => {
  it('are told twice, and again when the last of them has left', () => {
    const alone = new Alone();
    const first = alone.joined(ONE);
    const second = alone.joined(ONE);
    alone.pass(5);
    expect(alone.said()).toEqual(Array(2).fill(`224.0.0.22: to ex ${ONE}`));
    first.close();
    alone.pass(5);
    expect(alone.said()).toEqual([]);
    second.groups.leave(bytes(ONE), 0);
    alone.pass(5);
    expect(alone.said()).toEqual(Array(2).fill(`224.0.0.22: to in ${ONE}`));
    expect(alone.net.deadline()).toBeUndefined();
  });
  it('are never the one of all hosts', () => {
    const alone = new Alone();
    alone.joined('224.0.0.1').close();
    alone.pass(5);
    expect(alone.said()).toEqual([]);
  });
  it('are bounded for a socket and for an interface', () => {
    const alone = new Alone();
    const codes = new Set<string>();
    for (let i = 0; i < MOST_GROUPS + 40; i++) {
      const socket = i % MOST_MEMBERSHIPS[4] === 0 ? alone.socket() : undefined;
      if (socket) sockets.push(socket);
      codes.add(codeOf(() => sockets.at(-1)!.groups.join(bytes(`239.0.${i >> 8}.${i & 255}`), 0)));
    }
    expect([...codes]).toEqual(['ok', 'ENOBUFS']);
    expect(codeOf(() => sockets[0]!.groups.join(bytes('239.9.9.9'), 0))).toBe('ENOBUFS');
    alone.quiet().hear(v3(10));
    alone.pass(1);
    const all = alone.said();
    expect(all.join().split('is ex').length - 1).toBe(MOST_GROUPS);
    expect(all.length).toBe(Math.ceil(MOST_GROUPS / 68));
    for (const socket of sockets.splice(0)) socket.close();
    alone.quiet().hear(v3(10));
    alone.pass(1);
    expect(alone.said()).toEqual([]);
  });
});
const sockets: UdpDatagramSocket[] = [];

describe('a query', () => {
  it('is answered within its time, of one group where it names one, of sources where it names these', () => {
    const alone = new Alone();
    alone.joined(ONE, TWO);
    alone.quiet().hear(v3(20));
    alone.pass(2);
    expect(alone.said()).toEqual([`224.0.0.22: is ex ${ONE}, is ex ${TWO}`]);
    alone.hear(v3(20, TWO), TWO);
    alone.pass(2);
    expect(alone.said()).toEqual([`224.0.0.22: is ex ${TWO}`]);
    alone.hear(v3(20, ONE, ['10.0.0.7', '10.0.0.8']), ONE);
    alone.pass(2);
    expect(alone.said()).toEqual([`224.0.0.22: is in ${ONE} 10.0.0.7 10.0.0.8`]);
    alone.hear(v3(20, '239.1.2.99'));
    alone.pass(2);
    expect(alone.said()).toEqual([]);
  });
  it('has a time beyond 12.7 s as a number with an exponent', () => {
    const alone = new Alone();
    alone.joined(ONE);
    alone.quiet().hear(v3(0xff)); // 31 << 10 tenths of a second
    alone.pass(3175);
    expect(alone.said()).toEqual([`224.0.0.22: is ex ${ONE}`]);
  });
  it('of version 2 has answers of version 2 until long after the last of them', () => {
    const alone = new Alone();
    alone.joined(ONE);
    alone.quiet().hear(v2(10));
    alone.pass(1);
    expect(alone.said()).toEqual([`${ONE}: report ${ONE}`]);
    const other = alone.joined(TWO);
    alone.pass(12);
    expect(alone.said()).toEqual(Array(2).fill(`${TWO}: report ${TWO}`));
    other.close();
    alone.pass(12);
    expect(alone.said()).toEqual([`224.0.0.2: leave ${TWO}`]);
    // Another host has answered.
    alone.hear(v2(100, ONE), ONE);
    alone.hear([0x16, 0, 0, 0, ...octets(ONE)], ONE);
    alone.pass(20);
    expect(alone.said()).toEqual([]);
    alone.pass(300);
    alone.hear(v3(10));
    alone.pass(1);
    expect(alone.said()).toEqual([`224.0.0.22: is ex ${ONE}`]);
  });
  it('that is no message of any version is not heeded', () => {
    const alone = new Alone();
    alone.joined(ONE);
    alone.quiet();
    const many = Array.from({ length: MAX_SOURCES + 1 }, (_, i) => `10.0.1.${i}`);
    alone.hear(v3(10), '224.0.0.1', 1); // its checksum
    alone.hear(v2(10).slice(0, 7));
    alone.hear([...v2(10), 0]);
    alone.hear(v3(10).slice(0, 11));
    alone.hear(v3(10, '10.0.0.1'));
    alone.hear(v3(10, '0.0.0.0', ['10.0.0.7']));
    alone.hear(v3(10, ONE, ['10.0.0.7', '10.0.0.8']).slice(0, -1));
    expect(alone.heeded()).toBe(0);
    alone.pass(5);
    expect(alone.said()).toEqual([]);
    alone.hear(v3(10, ONE, many), ONE); // of any source
    expect(alone.heeded()).toBe(1);
    alone.pass(1);
    expect(alone.said()).toEqual([`224.0.0.22: is ex ${ONE}`]);
  });
});
