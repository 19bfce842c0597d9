// A guest's network interface: one device, IP on it, and what uses that. Everything received is copied into private
// memory before it is looked at, since whoever sent it could still write to where it came from.
import { type Clock, type Log, XenError } from '#pvbus';
import {
  FRAME_CHECKSUM_BLANK,
  FRAME_CHECKSUM_GOOD,
  LARGEST_FRAME,
  type NetDevice,
  withSegment,
} from '../net-device.ts';
import { WaitQueue } from '../wait-queue.ts';
import { isLoopback } from './address.ts';
import { DhcpClient, type Lease } from './dhcp/client.ts';
import { Resolver } from './dns/resolver.ts';
import {
  ETH_HLEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  equalMac,
  etherType,
  isGroupMac,
} from './ethernet.ts';
import { IpAddress } from './ip-address.ts';
import type { IpConfig } from './ip-config.ts';
import type { SendResult } from './ip-output.ts';
import { isUsable, type OwnAddress } from './ip6/addresses.ts';
import { IPV6_HLEN, LARGEST_PAYLOAD6 } from './ip6/header.ts';
import { Ipv6Host } from './ip6/host.ts';
import { IPV4_HLEN, LARGEST_IPV4, PROTOCOL_TCP, PROTOCOL_UDP } from './ipv4.ts';
import { Ipv4Host } from './ipv4-host.ts';
import type { PacketPort, PacketStats } from './packet-port.ts';
import type { PingReply } from './pings.ts';
import type { TcpInterceptor } from './tcp/interceptor.ts';
import { Tcp, type TcpLimits } from './tcp/tcp.ts';
import type { TransportLink } from './transport-link.ts';
import { Udp } from './udp.ts';

/** Packets to ourselves that wait for the next step. */
const LOOPBACK_PACKETS = 64;
const PAGE_SIZE = 4096;
/** In parts, or to ourselves. */
const LARGEST_PACKET = IPV6_HLEN + LARGEST_PAYLOAD6;

export interface NetInterfaceParts {
  readonly device: NetDevice;
  readonly config: IpConfig;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log?: Log;
  readonly tcp?: Partial<TcpLimits>;
  /** Nobody is at the other end of the device: nothing is asked for, or said of its addresses. */
  readonly alone?: boolean;
}

export class NetInterface {
  readonly device: NetDevice;
  readonly v4: Ipv4Host;
  /** Where `ip6=` wants it. */
  readonly v6: Ipv6Host | undefined;
  readonly udp: Udp;
  readonly tcp: Tcp;
  readonly dns: Resolver;
  readonly stats: PacketStats = {
    delivered: 0,
    notForUs: 0,
    unknownType: 0,
    malformed: 0,
    fragments: 0,
    martians: 0,
    noProtocol: 0,
    loopbackDropped: 0,
  };
  private readonly dhcp: DhcpClient | undefined;
  private readonly ready = new WaitQueue();
  /** An IPv4 address is wanted. */
  private readonly asked: boolean;
  /** Name servers of the command line, and of DHCP. */
  private readonly given: readonly IpAddress[];
  private leased: readonly IpAddress[] = [];
  private readonly tx = buffer(ETH_HLEN + LARGEST_PACKET);
  private readonly rx = buffer(ETH_HLEN + LARGEST_PACKET);
  private readonly loopback: Uint8Array[] = [];
  /** Who waits for room in it. */
  private loopbackWriters: (() => void)[] = [];

  constructor(parts: NetInterfaceParts) {
    const { device, config, clock, random, log, alone = false } = parts;
    this.device = device;
    const port = this.port();
    this.v4 = new Ipv4Host(port, clock, random, config.dhcp === true, log);
    this.v4.configure(config);
    const changed = (own: OwnAddress | undefined): void => this.addressChanged(own);
    this.v6 = config.ip6 && new Ipv6Host({ port, config: config.ip6, clock, random, log, changed });
    this.udp = new Udp(this.transportLink(PROTOCOL_UDP), clock, random);
    const limits = parts.tcp === undefined ? {} : { limits: parts.tcp };
    this.tcp = new Tcp({ link: this.transportLink(PROTOCOL_TCP), clock, random, log, ...limits });
    device.onFrame((bytes, offset, length, flags) => this.input(bytes, offset, length, flags));
    this.dns = new Resolver(this.udp, this.tcp, clock, random);
    this.given = config.nameservers ?? [];
    this.nameServers();
    this.asked = config.dhcp === true || config.address !== 0;
    if (config.dhcp) {
      const onLease = (lease: Lease | undefined): void => this.configure(lease);
      const { hostname: hostName } = config;
      this.dhcp = new DhcpClient({ udp: this.udp, mac: device.mac, clock, random, log, hostName, onLease });
    } else if (config.address !== 0 && !alone) this.v4.arp.announce();
    if (!alone) this.v6?.discovery.start();
  }

