// IPv4 on one interface (RFC 1122): an address, a gateway, and which frame a packet goes in.
import type { Clock, Log } from '#pvbus';
import type { NetDevice } from '../net-device.ts';
import { ALL_HOSTS, groupMac4, IPV4_BROADCAST, isMulticast } from './address.ts';
import { Arp } from './arp.ts';
import { BROADCAST_MAC, ETH_ALEN, ETH_HLEN, ETHERTYPE_IPV4, writeEthernet } from './ethernet.ts';
import type { HeldFrame } from './held-frames.ts';
import { MIN_PATH_MTU } from './icmp.ts';
import { Igmp } from './igmp.ts';
import { IpAddress } from './ip-address.ts';
import type { SendResult } from './ip-output.ts';
import { DEFAULT_TTL, IPV4_HLEN, PROTOCOL_TCP, writeIpv4, writeIpv4Part } from './ipv4.ts';
import { JoinedGroups } from './joined-groups.ts';
import type { PacketBuffer } from './packet-port.ts';
import type { PathMtus } from './path-mtus.ts';
import { GROUP_SENDING } from './socket-groups.ts';
import type { Udp } from './udp.ts';

// Offsets in a header.
const PROTOCOL = 9;
const DESTINATION = 16;

export interface Ipv4Address {
  /** 0: none. */
  readonly address: number;
  readonly netmask: number;
  readonly gateway?: number | undefined;
}

export interface Ipv4LinkParts {
  readonly device: NetDevice;
  readonly tx: PacketBuffer;
  readonly paths: PathMtus;
  readonly clock: Clock;
  readonly log?: Log | undefined;
  /** Of the next packet. */
  nextId(): number;
  /** Nobody answers for the next hop of these. */
  unreachable(held: readonly HeldFrame[]): void;
  /** What is sent to the device comes back. */
  readonly loops: boolean;
  readonly random: () => number;
  /** A frame to a group that this guest is to have too. */
  toOurselves(frame: Uint8Array): void;
}

export class Ipv4Link {
  address = 0;
  netmask = 0;
  gateway: number | undefined;
  readonly own = new IpAddress().setV4(0);
  readonly arp: Arp;
  /** Who asks for an address, and hears the answers, which may come to one that is not ours yet. */
  lease: Udp | undefined;
  private prefixLength = 0;
  private readonly parts: Ipv4LinkParts;
  /** That sockets have joined here, and how others hear of them. */
  readonly groups: JoinedGroups;
  readonly igmp: Igmp;
  private readonly multicastMac = new Uint8Array(ETH_ALEN);
  private readonly to = new IpAddress();
  /** A part of a datagram that is being sent. */
  private readonly part: PacketBuffer;

  constructor(parts: Ipv4LinkParts) {
    this.parts = parts;
    const { device, clock, log, random, loops } = parts;
    this.igmp = new Igmp({ device, clock, random, source: () => this.own });
    this.groups = new JoinedGroups(all => {
      if (!loops) this.igmp.listenTo(all.filter(({ d }) => d !== ALL_HOSTS));
    });
    const bytes = new Uint8Array(ETH_HLEN + device.mtu);
    this.part = { bytes, view: new DataView(bytes.buffer) };
    this.arp = new Arp(
      {
        mac: device.mac,
        address: () => this.address,
        isOnLink: address => this.isOnLink(address),
        transmit: (frame, length, flags) => this.transmit(frame, length, flags),
        unreachable: (_address, held) => parts.unreachable(held),
      },
      clock,
      log,
    );
  }

  configure({ address, netmask, gateway }: Ipv4Address): void {
    this.address = address;
    this.netmask = netmask;
    this.gateway = gateway;
    this.prefixLength = Math.clz32(~netmask);
    this.own.setV4(address);
  }

  // ---- routes ----

