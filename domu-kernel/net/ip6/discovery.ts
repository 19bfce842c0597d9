// Neighbour discovery and address autoconfiguration of a host (RFC 4861, RFC 4862): asks and answers, and keeps what
// routers say.
import type { Clock, Log } from '#pvbus';
import type { NetDevice } from '../../net-device.ts';
import { formatMac } from '../address.ts';
import { ETH_ALEN, equalMac } from '../ethernet.ts';
import type { HeldFrame } from '../held-frames.ts';
import { IpAddress } from '../ip-address.ts';
import { Addresses, type OwnAddress } from './addresses.ts';
import type { Ip6Config } from './config.ts';
import {
  DiscoveryMessage,
  DiscoveryWriter,
  NEIGHBOUR_ADVERTISEMENT,
  NEIGHBOUR_SOLICITATION,
  OVERRIDE,
  ROUTER,
  ROUTER_SOLICITATION,
  readDiscovery,
  SOLICITED,
} from './discovery-message.ts';
import { DEFAULT_HOP_LIMIT, IPV6_MIN_MTU, type Ipv6Header } from './header.ts';
import { MulticastListener } from './multicast-listener.ts';
import { Neighbours } from './neighbours.ts';
import { RouterList } from './router-list.ts';
import { ALL_NODES, ALL_ROUTERS, groupMac, linkLocalOf, solicitedNode, UNSPECIFIED, withIdentifier } from './scope.ts';

const SOLICITATIONS = 3;
const SOLICITATION_NS = 4e9;
const FOREVER_SECONDS = 0xffffffff;
/** RFC 4862, 5.5.3 e: nobody takes an address away faster than this. */
const TWO_HOURS_NS = 7200e9;
/** RFC 4861, 6.3.4, with bounds: what nobody means is not taken. */
const MAX_REACHABLE_MS = 3_600_000;
const MAX_RETRANS_MS = 60_000;
const MIN_RETRANS_MS = 100;

export interface DiscoveryParts {
  readonly device: NetDevice;
  readonly config: Ip6Config;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log?: Log | undefined;
  /** As NetDevice.send, also for packets that are to be cut. */
  transmit(frame: Uint8Array, length: number, flags: number): boolean;
  unreachable(held: readonly HeldFrame[]): void;
  addressChanged(own: OwnAddress): void;
  /** A router, a prefix or a name server has come or gone. */
  routersChanged(): void;
}

export class Discovery {
  readonly stats = { solicited: 0, advertised: 0, ignored: 0, routerAdvertisements: 0 };
  readonly addresses: Addresses;
  readonly neighbours: Neighbours;
  readonly routers: RouterList;
  /** Of the groups that others ask for our addresses in, and of those that sockets have joined. */
  readonly listener: MulticastListener;
  hopLimit = DEFAULT_HOP_LIMIT;
  mtu: number;
  private readonly parts: DiscoveryParts;
  private readonly writer: DiscoveryWriter;
  private readonly message = new DiscoveryMessage();
  private readonly linkLocal: IpAddress;
  private readonly group = new IpAddress();
  private readonly groupMac = new Uint8Array(ETH_ALEN);
  private joined: readonly IpAddress[] = [];
  private solicitations = 0;
  /** When to ask for a router again; Infinity: no more. */
  private solicitAtNs = Number.POSITIVE_INFINITY;

  constructor(parts: DiscoveryParts) {
    const { device, clock, random, log } = parts;
    this.parts = parts;
    this.mtu = device.mtu;
    this.writer = new DiscoveryWriter(device.mac);
    this.routers = new RouterList(clock, () => parts.routersChanged());
    this.addresses = new Addresses({
      clock,
      log,
      // order: who has it answers to its group, which a switch may first have to hear of.
      probe: target => {
        this.listenToAll();
        this.solicit(target, undefined, UNSPECIFIED);
      },
      changed: own => {
        this.listenToAll();
        if (own.state === 'preferred' && own.address.isLinkLocal) this.listener.announce();
        parts.addressChanged(own);
      },
    });
    this.listener = new MulticastListener({ device, clock, random, source: () => this.linkLocalSource });
    this.neighbours = new Neighbours(
      {
        solicit: (target, mac) => this.solicit(target, mac, this.sourceOf(target)),
        transmit: parts.transmit,
        unreachable: (address, held) => {
          this.routers.doesNotAnswer(address);
          parts.unreachable(held);
        },
      },
      clock,
      random,
    );
    this.linkLocal = linkLocalOf(device.mac);
  }

