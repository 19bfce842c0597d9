// IPv4 on one interface (RFC 791, RFC 1122): one address, one gateway.
import type { Clock, Log } from '#pvbus';
import { IPV4_BROADCAST, isLoopback, isMulticast } from './address.ts';
import { Arp } from './arp.ts';
import { BROADCAST_MAC, ETH_HLEN, ETHERTYPE_IPV4, isBroadcastMac, isGroupMac, writeEthernet } from './ethernet.ts';
import type { HeldFrame } from './held-frames.ts';
import { Icmp, MIN_PATH_MTU, PORT_UNREACHABLE, PROHIBITED, PROTOCOL_UNREACHABLE } from './icmp.ts';
import { IpAddress } from './ip-address.ts';
import type { IpOutput, SendResult } from './ip-output.ts';
import {
  DEFAULT_TTL,
  IPV4_HLEN,
  Ipv4Header,
  LARGEST_IPV4,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  readIpv4,
  readQuotedIpv4,
  writeIpv4,
  writeIpv4Part,
  writeReassembled,
} from './ipv4.ts';
import type { PacketPort, Transports } from './packet-port.ts';
import { PathMtus } from './path-mtus.ts';
import { Reassembly } from './reassembly.ts';
import type { ConnectionName } from './tcp/control-block.ts';
import { TCP_HLEN } from './tcp/segment.ts';

// Offsets in a header.
const PROTOCOL = 9;
const DESTINATION = 16;

/** As Linux; RFC 1122, 3.3.2, would have 60 s and more, in which ids come around again (RFC 4963). */
export const REASSEMBLY_NS = 30e9;

export interface Ipv4Address {
  /** 0: none. */
  readonly address: number;
  readonly netmask: number;
  readonly gateway?: number | undefined;
}

export class Ipv4Host implements IpOutput {
  address = 0;
  netmask = 0;
  gateway: number | undefined;
  readonly own = new IpAddress().setV4(0);
  readonly arp: Arp;
  readonly icmp: Icmp;
  readonly paths: PathMtus;
  readonly reassembly: Reassembly;
  readonly tx: IpOutput['tx'];
  /** Who takes segments for others, of neighbours whose gateway this is; of other packets they hear that none get through. */
  foreignTcp: Transports['tcp'] | undefined;
  private readonly port: PacketPort;
  private readonly header = new Ipv4Header();
  private readonly multicastMac = new Uint8Array([0x01, 0x00, 0x5e, 0, 0, 0]);
  /** Packets of DHCP's answers may come to an address that is not ours yet. */
  private readonly asksForAddress: boolean;
  // Of the packet in hand.
  private readonly source = new IpAddress();
  private readonly destination = new IpAddress();
  private readonly to = new IpAddress();
  /** A part of a datagram that is being sent. */
  private readonly part: { readonly bytes: Uint8Array; readonly view: DataView };
  private nextId: number;

  constructor(port: PacketPort, clock: Clock, random: () => number, asksForAddress: boolean, log?: Log) {
    this.port = port;
    this.asksForAddress = asksForAddress;
    this.nextId = Math.floor(random() * 0x10000);
    this.tx = { ...port.tx, payloadAt: ETH_HLEN + IPV4_HLEN };
    this.icmp = new Icmp(this, clock, random, {
      lost: (code, header, view, mtu) => this.lost(code, header, view, mtu),
      tooBig: (destination, mtu) => this.paths.heard(IpAddress.v4(destination), mtu),
    });
    this.paths = new PathMtus(clock);
    this.reassembly = new Reassembly(clock, REASSEMBLY_NS, first => this.incomplete(first));
    const { device } = port;
    const bytes = new Uint8Array(ETH_HLEN + device.mtu);
    this.part = { bytes, view: new DataView(bytes.buffer) };
    this.arp = new Arp(
      {
        mac: device.mac,
        address: () => this.address,
        isOnLink: address => this.isOnLink(address),
        transmit: (frame, length, flags) => this.transmit(frame, length, flags),
        unreachable: (_address, held) => this.neighbourUnreachable(held),
      },
      clock,
      log,
    );
  }

  configure({ address, netmask, gateway }: Ipv4Address): void {
    this.address = address;
    this.netmask = netmask;
    this.gateway = gateway;
    this.own.setV4(address);
  }

  /** Of a packet that is not to be cut, its header counted. */
  pathMtu(destination: IpAddress): number {
    return this.paths.to(destination, this.port.device.mtu);
  }

  // ---- what is sent ----

  isLocal(destination: number): boolean {
    return destination === this.address || isLoopback(destination);
  }
  sourceFor(destination: number): number {
    return isLoopback(destination) ? destination : this.address;
  }
  /** There is a way to it. */
  reaches(destination: number): boolean {
    return this.isLocal(destination) || this.isGroup(destination) || this.nextHop(destination) !== undefined;
  }

