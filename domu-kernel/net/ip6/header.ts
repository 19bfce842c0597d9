// The IPv6 header (RFC 8200) and its extension headers, which are stepped over: options that must not be are refused as
// their type says.
import { IpAddress } from '../ip-address.ts';

export const IPV6_HLEN = 40;
/** Every link carries this much (RFC 8200, 5). */
export const IPV6_MIN_MTU = 1280;
/** Of a packet, behind its header. */
export const LARGEST_PAYLOAD6 = 0xffff;
export const DEFAULT_HOP_LIMIT = 64;

export const PROTOCOL_ICMPV6 = 58;
export const HOP_BY_HOP = 0;
const ROUTING = 43;
export const FRAGMENT = 44;
const NO_NEXT_HEADER = 59;
const DESTINATION_OPTIONS = 60;
export const FRAGMENT_HLEN = 8;
/** RFC 8504, 5.3: a host may bound them. */
const MAX_EXTENSIONS = 8;
/** Of one header: padding is not counted as padding. */
const MAX_OPTIONS = 32;

const PAD1 = 0;
const PADN = 1;
const ROUTER_ALERT = 5;

/** Codes of a parameter problem (RFC 4443, 3.4). */
export const ERRONEOUS_FIELD = 0;
export const UNKNOWN_NEXT_HEADER = 1;
const UNKNOWN_OPTION = 2;
/** RFC 7112. */
export const INCOMPLETE_CHAIN = 3;

/** A header, read once and checked. One of these is reused for every packet. */
export class Ipv6Header {
  /** Offset of the header in the buffer it was read from. */
  at = 0;
  hopLimit = 0;
  readonly source = new IpAddress();
  readonly destination = new IpAddress();
  /** What is behind the headers read so far. */
  protocol = 0;
  payloadAt = 0;
  payloadLength = 0;
  /** Where the byte is that says what `protocol` is; of a problem: the one that is wrong. */
  pointer = 0;
  problem = 0;
  /** A fragment: what is behind `payloadAt` is a part of the packet. */
  isFragment = false;
  fragmentId = 0;
  fragmentOffset = 0;
  moreFragments = false;
  /** Routers on its way look at it. */
  routerAlert = false;
}

export const isExtension = (type: number): boolean =>
  type === HOP_BY_HOP || type === ROUTING || type === DESTINATION_OPTIONS || type === FRAGMENT;

export type Ipv6Fault = 'short' | 'version' | 'length';

/** Reads the header at `at`, where `available` bytes are left, without extensions. Undefined when it is good. */
export function readIpv6(view: DataView, at: number, available: number, into: Ipv6Header): Ipv6Fault | undefined {
  if (available < IPV6_HLEN) return 'short';
  if (view.getUint8(at) >> 4 !== 6) return 'version';
  into.at = at;
  into.payloadAt = at + IPV6_HLEN;
  into.payloadLength = view.getUint16(at + 4);
  into.pointer = at + 6;
  into.protocol = view.getUint8(at + 6);
  into.hopLimit = view.getUint8(at + 7);
  into.source.read(view, at + 8);
  into.destination.read(view, at + 24);
  into.isFragment = false;
  into.routerAlert = false;
  return into.payloadLength > available - IPV6_HLEN ? 'length' : undefined;
}

/**
 * Steps over extension headers up to what the packet carries, or to its fragment header. drop: it is not looked at any
 * further. problem: its sender hears of `problem` at `pointer`. `behind`: of headers that are behind others already.
 */
export function stepOverExtensions(view: DataView, into: Ipv6Header, behind = 0): 'ok' | 'drop' | 'problem' {
  for (let count = behind; ; count++) {
    const { protocol, payloadAt, payloadLength } = into;
    if (protocol === NO_NEXT_HEADER) return 'drop';
    if (!isExtension(protocol)) return 'ok';
    if (payloadLength < 8 || count === MAX_EXTENSIONS) return 'drop';
    if (protocol === FRAGMENT) {
      const word = view.getUint16(payloadAt + 2);
      into.isFragment = true;
      into.fragmentOffset = word & 0xfff8;
      into.moreFragments = (word & 1) !== 0;
      into.fragmentId = view.getUint32(payloadAt + 4);
      next(view, into, FRAGMENT_HLEN);
      return 'ok';
    }
    if (protocol === HOP_BY_HOP && count > 0) {
      into.problem = UNKNOWN_NEXT_HEADER;
      return 'problem';
    }
    const length = (view.getUint8(payloadAt + 1) + 1) * 8;
    if (length > payloadLength) return 'drop';
    if (protocol === ROUTING) {
      // RFC 8200, 4.4: no type is known here, so none may have anything left to visit.
      if (view.getUint8(payloadAt + 3) !== 0) {
        into.problem = ERRONEOUS_FIELD;
        into.pointer = payloadAt + 2;
        return 'problem';
      }
    } else {
      const outcome = readOptions(view, payloadAt + 2, payloadAt + length, into);
      if (outcome !== 'ok') return outcome;
    }
    next(view, into, length);
  }
}

