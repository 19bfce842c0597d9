// One network interface of a guest: a device, and IP's addresses on it. Everything received is copied into private
// memory before it is looked at, since whoever sent it could still write to where it came from.
import { type Clock, earlier, type Log } from '#pvbus';
import { FRAME_CHECKSUM_BLANK, FRAME_CHECKSUM_GOOD, type NetDevice } from '../net-device.ts';
import { WaitQueue } from '../wait-queue.ts';
import { DhcpClient, type Lease } from './dhcp/client.ts';
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
import { isUsable, type OwnAddress } from './ip6/addresses.ts';
import type { Ipv6Host } from './ip6/host.ts';
import { Ipv6Link } from './ip6/link.ts';
import type { Ipv4Host } from './ipv4-host.ts';
import { Ipv4Link } from './ipv4-link.ts';
import type { JoinedGroups } from './joined-groups.ts';
import type { PacketPort } from './packet-port.ts';
import type { PathMtus } from './path-mtus.ts';
import type { GroupInterface } from './socket-groups.ts';
import type { Udp } from './udp.ts';

const PAGE_SIZE = 4096;

/** What the interfaces of a guest have in common. */
export interface InterfaceHost {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log?: Log | undefined;
  readonly port: PacketPort;
  readonly paths: PathMtus;
  readonly v4: Ipv4Host;
  readonly v6: Ipv6Host;
  /** A frame that we have sent to a group on this one, for who has joined that here. */
  toOurselves(own: NetInterface, frame: Uint8Array): void;
  /** What a DHCP client asks with, whatever the routes say. */
  clientOf(own: NetInterface): Udp;
  /** No interface may have it any longer. */
  addressLost(address: IpAddress): void;
  /** Its addresses, routes or name servers are others now. */
  changed(): void;
  /** Its packets have to be smaller than they were. */
  carriesLess(): void;
}

export interface NetInterfaceParts {
  readonly device: NetDevice;
  readonly config: IpConfig;
  /** The loopback: what is sent comes back, and nobody else is there. */
  readonly loops?: boolean;
}

export class NetInterface implements GroupInterface {
  readonly device: NetDevice;
  readonly v4: Ipv4Link;
  /** Where `ip6=` wants it. */
  readonly v6: Ipv6Link | undefined;
  /** Name servers of its configuration, of DHCP, and of routers. */
  readonly given: readonly IpAddress[];
  leased: readonly IpAddress[] = [];
  private readonly host: InterfaceHost;
  private readonly dhcp: DhcpClient | undefined;
  private readonly ready = new WaitQueue();
  /** Who waits for room in the device. */
  private readonly writers = new WaitQueue();
  /** An IPv4 address is wanted. */
  private readonly asked: boolean;
  /** As it was last looked at: of the device, and as routers have it. */
  private mtuSeen: number;
  private mtu6Seen: number;

  constructor(host: InterfaceHost, { device, config, loops = false }: NetInterfaceParts) {
    const { clock, random, log, paths } = host;
    const { tx } = host.port;
    this.host = host;
    this.device = device;
    this.v4 = new Ipv4Link({
      device,
      tx,
      paths,
      clock,
      log,
      loops,
      random,
      toOurselves: frame => host.toOurselves(this, frame),
      nextId: () => host.v4.nextId(),
      unreachable: held => host.v4.neighbourUnreachable(held),
    });
    this.v4.configure(config);
    this.v6 =
      config.ip6 &&
      new Ipv6Link({
        device,
        config: config.ip6,
        tx,
        paths,
        clock,
        random,
        log,
        loops,
        toOurselves: frame => host.toOurselves(this, frame),
        changed: own => this.addressChanged(own),
        unreachable: held => host.v6.neighbourUnreachable(held),
      });
    this.mtuSeen = this.mtu;
    this.mtu6Seen = this.mtu6;
    device.onFrame((bytes, offset, length, flags) => this.input(bytes, offset, length, flags));
    this.given = config.nameservers ?? [];
    this.asked = config.dhcp === true || config.address !== 0;
    if (config.dhcp) {
      const onLease = (lease: Lease | undefined): void => this.configure(lease);
      const udp = host.clientOf(this);
      this.v4.lease = udp;
      this.dhcp = new DhcpClient({ udp, mac: device.mac, clock, random, log, hostName: config.hostname, onLease });
    } else if (config.address !== 0 && !loops) this.v4.arp.announce();
    if (!loops) this.v6?.discovery.start();
  }

