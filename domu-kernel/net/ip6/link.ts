// IPv6 on one interface (RFC 8504): its addresses, and which frame a packet goes in.
import type { Clock, Log } from '#pvbus';
import type { NetDevice } from '../../net-device.ts';
import { BROADCAST_MAC, ETH_ALEN, ETH_HLEN, ETHERTYPE_IPV6, writeEthernet } from '../ethernet.ts';
import type { HeldFrame } from '../held-frames.ts';
import { IpAddress } from '../ip-address.ts';
import type { SendResult } from '../ip-output.ts';
import { PROTOCOL_TCP } from '../ipv4.ts';
import { JoinedGroups } from '../joined-groups.ts';
import type { PacketBuffer } from '../packet-port.ts';
import type { PathMtus } from '../path-mtus.ts';
import { GROUP_SENDING } from '../socket-groups.ts';
import { isUsable, type OwnAddress } from './addresses.ts';
import type { Ip6Config } from './config.ts';
import { Discovery } from './discovery.ts';
import { FRAGMENT_HLEN, IPV6_HLEN, IPV6_MIN_MTU, writeIpv6, writeIpv6Part } from './header.ts';
import { ALL_NODES, groupMac, isAllNodes, isInterfaceGroup, isLinkGroup } from './scope.ts';

const PROTOCOL = 6;
const DESTINATION = 24;
const HEADERS = ETH_HLEN + IPV6_HLEN;

export interface Ipv6LinkParts {
  readonly device: NetDevice;
  readonly config: Ip6Config;
  readonly tx: PacketBuffer;
  readonly paths: PathMtus;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log?: Log | undefined;
  /** Something is usable that was not, or is no longer; undefined: other routers, prefixes or name servers. */
  changed(own: OwnAddress | undefined): void;
  /** Nobody answers for the next hop of these. */
  unreachable(held: readonly HeldFrame[]): void;
  /** What is sent to the device comes back. */
  readonly loops: boolean;
  /** A frame to a group that this guest is to have too. */
  toOurselves(frame: Uint8Array): void;
}

export class Ipv6Link {
  readonly discovery: Discovery;
  /** That sockets have joined here. */
  readonly groups: JoinedGroups;
  private readonly parts: Ipv6LinkParts;
  private readonly multicastMac = new Uint8Array(ETH_ALEN);
  /** A part of a datagram that is being sent, and where that goes. */
  private readonly part: PacketBuffer;
  private readonly to = new IpAddress();

  constructor(parts: Ipv6LinkParts) {
    const { device, config, clock, random, log } = parts;
    this.parts = parts;
    const bytes = new Uint8Array(ETH_HLEN + device.mtu);
    this.part = { bytes, view: new DataView(bytes.buffer) };
    this.discovery = new Discovery({
      device,
      config,
      clock,
      random,
      log,
      transmit: (frame, length, flags) => this.transmit(frame, length, flags),
      unreachable: held => parts.unreachable(held),
      addressChanged: own => parts.changed(own),
      routersChanged: () => parts.changed(undefined),
    });
    this.groups = new JoinedGroups(all => {
      if (!parts.loops) this.discovery.listenTo(all.filter(isReported));
    });
  }

  /** The first address that others off the link can have heard of, or the link-local one; undefined: none yet. */
  get address(): IpAddress | undefined {
    let found: IpAddress | undefined;
    for (const own of this.discovery.addresses) {
      if (!isUsable(own)) continue;
      if (!own.address.isLinkLocal) return own.address;
      found = own.address;
    }
    return found;
  }
  has(address: IpAddress): boolean {
    return this.discovery.addresses.has(address);
  }

  // ---- routes ----

  /** How many bits of it a route here has: -1 where there is none, or no address to send from. */
  matches(destination: IpAddress): number {
    const { neighbours, routers } = this.discovery;
    if (this.sourceFor(destination) === undefined) return -1;
    // Every link has these: the one where there is such a neighbour is meant, or the one the sender is on.
    if (destination.isLinkLocal) return neighbours.find(destination) === undefined ? 10 : 128;
    const anywhere = routers.routers.length === 0 ? -1 : 0;
    if (destination.isMulticast) return anywhere + 1;
    return Math.max(anywhere, routers.bitsOnLink(destination));
  }
  /** Of a packet, its header counted. */
  pathMtu(destination: IpAddress): number {
    return this.parts.paths.to(destination, this.mtu);
  }
  /** untrusted: another backend may say another one. It is never more than at first. */
  private get mtu(): number {
    return Math.min(this.part.bytes.length - ETH_HLEN, this.discovery.mtu, this.parts.device.mtu);
  }
  /** Undefined without an address to send from. */
  sourceFor(destination: IpAddress): IpAddress | undefined {
    const { addresses } = this.discovery;
    const linkScope = destination.isLinkLocal || isLinkGroup(destination);
    const own = addresses.sourceFor(destination, linkScope);
    // As Linux: a wider group is better reached from the link's address than not at all.
    return own ?? (destination.isMulticast ? addresses.sourceFor(destination, true) : undefined);
  }