  /** Claim the addresses there are to begin with, and ask who routes. */
  start(): void {
    const { address, prefixLength, gateway } = this.parts.config;
    const { retransNs } = this.neighbours;
    this.addresses.add(this.linkLocal, 64, retransNs);
    if (address !== undefined) {
      this.addresses.add(address, prefixLength, retransNs);
      this.routers.prefix(address, prefixLength, Number.POSITIVE_INFINITY);
      if (gateway !== undefined) this.routers.router(gateway, Number.POSITIVE_INFINITY);
    } else this.solicitRouter(this.parts.clock.now());
  }
  /** Those of sockets, from now on. */
  listenTo(joined: readonly IpAddress[]): void {
    this.joined = joined;
    this.listenToAll();
  }
  private listenToAll(): void {
    this.listener.listenTo([...this.addresses.groups, ...this.joined]);
  }
  /** Nothing more is to be heard before a program may begin. */
  get isSettled(): boolean {
    return !this.addresses.isTentative && this.solicitAtNs === Number.POSITIVE_INFINITY;
  }
  get nameservers(): IpAddress[] {
    return this.routers.nameservers.map(({ address }) => address);
  }
  /** Where packets to it go on this link; undefined without a router. */
  nextHop(destination: IpAddress): IpAddress | undefined {
    if (this.routers.isOnLink(destination)) return destination;
    return this.routers.pick(address => this.neighbours.isProbablyReachable(address));
  }

  step(): 'progress' | 'idle' {
    const neighbours = this.neighbours.step();
    const addresses = this.addresses.step();
    const routers = this.routers.step();
    const listener = this.listener.step();
    const now = this.parts.clock.now();
    let asked = false;
    if (this.solicitAtNs <= now) {
      asked = true;
      if (this.solicitations < SOLICITATIONS) this.solicitRouter(now);
      else this.solicitAtNs = Number.POSITIVE_INFINITY;
    }
    return asked || [neighbours, addresses, routers, listener].includes('progress') ? 'progress' : 'idle';
  }
  deadline(): number | undefined {
    const own = this.solicitAtNs === Number.POSITIVE_INFINITY ? undefined : this.solicitAtNs;
    const { neighbours, addresses, routers, listener } = this;
    const all = [own, neighbours.deadline(), addresses.deadline(), routers.deadline(), listener.deadline()];
    const known = all.filter(each => each !== undefined);
    return known.length === 0 ? undefined : Math.min(...known);
  }

  /** One message in the private receive buffer, its checksum right; the frame's source is at byte 6 of `bytes`. */
  input(type: number, bytes: Uint8Array, view: DataView, header: Ipv6Header): void {
    const { message, stats } = this;
    // What comes back to us from the link says nothing.
    if (equalMac(bytes, ETH_ALEN, this.parts.device.mac) || !readDiscovery(view, header, type, message)) {
      stats.ignored++;
      return;
    }
    if (type === NEIGHBOUR_SOLICITATION) this.inputSolicitation(bytes, header);
    else if (type === NEIGHBOUR_ADVERTISEMENT) this.inputAdvertisement(bytes, view);
    else this.inputRouter(bytes, view, header);
  }

