// A guest's IPv4 interface: one device, one address, one gateway. Everything received is copied into private
// memory before it is looked at, since whoever sent it could still write to where it came from.
import { type Clock, type Log, XenError } from '#pvbus';
import { FRAME_CHECKSUM_BLANK, FRAME_CHECKSUM_GOOD, type NetDevice } from '../net-device.ts';
import { WaitQueue } from '../wait-queue.ts';
import { IPV4_BROADCAST, isLoopback, isMulticast, parseIpv4 } from './address.ts';
import { Arp, type HeldFrame } from './arp.ts';
import { DhcpClient, type Lease } from './dhcp/client.ts';
import { Resolver } from './dns/resolver.ts';
import {
  BROADCAST_MAC,
  ETH_HLEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  equalMac,
  etherType,
  isBroadcastMac,
  isGroupMac,
  writeEthernet,
} from './ethernet.ts';
import { Icmp, type PingReply, PORT_UNREACHABLE, PROTOCOL_UNREACHABLE } from './icmp.ts';
import { IpAddress } from './ip-address.ts';
import type { IpConfig } from './ip-config.ts';
import type { IpOutput, SendResult } from './ip-output.ts';
import {
  DEFAULT_TTL,
  IPV4_HLEN,
  Ipv4Header,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  readIpv4,
  readQuotedIpv4,
  writeIpv4,
} from './ipv4.ts';
import type { TcpLink } from './tcp/link.ts';
import { Tcp, type TcpLimits } from './tcp/tcp.ts';
import { Udp } from './udp.ts';

/** Packets to ourselves that wait for the next step. */
const LOOPBACK_PACKETS = 64;
const PAGE_SIZE = 4096;
/** Of a packet to ourselves: nothing cuts it. */
const LARGEST_PACKET = 0xffff;

export interface NetInterfaceParts {
  readonly device: NetDevice;
  readonly config: IpConfig;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log?: Log;
  readonly tcp?: Partial<TcpLimits>;
}

export class NetInterface implements IpOutput {
  readonly device: NetDevice;
  /** 0 while there is none: a DHCP server is asked for one. */
  address: number;
  netmask: number;
  gateway: number | undefined;
  readonly arp: Arp;
  readonly icmp: Icmp;
  readonly udp: Udp;
  readonly tcp: Tcp;
  readonly dns: Resolver;
  private readonly dhcp: DhcpClient | undefined;
  private readonly ready = new WaitQueue();
  /** Received packets by what became of them; every frame is counted once. */
  readonly stats = {
    delivered: 0,
    notForUs: 0,
    unknownType: 0,
    malformed: 0,
    fragments: 0,
    martians: 0,
    noProtocol: 0,
    loopbackDropped: 0,
  };
  readonly tx: IpOutput['tx'];
  private readonly rx: { bytes: Uint8Array; view: DataView };
  private readonly header = new Ipv4Header();
  private readonly multicastMac = new Uint8Array([0x01, 0x00, 0x5e, 0, 0, 0]);
  private readonly loopback: Uint8Array[] = [];
  /** Who waits for room in it. */
  private loopbackWriters: (() => void)[] = [];
  private readonly own: IpAddress;
  // Of the packet in hand.
  private readonly source = new IpAddress();
  private readonly destination = new IpAddress();
  private nextId: number;

  constructor(parts: NetInterfaceParts) {
    const { device, config, clock, random, log } = parts;
    this.device = device;
    this.address = config.address;
    this.netmask = config.netmask;
    this.gateway = config.gateway;
    this.nextId = Math.floor(random() * 0x10000);
    this.own = IpAddress.v4(config.address);
    const size = ETH_HLEN + LARGEST_PACKET;
    this.rx = buffer(size);
    this.tx = { ...buffer(size), payloadAt: ETH_HLEN + IPV4_HLEN };
    this.icmp = new Icmp(this, clock, random, (code, header, view, mtu) => this.lost(code, header, view, mtu));
    this.udp = new Udp(this, clock, random);
    this.tcp = new Tcp({
      link: this.tcpLink(),
      clock,
      random,
      log,
      ...(parts.tcp === undefined ? {} : { limits: parts.tcp }),
    });
    this.arp = new Arp(
      {
        mac: device.mac,
        address: () => this.address,
        isOnLink: address => this.isOnLink(address),
        transmit: (frame, length, flags) => device.send(frame, length, flags),
        unreachable: (_address, held) => this.neighbourUnreachable(held),
      },
      clock,
      log,
    );
    device.onFrame((bytes, offset, length, flags) => this.input(bytes, offset, length, flags));
    this.dns = new Resolver(this.udp, clock, random);
    this.dns.servers = config.nameservers ?? [];
    if (config.dhcp) {
      const onLease = (lease: Lease | undefined): void => this.configure(lease, config.nameservers);
      const { hostname: hostName } = config;
      this.dhcp = new DhcpClient({ udp: this.udp, mac: device.mac, clock, random, log, hostName, onLease });
    } else this.arp.announce();
  }

