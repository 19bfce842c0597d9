// The IPv4 header (RFC 791). Options are stepped over, never acted on: this host forwards nothing, so a source
// route has no meaning.
import { addBytes, finish, verifies } from './checksum.ts';

export const IPV4_HLEN = 20;
export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const DEFAULT_TTL = 64;

/** Of a packet, its header counted. */
export const LARGEST_IPV4 = 0xffff;

const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;
const FRAGMENT_OFFSET = 0x1fff;

/** A header, read once and checked. One of these is reused for every packet. */
export class Ipv4Header {
  /** Offset of the header in the buffer it was read from. */
  at = 0;
  headerLength = 0;
  /** Of header and payload; what follows it in the frame is padding. */
  totalLength = 0;
  id = 0;
  ttl = 0;
  protocol = 0;
  source = 0;
  destination = 0;
  /** Of a part of a datagram: where in it this is, and whether more is behind it. */
  fragmentOffset = 0;
  moreFragments = false;

  get isFragment(): boolean {
    return this.moreFragments || this.fragmentOffset !== 0;
  }
  get payloadAt(): number {
    return this.at + this.headerLength;
  }
  get payloadLength(): number {
    return this.totalLength - this.headerLength;
  }
}

export type Ipv4Fault = 'short' | 'version' | 'length' | 'checksum' | 'ttl' | 'fragment';

/** Reads the header at `at`, where `available` bytes are left. Undefined when it is good. */
export function readIpv4(view: DataView, at: number, available: number, into: Ipv4Header): Ipv4Fault | undefined {
  if (available < IPV4_HLEN) return 'short';
  const versionAndLength = view.getUint8(at);
  if (versionAndLength >> 4 !== 4) return 'version';
  into.at = at;
  into.headerLength = (versionAndLength & 15) * 4;
  into.totalLength = view.getUint16(at + 2);
  if (into.headerLength < IPV4_HLEN || into.totalLength < into.headerLength || into.totalLength > available) {
    return 'length';
  }
  if (!verifies(view, at, into.headerLength)) return 'checksum';
  into.id = view.getUint16(at + 4);
  const fragment = view.getUint16(at + 6);
  into.ttl = view.getUint8(at + 8);
  into.protocol = view.getUint8(at + 9);
  into.source = view.getUint32(at + 12);
  into.destination = view.getUint32(at + 16);
  if (into.ttl === 0) return 'ttl';
  into.fragmentOffset = (fragment & FRAGMENT_OFFSET) * 8;
  into.moreFragments = (fragment & MORE_FRAGMENTS) !== 0;
  if (!into.isFragment) return undefined;
  // All but the last carry units of 8 bytes; and no datagram is longer than its length can say.
  const { payloadLength } = into;
  if (payloadLength === 0 || (into.moreFragments && payloadLength % 8 !== 0)) return 'fragment';
  return into.headerLength + into.fragmentOffset + payloadLength > LARGEST_IPV4 ? 'fragment' : undefined;
}

export function writeIpv4(
  view: DataView,
  at: number,
  payloadLength: number,
  id: number,
  ttl: number,
  protocol: number,
  source: number,
  destination: number,
): void {
  view.setUint16(at, 0x4500);
  view.setUint16(at + 2, IPV4_HLEN + payloadLength);
  view.setUint16(at + 4, id);
  view.setUint16(at + 6, DONT_FRAGMENT);
  view.setUint8(at + 8, ttl);
  view.setUint8(at + 9, protocol);
  view.setUint16(at + 10, 0);
  view.setUint32(at + 12, source);
  view.setUint32(at + 16, destination);
  view.setUint16(at + 10, finish(addBytes(view, at, IPV4_HLEN)));
}

/** What every router on the way is to look at, and nobody is to pass on (RFC 2113): its header has 4 bytes more. */
export function writeIpv4WithAlert(
  view: DataView,
  at: number,
  payloadLength: number,
  protocol: number,
  source: number,
  destination: number,
): void {
  writeIpv4(view, at, payloadLength + ALERT.length, 0, 1, protocol, source, destination);
  view.setUint16(at, 0x46c0); // of the kind that networks are controlled by
  for (const [i, byte] of ALERT.entries()) view.setUint8(at + IPV4_HLEN + i, byte);
  view.setUint16(at + 10, 0);
  view.setUint16(at + 10, finish(addBytes(view, at, IPV4_HLEN + ALERT.length)));
}
const ALERT = [148, 4, 0, 0] as const;

/** The packet at the header's place is whole: its parts are, `payloadLength` bytes behind `headerLength`. */
export function writeReassembled(view: DataView, header: Ipv4Header): void {
  view.setUint16(header.at + 2, header.totalLength);
  view.setUint16(header.at + 6, 0);
  view.setUint16(header.at + 10, 0);
  view.setUint16(header.at + 10, finish(addBytes(view, header.at, header.headerLength)));
}

/** Writes over the packet at `at` what makes it a part of `payloadLength` bytes, from byte `offset` of a datagram on. */
export function writeIpv4Part(view: DataView, at: number, payloadLength: number, offset: number, more: boolean): void {
  view.setUint16(at + 2, IPV4_HLEN + payloadLength);
  view.setUint16(at + 6, offset / 8 + (more ? MORE_FRAGMENTS : 0));
  view.setUint16(at + 10, 0);
  view.setUint16(at + 10, finish(addBytes(view, at, IPV4_HLEN)));
}

/** Of a packet of ours, an ICMP error quotes the header and at least this much of what follows. */
const QUOTED = 8;

/** The header an ICMP error quotes: what follows it is cut, so its lengths prove nothing. False: not one. */
export function readQuotedIpv4(view: DataView, at: number, available: number, into: Ipv4Header): boolean {
  if (available < IPV4_HLEN + QUOTED || view.getUint8(at) >> 4 !== 4) return false;
  // The first part of a datagram of ours says whose it is; no other does.
  if ((view.getUint16(at + 6) & FRAGMENT_OFFSET) !== 0) return false;
  into.at = at;
  into.headerLength = (view.getUint8(at) & 15) * 4;
  if (into.headerLength < IPV4_HLEN || into.headerLength + QUOTED > available) return false;
  into.totalLength = view.getUint16(at + 2);
  into.protocol = view.getUint8(at + 9);
  into.source = view.getUint32(at + 12);
  into.destination = view.getUint32(at + 16);
  return true;
}
