// The network of a guest: its interfaces, the routes between them, and what uses them all (RFC 1122's weak host model,
// as Linux has it).
import { type Clock, earlier, type Log, XenError } from '#pvbus';
import { FRAME_CHECKSUM_BLANK, LARGEST_FRAME, type NetDevice, withSegment } from '../net-device.ts';
import { IPV4_BROADCAST, isLoopback } from './address.ts';
import { Resolver } from './dns/resolver.ts';
import { ETH_HLEN } from './ethernet.ts';
import { type InterfaceHost, NetInterface } from './interface.ts';
import { IpAddress } from './ip-address.ts';
import type { IpConfig } from './ip-config.ts';
import type { SendResult } from './ip-output.ts';
import { IPV6_HLEN, LARGEST_PAYLOAD6 } from './ip6/header.ts';
import { Ipv6Host } from './ip6/host.ts';
import { IPV4_HLEN, LARGEST_IPV4, PROTOCOL_TCP, PROTOCOL_UDP } from './ipv4.ts';
import { Ipv4Host } from './ipv4-host.ts';
import { Loopback } from './loopback.ts';
import type { PacketBuffer, PacketPort, PacketStats } from './packet-port.ts';
import { PathMtus } from './path-mtus.ts';
import { type PingReply, Pings } from './pings.ts';
import { LOOPBACK } from './socket-address.ts';
import { GROUP_SENDING, type GroupInterface, type GroupNetwork, type GroupSending } from './socket-groups.ts';
import type { TcpInterceptor } from './tcp/interceptor.ts';
import { Tcp, type TcpLimits } from './tcp/tcp.ts';
import type { TransportLink } from './transport-link.ts';
import { UDP_MEMORY, Udp } from './udp.ts';
import { DATAGRAM_OVERHEAD } from './udp-datagram-socket.ts';

/** In parts, or to ourselves. */
const LARGEST_PACKET = IPV6_HLEN + LARGEST_PAYLOAD6;
const LOOPBACK_CONFIG = { address: 0x7f000001, netmask: 0xff000000, ip6: { prefixLength: 128 } };

export interface NetworkParts {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log?: Log | undefined;
  readonly tcp?: Partial<TcpLimits>;
  /** Asked before those that an interface brings. */
  readonly nameservers?: readonly IpAddress[] | undefined;
}

const NO_REMOTE = -1;
const UNSPECIFIED = new IpAddress();

/** By which interface packets with these ends leave. */
type Via = (local: IpAddress | undefined, remote: IpAddress) => NetInterface | undefined;

export class Network implements GroupNetwork {
  readonly udp: Udp;
  readonly tcp: Tcp;
  readonly dns: Resolver;
  readonly v4: Ipv4Host;
  readonly v6: Ipv6Host;
  readonly lo: NetInterface;
  readonly paths: PathMtus;
  readonly stats: PacketStats = {
    delivered: 0,
    notForUs: 0,
    unknownType: 0,
    malformed: 0,
    fragments: 0,
    martians: 0,
    noProtocol: 0,
  };
  /** But for the loopback, by their names. */
  interfaces: readonly NetInterface[] = [];
  private readonly nameservers: readonly IpAddress[];
  private readonly pings: Pings;
  private readonly loopback = new Loopback();
  /** To groups, for ourselves. */
  private looped: { readonly own: NetInterface; readonly frame: Uint8Array }[] = [];
  private loopedBytes = 0;
  private readonly host: InterfaceHost;
  private readonly tx = buffer(ETH_HLEN + LARGEST_PACKET);
  private readonly rx = buffer(ETH_HLEN + LARGEST_PACKET);
  /** Of IPv4, the route that was asked for last: what comes and goes there is said in `changed`. */
  private lastLocal = 0;
  private lastRemote = NO_REMOTE;
  private lastVia: NetInterface | undefined;
  /** The same of IPv6. */
  private readonly lastLocal6 = new IpAddress();
  private readonly lastRemote6 = new IpAddress();
  private lastVia6: NetInterface | undefined;
  // Of a packet of ICMP's.
  private readonly from = new IpAddress();
  private readonly to = new IpAddress();