  /** The end is near, and there will be no next one soon. True: a server is told, if what is sent now is. */
  leave(): boolean {
    return this.dhcp?.release() ?? false;
  }

  /** The IPv4 address; 0 while there is none: a DHCP server is asked for one. */
  get address(): number {
    return this.v4.address;
  }
  /** Those packets may come from. */
  get addresses(): IpAddress[] {
    const all = this.address === 0 ? [] : [IpAddress.v4(this.address)];
    for (const own of this.v6?.discovery.addresses ?? []) if (isUsable(own)) all.push(own.address);
    return all;
  }
  /** With an address for others than neighbours, the first to be tried first; IPv4 where there is none. */
  get families(): (4 | 6)[] {
    const six = this.v6?.address?.isLinkLocal === false;
    if (!six) return [4];
    return this.address === 0 ? [6] : [6, 4];
  }
  get arp(): Ipv4Host['arp'] {
    return this.v4.arp;
  }
  get icmp(): Ipv4Host['icmp'] {
    return this.v4.icmp;
  }
  get mtu(): number {
    return this.device.mtu;
  }

  /** Resolves when there is an address of each family that is wanted, or nobody gives one of IPv6. */
  async configured(): Promise<void> {
    while (!this.isConfigured) await new Promise<void>(resolve => this.ready.add(resolve));
  }
  get isConfigured(): boolean {
    return (!this.asked || this.address !== 0) && (this.v6?.discovery.isSettled ?? true);
  }
  /** What a DHCP server gives. */
  private configure(lease: Lease | undefined): void {
    const before = this.address;
    this.v4.configure(lease ?? { address: 0, netmask: 0 });
    this.leased = (lease?.nameservers ?? []).map(IpAddress.v4);
    this.nameServers();
    if (this.address === before) return;
    // What was bound to the old address is of no use to anybody.
    for (const connection of [...this.tcp]) {
      if (connection.local.isV4 && connection.local.d === before && before !== 0) {
        connection.abort(new XenError('ECONNRESET', 'the address of this interface is another one now'));
      }
    }
    if (this.address !== 0) this.v4.arp.announce();
    this.ready.wakeAll();
  }
  /** Of IPv6; `own` undefined: other name servers. */
  private addressChanged(own: OwnAddress | undefined): void {
    this.nameServers();
    if (own !== undefined && isUsable(own) && this.v6?.discovery.addresses.find(own.address) === undefined) {
      for (const connection of [...this.tcp]) {
        if (!connection.local.equals(own.address)) continue;
        connection.abort(new XenError('ECONNRESET', 'this interface no longer has the address of the connection'));
      }
    }
    this.ready.wakeAll();
  }
  /** Those of the command line go before those of DHCP, and these before those of routers. */
  private nameServers(): void {
    this.dns.servers = [...this.given, ...this.leased, ...(this.v6?.discovery.nameservers ?? [])];
  }