  /** A group of ours: everybody's, of our addresses, or one that somebody here has joined. */
  hears(group: IpAddress): boolean {
    return isAllNodes(group) || this.discovery.addresses.inGroup(group) || this.groups.has(group);
  }

  // ---- what is sent ----

  /** `length` bytes behind the place of a header in `tx`. */
  send(
    protocol: number,
    source: IpAddress,
    destination: IpAddress,
    length: number,
    flags = 0,
    sending = GROUP_SENDING,
  ): SendResult {
    const { device, tx, loops, toOurselves } = this.parts;
    const { bytes, view } = tx;
    const group = destination.isMulticast;
    const hops = group ? sending.hops : this.discovery.hopLimit;
    writeIpv6(view, ETH_HLEN, length, protocol, Math.max(1, hops), source, destination);
    const total = HEADERS + length;
    if (loops) return device.send(bytes, total) ? 'sent' : 'full';
    if (group) {
      // One of this interface alone goes no further.
      const stays = hops === 0 || isInterfaceGroup(destination);
      const result = stays ? 'sent' : this.sendTo(destination, bytes, total, flags);
      if (result === 'sent' && sending.loops && this.hears(destination)) toOurselves(bytes.slice(0, total));
      return result;
    }
    const hop = this.discovery.nextHop(destination);
    if (hop === undefined) return 'no-route';
    return this.sendTo(hop, bytes, total, flags);
  }
  private sendTo(hop: IpAddress, bytes: Uint8Array, total: number, flags: number): SendResult {
    const { device } = this.parts;
    const { neighbours } = this.discovery;
    const mac = hop.isMulticast ? groupMac(hop, this.multicastMac) : neighbours.lookup(hop);
    writeEthernet(bytes, mac ?? BROADCAST_MAC, device.mac, ETHERTYPE_IPV6);
    if (mac === undefined) {
      neighbours.hold(hop, bytes, total, flags);
      return 'held';
    }
    return this.transmit(bytes, total, flags) ? 'sent' : 'full';
  }
  /** What is longer than its path carries is cut, but for TCP's, which would rather hear of it. */
  private transmit(frame: Uint8Array, length: number, flags: number): boolean {
    const { device, paths, random } = this.parts;
    const fits = length <= ETH_HLEN + IPV6_MIN_MTU || (length <= ETH_HLEN + this.mtu && paths.size === 0);
    const protocol = frame[ETH_HLEN + PROTOCOL]!;
    if (fits || flags !== 0 || protocol === PROTOCOL_TCP) return device.send(frame, length, flags);
    const { bytes, view } = this.part;
    bytes.set(frame.subarray(0, HEADERS));
    const most = this.pathMtu(this.to.read(view, ETH_HLEN + DESTINATION));
    if (length <= ETH_HLEN + most) return device.send(frame, length, flags);
    // RFC 7739: not to be guessed.
    const id = Math.floor(random() * 2 ** 32);
    const room = (most - IPV6_HLEN - FRAGMENT_HLEN) & ~7;
    const payload = frame.subarray(HEADERS, length);
    for (let offset = 0; offset < payload.length; offset += room) {
      const piece = payload.subarray(offset, offset + room);
      bytes.set(piece, HEADERS + FRAGMENT_HLEN);
      const more = offset + room < payload.length;
      writeIpv6Part(view, ETH_HLEN, piece.length, { protocol, id, offset, more });
      if (!device.send(bytes, HEADERS + FRAGMENT_HLEN + piece.length, 0)) return false;
    }
    return true;
  }
}

/** RFC 9777, 6: neither everybody's group nor what does not leave an interface. */
const isReported = (group: IpAddress): boolean => !group.equals(ALL_NODES) && !isInterfaceGroup(group);
