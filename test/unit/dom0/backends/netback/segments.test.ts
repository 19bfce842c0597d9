// Packets that are cut into segments, looked at by tshark and by the guest's own checksum.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  NETRXF_csum_blank,
  XEN_NETIF_GSO_TYPE_TCPV4 as V4,
  XEN_NETIF_GSO_TYPE_TCPV6 as V6,
  XEN_NETIF_MAX_TX_SIZE,
} from '#pvbus';
import { fillChecksum } from '../../../../../dom0/backends/netback/checksum.ts';
import { Frame, SourcePage } from '../../../../../dom0/backends/netback/frame.ts';
import { MAX_SEGMENTS, Segments } from '../../../../../dom0/backends/netback/segments.ts';
import { addBytes, finish } from '../../../../../domu-kernel/net/checksum.ts';
import { type TcpPacket, tcpFrame } from '../../../../support/tcp-packet.ts';

const ends = { to: Uint8Array.of(0, 22, 62, 0, 0, 2), from: Uint8Array.of(0, 22, 62, 0, 0, 1) };
const segments = new Segments();
function cut(frame: Uint8Array, size: number, type: number, length = frame.length): Uint8Array[] {
  segments.cut(length, size, type, into => into.set(frame));
  return Array.from({ length: segments.count }, (_, i) => {
    const at = segments.offset(i);
    return segments.bytes.slice(at, at + segments.length(i));
  });
}
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
/** By the guest's own code, which shares none with netback's. */
function checksumsAreGood(frame: Uint8Array, ip: number, transport: number, isIpv6: boolean): boolean {
  const view = viewOf(frame);
  if (!isIpv6 && finish(addBytes(view, ip, transport - ip)) !== 0) return false;
  const length = frame.length - transport;
  const addresses = isIpv6 ? addBytes(view, ip + 8, 32) : addBytes(view, ip + 12, 8);
  return finish(addBytes(view, transport, length, addresses + 6 + length)) === 0;
}

const KINDS: [string, number, Partial<TcpPacket>, number, number][] = [
  ['IPv4', V4, {}, 14, 34],
  ['IPv4 with a VLAN tag', V4, { vlan: 10 }, 18, 38],
  ['IPv4 and TCP with options', V4, { ipOptions: 8, tcpOptions: 12 }, 14, 42],
  ['IPv6', V6, { ipv6: true, tcpOptions: 12 }, 14, 54],
  ['IPv6 with an extension header', V6, { ipv6: true, ipOptions: 8 }, 14, 62],
];

it('the longest packet of a guest is cut, and its checksum filled in, also with the tag that the bridge puts in', () => {
  const headers = tcpFrame({ ...ends, ipv6: true, payload: 0 }).length;
  const longest = tcpFrame({ ...ends, ipv6: true, payload: XEN_NETIF_MAX_TX_SIZE - headers });
  const tagged = (gsoSize: number): Frame => {
    const frame = new Frame();
    frame.begin(NETRXF_csum_blank, 0, gsoSize, V6);
    frame.add(new SourcePage(longest), 0, longest.length);
    frame.readHeader();
    return frame.tagged(10);
  };
  expect(tagged(1400).cut()).toBe(Math.ceil((longest.length - headers) / 1400));
  const whole = tagged(0);
  whole.complete();
  const bytes = new Uint8Array(XEN_NETIF_MAX_TX_SIZE + 4);
  whole.copy(0, bytes.length, bytes, 0);
  expect(checksumsAreGood(bytes, 18, 58, true)).toBe(true);
});