  /** How many bits of it a route here has: -1 where there is none. */
  matches(destination: number): number {
    if (this.address === 0) return -1;
    const anywhere = this.gateway === undefined ? -1 : 0;
    // As Linux: a group is on the link of the default route, where no sender says otherwise.
    if (isMulticast(destination) || destination === IPV4_BROADCAST) return anywhere + 1;
    return this.isOnLink(destination) ? this.prefixLength : anywhere;
  }
  /** Of a packet that is not to be cut, its header counted. */
  pathMtu(destination: IpAddress): number {
    return this.parts.paths.to(destination, this.mtu);
  }
  /** untrusted: another backend may say another one. It is never more than at first. */
  private get mtu(): number {
    return Math.min(this.part.bytes.length - ETH_HLEN, this.parts.device.mtu);
  }
  isOnLink(address: number): boolean {
    return ((address ^ this.address) & this.netmask) === 0;
  }
  isSubnetBroadcast(address: number): boolean {
    // RFC 3021: a 31-bit prefix has no broadcast address.
    return this.netmask < 0xfffffffe && this.isOnLink(address) && (address | this.netmask) >>> 0 === IPV4_BROADCAST;
  }
  isBroadcast(destination: number): boolean {
    return destination === IPV4_BROADCAST || this.isSubnetBroadcast(destination);
  }
  /** A group that somebody here has joined. */
  hears(destination: number): boolean {
    return isMulticast(destination) && (destination === ALL_HOSTS || this.groups.has(this.to.setV4(destination)));
  }
  private nextHop(destination: number): number | undefined {
    return this.isOnLink(destination) ? destination : this.gateway;
  }

  // ---- what is sent ----

  /** `length` bytes behind the place of a header in `tx`. */
  send(
    protocol: number,
    source: number,
    destination: number,
    length: number,
    flags = 0,
    sending = GROUP_SENDING,
  ): SendResult {
    const { device, tx, loops } = this.parts;
    const { bytes, view } = tx;
    const multicast = isMulticast(destination);
    const ttl = multicast ? sending.hops : DEFAULT_TTL;
    writeIpv4(view, ETH_HLEN, length, this.parts.nextId(), Math.max(1, ttl), protocol, source, destination);
    const total = ETH_HLEN + IPV4_HLEN + length;
    if (multicast && !loops) {
      const goes = ttl === 0 || this.transmitTo(groupMac4(destination, this.multicastMac), bytes, total, flags);
      if (goes && sending.loops && this.hears(destination)) this.parts.toOurselves(bytes.slice(0, total));
      return goes ? 'sent' : 'full';
    }
    if (loops) return device.send(bytes, total) ? 'sent' : 'full';
    const group = this.isBroadcast(destination) ? BROADCAST_MAC : undefined;
    const hop = group === undefined ? this.nextHop(destination) : destination;
    if (hop === undefined) return 'no-route';
    const mac = group ?? this.arp.lookup(hop);
    if (mac === undefined) {
      writeEthernet(bytes, BROADCAST_MAC, device.mac, ETHERTYPE_IPV4);
      this.arp.hold(hop, bytes, total, flags);
      return 'held';
    }
    return this.transmitTo(mac, bytes, total, flags) ? 'sent' : 'full';
  }
  private transmitTo(mac: Uint8Array, frame: Uint8Array, length: number, flags: number): boolean {
    writeEthernet(frame, mac, this.parts.device.mac, ETHERTYPE_IPV4);
    return this.transmit(frame, length, flags);
  }
  /** What is longer than its path carries is cut, but for TCP's, which would rather hear of it. */
  private transmit(frame: Uint8Array, length: number, flags: number): boolean {
    const { device, paths } = this.parts;
    const fits = length <= ETH_HLEN + this.mtu && (paths.size === 0 || length <= ETH_HLEN + MIN_PATH_MTU);
    if (fits || flags !== 0 || frame[ETH_HLEN + PROTOCOL] === PROTOCOL_TCP) return device.send(frame, length, flags);
    const { bytes, view } = this.part;
    bytes.set(frame.subarray(0, ETH_HLEN + IPV4_HLEN));
    const most = this.pathMtu(this.to.setV4(view.getUint32(ETH_HLEN + DESTINATION)));
    if (length <= ETH_HLEN + most) return device.send(frame, length, flags);
    const room = (most - IPV4_HLEN) & ~7;
    const payload = frame.subarray(ETH_HLEN + IPV4_HLEN, length);
    for (let offset = 0; offset < payload.length; offset += room) {
      const piece = payload.subarray(offset, offset + room);
      bytes.set(piece, ETH_HLEN + IPV4_HLEN);
      writeIpv4Part(view, ETH_HLEN, piece.length, offset, offset + room < payload.length);
      if (!device.send(bytes, ETH_HLEN + IPV4_HLEN + piece.length, 0)) return false;
    }
    return true;
  }
}
