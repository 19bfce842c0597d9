// Messages of neighbour discovery (RFC 4861, 4), read and checked, and written.
import { addBytes, finish } from '../checksum.ts';
import { ETH_HLEN, ETHERTYPE_IPV6, writeEthernet } from '../ethernet.ts';
import { IpAddress } from '../ip-address.ts';
import { IPV6_HLEN, type Ipv6Header, PROTOCOL_ICMPV6, writeIpv6 } from './header.ts';

export const ROUTER_SOLICITATION = 133;
export const ROUTER_ADVERTISEMENT = 134;
export const NEIGHBOUR_SOLICITATION = 135;
export const NEIGHBOUR_ADVERTISEMENT = 136;
export const REDIRECT = 137;

const SOURCE_MAC = 1;
const TARGET_MAC = 2;
const PREFIX_INFORMATION = 3;
const MTU = 5;
const RDNSS = 25;

/** Bytes before the options, by type. */
const FIXED: Readonly<Record<number, number>> = {
  [ROUTER_ADVERTISEMENT]: 16,
  [NEIGHBOUR_SOLICITATION]: 24,
  [NEIGHBOUR_ADVERTISEMENT]: 24,
};
/** A message is bounded by its packet; so many options of it are looked at. */
const MAX_OPTIONS = 64;

/** One of these is reused for every message. */
export class DiscoveryMessage {
  at = 0;
  readonly target = new IpAddress();
  /** Where MAC addresses begin that the options give; -1: none. */
  sourceMacAt = -1;
  targetMacAt = -1;
  /** 0: none. */
  mtu = 0;
  /** Where options of each kind begin, their lengths checked. */
  readonly prefixes: number[] = [];
  readonly nameservers: number[] = [];
}

/**
 * untrusted: RFC 4861, 6.1.2, 7.1.1 and 7.1.2, of a message whose checksum is right. False: it is dropped.
 */
export function readDiscovery(view: DataView, header: Ipv6Header, type: number, into: DiscoveryMessage): boolean {
  const { payloadAt: at, payloadLength: length, source, destination } = header;
  const fixed = FIXED[type];
  if (fixed === undefined || header.hopLimit !== 255 || length < fixed || view.getUint8(at + 1) !== 0) return false;
  into.at = at;
  if (!readOptions(view, at + fixed, at + length, into)) return false;
  if (type === ROUTER_ADVERTISEMENT) return source.isLinkLocal;
  into.target.read(view, at + 8);
  if (into.target.isMulticast || into.target.isUnspecified || into.target.isV4) return false;
  if (type === NEIGHBOUR_SOLICITATION) {
    // Who asks whether an address is free has none to be told of.
    return !source.isUnspecified || (destination.isMulticast && into.sourceMacAt < 0);
  }
  const solicited = (view.getUint8(at + 4) & SOLICITED) !== 0;
  return !source.isUnspecified && !(destination.isMulticast && solicited);
}

function readOptions(view: DataView, at: number, end: number, into: DiscoveryMessage): boolean {
  into.sourceMacAt = -1;
  into.targetMacAt = -1;
  into.mtu = 0;
  into.prefixes.length = 0;
  into.nameservers.length = 0;
  for (let count = 0; at < end && count < MAX_OPTIONS; count++) {
    if (at + 8 > end) return false;
    const type = view.getUint8(at);
    const length = view.getUint8(at + 1) * 8;
    if (length === 0 || at + length > end) return false;
    if (type === SOURCE_MAC && length === 8) into.sourceMacAt = isHostMac(view, at + 2) ? at + 2 : into.sourceMacAt;
    else if (type === TARGET_MAC && length === 8)
      into.targetMacAt = isHostMac(view, at + 2) ? at + 2 : into.targetMacAt;
    else if (type === PREFIX_INFORMATION && length === 32) into.prefixes.push(at);
    else if (type === MTU && length === 8) into.mtu = view.getUint32(at + 4);
    else if (type === RDNSS && length >= 24 && length % 16 === 8) into.nameservers.push(at);
    at += length;
  }
  return true;
}
const isHostMac = (view: DataView, at: number): boolean =>
  (view.getUint8(at) & 1) === 0 && (view.getUint16(at) !== 0 || view.getUint32(at + 2) !== 0);

export const ROUTER = 0x80;
export const SOLICITED = 0x40;
export const OVERRIDE = 0x20;

/** Builds messages in a frame of its own: they are sent while another packet is being built. */
export class DiscoveryWriter {
  readonly frame = new Uint8Array(ETH_HLEN + IPV6_HLEN + 32);
  private readonly view = new DataView(this.frame.buffer);
  private readonly mac: Uint8Array;

  constructor(mac: Uint8Array) {
    this.mac = mac;
  }
  /** Returns the length of the frame. `target` and `flags`: of a neighbour's messages. `tell`: our MAC address too. */
  write(
    type: number,
    to: Uint8Array,
    source: IpAddress,
    destination: IpAddress,
    { target, flags = 0, tell = false }: { target?: IpAddress; flags?: number; tell?: boolean },
  ): number {
    const { view, frame, mac } = this;
    const at = ETH_HLEN + IPV6_HLEN;
    const fixed = target === undefined ? 8 : 24;
    const length = fixed + (tell ? 8 : 0);
    writeEthernet(frame, to, mac, ETHERTYPE_IPV6);
    writeIpv6(view, ETH_HLEN, length, PROTOCOL_ICMPV6, 255, source, destination);
    view.setUint32(at, type << 24);
    view.setUint32(at + 4, flags << 24);
    target?.write(view, at + 8);
    if (tell) {
      view.setUint16(at + fixed, ((type === NEIGHBOUR_ADVERTISEMENT ? TARGET_MAC : SOURCE_MAC) << 8) | 1);
      frame.set(mac, at + fixed + 2);
    }
    const sum = source.sum + destination.sum + PROTOCOL_ICMPV6 + length;
    view.setUint16(at + 2, finish(addBytes(view, at, length, sum)));
    return at + length;
  }
}