  /** Resolves when there is an address. */
  async configured(): Promise<void> {
    while (this.address === 0) await new Promise<void>(resolve => this.ready.add(resolve));
  }
  /** What a DHCP server gives; the name servers of the command line go before its own. */
  private configure(lease: Lease | undefined, nameservers: readonly number[] = []): void {
    const before = this.address;
    this.address = lease?.address ?? 0;
    this.netmask = lease?.netmask ?? 0;
    this.gateway = lease?.gateway;
    this.dns.servers = [...nameservers, ...(lease?.nameservers ?? [])];
    this.own.setV4(this.address);
    if (this.address === before) return;
    // What was bound to the old address is of no use to anybody.
    for (const connection of [...this.tcp]) {
      if (connection.local.d === before && before !== 0) {
        connection.abort(new XenError('ECONNRESET', 'the address of this interface is another one now'));
      }
    }
    if (this.address !== 0) this.arp.announce();
    this.ready.wakeAll();
  }

  get mtu(): number {
    return this.device.mtu;
  }
  get checksumOffload(): boolean {
    return this.device.checksumOffload;
  }

  /**
   * Ask a host for an echo. Rejects with ETIMEDOUT (default after 1 s), EHOSTUNREACH when nobody answers for it on
   * the link, ENETUNREACH without a route to it.
   */
  ping(host: string, options: { readonly timeoutMs?: number; readonly size?: number } = {}): Promise<PingReply> {
    const destination = parseIpv4(host);
    if (destination === undefined) return Promise.reject(new XenError('EINVAL', `'${host}' is no IPv4 address`));
    return this.icmp.ping(destination, options.timeoutMs ?? 1000, options.size ?? 56);
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
    const type = etherType(rx.view);
    if (type === ETHERTYPE_IPV4) this.ipv4(length, flags, false);
    else if (type === ETHERTYPE_ARP) {
      this.stats.delivered++;
      this.arp.input(rx.bytes, rx.view, length);
    } else this.stats.unknownType++;
  }

  /** Timers, and packets to ourselves. */
  step(): 'progress' | 'idle' {
    const now = this.loopback.splice(0);
    for (const packet of now) {
      this.rx.bytes.set(packet);
      this.ipv4(packet.length, FRAME_CHECKSUM_GOOD, true);
    }
    if (this.loopbackWriters.length > 0) for (const ready of this.loopbackWriters.splice(0)) ready();
    const arp = this.arp.step();
    const icmp = this.icmp.step();
    const udp = this.udp.step();
    const tcp = this.tcp.step();
    const names = this.dns.step();
    const lease = this.dhcp?.step() ?? 'idle';
    const idle = now.length === 0 && [arp, icmp, udp, tcp, names, lease].every(each => each === 'idle');
    return idle ? 'idle' : 'progress';
  }

  /** When step() has something to do, in monotonic ns. */
  deadline(): number | undefined {
    if (this.loopback.length > 0) return 0;
    let earliest = this.arp.deadline();
    const { icmp, udp, tcp, dns, dhcp } = this;
    for (const other of [icmp.deadline(), udp.deadline(), tcp.deadline(), dns.deadline(), dhcp?.deadline()]) {
      if (other !== undefined && (earliest === undefined || other < earliest)) earliest = other;
    }
    return earliest;
  }

  isLocal(destination: number): boolean {
    return destination === this.address || isLoopback(destination);
  }

  sourceFor(destination: number): number {
    return isLoopback(destination) ? destination : this.address;
  }

  send(protocol: number, destination: number, length: number, flags = 0): SendResult {
    const { bytes, view } = this.tx;
    const id = this.nextId;
    this.nextId = (id + 1) & 0xffff;
    writeIpv4(view, ETH_HLEN, length, id, DEFAULT_TTL, protocol, this.sourceFor(destination), destination);
    const total = ETH_HLEN + IPV4_HLEN + length;
    if (this.isLocal(destination)) {
      if (this.loopback.length >= LOOPBACK_PACKETS) {
        this.stats.loopbackDropped++;
        return 'full';
      }
      this.loopback.push(bytes.slice(0, total));
      return 'sent';
    }
    const group = this.groupMac(destination);
    const hop = group === undefined ? this.nextHop(destination) : destination;
    if (hop === undefined) return 'no-route';
    const mac = group ?? this.arp.lookup(hop);
    writeEthernet(bytes, mac ?? BROADCAST_MAC, this.device.mac, ETHERTYPE_IPV4);
    if (mac === undefined) {
      this.arp.hold(hop, bytes, total, flags);
      return 'held';
    }
    return this.device.send(bytes, total, flags) ? 'sent' : 'full';
  }

  private isOnLink(address: number): boolean {
    return ((address ^ this.address) & this.netmask) === 0;
  }