  constructor({ clock, random, log, tcp, nameservers = [] }: NetworkParts) {
    this.nameservers = nameservers;
    this.paths = new PathMtus(clock);
    this.pings = new Pings(clock, random);
    const port = this.port();
    const { paths, pings } = this;
    this.v4 = new Ipv4Host({
      port,
      paths,
      pings,
      clock,
      random,
      isOurs: address => this.isOurs4(address),
      send: (protocol, source, destination, length) => this.send4(protocol, source, destination, length),
    });
    this.v6 = new Ipv6Host({
      port,
      paths,
      pings,
      clock,
      isOurs: address => this.isOurs(address),
      sourceFor: destination => link.sourceFor(destination),
      send: (protocol, source, destination, length) =>
        this.via(source, destination)?.v6?.send(protocol, source, destination, length) ?? 'no-route',
    });
    const link = this.link(PROTOCOL_UDP, (local, remote) => this.via(local, remote));
    this.udp = new Udp(link, clock, random, this);
    const limits = tcp === undefined ? {} : { limits: tcp };
    this.tcp = new Tcp({
      link: this.link(PROTOCOL_TCP, (local, remote) => this.via(local, remote)),
      clock,
      random,
      log,
      ...limits,
    });
    this.dns = new Resolver(this.udp, this.tcp, clock, random);
    this.host = {
      clock,
      random,
      log,
      port,
      paths,
      v4: this.v4,
      v6: this.v6,
      clientOf: own =>
        new Udp(
          this.link(PROTOCOL_UDP, () => own),
          clock,
          random,
          this,
        ),
      toOurselves: (own, frame) => this.toOurselves(own, frame),
      addressLost: address => this.addressLost(address),
      changed: () => this.changed(),
      carriesLess: () => this.tcp.linkShrank(),
    };
    this.lo = new NetInterface(this.host, { device: this.loopback, config: LOOPBACK_CONFIG, loops: true });
    this.changed();
  }

  // ---- interfaces ----

  add(device: NetDevice, config: IpConfig): NetInterface {
    const own = new NetInterface(this.host, { device, config });
    this.interfaces = [...this.interfaces, own].sort(byName);
    this.changed();
    return own;
  }
  /** Its device has gone, and what is of its addresses goes with it. */
  remove(own: NetInterface): void {
    this.interfaces = this.interfaces.filter(each => each !== own);
    own.remove();
  }
  /** The end is near: see NetInterface.leave. */
  leave(): boolean {
    return this.interfaces.filter(own => own.leave()).length > 0;
  }

  /** The first IPv4 address; 0 while there is none. */
  get address(): number {
    return this.interfaces.find(own => own.address !== 0)?.address ?? 0;
  }
  /** Those packets to others may come from. */
  get addresses(): IpAddress[] {
    return this.interfaces.flatMap(own => own.addresses);
  }
  /** With an address for others than neighbours, the first to be tried first; IPv4 where there is none. */
  get families(): (4 | 6)[] {
    const six = this.interfaces.some(own => own.v6?.address?.isLinkLocal === false);
    if (!six) return [4];
    return this.address === 0 ? [6] : [6, 4];
  }
  private addressLost(address: IpAddress): void {
    if (this.isOurs(address)) return;
    // What was bound to it is of no use to anybody.
    for (const connection of [...this.tcp]) {
      if (!connection.local.equals(address)) continue;
      connection.abort(new XenError('ECONNRESET', `this domain no longer has the address ${address}`));
    }
  }
  private changed(): void {
    const { interfaces } = this;
    this.lastRemote = NO_REMOTE;
    this.lastRemote6.copy(UNSPECIFIED);
    this.lastVia6 = undefined;
    // Those of the command line go before those of DHCP, and these before those of routers.
    this.dns.servers = [
      ...this.nameservers,
      ...interfaces.flatMap(own => own.given),
      ...interfaces.flatMap(own => own.leased),
      ...interfaces.flatMap(own => own.v6?.discovery.nameservers ?? []),
    ];
  }

  // ---- routes ----

