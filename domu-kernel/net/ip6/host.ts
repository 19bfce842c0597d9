// IPv6 of a guest (RFC 8200): what comes to any of its addresses, by whichever interface, and ICMP.
import type { Clock } from '#pvbus';
import { ETH_HLEN, isGroupMac } from '../ethernet.ts';
import type { HeldFrame } from '../held-frames.ts';
import type { IpAddress } from '../ip-address.ts';
import type { SendResult } from '../ip-output.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../ipv4.ts';
import type { PacketPort } from '../packet-port.ts';
import type { PathMtus } from '../path-mtus.ts';
import type { Pings } from '../pings.ts';
import { Reassembly } from '../reassembly.ts';
import {
  ERRONEOUS_FIELD,
  FRAGMENT_HLEN,
  hasWholeChain,
  INCOMPLETE_CHAIN,
  IPV6_HLEN,
  Ipv6Header,
  LARGEST_PAYLOAD6,
  PROTOCOL_ICMPV6,
  readIpv6,
  stepOverExtensions,
  writeReassembled6,
} from './header.ts';
import { Icmp6, readQuotedIpv6 } from './icmp6.ts';
import type { Ipv6Link } from './link.ts';

/** RFC 8200, 4.5. */
export const REASSEMBLY6_NS = 60e9;

export interface Ipv6HostParts {
  readonly port: PacketPort;
  readonly paths: PathMtus;
  readonly pings: Pings;
  readonly clock: Clock;
  /** Whether packets to it stay in this guest. */
  isOurs(address: IpAddress): boolean;
  /** The address that packets to it come from, of the interface that the routes say; undefined without a route. */
  sourceFor(destination: IpAddress): IpAddress | undefined;
  send(protocol: number, source: IpAddress, destination: IpAddress, length: number): SendResult;
}

export class Ipv6Host {
  readonly icmp: Icmp6;
  readonly reassembly: Reassembly;
  private readonly parts: Ipv6HostParts;
  private readonly port: PacketPort;
  private readonly header = new Ipv6Header();
  /** Where the packet in hand came from. */
  private link!: Ipv6Link;

  constructor(parts: Ipv6HostParts) {
    const { port, paths, pings, clock } = parts;
    const { tx, rx } = port;
    this.parts = parts;
    this.port = port;
    this.reassembly = new Reassembly(clock, REASSEMBLY6_NS, first => this.incomplete(first));
    this.icmp = new Icmp6(
      {
        tx,
        sourceFor: destination => parts.sourceFor(destination),
        send: (protocol, source, destination, length) => parts.send(protocol, source, destination, length),
        discovery: (type, header) => this.link.discovery.input(type, rx.bytes, rx.view, header),
        listener: (type, header) => this.link.discovery.listener.input(type, rx.view, header),
        lost: (code, header, view, mtu) => this.lost(code, header, view, mtu),
        tooBig: (destination, mtu) => paths.heard(destination, mtu),
      },
      pings,
      clock,
    );
  }

  /** The packet of `length` bytes in the receive buffer, its Ethernet header counted. `local`: nobody else has sent it. */
  input(link: Ipv6Link, length: number, good: boolean, local: boolean): void {
    const { header } = this;
    this.link = link;
    const { rx, stats } = this.port;
    if (readIpv6(rx.view, ETH_HLEN, length - ETH_HLEN, header) !== undefined) {
      stats.malformed++;
      return;
    }
    if (!local && this.isMartian(header)) {
      stats.martians++;
      return;
    }
    if (!this.isForUs(header.destination, local)) {
      stats.notForUs++;
      return;
    }
    const outcome = stepOverExtensions(rx.view, header);
    if (outcome !== 'ok') {
      stats.malformed++;
      if (outcome === 'problem') this.icmp.parameterProblem(rx.bytes, header);
      return;
    }
    // RFC 6946: one that is all of its datagram has nothing to do with others.
    const whole = !isPart(header);
    if (!whole && !this.reassemble()) return;
    this.deliver(good && whole, !header.destination.isMulticast && (local || !isGroupMac(rx.bytes)));
  }
  /** As Linux: an address is the guest's, not the interface's, but for those that every link has. */
  private isForUs(destination: IpAddress, local: boolean): boolean {
    const { link } = this;
    if (destination.isMulticast) return link.hears(destination);
    return destination.isLinkLocal && !local ? link.has(destination) : this.parts.isOurs(destination);
  }
  /** True when the part in hand made its datagram complete, which is in its place now, its headers stepped over. */
  private reassemble(): boolean {
    const { header } = this;
    const { rx, stats } = this.port;
    const { payloadLength: length, fragmentOffset: offset, moreFragments: more } = header;
    const fault = faultOf(rx.view, header);
    if (fault !== undefined) {
      stats.malformed++;
      if (fault !== 'empty') this.icmp.parameterProblem(rx.bytes, header);
      return false;
    }
    const { source, destination, fragmentId: id, at, payloadAt } = header;
    const datagram = this.reassembly.add(rx.bytes, { source, destination, id, offset, more, at, payloadAt, length });
    if (datagram === undefined) {
      stats.fragments++;
      return false;
    }
    // What was between the first header and the fragment header is for routers, and was heeded.
    const head = datagram.head!;
    rx.bytes.set(head.subarray(0, IPV6_HLEN), at);
    datagram.copyTo(rx.bytes, at + IPV6_HLEN);
    writeReassembled6(rx.view, header, head[head.length - FRAGMENT_HLEN]!, datagram.length!);
    const outcome = stepOverExtensions(rx.view, header, 1);
    if (outcome === 'ok' && !isPart(header)) return true;
    stats.malformed++;
    if (outcome === 'problem') this.icmp.parameterProblem(rx.bytes, header);
    return false;
  }
  /** RFC 8200, 4.5: of a datagram there was a part, its first, and not the others. */
  private incomplete(first: Uint8Array): void {
    const header = new Ipv6Header();
    if (readIpv6(new DataView(first.buffer), 0, first.length, header) !== undefined) return;
    if (!header.destination.isMulticast) this.icmp.incomplete(first, header);
  }