  send(protocol: number, destination: number, length: number, flags = 0, from?: number): SendResult {
    const { bytes, view } = this.tx;
    const id = this.nextId;
    this.nextId = (id + 1) & 0xffff;
    const source = from ?? this.sourceFor(destination);
    writeIpv4(view, ETH_HLEN, length, id, DEFAULT_TTL, protocol, source, destination);
    const total = ETH_HLEN + IPV4_HLEN + length;
    if (this.isLocal(destination)) return this.port.loop(total);
    const group = this.groupMac(destination);
    const hop = group === undefined ? this.nextHop(destination) : destination;
    if (hop === undefined) return 'no-route';
    const { device } = this.port;
    const mac = group ?? this.arp.lookup(hop);
    writeEthernet(bytes, mac ?? BROADCAST_MAC, device.mac, ETHERTYPE_IPV4);
    if (mac === undefined) {
      this.arp.hold(hop, bytes, total, flags);
      return 'held';
    }
    return this.transmit(bytes, total, flags) ? 'sent' : 'full';
  }
  /** What is longer than its path carries is cut, but for TCP's, which would rather hear of it. */
  private transmit(frame: Uint8Array, length: number, flags: number): boolean {
    const { device } = this.port;
    const fits = length <= ETH_HLEN + device.mtu && (this.paths.size === 0 || length <= ETH_HLEN + MIN_PATH_MTU);
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

  private isOnLink(address: number): boolean {
    return ((address ^ this.address) & this.netmask) === 0;
  }
  private isSubnetBroadcast(address: number): boolean {
    // RFC 3021: a 31-bit prefix has no broadcast address.
    return this.netmask < 0xfffffffe && this.isOnLink(address) && (address | this.netmask) >>> 0 === IPV4_BROADCAST;
  }
  isBroadcast(destination: number): boolean {
    return destination === IPV4_BROADCAST || this.isSubnetBroadcast(destination);
  }
  private isGroup(destination: number): boolean {
    return this.isBroadcast(destination) || isMulticast(destination);
  }
  private nextHop(destination: number): number | undefined {
    return this.isOnLink(destination) ? destination : this.gateway;
  }
  /** The MAC address of a broadcast or multicast destination (RFC 1112, 6.4). */
  private groupMac(destination: number): Uint8Array | undefined {
    if (!this.isGroup(destination)) return undefined;
    if (!isMulticast(destination)) return BROADCAST_MAC;
    const mac = this.multicastMac;
    mac[3] = (destination >>> 16) & 0x7f;
    mac[4] = (destination >>> 8) & 0xff;
    mac[5] = destination & 0xff;
    return mac;
  }

  // ---- what comes ----

  /** The packet of `length` bytes in the receive buffer, its Ethernet header counted. */
  input(length: number, good: boolean, local: boolean): void {
    const { header } = this;
    const { rx, stats, transports } = this.port;
    const fault = readIpv4(rx.view, ETH_HLEN, length - ETH_HLEN, header);
    if (fault !== undefined) {
      stats.malformed++;
      return;
    }

    const { source, destination } = header;
    const sourceIsHost = !isMulticast(source) && source !== IPV4_BROADCAST && !this.isSubnetBroadcast(source);
    if (!sourceIsHost || (!local && (this.isLocal(source) || isLoopback(destination)))) {
      stats.martians++;
      return;
    }
    const broadcast = this.isBroadcast(destination);
    if (!broadcast && !this.isLocal(destination) && !this.isOffer(header)) {
      if (this.foreignTcp !== undefined && this.isFromNeighbourToOthers(header)) this.foreign(this.foreignTcp, good);
      else stats.notForUs++;
      return;
    }
    // A unicast address in a broadcast frame is not answered with errors either (RFC 1122, 3.2.2).
    const unicast = !broadcast && (local || !isBroadcastMac(rx.bytes)) && source !== 0;
    const whole = !header.isFragment;
    if (!whole && !this.reassemble()) {
      stats.fragments++;
      return;
    }
    stats.delivered++;
    const { payloadAt, payloadLength } = header;
    if (header.protocol === PROTOCOL_ICMP) this.icmp.input(rx.bytes, rx.view, header, unicast);
    else if (header.protocol === PROTOCOL_UDP) {
      this.source.setV4(source);
      this.destination.setV4(destination);
      const taken = transports.udp(payloadAt, payloadLength, this.source, this.destination, good && whole);
      if (!taken && unicast) this.icmp.unreachable(rx.bytes, header, PORT_UNREACHABLE);
    } else if (header.protocol === PROTOCOL_TCP) {
      // RFC 9293, 3.9.2.3: nothing but a packet from one host to another is part of a connection.
      if (!unicast) return;
      this.source.setV4(source);
      this.destination.setV4(destination);
      transports.tcp(payloadAt, payloadLength, this.source, this.destination, good && whole);
    } else {
      stats.noProtocol++;
      if (unicast) this.icmp.unreachable(rx.bytes, header, PROTOCOL_UNREACHABLE);
    }
  }

  /** True when the part in hand made its datagram complete, which is in its place now. */
  private reassemble(): boolean {
    const { header } = this;
    const { rx } = this.port;
    const datagram = this.reassembly.add(rx.bytes, {
      source: this.source.setV4(header.source),
      destination: this.destination.setV4(header.destination),
      id: header.protocol * 0x10000 + header.id,
      offset: header.fragmentOffset,
      more: header.moreFragments,
      at: header.at,
      payloadAt: header.payloadAt,
      length: header.payloadLength,
    });
    if (datagram === undefined) return false;
    // The first may have options that the others do not repeat.
    const head = datagram.head!;
    if (head.length + datagram.length! > LARGEST_IPV4) return false;
    rx.bytes.set(head, header.at);
    header.headerLength = head.length;
    header.totalLength = head.length + datagram.length!;
    datagram.copyTo(rx.bytes, header.payloadAt);
    writeReassembled(rx.view, header);
    return true;
  }
  /** RFC 792: of a datagram there was a part, its first, and not the others. */
  private incomplete(first: Uint8Array): void {
    const header = new Ipv4Header();
    if (readIpv4(new DataView(first.buffer), 0, first.length, header) !== undefined) return;
    if (!this.isGroup(header.destination) && header.source !== 0) this.icmp.incomplete(first, header);
  }

  private isFromNeighbourToOthers({ source, destination }: Ipv4Header): boolean {
    if (isGroupMac(this.port.rx.bytes) || this.address === 0) return false;
    const toHost = destination >>> 24 !== 0 && destination >>> 29 !== 7; // 0.0.0.0/8 and 224.0.0.0/3 have none
    return toHost && !this.isOnLink(destination) && source !== 0 && this.isOnLink(source);
  }
  private foreign(tcp: Transports['tcp'], good: boolean): void {
    const { header } = this;
    const { rx, stats } = this.port;
    // Of a datagram for others the first part says enough; TCP's are never in parts.
    if (header.fragmentOffset !== 0 || (header.isFragment && header.protocol === PROTOCOL_TCP)) {
      stats.fragments++;
      return;
    }
    stats.delivered++;
    if (header.protocol === PROTOCOL_TCP) {
      this.source.setV4(header.source);
      this.destination.setV4(header.destination);
      tcp(header.payloadAt, header.payloadLength, this.source, this.destination, good);
    } else this.icmp.unreachable(rx.bytes, header, PROHIBITED);
  }
  /** Say why a SYN that was for somebody else, `irs` its number, gets no answer. */
  complain({ local, localPort, remote, remotePort }: ConnectionName, irs: number, code: number): void {
    const bytes = new Uint8Array(IPV4_HLEN + TCP_HLEN);
    const view = new DataView(bytes.buffer);
    const header = new Ipv4Header();
    writeIpv4(view, 0, TCP_HLEN, 0, DEFAULT_TTL, PROTOCOL_TCP, remote.d, local.d);
    view.setUint16(IPV4_HLEN, remotePort);
    view.setUint16(IPV4_HLEN + 2, localPort);
    view.setUint32(IPV4_HLEN + 4, irs);
    if (readQuotedIpv4(view, 0, bytes.length, header)) this.icmp.unreachable(bytes, header, code);
  }

  /** Some servers answer who has no address yet at the address they offer. */
  private isOffer(header: Ipv4Header): boolean {
    if (!this.asksForAddress || this.address !== 0 || header.isFragment) return false;
    return (
      header.protocol === PROTOCOL_UDP &&
      header.payloadLength >= 8 &&
      this.port.rx.view.getUint16(header.payloadAt + 2) === 68
    );
  }

  private neighbourUnreachable(held: readonly HeldFrame[]): void {
    const header = new Ipv4Header();
    for (const { frame } of held) {
      const view = new DataView(frame.buffer);
      if (!readQuotedIpv4(view, ETH_HLEN, frame.length - ETH_HLEN, header)) continue;
      if (header.protocol === PROTOCOL_ICMP) {
        this.icmp.undeliverable('EHOSTUNREACH', 'nobody on the link answers for it', header, view);
      } else this.lost('EHOSTUNREACH', header, view, 0);
    }
  }
  /** A packet of ours did not arrive. */
  private lost(
    code: string,
    { protocol, payloadAt, source, destination }: Ipv4Header,
    view: DataView,
    mtu: number,
  ): boolean {
    return this.port.transports.lost(
      code,
      protocol,
      view,
      payloadAt,
      IpAddress.v4(source),
      IpAddress.v4(destination),
      mtu,
    );
  }
}
