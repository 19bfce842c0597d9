// Who has which address (RFC 2131, 4.3). A client, known by its MAC address, gets the same one again as long as it can.
import { formatAddress } from './addresses.ts';
import {
  ACK,
  DECLINE,
  type DhcpRequest,
  DISCOVER,
  INFORM,
  NAK,
  OFFER,
  RELEASE,
  REQUEST,
  readRequest,
  writeReply,
} from './dhcp-message.ts';

const NETMASK = 1;
const ROUTER = 3;
const NAME_SERVER = 6;
const LEASE_TIME = 51;
const SERVER = 54;
const T1 = 58;
const T2 = 59;
const BROADCAST = '255.255.255.255';
/** An offer that nobody takes up is another's after this. */
const OFFER_SECONDS = 30;
/** An address that somebody else was found to have. */
const DECLINED_SECONDS = 600;

export interface Lease {
  readonly mac: string;
  readonly address: number;
  /** Seconds since 1970. */
  readonly until: number;
}
export interface DhcpOptions {
  readonly own: number;
  readonly netmask: number;
  /** The pool, both ends in it. */
  readonly first: number;
  readonly last: number;
  readonly leaseSeconds: number;
  /** Addresses that one client has and no other gets, within the pool or not. */
  readonly fixed: ReadonlyMap<string, number>;
  readonly leases: readonly Lease[];
  /** All leases, before the client hears of a new one. */
  saved(leases: readonly Lease[]): void;
  log(line: string): void;
}

export class DhcpServer {
  private readonly o: DhcpOptions;
  /** Of a client, kept after its end until another client needs the address. */
  private readonly leases = new Map<string, Lease>();
  private readonly holders = new Map<number, string>();
  private readonly offers = new Map<string, Lease>();
  private readonly declined = new Map<number, number>();

  constructor(options: DhcpOptions) {
    this.o = options;
    const { own, netmask, first, last, fixed, leaseSeconds, leases } = options;
    const isHost = (address: number): boolean =>
      ((address ^ own) & netmask) === 0 && (address & ~netmask) !== 0 && (address | netmask) >>> 0 !== 0xffffffff;
    for (const address of [first, last, ...fixed.values()]) {
      if (!isHost(address) || address === own) throw new Error(`dhcp: ${formatAddress(address)} cannot be given away`);
    }
    if (first > last || last - first > 4095) throw new Error('dhcp: no such pool');
    if (!(leaseSeconds >= 10)) throw new Error('dhcp: a lease is for 10 seconds at least');
    for (const lease of leases) {
      if (this.isPooled(lease.address) && !this.holders.has(lease.address)) this.hold(lease);
    }
  }

  /** What to send to whom; undefined: nothing. */
  answer(message: Uint8Array, now: number): { message: Uint8Array; to: string } | undefined {
    const request = readRequest(message);
    if (request === undefined) return undefined;
    if (request.type === DISCOVER) return this.offer(message, request, now);
    if (request.type === REQUEST) return this.request(message, request, now);
    if (request.type === INFORM && request.address !== 0) return this.reply(message, ACK, 0, request.address, false);
    if (request.type === RELEASE) this.release(request, now);
    else if (request.type === DECLINE) this.decline(request, now);
    return undefined;
  }

  private offer(message: Uint8Array, { mac, requested }: DhcpRequest, now: number) {
    const address = this.addressFor(mac, requested, now);
    if (address === undefined) {
      this.o.log(`${mac} asks for an address, and there is none left`);
      return undefined;
    }
    this.offers.delete(mac);
    // untrusted: who asks in many names has as many offers as there are addresses.
    this.offers.set(mac, { mac, address, until: now + OFFER_SECONDS });
    return this.reply(message, OFFER, address, 0);
  }