  /**
   * untrusted: what no host sends to another. An IPv4-mapped address is IPv4's here: in an IPv6 packet it would speak for
   * connections of that.
   */
  private isMartian({ source, destination }: Ipv6Header): boolean {
    return (
      source.isMulticast ||
      source.isLoopback ||
      source.isV4 ||
      destination.isV4 ||
      destination.isLoopback ||
      destination.isUnspecified ||
      this.parts.isOurs(source)
    );
  }
  /** What is behind all headers. `unicast`: from one host to another. */
  private deliver(good: boolean, unicast: boolean): void {
    const { header } = this;
    const { rx, stats, transports } = this.port;
    const { protocol, payloadAt, payloadLength, source, destination } = header;
    stats.delivered++;
    if (protocol === PROTOCOL_ICMPV6) this.icmp.input(rx.bytes, rx.view, header, unicast);
    else if (source.isUnspecified) stats.martians++;
    else if (protocol === PROTOCOL_UDP) {
      const taken = transports.udp(payloadAt, payloadLength, source, destination, good);
      if (!taken && unicast) this.icmp.portUnreachable(rx.bytes, header);
    } else if (protocol === PROTOCOL_TCP) {
      if (unicast) transports.tcp(payloadAt, payloadLength, source, destination, good);
    } else {
      stats.noProtocol++;
      if (unicast) this.icmp.unknownProtocol(rx.bytes, header);
    }
  }

  /** Nobody on the link answers for the next hop of these. */
  neighbourUnreachable(held: readonly HeldFrame[]): void {
    const header = new Ipv6Header();
    for (const { frame } of held) {
      const view = new DataView(frame.buffer);
      if (!readQuotedIpv6(view, ETH_HLEN, frame.length - ETH_HLEN, header)) continue;
      if (header.protocol === PROTOCOL_ICMPV6) {
        this.icmp.undeliverable('EHOSTUNREACH', 'nobody on the link answers for it', header, view);
      } else this.lost('EHOSTUNREACH', header, view, 0);
    }
  }
  /** A packet of ours did not arrive. */
  private lost(code: string, header: Ipv6Header, view: DataView, mtu: number): boolean {
    const { protocol, payloadAt, source, destination } = header;
    return this.port.transports.lost(code, protocol, view, payloadAt, source.clone(), destination.clone(), mtu);
  }
}

const isPart = (header: Ipv6Header): boolean =>
  header.isFragment && (header.fragmentOffset !== 0 || header.moreFragments);

/** untrusted: what RFC 8200, 4.5, says of a part by itself; anything but 'empty' its sender hears of. */
function faultOf(view: DataView, header: Ipv6Header): 'empty' | 'problem' | undefined {
  const { at, payloadAt, payloadLength, fragmentOffset, moreFragments } = header;
  if (payloadLength === 0) return 'empty';
  header.problem = ERRONEOUS_FIELD;
  if (moreFragments && payloadLength % 8 !== 0) {
    header.pointer = at + 4;
    return 'problem';
  }
  if (fragmentOffset + payloadLength > LARGEST_PAYLOAD6) {
    header.pointer = payloadAt - FRAGMENT_HLEN + 2;
    return 'problem';
  }
  if (fragmentOffset !== 0 || hasWholeChain(view, header)) return undefined;
  header.problem = INCOMPLETE_CHAIN;
  header.pointer = at;
  return 'problem';
}
