// IPv4 of a guest (RFC 791, RFC 1122): what comes to any of its addresses, by whichever interface, and ICMP.
import type { Clock } from '#pvbus';
import { IPV4_BROADCAST, isLoopback, isMulticast } from './address.ts';
import { ETH_HLEN, isBroadcastMac, isGroupMac } from './ethernet.ts';
import type { HeldFrame } from './held-frames.ts';
import { Icmp, PORT_UNREACHABLE, PROHIBITED, PROTOCOL_UNREACHABLE } from './icmp.ts';
import { PROTOCOL_IGMP } from './igmp.ts';
import { IpAddress } from './ip-address.ts';
import type { SendResult } from './ip-output.ts';
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
  writeReassembled,
} from './ipv4.ts';
import type { Ipv4Link } from './ipv4-link.ts';
import type { PacketPort, Transports } from './packet-port.ts';
import type { PathMtus } from './path-mtus.ts';
import type { Pings } from './pings.ts';
import { Reassembly } from './reassembly.ts';
import type { ConnectionName } from './tcp/control-block.ts';
import { TCP_HLEN } from './tcp/segment.ts';

/** As Linux; RFC 1122, 3.3.2, would have 60 s and more, in which ids come around again (RFC 4963). */
export const REASSEMBLY_NS = 30e9;
const DHCP_CLIENT = 68;

export interface Ipv4HostParts {
  readonly port: PacketPort;
  readonly paths: PathMtus;
  readonly pings: Pings;
  readonly clock: Clock;
  readonly random: () => number;
  /** Whether packets to it stay in this guest. */
  isOurs(address: number): boolean;
  /** Of the interface that the routes say, from `source`, or the address of that one: 0. */
  send(protocol: number, source: number, destination: number, length: number): SendResult;
}

export class Ipv4Host {
  readonly icmp: Icmp;
  readonly reassembly: Reassembly;
  /** Who takes segments for others, of neighbours whose gateway this is; of other packets they hear that none get through. */
  foreignTcp: Transports['tcp'] | undefined;
  private readonly parts: Ipv4HostParts;
  private readonly port: PacketPort;
  private readonly header = new Ipv4Header();
  // Of the packet in hand.
  private readonly source = new IpAddress();
  private readonly destination = new IpAddress();
  private id: number;

  constructor(parts: Ipv4HostParts) {
    const { port, paths, pings, clock, random } = parts;
    this.parts = parts;
    this.port = port;
    this.id = Math.floor(random() * 0x10000);
    this.icmp = new Icmp(
      {
        tx: { ...port.tx, payloadAt: ETH_HLEN + IPV4_HLEN },
        isOurs: address => parts.isOurs(address),
        send: (protocol, source, destination, length) => parts.send(protocol, source, destination, length),
      },
      pings,
      clock,
      {
        lost: (code, header, view, mtu) => this.lost(code, header, view, mtu),
        tooBig: (destination, mtu) => paths.heard(IpAddress.v4(destination), mtu),
      },
    );
    this.reassembly = new Reassembly(clock, REASSEMBLY_NS, first => this.incomplete(first));
  }

  nextId(): number {
    const { id } = this;
    this.id = (id + 1) & 0xffff;
    return id;
  }

  /** The packet of `length` bytes in the receive buffer, its Ethernet header counted. `local`: nobody else has sent it. */
  input(link: Ipv4Link, length: number, good: boolean, local: boolean): void {
    const { header, parts } = this;
    const { rx, stats, transports } = this.port;
    const fault = readIpv4(rx.view, ETH_HLEN, length - ETH_HLEN, header);
    if (fault !== undefined) {
      stats.malformed++;
      return;
    }

    const { source, destination } = header;
    const sourceIsHost = !isMulticast(source) && source !== IPV4_BROADCAST && !link.isSubnetBroadcast(source);
    if (!sourceIsHost || (!local && (parts.isOurs(source) || isLoopback(destination)))) {
      stats.martians++;
      return;
    }
    // Nobody answers those with errors, and TCP has none.
    const broadcast = link.isBroadcast(destination) || link.hears(destination);
    // As Linux: an address is the guest's, not the interface's.
    const ours = (destination === link.address && destination !== 0) || parts.isOurs(destination);
    if (!broadcast && !ours && !this.isOffer(link)) {
      if (this.foreignTcp !== undefined && this.isFromNeighbourToOthers(link)) this.foreign(this.foreignTcp, good);
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
    if (header.protocol === PROTOCOL_IGMP) link.igmp.input(rx.view, header);
    else if (header.protocol === PROTOCOL_ICMP) this.icmp.input(rx.bytes, rx.view, header, unicast);
    else if (header.protocol === PROTOCOL_UDP) {
      this.source.setV4(source);
      this.destination.setV4(destination);
      const checked = good && whole;
      const taken = this.isForClient(link)
        ? link.lease!.input(rx.bytes, rx.view, payloadAt, payloadLength, this.source, this.destination, checked)
        : transports.udp(payloadAt, payloadLength, this.source, this.destination, checked);
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
    if (this.parts.isOurs(header.destination) && header.source !== 0) this.icmp.incomplete(first, header);
  }

  private isFromNeighbourToOthers(link: Ipv4Link): boolean {
    const { source, destination } = this.header;
    if (isGroupMac(this.port.rx.bytes) || link.address === 0) return false;
    const toHost = destination >>> 24 !== 0 && destination >>> 29 !== 7; // 0.0.0.0/8 and 224.0.0.0/3 have none
    return toHost && !link.isOnLink(destination) && source !== 0 && link.isOnLink(source);
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

  /** An answer of a DHCP server. */
  private isForClient(link: Ipv4Link): boolean {
    const { payloadAt, payloadLength } = this.header;
    return link.lease !== undefined && payloadLength >= 8 && this.port.rx.view.getUint16(payloadAt + 2) === DHCP_CLIENT;
  }
  /** Some servers answer who has no address yet at the address they offer. */
  private isOffer(link: Ipv4Link): boolean {
    const { header } = this;
    if (link.address !== 0 || header.isFragment || header.protocol !== PROTOCOL_UDP) return false;
    return this.isForClient(link);
  }

  /** Nobody on the link answers for the next hop of these. */
  neighbourUnreachable(held: readonly HeldFrame[]): void {
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