  get name(): string {
    return this.device.name;
  }
  get mtu(): number {
    return this.device.mtu;
  }
  private get mtu6(): number {
    return this.v6?.discovery.mtu ?? this.mtu;
  }
  /** The end is near, and there will be no next one soon. True: a server is told, if what is sent now is. */
  leave(): boolean {
    return this.dhcp?.release() ?? false;
  }
  /** The device has gone. */
  remove(): void {
    const { addresses } = this;
    this.device.onFrame(() => {});
    this.v4.configure({ address: 0, netmask: 0 });
    this.host.changed();
    for (const address of addresses) this.host.addressLost(address);
    this.writers.wakeAll();
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
  has(address: IpAddress): boolean {
    return address.isV4 ? address.d === this.address && address.d !== 0 : this.v6?.has(address) === true;
  }
  joined(family: 4 | 6): JoinedGroups | undefined {
    return family === 4 ? this.v4.groups : this.v6?.groups;
  }
  /** How many bits of it a route here has: -1 where there is none. */
  matches(destination: IpAddress): number {
    return destination.isV4 ? this.v4.matches(destination.d) : (this.v6?.matches(destination) ?? -1);
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
    const before = IpAddress.v4(this.address);
    this.v4.configure(lease ?? { address: 0, netmask: 0 });
    this.leased = (lease?.nameservers ?? []).map(IpAddress.v4);
    this.host.changed();
    if (this.address === before.d) return;
    if (before.d !== 0) this.host.addressLost(before);
    if (this.address !== 0) this.v4.arp.announce();
    this.ready.wakeAll();
  }
  /** Of IPv6; `own` undefined: other routers, prefixes or name servers. */
  private addressChanged(own: OwnAddress | undefined): void {
    this.host.changed();
    if (own !== undefined && isUsable(own) && this.v6?.discovery.addresses.find(own.address) === undefined)
      this.host.addressLost(own.address);
    this.ready.wakeAll();
  }

  /** One frame from the device; see FrameHandler. */
  input(bytes: Uint8Array, offset: number, length: number, flags: number): void {
    const { host } = this;
    const { rx, stats } = host.port;
    if (length < ETH_HLEN || length > rx.bytes.length || offset + length > bytes.length) {
      stats.malformed++;
      return;
    }
    // untrusted: one copy of the frame; whole pages go without making a view.
    if (offset === 0 && bytes.length <= PAGE_SIZE) rx.bytes.set(bytes);
    else rx.bytes.set(bytes.subarray(offset, offset + length));
    if (!isGroupMac(rx.bytes) && !equalMac(rx.bytes, 0, this.device.mac)) {
      stats.notForUs++; // a bridge floods what it has not learnt yet
      return;
    }
    const good = (flags & (FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_BLANK)) !== 0;
    const type = etherType(rx.view);
    if (type === ETHERTYPE_IPV4) host.v4.input(this.v4, length, good, false);
    else if (type === ETHERTYPE_IPV6 && this.v6 !== undefined) host.v6.input(this.v6, length, good, false);
    else if (type === ETHERTYPE_ARP) {
      stats.delivered++;
      this.v4.arp.input(rx.bytes, rx.view, length);
    } else stats.unknownType++;
  }

  /** `ready` is called once, when there is room again, or no device. */
  whenWritable(ready: () => void): void {
    const first = this.writers.isEmpty;
    this.writers.add(ready);
    if (first) this.device.whenWritable(() => this.writers.wakeAll());
  }

  step(): 'progress' | 'idle' {
    this.lookAtMtu();
    const arp = this.v4.arp.step();
    const igmp = this.v4.igmp.step();
    const v6 = this.v6?.discovery.step() ?? 'idle';
    const dhcp = this.dhcp?.step() ?? 'idle';
    // What was waited for may be a router that does not answer.
    if (v6 === 'progress' && this.isConfigured) this.ready.wakeAll();
    return arp === 'idle' && igmp === 'idle' && v6 === 'idle' && dhcp === 'idle' ? 'idle' : 'progress';
  }
  /** Another backend, or a router, may have said another one. */
  private lookAtMtu(): void {
    const { mtu, mtu6 } = this;
    const isLess = mtu < this.mtuSeen || mtu6 < this.mtu6Seen;
    this.mtuSeen = mtu;
    this.mtu6Seen = mtu6;
    if (isLess) this.host.carriesLess();
  }
  /** When step() has something to do, in monotonic ns. */
  deadline(): number | undefined {
    const { v4, v6, dhcp } = this;
    const four = earlier(v4.arp.deadline(), v4.igmp.deadline());
    return earlier(four, earlier(v6?.discovery.deadline(), dhcp?.deadline()));
  }
}