  private isSubnetBroadcast(address: number): boolean {
    // RFC 3021: a 31-bit prefix has no broadcast address.
    return this.netmask < 0xfffffffe && this.isOnLink(address) && (address | this.netmask) >>> 0 === IPV4_BROADCAST;
  }

  private nextHop(destination: number): number | undefined {
    return this.isOnLink(destination) ? destination : this.gateway;
  }

  /** The MAC address of a broadcast or multicast destination (RFC 1112, 6.4). */
  private groupMac(destination: number): Uint8Array | undefined {
    if (destination === IPV4_BROADCAST || this.isSubnetBroadcast(destination)) return BROADCAST_MAC;
    if (!isMulticast(destination)) return undefined;
    const mac = this.multicastMac;
    mac[3] = (destination >>> 16) & 0x7f;
    mac[4] = (destination >>> 8) & 0xff;
    mac[5] = destination & 0xff;
    return mac;
  }

  /** The packet of `length` bytes in the receive buffer, its Ethernet header counted. */
  private ipv4(length: number, flags: number, local: boolean): void {
    const { rx, header, stats } = this;
    const fault = readIpv4(rx.view, ETH_HLEN, length - ETH_HLEN, header);
    if (fault === 'fragment') stats.fragments++;
    else if (fault !== undefined) stats.malformed++;
    if (fault !== undefined) return;

    const { source, destination } = header;
    const sourceIsHost = !isMulticast(source) && source !== IPV4_BROADCAST && !this.isSubnetBroadcast(source);
    if (!sourceIsHost || (!local && (this.isLocal(source) || isLoopback(destination)))) {
      stats.martians++;
      return;
    }
    const broadcast = destination === IPV4_BROADCAST || this.isSubnetBroadcast(destination);
    if (!broadcast && !this.isLocal(destination) && !this.isOffer(header)) {
      stats.notForUs++;
      return;
    }
    // A unicast address in a broadcast frame is not answered with errors either (RFC 1122, 3.2.2).
    const unicast = !broadcast && (local || !isBroadcastMac(rx.bytes)) && source !== 0;
    stats.delivered++;
    if (header.protocol === PROTOCOL_ICMP) this.icmp.input(rx.bytes, rx.view, header, unicast);
    else if (header.protocol === PROTOCOL_UDP) {
      const good = (flags & (FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_BLANK)) !== 0;
      if (!this.udp.input(rx.bytes, rx.view, header, good) && unicast) {
        this.icmp.unreachable(rx.bytes, header, PORT_UNREACHABLE);
      }
    } else if (header.protocol === PROTOCOL_TCP) {
      // RFC 9293, 3.9.2.3: nothing but a packet from one host to another is part of a connection.
      if (!unicast) return;
      const good = (flags & (FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_BLANK)) !== 0;
      this.source.setV4(source);
      this.destination.setV4(destination);
      const { payloadAt, payloadLength } = header;
      this.tcp.input(rx.bytes, rx.view, payloadAt, payloadLength, this.source, this.destination, good);
    } else {
      stats.noProtocol++;
      if (unicast) this.icmp.unreachable(rx.bytes, header, PROTOCOL_UNREACHABLE);
    }
  }

  /** Some servers answer who has no address yet at the address they offer. */
  private isOffer(header: Ipv4Header): boolean {
    if (this.dhcp === undefined || this.address !== 0) return false;
    return (
      header.protocol === PROTOCOL_UDP &&
      header.payloadLength >= 8 &&
      this.rx.view.getUint16(header.payloadAt + 2) === 68
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
  private lost(code: string, header: Ipv4Header, view: DataView, mtu: number): void {
    if (header.protocol !== PROTOCOL_TCP) {
      this.udp.undeliverable(code, header, view);
      return;
    }
    const local = IpAddress.v4(header.source);
    this.tcp.undeliverable(code, view, header.payloadAt, local, IpAddress.v4(header.destination), mtu);
  }

  private tcpLink(): TcpLink {
    const room = (packet: number): number => packet - IPV4_HLEN;
    return {
      tx: this.tx,
      headerAt: () => ETH_HLEN + IPV4_HLEN,
      room: () => room(this.mtu),
      largeRoom: remote => (this.isLocal(remote.d) ? room(LARGEST_PACKET) : 0),
      leavesChecksum: remote => this.checksumOffload && !this.isLocal(remote.d),
      sourceFor: remote => {
        if (
          !remote.isV4 ||
          (this.address === 0 && !isLoopback(remote.d)) ||
          (!this.isLocal(remote.d) && this.nextHop(remote.d) === undefined)
        )
          return undefined;
        return isLoopback(remote.d) ? remote : this.own;
      },
      send: (_source, remote, length, blank) =>
        this.send(PROTOCOL_TCP, remote.d, length, blank ? FRAME_CHECKSUM_BLANK : 0),
      whenWritable: ready => {
        if (this.loopback.length >= LOOPBACK_PACKETS) this.loopbackWriters.push(ready);
        else this.device.whenWritable(ready);
      },
    };
  }
}

function buffer(size: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer) };
}
