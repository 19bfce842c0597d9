// The header before frames of a TAP with offloads: <linux/virtio_net.h>.
import { describe, expect, it } from 'vitest';
import { NETRXF_csum_blank, NETRXF_data_validated, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6 } from '#pvbus';
import { Frame, SourcePage } from '../../../../../../dom0/backends/netback/frame.ts';
import { HEADER_BYTES, VirtioNetHeader } from '../../../../../../dom0/backends/netback/ports/virtio-net-header.ts';
import { addBytes, finish } from '../../../../../../domu-kernel/net/checksum.ts';
import fc from '../../../../../support/properties.ts';
import { tcpFrame } from '../../../../../support/tcp-packet.ts';

const [to, from] = [Uint8Array.of(2, 0, 0, 0, 0, 2), Uint8Array.of(2, 0, 0, 0, 0, 1)];
const BLANK = NETRXF_csum_blank | NETRXF_data_validated;

/** What is written for a frame: undefined when it is refused. */
function written(bytes: Uint8Array, flags: number, gsoSize = 0, gsoType = 0) {
  const out = new Uint8Array(HEADER_BYTES + bytes.length).fill(0xee);
  out.set(bytes, HEADER_BYTES);
  const frame = new Frame();
  frame.begin(flags, 0, gsoSize, gsoType);
  frame.add(new SourcePage(bytes), 0, bytes.length);
  if (!new VirtioNetHeader(out).write(frame)) return undefined;
  const view = new DataView(out.buffer);
  const [hdr_len, gso_size, csum_start, csum_offset] = [2, 4, 6, 8].map(at => view.getUint16(at, true));
  return {
    flags: out[0],
    gso_type: out[1],
    hdr_len,
    gso_size,
    csum_start,
    csum_offset,
    frame: out.subarray(HEADER_BYTES),
  };
}
const read = (...header: number[]): Frame | undefined => {
  const frame = new Frame();
  return new VirtioNetHeader(Uint8Array.from(header)).begin(frame, 5) ? frame : undefined;
};