  private request(message: Uint8Array, { mac, address, requested, server }: DhcpRequest, now: number) {
    const { own, leaseSeconds } = this.o;
    if (server !== undefined && server !== own) {
      this.offers.delete(mac); // another server's offer was better
      return undefined;
    }
    const wanted = requested ?? address;
    if (wanted === 0) return undefined;
    if (this.addressFor(mac, wanted, now) !== wanted) return this.reply(message, NAK, 0, 0);
    this.offers.delete(mac);
    const before = this.leases.get(mac);
    this.hold({ mac, address: wanted, until: now + leaseSeconds });
    // order: on the disk before the client believes it.
    if (this.isPooled(wanted)) this.o.saved([...this.leases.values()].filter(lease => this.isPooled(lease.address)));
    if (before?.address !== wanted) this.o.log(`${formatAddress(wanted)} is ${mac}'s`);
    return this.reply(message, ACK, wanted, address);
  }

  private release({ mac, address }: DhcpRequest, now: number): void {
    const lease = this.leases.get(mac);
    if (lease !== undefined && lease.address === address) this.leases.set(mac, { ...lease, until: now });
  }
  private decline({ mac, requested }: DhcpRequest, now: number): void {
    if (requested === undefined || !this.isPooled(requested)) return;
    if (this.holders.get(requested) !== mac && this.offers.get(mac)?.address !== requested) return;
    this.o.log(`somebody else has ${formatAddress(requested)}, says ${mac}`);
    this.declined.set(requested, now + DECLINED_SECONDS);
    this.offers.delete(mac);
    this.forget(mac);
  }

  /** The one address that `mac` may have now; `wanted` if that is possible. */
  private addressFor(mac: string, wanted: number | undefined, now: number): number | undefined {
    const fixed = this.o.fixed.get(mac);
    if (fixed !== undefined) return fixed;
    const own = this.leases.get(mac)?.address ?? this.offered(mac, now);
    if (own !== undefined && this.isFree(own, mac, now)) return own;
    if (wanted !== undefined && this.isPooled(wanted) && this.isFree(wanted, mac, now)) return wanted;
    const { first, last } = this.o;
    for (let address = first; address <= last; address++) {
      if (!this.holders.has(address) && this.isFree(address, mac, now)) return address;
    }
    for (let address = first; address <= last; address++) if (this.isFree(address, mac, now)) return address;
    return undefined;
  }
  private offered(mac: string, now: number): number | undefined {
    const offer = this.offers.get(mac);
    return offer !== undefined && offer.until > now ? offer.address : undefined;
  }
  private isFree(address: number, mac: string, now: number): boolean {
    if (!this.isPooled(address) || (this.declined.get(address) ?? 0) > now) return false;
    const holder = this.holders.get(address);
    if (holder !== undefined && holder !== mac && this.leases.get(holder)!.until > now) return false;
    for (const offer of this.offers.values()) {
      if (offer.until <= now) this.offers.delete(offer.mac);
      else if (offer.address === address && offer.mac !== mac) return false;
    }
    return true;
  }
  private isPooled(address: number): boolean {
    const { first, last, own, fixed } = this.o;
    if (address < first || address > last || address === own) return false;
    for (const one of fixed.values()) if (one === address) return false;
    return true;
  }
  private hold(lease: Lease): void {
    this.forget(lease.mac);
    const holder = this.holders.get(lease.address);
    if (holder !== undefined) this.forget(holder);
    this.leases.set(lease.mac, lease);
    this.holders.set(lease.address, lease.mac);
  }
  private forget(mac: string): void {
    const lease = this.leases.get(mac);
    if (lease === undefined) return;
    this.leases.delete(mac);
    this.holders.delete(lease.address);
  }

  /** `client`: the address it has already; without one it hears only what is for everybody. */
  private reply(request: Uint8Array, type: number, address: number, client: number, leased = type !== NAK) {
    const { own, netmask, leaseSeconds } = this.o;
    const times = leased
      ? ([
          [LEASE_TIME, leaseSeconds],
          [T1, Math.floor(leaseSeconds / 2)],
          [T2, Math.floor((leaseSeconds * 7) / 8)],
        ] as const)
      : [];
    const network =
      type === NAK
        ? []
        : ([
            [NETMASK, netmask],
            [ROUTER, own],
            [NAME_SERVER, own],
          ] as const);
    const message = writeReply(request, type, address, [[SERVER, own], ...times, ...network]);
    return { message, to: client === 0 ? BROADCAST : formatAddress(client) };
  }
}