  /**
   * Ask a host for an echo. Rejects with ETIMEDOUT (default after 1 s), EHOSTUNREACH when nobody answers for it on
   * the link, ENETUNREACH without a route to it.
   */
  ping(host: string, options: { readonly timeoutMs?: number; readonly size?: number } = {}): Promise<PingReply> {
    const destination = IpAddress.parse(host);
    if (destination === undefined) return Promise.reject(new XenError('EINVAL', `'${host}' is no IP address`));
    const { timeoutMs = 1000, size = 56 } = options;
    if (destination.isV4) return this.icmp.ping(destination.d, timeoutMs, size);
    if (this.v6 !== undefined) return this.v6.icmp.ping(destination, timeoutMs, size);
    return Promise.reject(new XenError('ENETUNREACH', `no route to ${destination}: ip6= configures IPv6`));
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

  /** One frame from the device; see FrameHandler. */
  input(bytes: Uint8Array, offset: number, length: number, flags: number): void {
    const { rx } = this;
    if (length < ETH_HLEN || length > rx.bytes.length || offset + length > bytes.length) {
      this.stats.malformed++;
      return;
    }
    // untrusted: one copy of the frame; whole pages go without making a view.
    if (offset === 0 && bytes.length <= PAGE_SIZE) rx.bytes.set(bytes);
    else rx.bytes.set(bytes.subarray(offset, offset + length));
    if (!isGroupMac(rx.bytes) && !equalMac(rx.bytes, 0, this.device.mac)) {
      this.stats.notForUs++; // a bridge floods what it has not learnt yet
      return;
    }
    const good = (flags & (FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_BLANK)) !== 0;
    const type = etherType(rx.view);
    if (type === ETHERTYPE_IPV4) this.v4.input(length, good, false);
    else if (type === ETHERTYPE_IPV6 && this.v6 !== undefined) this.v6.input(length, good, false);
    else if (type === ETHERTYPE_ARP) {
      this.stats.delivered++;
      this.v4.arp.input(rx.bytes, rx.view, length);
    } else this.stats.unknownType++;
  }

  /** Timers, and packets to ourselves. */
  step(): 'progress' | 'idle' {
    const now = this.loopback.splice(0);
    for (const packet of now) {
      this.rx.bytes.set(packet);
      if (this.rx.bytes[ETH_HLEN]! >> 4 === 6) this.v6?.input(packet.length, true, true);
      else this.v4.input(packet.length, true, true);
    }
    if (this.loopbackWriters.length > 0) for (const ready of this.loopbackWriters.splice(0)) ready();
    const arp = this.v4.arp.step();
    const icmp = this.icmp.step();
    const parts = this.v4.reassembly.step();
    const v6 = this.v6?.step() ?? 'idle';
    const udp = this.udp.step();
    const tcp = this.tcp.step();
    const names = this.dns.step();
    const lease = this.dhcp?.step() ?? 'idle';
    // What was waited for may be a router that does not answer.
    if (v6 === 'progress' && this.isConfigured) this.ready.wakeAll();
    const idle = now.length === 0 && [arp, icmp, parts, v6, udp, tcp, names, lease].every(each => each === 'idle');
    return idle ? 'idle' : 'progress';
  }

  /** When step() has something to do, in monotonic ns. */
  deadline(): number | undefined {
    if (this.loopback.length > 0) return 0;
    let earliest = this.v4.arp.deadline();
    const { icmp, v6, udp, tcp, dns, dhcp } = this;
    for (const other of [
      icmp.deadline(),
      this.v4.reassembly.deadline(),
      v6?.deadline(),
      udp.deadline(),
      tcp.deadline(),
      dns.deadline(),
      dhcp?.deadline(),
    ]) {
      if (other !== undefined && (earliest === undefined || other < earliest)) earliest = other;
    }
    return earliest;
  }

  private port(): PacketPort {
    const { device, tx, rx, stats } = this;
    return {
      device,
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
      loop: length => this.loop(length),
    };
  }
  private loop(length: number): SendResult {
    if (this.loopback.length >= LOOPBACK_PACKETS) {
      this.stats.loopbackDropped++;
      return 'full';
    }
    this.loopback.push(this.tx.bytes.slice(0, length));
    return 'sent';
  }

  private transportLink(protocol: number): TransportLink {
    const { v4, v6, device } = this;
    const isLocal = (remote: IpAddress): boolean => (remote.isV4 ? v4.isLocal(remote.d) : v6?.isLocal(remote) === true);
    const headerLength = (remote: IpAddress): number => (remote.isV4 ? IPV4_HLEN : IPV6_HLEN);
    return {
      tx: this.tx,
      headerAt: remote => ETH_HLEN + headerLength(remote),
      room: remote => (remote.isV4 ? v4.pathMtu(remote) - IPV4_HLEN : (v6?.pathMtu(remote) ?? this.mtu) - IPV6_HLEN),
      datagramRoom: remote => (remote.isV4 ? LARGEST_IPV4 - IPV4_HLEN : LARGEST_PAYLOAD6),
      largeRoom: remote => {
        if (isLocal(remote)) return LARGEST_IPV4 - headerLength(remote);
        const cut = remote.isV4 ? device.gsoTcpv4 : device.gsoTcpv6;
        return cut ? LARGEST_FRAME - ETH_HLEN - headerLength(remote) : 0;
      },
      leavesChecksum: remote => (remote.isV4 ? device.checksumOffload : device.ipv6ChecksumOffload) && !isLocal(remote),
      sourceFor: remote => {
        if (!remote.isV4) return v6?.sourceFor(remote);
        if (!v4.reaches(remote.d)) return undefined;
        return isLoopback(remote.d) ? remote : v4.own;
      },
      isBroadcast: remote => remote.isV4 && v4.isBroadcast(remote.d),
      send: (source, remote, length, blank, segment) => {
        const flags = withSegment(blank ? FRAME_CHECKSUM_BLANK : 0, segment);
        if (remote.isV4) return v4.send(protocol, remote.d, length, flags, source.d);
        return v6?.send(protocol, source, remote, length, flags) ?? 'no-route';
      },
      whenWritable: ready => {
        if (this.loopback.length >= LOOPBACK_PACKETS) this.loopbackWriters.push(ready);
        else device.whenWritable(ready);
      },
    };
  }
}

function buffer(size: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer) };
}