  isOurs(address: IpAddress): boolean {
    if (address.isV4) return this.isOurs4(address.d);
    if (address.isLoopback) return true;
    const { interfaces } = this;
    for (let i = 0; i < interfaces.length; i++) if (interfaces[i]!.v6?.has(address)) return true;
    return false;
  }
  private isOurs4(address: number): boolean {
    if (isLoopback(address)) return true;
    const { interfaces } = this;
    for (let i = 0; i < interfaces.length; i++) if (interfaces[i]!.v4.address === address) return address !== 0;
    return false;
  }
  /**
   * The longest prefix; of several, the interface that has the address the packet is from (RFC 8028), else the first. So
   * an answer leaves where the question came from, where either way would do.
   */
  via(local: IpAddress | undefined, remote: IpAddress): NetInterface | undefined {
    if (!remote.isV4) return this.via6(local ?? UNSPECIFIED, remote);
    const from = local?.d ?? 0;
    if (remote.d !== this.lastRemote || from !== this.lastLocal) {
      this.lastVia = this.find(local, remote);
      this.lastRemote = remote.d;
      this.lastLocal = from;
    }
    return this.lastVia;
  }
  private via6(local: IpAddress, remote: IpAddress): NetInterface | undefined {
    // Which link these are on is as neighbours come and go, of which nobody is told.
    if (remote.isLinkLocal || remote.isMulticast) return this.find(local, remote);
    if (!remote.equals(this.lastRemote6) || !local.equals(this.lastLocal6)) {
      this.lastVia6 = this.find(local, remote);
      this.lastRemote6.copy(remote);
      this.lastLocal6.copy(local);
    }
    return this.lastVia6;
  }
  private find(local: IpAddress | undefined, remote: IpAddress): NetInterface | undefined {
    if (remote.isUnspecified) return undefined;
    if (this.isOurs(remote) || (remote.isMulticast && local?.isLoopback)) return this.lo;
    const { interfaces } = this;
    let best: NetInterface | undefined;
    let most = -1;
    for (let i = 0; i < interfaces.length; i++) {
      const own = interfaces[i]!;
      const bits = own.matches(remote);
      if (bits < 0) continue;
      const owns = interfaces.length > 1 && local !== undefined && own.has(local);
      // Every link has such addresses: the sender's says which one is meant.
      if (owns && (remote.isLinkLocal || remote.isMulticast || (remote.isV4 && remote.d === IPV4_BROADCAST)))
        return own;
      if (bits < most || (bits === most && (!owns || best!.has(local)))) continue;
      best = own;
      most = bits;
    }
    return best;
  }
  private send4(protocol: number, source: number, destination: number, length: number): SendResult {
    const { from, to } = this;
    const own = this.via(from.setV4(source), to.setV4(destination));
    if (own === undefined) return 'no-route';
    const address = own === this.lo ? destination : own.address;
    return own.v4.send(protocol, source === 0 ? address : source, destination, length);
  }

  // ---- groups ----

  /** As `ip link` numbers them. */
  get numbered(): readonly NetInterface[] {
    return [this.lo, ...this.interfaces];
  }
  interfaceFor({ index, address, group }: Parameters<GroupNetwork['interfaceFor']>[0]): NetInterface | undefined {
    if (index !== 0) return this.numbered[index - 1];
    if (address) return address.isLoopback ? this.lo : this.interfaces.find(own => own.has(address));
    if (!group) return undefined;
    return this.via(undefined, group) ?? (group.isV4 ? undefined : this.interfaces.find(own => own.v6));
  }
  groupLink(own: GroupInterface | undefined, sending: GroupSending): TransportLink {
    const via: Via = (local, remote) =>
      own === undefined ? this.via(local, remote) : this.numbered.find(each => each === own);
    return this.link(PROTOCOL_UDP, via, sending);
  }

  // ---- what programs do ----

  /**
   * Ask a host for an echo. Rejects with ETIMEDOUT (default after 1 s), EHOSTUNREACH when nobody answers for it on
   * the link, ENETUNREACH without a route to it.
   */
  ping(host: string, options: { readonly timeoutMs?: number; readonly size?: number } = {}): Promise<PingReply> {
    const destination = IpAddress.parse(host);
    if (destination === undefined) return Promise.reject(new XenError('EINVAL', `'${host}' is no IP address`));
    const { timeoutMs = 1000, size = 56 } = options;
    if (destination.isV4) return this.v4.icmp.ping(destination.d, timeoutMs, size);
    return this.v6.icmp.ping(destination, timeoutMs, size);
  }

  /** Connections that neighbours open to others, with this guest as their gateway. Throws EADDRINUSE. */
  intercept(): TcpInterceptor {
    const { bytes, view } = this.rx;
    const interceptor = this.tcp.intercept(() => {
      this.v4.foreignTcp = undefined;
    });
    this.v4.foreignTcp = (at, length, source, destination, good) =>
      this.tcp.input(bytes, view, at, length, source, destination, good, true);
    return interceptor;
  }

  /** Timers, and packets to ourselves. */
  step(): 'progress' | 'idle' {
    let progress = this.stepLoopback();
    const { interfaces } = this;
    for (let i = 0; i < interfaces.length; i++) if (interfaces[i]!.step() === 'progress') progress = true;
    if (this.pings.step() === 'progress') progress = true;
    if (this.v4.reassembly.step() === 'progress') progress = true;
    if (this.v6.reassembly.step() === 'progress') progress = true;
    if (this.udp.step() === 'progress') progress = true;
    if (this.tcp.step() === 'progress') progress = true;
    if (this.dns.step() === 'progress') progress = true;
    return progress ? 'progress' : 'idle';
  }
  private stepLoopback(): boolean {
    const { lo, looped } = this;
    if (this.loopback.isEmpty && looped.length === 0) return false;
    this.looped = [];
    this.loopedBytes = 0;
    for (const { own, frame } of looped) this.inputLocal(own, frame);
    for (const packet of this.loopback.take()) {
      this.inputLocal(lo, packet);
    }
    return true;
  }
  private inputLocal(own: NetInterface, packet: Uint8Array): void {
    this.rx.bytes.set(packet);
    if (packet[ETH_HLEN]! >> 4 === 4) this.v4.input(own.v4, packet.length, true, true);
    else if (own.v6) this.v6.input(own.v6, packet.length, true, true);
  }
  /** Nobody waits for room here: what all sockets together could take has it, and the rest is lost, as on any link. */
  private toOurselves(own: NetInterface, frame: Uint8Array): void {
    const size = frame.length + DATAGRAM_OVERHEAD;
    if (this.loopedBytes + size > UDP_MEMORY) return;
    this.loopedBytes += size;
    this.looped.push({ own, frame });
  }