  private inputSolicitation(bytes: Uint8Array, { source }: Ipv6Header): void {
    const { message, addresses, stats } = this;
    const own = addresses.find(message.target);
    if (own === undefined || own.state === 'duplicate') {
      stats.ignored++;
      return;
    }
    if (source.isUnspecified) {
      // Who would have it must not; and of two that both would, neither does.
      if (own.state === 'tentative') addresses.claimed(own, formatMac(bytes, ETH_ALEN));
      else this.advertise(own.address, ALL_NODES, groupMac(ALL_NODES, this.groupMac), OVERRIDE);
      return;
    }
    if (own.state === 'tentative' || !this.routers.isOnLink(source) || addresses.find(source) !== undefined) {
      stats.ignored++;
      return;
    }
    if (message.sourceMacAt >= 0) this.neighbours.heardFrom(source, bytes, message.sourceMacAt);
    const mac = this.neighbours.lookup(source);
    if (mac !== undefined) this.advertise(own.address, source, mac, SOLICITED | OVERRIDE);
    else {
      const length = this.write(own.address, source, this.groupMac, SOLICITED | OVERRIDE);
      this.neighbours.hold(source, this.writer.frame.slice(0, length), length, 0);
    }
  }
  private inputAdvertisement(bytes: Uint8Array, view: DataView): void {
    const { message, addresses, neighbours, routers } = this;
    const own = addresses.find(message.target);
    if (own !== undefined) {
      addresses.claimed(own, formatMac(bytes, ETH_ALEN));
      return;
    }
    const flags = view.getUint8(message.at + 4);
    const wasRouter = neighbours.find(message.target)?.isRouter === true;
    const isRouter = (flags & ROUTER) !== 0;
    const said = { isRouter, solicited: (flags & SOLICITED) !== 0, override: (flags & OVERRIDE) !== 0 };
    neighbours.heardAdvertisement(message.target, said, bytes, message.targetMacAt);
    if (wasRouter && !isRouter && this.parts.config.address === undefined) routers.router(message.target, 0);
  }

  // ---- routers ----

  private inputRouter(bytes: Uint8Array, view: DataView, { source }: Ipv6Header): void {
    // Who was given an address was given a router too.
    if (this.parts.config.address !== undefined) return;
    const { message, neighbours, routers, stats } = this;
    const now = this.parts.clock.now();
    const { at } = message;
    stats.routerAdvertisements++;
    this.solicitAtNs = Number.POSITIVE_INFINITY;
    const hopLimit = view.getUint8(at + 4);
    if (hopLimit !== 0) this.hopLimit = hopLimit;
    const seconds = view.getUint16(at + 6);
    routers.router(source.clone(), seconds === 0 ? 0 : now + seconds * 1e9);
    const reachable = view.getUint32(at + 8);
    if (reachable !== 0 && reachable <= MAX_REACHABLE_MS) neighbours.reachableNs = reachable * 1e6;
    const retrans = view.getUint32(at + 12);
    if (retrans >= MIN_RETRANS_MS && retrans <= MAX_RETRANS_MS) neighbours.retransNs = retrans * 1e6;
    if (message.mtu >= IPV6_MIN_MTU && message.mtu <= this.parts.device.mtu) this.mtu = message.mtu;
    if (message.sourceMacAt >= 0) neighbours.heardFrom(source, bytes, message.sourceMacAt);
    const entry = neighbours.find(source);
    if (entry !== undefined) entry.isRouter = true;
    for (const prefix of message.prefixes) this.inputPrefix(view, prefix, now);
    for (const option of message.nameservers) this.inputNameservers(view, option, now);
  }
  /** RFC 4861, 6.3.4 and RFC 4862, 5.5.3. */
  private inputPrefix(view: DataView, at: number, now: number): void {
    const length = view.getUint8(at + 2);
    const flags = view.getUint8(at + 3);
    const [validSeconds, preferredSeconds] = [view.getUint32(at + 4), view.getUint32(at + 8)];
    const prefix = new IpAddress().read(view, at + 16);
    // untrusted: nothing that no host can have; ::/0 on the link would take all from the router.
    if (length === 0 || length > 128 || prefix.isLinkLocal || prefix.isMulticast || prefix.isLoopback || prefix.isV4)
      return;
    if (flags & ON_LINK) this.routers.prefix(masked(prefix, length), length, until(now, validSeconds));
    if ((flags & AUTONOMOUS) === 0 || length !== 64 || preferredSeconds > validSeconds) return;
    const address = withIdentifier(prefix, this.parts.device.mac);
    const own = this.addresses.find(address);
    const preferredUntilNs = untilOr(now, preferredSeconds);
    if (own === undefined) {
      if (validSeconds === 0) return;
      const validUntilNs = untilOr(now, validSeconds);
      this.addresses.add(address, 64, this.neighbours.retransNs, { preferredUntilNs, validUntilNs });
      return;
    }
    if (!own.autoconfigured) return;
    own.preferredUntilNs = preferredUntilNs;
    const validUntilNs = untilOr(now, validSeconds);
    if (validUntilNs > Math.min(own.validUntilNs, now + TWO_HOURS_NS)) own.validUntilNs = validUntilNs;
    else if (own.validUntilNs - now > TWO_HOURS_NS) own.validUntilNs = now + TWO_HOURS_NS;
  }
  /** RFC 8106, 5.1. */
  private inputNameservers(view: DataView, at: number, now: number): void {
    const seconds = view.getUint32(at + 4);
    const end = at + view.getUint8(at + 1) * 8;
    for (let each = at + 8; each < end; each += 16) {
      const address = new IpAddress().read(view, each);
      if (address.isMulticast || address.isUnspecified || address.isLoopback || address.isV4) continue;
      this.routers.nameserver(address, until(now, seconds));
    }
  }