describe.each(KINDS)('%s', (_, type, kind, ip, transport) => {
  const isIpv6 = type === V6;
  const headers = transport + 20 + (kind.tcpOptions ?? 0);
  it.each([
    [1000, 1448, 1],
    [1448, 1448, 1],
    [1449, 1448, 2],
    [10_001, 1001, 10],
    [64_000, 1400, 46],
    [300, 8, 38],
  ])('%i bytes in segments of %i are %i, each whole, none the same', (payload, size, count) => {
    const frame = tcpFrame({ ...ends, ...kind, payload, sequence: 0xffff_fff0, id: 0xfffe, flags: 0x99 });
    const all = cut(frame, size, type);
    expect(all).toHaveLength(count);
    expect(Buffer.concat(all.map(bytes => bytes.subarray(headers)))).toEqual(Buffer.from(frame.subarray(headers)));
    for (const [i, bytes] of all.entries()) {
      const view = viewOf(bytes);
      expect(checksumsAreGood(bytes, ip, transport, isIpv6)).toBe(true);
      expect(view.getUint32(transport + 4)).toBe((0xffff_fff0 + i * size) >>> 0);
      // CWR, ACK, PSH, FIN: the first says CWR, the last PSH and FIN, all of them ACK.
      const last = i === count - 1;
      expect(bytes[transport + 13]).toBe((i === 0 ? 0x80 : 0) | 0x10 | (last ? 0x09 : 0));
      if (isIpv6) expect(view.getUint16(ip + 4)).toBe(bytes.length - ip - 40);
      else {
        expect(view.getUint16(ip + 2)).toBe(bytes.length - ip);
        expect(view.getUint16(ip + 4)).toBe((0xfffe + i) & 0xffff);
      }
    }
  });
  it('the checksum of a whole packet is filled in as well', () => {
    const frame = tcpFrame({ ...ends, ...kind, payload: 777 });
    if (!isIpv6) viewOf(frame).setUint16(ip + 10, finish(addBytes(viewOf(frame), ip, transport - ip)));
    expect(checksumsAreGood(frame, ip, transport, isIpv6)).toBe(false);
    fillChecksum(frame, frame.length);
    expect(checksumsAreGood(frame, ip, transport, isIpv6)).toBe(true);
  });
  it('is not cut when it is of the other kind, when its headers are not whole, or when it would be too many', () => {
    const frame = tcpFrame({ ...ends, ...kind, payload: 20_000 });
    expect(cut(frame, 1000, type)).toHaveLength(20);
    expect(cut(frame, 1000, isIpv6 ? V4 : V6)).toEqual([]);
    expect(cut(frame, Math.floor(20_000 / MAX_SEGMENTS), type)).toEqual([]);
    expect(cut(frame, Math.ceil(20_000 / MAX_SEGMENTS), type)).toHaveLength(128);
    for (const length of [14, 15, ip + 1, transport, transport + 19, headers - 1, headers])
      expect(cut(frame, 1000, type, length)).toEqual([]);
    const changed = (at: number, value: number): Uint8Array[] => {
      const other = frame.slice();
      other[at] = value;
      return cut(other, 1000, type);
    };
    expect(changed(12, 0)).toEqual([]); // no such protocol
    expect(changed(ip, 0x10)).toEqual([]); // nor such a version
    expect(changed(ip + (isIpv6 ? 6 : 9), 17)).toEqual([]); // UDP
    expect(changed(ip + (isIpv6 ? 4 : 2), 255)).toEqual([]); // longer than it is
    expect(changed(transport + 12, 0x40)).toEqual([]); // a TCP header of 16 bytes
    if (!isIpv6) {
      expect(changed(ip + 6, 0x20)).toEqual([]); // a piece of a packet
      expect(changed(ip, 0x44)).toEqual([]); // an IP header of 16 bytes
    }
  });
});

function whyNoTshark(): string | undefined {
  try {
    execFileSync('tshark', ['--version'], { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n')[0];
  }
}
const noTshark = whyNoTshark();

it.skipIf(noTshark !== undefined)(`tshark finds nothing wrong with segments${noTshark ? ` (${noTshark})` : ''}`, () => {
  const all = KINDS.flatMap(([, type, kind]) => cut(tcpFrame({ ...ends, ...kind, payload: 5000 }), 1400, type));
  const dir = mkdtempSync(join(tmpdir(), 'xenolith-segments-'));
  try {
    const header = Buffer.alloc(24);
    for (const [at, value] of [
      [0, 0xa1b23c4d],
      [16, 65535],
      [20, 1],
    ] as const)
      header.writeUInt32LE(value, at);
    header.writeUInt32LE(0x0004_0002, 4);
    const records = all.map(bytes => {
      const record = Buffer.alloc(16);
      record.writeUInt32LE(bytes.length, 8);
      record.writeUInt32LE(bytes.length, 12);
      return Buffer.concat([record, bytes]);
    });
    writeFileSync(join(dir, 'a.pcap'), Buffer.concat([header, ...records]));
    const options = ['tcp', 'ip'].flatMap(protocol => ['-o', `${protocol}.check_checksum:TRUE`]);
    const fields = ['tcp.len', 'tcp.checksum.status', 'ip.checksum.status'].flatMap(field => ['-e', field]);
    const text = execFileSync('tshark', ['-r', join(dir, 'a.pcap'), ...options, '-T', 'fields', ...fields], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
    const of = (ip: string): string[] => [1400, 1400, 1400, 800].map(length => `${length}\t1\t${ip}`);
    expect(
      text
        .trimEnd()
        .split('\n')
        .map(line => line.trimEnd()),
    ).toEqual([...of('1'), ...of('1'), ...of('1'), ...of(''), ...of('')].map(line => line.trimEnd()));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