  /** When step() has something to do, in monotonic ns. */
  deadline(): number | undefined {
    if (!this.loopback.isEmpty || this.looped.length > 0) return 0;
    const { interfaces, pings, v4, v6, udp, tcp, dns } = this;
    let first = earlier(pings.deadline(), tcp.deadline());
    first = earlier(first, earlier(udp.deadline(), dns.deadline()));
    first = earlier(first, earlier(v4.reassembly.deadline(), v6.reassembly.deadline()));
    for (let i = 0; i < interfaces.length; i++) first = earlier(first, interfaces[i]!.deadline());
    return first;
  }

  // ---- what is below UDP and TCP, and above IP ----

  private port(): PacketPort {
    const { tx, rx, stats } = this;
    return {
      tx,
      rx,
      stats,
      transports: {
        udp: (at, length, source, destination, good) =>
          this.udp.input(rx.bytes, rx.view, at, length, source, destination, good),
        tcp: (at, length, source, destination, good) =>
          this.tcp.input(rx.bytes, rx.view, at, length, source, destination, good),
        lost: (code, protocol, view, at, local, remote, mtu) => {
          if (protocol === PROTOCOL_TCP) return this.tcp.undeliverable(code, view, at, local, remote, mtu);
          return protocol === PROTOCOL_UDP && this.udp.undeliverable(code, view, at, local, remote);
        },
      },
    };
  }
  private link(protocol: number, via: Via, sending = GROUP_SENDING): TransportLink {
    const { tx } = this;
    const headerLength = (remote: IpAddress): number => (remote.isV4 ? IPV4_HLEN : IPV6_HLEN);
    return {
      tx,
      headerAt: remote => ETH_HLEN + headerLength(remote),
      room: (local, remote) => {
        const own = via(local, remote) ?? this.lo;
        return remote.isV4 ? own.v4.pathMtu(remote) - IPV4_HLEN : (own.v6?.pathMtu(remote) ?? own.mtu) - IPV6_HLEN;
      },
      datagramRoom: remote => (remote.isV4 ? LARGEST_IPV4 - IPV4_HLEN : LARGEST_PAYLOAD6),
      largeRoom: (local, remote) => {
        const own = via(local, remote);
        if (own === undefined) return 0;
        if (own === this.lo) return LARGEST_IPV4 - headerLength(remote);
        const cut = remote.isV4 ? own.device.gsoTcpv4 : own.device.gsoTcpv6;
        return cut ? LARGEST_FRAME - ETH_HLEN - headerLength(remote) : 0;
      },
      leavesChecksum: (local, remote) => {
        const device = via(local, remote)?.device;
        return device !== undefined && (remote.isV4 ? device.checksumOffload : device.ipv6ChecksumOffload);
      },
      isBroadcast: remote => {
        if (!remote.isV4) return false;
        if (this.lo.v4.isBroadcast(remote.d)) return true;
        const { interfaces } = this;
        for (let i = 0; i < interfaces.length; i++) if (interfaces[i]!.v4.isBroadcast(remote.d)) return true;
        return false;
      },
      isOurs: address => this.isOurs(address),
      sourceFor: (remote, local) => {
        const own = via(local, remote);
        if (own === undefined) return undefined;
        if (local !== undefined && !local.isUnspecified) {
          const fits = local.isV4 === remote.isV4 && (own === this.lo || !local.isLoopback);
          return fits ? local : undefined;
        }
        if (own === this.lo) return remote.isMulticast ? LOOPBACK[remote.isV4 ? 4 : 6] : remote;
        return remote.isV4 ? own.v4.own : own.v6?.sourceFor(remote);
      },
      send: (local, remote, length, blank, segment) => {
        const own = via(local, remote);
        const flags = withSegment(blank ? FRAME_CHECKSUM_BLANK : 0, segment);
        if (remote.isV4) return own?.v4.send(protocol, local.d, remote.d, length, flags, sending) ?? 'no-route';
        return own?.v6?.send(protocol, local, remote, length, flags, sending) ?? 'no-route';
      },
      outlet: (local, remote) => via(local, remote),
    };
  }
}

/** eth2 before eth10. */
const byName = ({ name: a }: NetInterface, { name: b }: NetInterface): number =>
  a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);

function buffer(size: number): PacketBuffer {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer) };
}