  // ---- what is sent ----

  private solicitRouter(now: number): void {
    this.solicitations++;
    this.solicitAtNs = now + SOLICITATION_NS;
    const source = this.linkLocalSource;
    const to = groupMac(ALL_ROUTERS, this.groupMac);
    this.transmit(this.writer.write(ROUTER_SOLICITATION, to, source, ALL_ROUTERS, { tell: !source.isUnspecified }));
  }
  /** :: while it is tentative. */
  private get linkLocalSource(): IpAddress {
    return this.addresses.has(this.linkLocal) ? this.linkLocal : UNSPECIFIED;
  }
  /** The address a neighbour is to answer to. */
  private sourceOf(target: IpAddress): IpAddress {
    const { addresses } = this;
    return addresses.sourceFor(target, target.isLinkLocal) ?? addresses.sourceFor(target, true) ?? UNSPECIFIED;
  }
  private solicit(target: IpAddress, mac: Uint8Array | undefined, source: IpAddress): void {
    this.stats.solicited++;
    const destination = mac === undefined ? solicitedNode(target, this.group) : target;
    const to = mac ?? groupMac(destination, this.groupMac);
    const tell = !source.isUnspecified;
    this.transmit(this.writer.write(NEIGHBOUR_SOLICITATION, to, source, destination, { target, tell }));
  }
  private advertise(target: IpAddress, destination: IpAddress, mac: Uint8Array, flags: number): void {
    this.transmit(this.write(target, destination, mac, flags));
  }
  private write(target: IpAddress, destination: IpAddress, mac: Uint8Array, flags: number): number {
    this.stats.advertised++;
    return this.writer.write(NEIGHBOUR_ADVERTISEMENT, mac, target, destination, { target, flags, tell: true });
  }
  private transmit(length: number): void {
    this.parts.device.send(this.writer.frame, length, 0);
  }
}

const ON_LINK = 0x80;
const AUTONOMOUS = 0x40;

const untilOr = (now: number, seconds: number): number =>
  seconds === FOREVER_SECONDS ? Number.POSITIVE_INFINITY : now + seconds * 1e9;
/** 0: no longer. */
const until = (now: number, seconds: number): number => (seconds === 0 ? 0 : untilOr(now, seconds));

/** A prefix, nothing behind it. */
export function masked(prefix: IpAddress, length: number): IpAddress {
  const word = (value: number, index: number): number => {
    const bits = Math.max(0, Math.min(32, length - 32 * index));
    return bits === 0 ? 0 : (value & (-1 << (32 - bits))) >>> 0;
  };
  return IpAddress.of(word(prefix.a, 0), word(prefix.b, 1), word(prefix.c, 2), word(prefix.d, 3));
}