function next(view: DataView, into: Ipv6Header, length: number): void {
  into.pointer = into.payloadAt;
  into.protocol = view.getUint8(into.payloadAt);
  into.payloadAt += length;
  into.payloadLength -= length;
}

/** RFC 8200, 4.2: the first two bits of an option's type say what becomes of a packet where nobody knows it. */
function readOptions(view: DataView, at: number, end: number, into: Ipv6Header): 'ok' | 'drop' | 'problem' {
  for (let count = 0; at < end; count++) {
    const type = view.getUint8(at);
    if (type === PAD1) {
      at++;
      continue;
    }
    if (at + 2 > end || count === MAX_OPTIONS) return 'drop';
    const length = view.getUint8(at + 1);
    if (at + 2 + length > end) return 'drop';
    const action = type >> 6;
    if (type !== PADN && type !== ROUTER_ALERT && action !== 0) {
      if (action === 1 || (action === 3 && into.destination.isMulticast)) return 'drop';
      into.problem = UNKNOWN_OPTION;
      into.pointer = at;
      return 'problem';
    }
    if (type === ROUTER_ALERT && into.protocol === HOP_BY_HOP) into.routerAlert = true;
    at += 2 + length;
  }
  return 'ok';
}

/** RFC 7112: whether the first part of a datagram, `header` behind its fragment header, has all headers of that. */
export function hasWholeChain(view: DataView, header: Ipv6Header): boolean {
  const chain = new Ipv6Header();
  chain.protocol = header.protocol;
  chain.payloadAt = header.payloadAt;
  chain.payloadLength = header.payloadLength;
  const outcome = stepOverExtensions(view, chain, 1);
  // What there is to complain of in it is said of the whole.
  return outcome === 'problem' || (outcome === 'ok' && chain.payloadLength >= TRANSPORT_HLEN);
}
/** Of TCP it is more, but its ports are in these. */
const TRANSPORT_HLEN = 8;

/** The packet at the header's place is whole: it carries `length` bytes of what is at `protocol`, behind no other header. */
export function writeReassembled6(view: DataView, header: Ipv6Header, protocol: number, length: number): void {
  view.setUint16(header.at + 4, length);
  view.setUint8(header.at + 6, protocol);
  readIpv6(view, header.at, IPV6_HLEN + length, header);
  header.isFragment = true;
  header.fragmentOffset = 0;
  header.moreFragments = false;
}

/** Writes a part's headers over those of the packet at `at`, which carries `protocol`. */
export function writeIpv6Part(
  view: DataView,
  at: number,
  payloadLength: number,
  { protocol, id, offset, more }: { protocol: number; id: number; offset: number; more: boolean },
): void {
  view.setUint16(at + 4, FRAGMENT_HLEN + payloadLength);
  view.setUint8(at + 6, FRAGMENT);
  view.setUint16(at + IPV6_HLEN, protocol << 8);
  view.setUint16(at + IPV6_HLEN + 2, offset | (more ? 1 : 0));
  view.setUint32(at + IPV6_HLEN + 4, id);
}

export function writeIpv6(
  view: DataView,
  at: number,
  payloadLength: number,
  protocol: number,
  hopLimit: number,
  source: IpAddress,
  destination: IpAddress,
): void {
  view.setUint32(at, 0x6000_0000);
  view.setUint16(at + 4, payloadLength);
  view.setUint8(at + 6, protocol);
  view.setUint8(at + 7, hopLimit);
  source.write(view, at + 8);
  destination.write(view, at + 24);
}