describe('what Linux is told', () => {
  it.each([
    [false, 1, XEN_NETIF_GSO_TYPE_TCPV4, 34, 12],
    [true, 4, XEN_NETIF_GSO_TYPE_TCPV6, 54, 0],
  ])(
    'of a packet that is to be cut: how, and where its checksum is (IPv6 %s)',
    (ipv6, gso_type, type, tcp, tcpOptions) => {
      const bytes = tcpFrame({ to, from, payload: 10_000, ipv6, tcpOptions });
      bytes.set([0x12, 0x34], tcp + 16); // a guest may have left anything in the checksum's place
      const got = written(bytes, BLANK, 1400, type)!;
      expect(got).toMatchObject({ flags: 1, gso_type, hdr_len: tcp + 20 + tcpOptions, gso_size: 1400 });
      expect([got.csum_start, got.csum_offset]).toEqual([tcp, 16]);
      const view = new DataView(bytes.buffer);
      const sum = addBytes(view, ipv6 ? 22 : 26, ipv6 ? 32 : 8, 6 + bytes.length - tcp);
      expect(new DataView(got.frame.slice().buffer).getUint16(tcp + 16)).toBe(~finish(sum) & 0xffff);
      expect(got.frame.subarray(0, tcp + 16)).toEqual(bytes.subarray(0, tcp + 16));
      expect(Buffer.compare(got.frame.subarray(tcp + 18), bytes.subarray(tcp + 18))).toBe(0);
    },
  );
  it('of a frame with a blank checksum, of one that is known to be good, and of any other', () => {
    const bytes = tcpFrame({ to, from, payload: 100 });
    expect(written(bytes, BLANK)).toMatchObject({
      flags: 1,
      gso_type: 0,
      gso_size: 0,
      csum_start: 34,
      csum_offset: 16,
    });
    bytes[23] = 17;
    expect(written(bytes, BLANK)).toMatchObject({ flags: 1, gso_type: 0, csum_start: 34, csum_offset: 6 });
    expect(written(bytes, NETRXF_data_validated)).toMatchObject({ flags: 2, csum_start: 0 });
    expect(written(bytes, 0)).toMatchObject({ flags: 0, frame: bytes });
    bytes[23] = 47; // neither TCP nor UDP: no checksum that we know of
    expect(written(bytes, BLANK)).toMatchObject({ flags: 0, frame: bytes });
  });
  it.each<[string, readonly (readonly [number, number])[], number]>([
    ['UDP', [[23, 17]], XEN_NETIF_GSO_TYPE_TCPV4],
    ['another version of IP', [], XEN_NETIF_GSO_TYPE_TCPV6],
    ['a piece', [[20, 0x20]], XEN_NETIF_GSO_TYPE_TCPV4],
    ['a header without an end', [[46, 0xf0]], XEN_NETIF_GSO_TYPE_TCPV4],
    ['a header that is too short', [[46, 0x40]], XEN_NETIF_GSO_TYPE_TCPV4],
  ])('nothing of a packet that is said to be to be cut and is %s', (_what, changes, type) => {
    const bytes = tcpFrame({ to, from, payload: 20 });
    for (const [at, byte] of changes) bytes[at] = byte;
    expect(written(bytes, BLANK, 1400, type)).toBeUndefined();
  });
  it('of any bytes nothing that is not in the frame', () => {
    const ip = fc.constantFrom([8, 0, 0x45], [0x86, 0xdd, 0x60], [0x81, 0]);
    const protocol = fc.constantFrom(6, 17, 0, 60);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 14, maxLength: 120 }),
        ip,
        protocol,
        fc.nat(2),
        (bytes, type, next, gso) => {
          bytes.set(type.slice(0, Math.max(0, bytes.length - 12)), 12);
          if (bytes.length > 23) bytes[type[0] === 8 ? 23 : 20] = next;
          if (bytes.length > 19) bytes.set([0, Math.min(255, bytes.length - 14)], type[0] === 8 ? 16 : 18);
          const got = written(bytes, BLANK, gso === 0 ? 0 : 1400, gso);
          if (got === undefined) expect(gso).not.toBe(0);
          else if (got.flags === 1) expect(got.csum_start! + got.csum_offset! + 2).toBeLessThanOrEqual(bytes.length);
          else expect(Buffer.compare(got.frame, bytes)).toBe(0);
          if (got?.gso_type) expect(got.hdr_len!).toBeLessThan(bytes.length);
        },
      ),
    );
  });
});

describe('what Linux tells', () => {
  it.each([
    ['nothing', [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], { flags: 0, gsoSize: 0 }],
    ['a good checksum', [2, 0, 0, 0, 0, 0, 0, 0, 0, 0], { flags: NETRXF_data_validated, gsoSize: 0 }],
    ['a blank one', [1, 0, 0, 0, 0, 0, 34, 0, 16, 0], { flags: BLANK, gsoSize: 0 }],
    ['TCP to be cut', [1, 1, 66, 0, 1400 & 255, 1400 >> 8, 34, 0, 16, 0], { flags: BLANK, gsoSize: 1400, gsoType: 1 }],
    ['the same of IPv6', [1, 4, 86, 0, 1, 0, 54, 0, 16, 0], { flags: BLANK, gsoSize: 1, gsoType: 2 }],
  ])('%s', (_what, header, frame) => {
    expect(read(...header)).toMatchObject({ ...frame, nowNs: 5 });
  });
  it.each([
    ['UDP to be cut', 3, 1400],
    ['what came after that', 5, 1400],
    ['segments of nothing', 1, 0],
    ['TCP with congestion notification, for which nobody asked', 0x81, 1400],
  ])('%s is refused', (_what, type, size) => {
    expect(read(1, type, 66, 0, size & 255, size >> 8, 34, 0, 16, 0)).toBeUndefined();
  });
});
