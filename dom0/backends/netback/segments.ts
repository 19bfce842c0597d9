// A long TCP packet as the segments that a card would have made of it, for a receiver that does not take it whole.
// Xen: io/netif.h, "struct netif_extra_info", XEN_NETIF_EXTRA_TYPE_GSO.
import { XEN_NETIF_GSO_TYPE_TCPV6, XEN_NETIF_MAX_TX_SIZE } from '#pvbus';
import { writeChecksum, writeHeaderChecksum } from './checksum.ts';
import { layersOf, TCP } from './layers.ts';

/** The longest there is: what a guest may send, with the tag that a bridge may put in. */
export const MAX_FRAME = XEN_NETIF_MAX_TX_SIZE + 4;
/** A sender that wants more of one packet gets none: each of them costs as much as a frame. */
export const MAX_SEGMENTS = 128;
/** Ethernet with a tag, IPv4 or IPv6 with options, TCP with options. */
const MAX_HEADERS = 256;
const FIN_PSH = 0x09;
const CWR = 0x80;

export class Segments {
  readonly #whole = new Uint8Array(MAX_FRAME);
  /** One behind the other. */
  readonly bytes = new Uint8Array(MAX_FRAME + MAX_SEGMENTS * MAX_HEADERS);
  readonly #offsets = new Uint32Array(MAX_SEGMENTS + 1);
  count = 0;

  offset(i: number): number {
    return this.#offsets[i]!;
  }
  length(i: number): number {
    return this.#offsets[i + 1]! - this.#offsets[i]!;
  }

  /**
   * Make segments of `size` bytes of payload of the packet of `length` bytes that `fill` writes. There are none when it
   * is not what its sender says: no such TCP packet, or one of too many segments.
   */
  cut(length: number, size: number, gsoType: number, fill: (into: Uint8Array) => void): void {
    this.count = 0;
    fill(this.#whole);
    const whole = this.#whole;
    const layers = layersOf(whole, 0, length);
    if (layers?.protocol !== TCP || layers.isIpv6 !== (gsoType === XEN_NETIF_GSO_TYPE_TCPV6)) return;
    const { ip, isIpv6, transport, end } = layers;
    if (end < transport + 20) return;
    const headers = transport + (whole[transport + 12]! >> 4) * 4;
    const payload = end - headers;
    if (headers < transport + 20 || payload <= 0 || headers > MAX_HEADERS) return;
    const count = Math.ceil(payload / size);
    if (count > MAX_SEGMENTS) return;
    const id = (whole[ip + 4]! << 8) | whole[ip + 5]!;
    const sequence =
      ((whole[transport + 4]! << 24) |
        (whole[transport + 5]! << 16) |
        (whole[transport + 6]! << 8) |
        whole[transport + 7]!) >>>
      0;
    const flags = whole[transport + 13]!;
    const { bytes } = this;
    let at = 0;
    for (let i = 0; i < count; i++) {
      const from = headers + i * size;
      const n = Math.min(size, end - from);
      bytes.set(whole.subarray(0, headers), at);
      bytes.set(whole.subarray(from, from + n), at + headers);
      const last = i === count - 1;
      // RFC 9293, RFC 3168: what is said once is said by the first or by the last of them.
      bytes[at + transport + 13] = flags & ~((last ? 0 : FIN_PSH) | (i === 0 ? 0 : CWR));
      put32(bytes, at + transport + 4, sequence + i * size);
      const ends = at + headers + n;
      if (isIpv6) put16(bytes, at + ip + 4, ends - (at + ip + 40));
      else {
        put16(bytes, at + ip + 2, ends - (at + ip));
        put16(bytes, at + ip + 4, id + i);
        writeHeaderChecksum(bytes, at + ip, at + transport);
      }
      const tcp = at + transport;
      writeChecksum(bytes, { ip: at + ip, isIpv6, transport: tcp, end: ends, protocol: TCP, field: tcp + 16 });
      this.#offsets[i] = at;
      at = ends;
    }
    this.#offsets[count] = at;
    this.count = count;
  }
}

function put16(bytes: Uint8Array, at: number, n: number): void {
  bytes[at] = n >> 8;
  bytes[at + 1] = n;
}
function put32(bytes: Uint8Array, at: number, n: number): void {
  put16(bytes, at, n >>> 16);
  put16(bytes, at + 2, n);
}
