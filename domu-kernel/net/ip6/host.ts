// IPv6 on one interface (RFC 8200, RFC 8504): its addresses, what is sent from them, and what comes to them.
import type { Clock, Log } from '#pvbus';
import type { HeldFrame } from '../arp.ts';
import { BROADCAST_MAC, ETH_ALEN, ETH_HLEN, ETHERTYPE_IPV6, isGroupMac, writeEthernet } from '../ethernet.ts';
import type { IpAddress } from '../ip-address.ts';
import type { SendResult } from '../ip-output.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../ipv4.ts';
import type { PacketPort } from '../packet-port.ts';
import { isUsable, type OwnAddress } from './addresses.ts';
import type { Ip6Config } from './config.ts';
import { Discovery } from './discovery.ts';
import { IPV6_HLEN, Ipv6Header, PROTOCOL_ICMPV6, readIpv6, stepOverExtensions, writeIpv6 } from './header.ts';
import { Icmp6, readQuotedIpv6 } from './icmp6.ts';
import { PathMtus } from './path-mtus.ts';
import { groupMac, isAllNodes, isLinkGroup } from './scope.ts';

export interface Ipv6HostParts {
  readonly port: PacketPort;
  readonly config: Ip6Config;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log?: Log | undefined;
  /** Something is usable that was not, or is no longer. */
  changed(own: OwnAddress | undefined): void;
}

export class Ipv6Host {
  readonly discovery: Discovery;
  readonly icmp: Icmp6;
  readonly paths: PathMtus;
  private readonly port: PacketPort;
  private readonly header = new Ipv6Header();
  private readonly multicastMac = new Uint8Array(ETH_ALEN);

  constructor({ port, config, clock, random, log, changed }: Ipv6HostParts) {
    this.port = port;
    this.paths = new PathMtus(clock);
    this.discovery = new Discovery({
      device: port.device,
      config,
      clock,
      random,
      log,
      unreachable: held => this.neighbourUnreachable(held),
      addressChanged: changed,
      nameserversChanged: () => changed(undefined),
    });
    const { tx, rx } = port;
    this.icmp = new Icmp6(
      {
        tx,
        pathMtu: destination => this.pathMtu(destination),
        sourceFor: destination => this.sourceFor(destination),
        isOwn: address => this.discovery.addresses.has(address),
        send: (protocol, source, destination, length) => this.send(protocol, source, destination, length),
        discovery: (type, header) => this.discovery.input(type, rx.bytes, rx.view, header),
        lost: (code, header, view, mtu) => this.lost(code, header, view, mtu),
        tooBig: (destination, mtu) => this.paths.heard(destination, mtu),
      },
      clock,
      random,
    );
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

  // ---- what is sent ----

  isLocal(destination: IpAddress): boolean {
    return destination.isLoopback || this.discovery.addresses.has(destination);
  }
  /** Of a packet, its header counted. */
  pathMtu(destination: IpAddress): number {
    return this.paths.to(destination, this.discovery.mtu);
  }
  /** Undefined without a route, or an address to send from. */
  sourceFor(destination: IpAddress): IpAddress | undefined {
    if (destination.isUnspecified) return undefined;
    const { addresses } = this.discovery;
    if (destination.isLoopback) return destination;
    const own = addresses.find(destination);
    if (own !== undefined) return isUsable(own) ? own.address : undefined;
    if (destination.isLinkLocal || isLinkGroup(destination)) return addresses.sourceFor(destination, true);
    if (!destination.isMulticast && this.discovery.nextHop(destination) === undefined) return undefined;
    return addresses.sourceFor(destination, false);
  }

  /** `length` bytes behind the place of a header in `tx`. */
  send(protocol: number, source: IpAddress, destination: IpAddress, length: number, flags = 0): SendResult {
    const { bytes, view } = this.port.tx;
    const group = destination.isMulticast;
    writeIpv6(view, ETH_HLEN, length, protocol, group ? 1 : this.discovery.hopLimit, source, destination);
    const total = ETH_HLEN + IPV6_HLEN + length;
    if (this.isLocal(destination)) return this.port.loop(total);
    const hop = group ? destination : this.discovery.nextHop(destination);
    if (hop === undefined) return 'no-route';
    return this.transmit(hop, bytes, total, flags);
  }
  private transmit(hop: IpAddress, bytes: Uint8Array, total: number, flags: number): SendResult {
    const { device } = this.port;
    const { neighbours } = this.discovery;
    const mac = hop.isMulticast ? groupMac(hop, this.multicastMac) : neighbours.lookup(hop);
    writeEthernet(bytes, mac ?? BROADCAST_MAC, device.mac, ETHERTYPE_IPV6);
    if (mac === undefined) {
      neighbours.hold(hop, bytes, total, flags);
      return 'held';
    }
    return device.send(bytes, total, flags) ? 'sent' : 'full';
  }

  step(): 'progress' | 'idle' {
    const found = this.discovery.step();
    const echoed = this.icmp.step();
    return found === 'progress' || echoed === 'progress' ? 'progress' : 'idle';
  }
  deadline(): number | undefined {
    const [found, echoed] = [this.discovery.deadline(), this.icmp.deadline()];
    return found === undefined || echoed === undefined ? (found ?? echoed) : Math.min(found, echoed);
  }

  // ---- what comes ----

  /** The packet of `length` bytes in the receive buffer, its Ethernet header counted. */
  input(length: number, good: boolean, local: boolean): void {
    const { header } = this;
    const { rx, stats } = this.port;
    if (readIpv6(rx.view, ETH_HLEN, length - ETH_HLEN, header) !== undefined) {
      stats.malformed++;
      return;
    }
    if (!local && this.isMartian(header)) {
      stats.martians++;
      return;
    }
    const { destination } = header;
    const { addresses } = this.discovery;
    if (
      !destination.isMulticast
        ? !this.isLocal(destination)
        : !isAllNodes(destination) && !addresses.inGroup(destination)
    ) {
      stats.notForUs++;
      return;
    }
    const outcome = stepOverExtensions(rx.view, header);
    if (outcome !== 'ok') {
      stats.malformed++;
      if (outcome === 'problem') this.icmp.parameterProblem(rx.bytes, header);
      return;
    }
    if (header.isFragment && (header.fragmentOffset !== 0 || header.moreFragments)) {
      stats.fragments++;
      return;
    }
    this.deliver(good, !destination.isMulticast && (local || !isGroupMac(rx.bytes)));
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
      this.discovery.addresses.has(source)
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

  private neighbourUnreachable(held: readonly HeldFrame[]): void {
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
