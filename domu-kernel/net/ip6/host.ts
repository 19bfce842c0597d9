// IPv6 on one interface (RFC 8200, RFC 8504): its addresses, what is sent from them, and what comes to them.
import type { Clock, Log } from '#pvbus';
import { BROADCAST_MAC, ETH_ALEN, ETH_HLEN, ETHERTYPE_IPV6, isGroupMac, writeEthernet } from '../ethernet.ts';
import type { HeldFrame } from '../held-frames.ts';
import { IpAddress } from '../ip-address.ts';
import type { SendResult } from '../ip-output.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../ipv4.ts';
import type { PacketPort } from '../packet-port.ts';
import { PathMtus } from '../path-mtus.ts';
import { Reassembly } from '../reassembly.ts';
import { isUsable, type OwnAddress } from './addresses.ts';
import type { Ip6Config } from './config.ts';
import { Discovery } from './discovery.ts';
import {
  ERRONEOUS_FIELD,
  FRAGMENT_HLEN,
  hasWholeChain,
  INCOMPLETE_CHAIN,
  IPV6_HLEN,
  IPV6_MIN_MTU,
  Ipv6Header,
  LARGEST_PAYLOAD6,
  PROTOCOL_ICMPV6,
  readIpv6,
  stepOverExtensions,
  writeIpv6,
  writeIpv6Part,
  writeReassembled6,
} from './header.ts';
import { Icmp6, readQuotedIpv6 } from './icmp6.ts';
import { groupMac, isAllNodes, isLinkGroup } from './scope.ts';

/** RFC 8200, 4.5. */
export const REASSEMBLY6_NS = 60e9;
const PROTOCOL = 6;
const DESTINATION = 24;

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
  readonly reassembly: Reassembly;
  private readonly port: PacketPort;
  private readonly header = new Ipv6Header();
  private readonly multicastMac = new Uint8Array(ETH_ALEN);
  /** A part of a datagram that is being sent, and where that goes. */
  private readonly part: { readonly bytes: Uint8Array; readonly view: DataView };
  private readonly to = new IpAddress();
  private readonly random: () => number;

  constructor({ port, config, clock, random, log, changed }: Ipv6HostParts) {
    this.port = port;
    this.random = random;
    this.paths = new PathMtus(clock);
    this.reassembly = new Reassembly(clock, REASSEMBLY6_NS, first => this.incomplete(first));
    const bytes = new Uint8Array(ETH_HLEN + port.device.mtu);
    this.part = { bytes, view: new DataView(bytes.buffer) };
    this.discovery = new Discovery({
      device: port.device,
      config,
      clock,
      random,
      log,
      transmit: (frame, length, flags) => this.transmit(frame, length, flags),
      unreachable: held => this.neighbourUnreachable(held),
      addressChanged: changed,
      nameserversChanged: () => changed(undefined),
    });
    const { tx, rx } = port;
    this.icmp = new Icmp6(
      {
        tx,
        sourceFor: destination => this.sourceFor(destination),
        send: (protocol, source, destination, length) => this.send(protocol, source, destination, length),
        discovery: (type, header) => this.discovery.input(type, rx.bytes, rx.view, header),
        listener: (type, header) => this.discovery.listener.input(type, rx.view, header),
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
    return this.sendTo(hop, bytes, total, flags);
  }
  private sendTo(hop: IpAddress, bytes: Uint8Array, total: number, flags: number): SendResult {
    const { device } = this.port;
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
    const { device } = this.port;
    const fits =
      length <= ETH_HLEN + IPV6_MIN_MTU || (length <= ETH_HLEN + this.discovery.mtu && this.paths.size === 0);
    const protocol = frame[ETH_HLEN + PROTOCOL]!;
    if (fits || flags !== 0 || protocol === PROTOCOL_TCP) return device.send(frame, length, flags);
    const { bytes, view } = this.part;
    bytes.set(frame.subarray(0, HEADERS));
    const most = this.pathMtu(this.to.read(view, ETH_HLEN + DESTINATION));
    if (length <= ETH_HLEN + most) return device.send(frame, length, flags);
    // RFC 7739: not to be guessed.
    const id = Math.floor(this.random() * 2 ** 32);
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

  step(): 'progress' | 'idle' {
    const all = [this.discovery.step(), this.icmp.step(), this.reassembly.step()];
    return all.includes('progress') ? 'progress' : 'idle';
  }
  deadline(): number | undefined {
    const all = [this.discovery.deadline(), this.icmp.deadline(), this.reassembly.deadline()];
    const known = all.filter(each => each !== undefined);
    return known.length === 0 ? undefined : Math.min(...known);
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
    // RFC 6946: one that is all of its datagram has nothing to do with others.
    const whole = !isPart(header);
    if (!whole && !this.reassemble()) return;
    this.deliver(good && whole, !destination.isMulticast && (local || !isGroupMac(rx.bytes)));
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

const HEADERS = ETH_HLEN + IPV6_HLEN;
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
