// Gets an address by DHCP and keeps it (RFC 2131, 4.4): asks, again and again if need be; renews at half of the lease, with
// anybody at seven eighths, and begins anew when it is over or refused.
import type { Clock, Log } from '#pvbus';
import { formatIpv4, IPV4_BROADCAST, isLoopback, isMulticast, isNetmask } from '../address.ts';
import type { Udp, UdpSocket } from '../udp.ts';
import { ACK, type DhcpReply, DISCOVER, encodeRequest, NAK, OFFER, RELEASE, REQUEST, readReply } from './message.ts';

const CLIENT = 68;
const SERVER = 67;
const FIRST_NS = 4e9;
/** After a refusal, for whoever refuses what it offers itself. */
const REFUSED_NS = 4e9;
const LONGEST_NS = 64e9;
/** Requests that are not answered before all begins anew. */
const REQUESTS = 4;
/** RFC 2131, 4.4.5: renewing is not asked for more often; nor earlier, unless half of the lease is less, whatever T1 and T2 are. */
const RENEW_NS = 60e9;
const FOREVER = 0xffffffff;

export interface Lease {
  readonly address: number;
  readonly netmask: number;
  readonly gateway: number | undefined;
  readonly nameservers: readonly number[];
}
export interface DhcpParts {
  readonly udp: Udp;
  readonly mac: Uint8Array;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log?: Log | undefined;
  readonly hostName?: string | undefined;
  /** What there is from now on; undefined: nothing any more. */
  onLease(lease: Lease | undefined): void;
}
type State = 'SELECTING' | 'REQUESTING' | 'BOUND' | 'RENEWING' | 'REBINDING';

export class DhcpClient {
  state: State = 'SELECTING';
  private readonly parts: DhcpParts;
  private readonly socket: UdpSocket;
  private transaction = 0;
  private offer: DhcpReply | undefined;
  private lease: Lease | undefined;
  private server = 0;
  private tries = 0;
  private beganNs = 0;
  private deadlineNs = 0;
  private renewNs = 0;
  private rebindNs = 0;
  private endNs = 0;

  constructor(parts: DhcpParts) {
    this.parts = parts;
    this.socket = parts.udp.bind(CLIENT);
    this.socket.onMessage((data, from) => {
      if (from.port === SERVER) this.heard(data);
    });
    this.begin();
    this.discover();
  }
  close(): void {
    this.socket.close();
  }
  /** Somebody else may have the address (RFC 2131, 4.4.6). Nobody answers, so the server may not have heard. True: it is told. */
  release(): boolean {
    const { lease, server } = this;
    if (lease === undefined) return false;
    this.newTransaction();
    this.send({ type: RELEASE, address: lease.address, server }, server);
    return true;
  }

  deadline(): number {
    return this.deadlineNs;
  }
  step(): 'progress' | 'idle' {
    const now = this.parts.clock.now();
    if (now < this.deadlineNs) return 'idle';
    if (this.state === 'SELECTING') this.discover();
    else if (this.state === 'REQUESTING') {
      if (this.tries >= REQUESTS) {
        this.begin();
        this.discover();
      } else this.request();
    } else if (now >= this.endNs) {
      this.parts.log?.warn(`dhcp: the lease of ${formatIpv4(this.lease!.address)} has ended`);
      this.lose();
      this.discover();
    } else {
      this.state = now >= this.rebindNs ? 'REBINDING' : 'RENEWING';
      this.renew(now);
    }
    return 'progress';
  }

  private begin(): void {
    this.state = 'SELECTING';
    this.offer = undefined;
    this.tries = 0;
    this.beganNs = this.parts.clock.now();
    this.newTransaction();
  }
  private lose(): void {
    this.lease = undefined;
    this.parts.onLease(undefined);
    this.begin();
  }
  private newTransaction(): void {
    this.transaction = Math.floor(this.parts.random() * 0x1_0000_0000);
  }
  private discover(): void {
    this.wait();
    this.send({ type: DISCOVER, address: 0 }, IPV4_BROADCAST);
  }
  private request(): void {
    this.wait();
    const { offer } = this;
    this.send({ type: REQUEST, address: 0, requested: offer!.address, server: offer!.server }, IPV4_BROADCAST);
  }
  private renew(now: number): void {
    const until = this.state === 'RENEWING' ? this.rebindNs : this.endNs;
    this.deadlineNs = Math.min(until, now + Math.max(RENEW_NS, (until - now) / 2));
    this.newTransaction();
    const to = this.state === 'RENEWING' ? this.server : IPV4_BROADCAST;
    this.send({ type: REQUEST, address: this.lease!.address }, to);
  }
  /** RFC 2131, 4.1: twice as long each time, give or take a second. */
  private wait(): void {
    const ns = Math.min(LONGEST_NS, FIRST_NS * 2 ** this.tries++);
    this.deadlineNs = this.parts.clock.now() + ns + (this.parts.random() * 2 - 1) * 1e9;
  }
  private send(
    what: { type: number; address: number; requested?: number; server?: number | undefined },
    to: number,
  ): void {
    const { mac, clock, hostName } = this.parts;
    const seconds = Math.floor((clock.now() - this.beganNs) / 1e9);
    const message = encodeRequest({ ...what, transaction: this.transaction, mac, seconds, hostName });
    try {
      this.socket.sendTo(message, { address: formatIpv4(to), port: SERVER });
    } catch {
      // There is no way to the server that gave the lease: the next try is a broadcast.
    }
  }

  private heard(data: Uint8Array): void {
    const reply = readReply(data, this.transaction, this.parts.mac);
    if (reply === undefined) return;
    if (this.state === 'SELECTING') {
      if (reply.type !== OFFER || reply.server === undefined || !isUsable(reply)) return;
      this.offer = reply;
      this.state = 'REQUESTING';
      this.tries = 0;
      this.request();
    } else if (this.state !== 'BOUND') this.answered(reply);
  }
  private answered(reply: DhcpReply): void {
    if (this.state === 'REQUESTING' && reply.server !== this.offer!.server) return;
    if (reply.type === NAK) {
      this.parts.log?.warn('dhcp: the server takes its offer back');
      this.lose();
      this.deadlineNs = this.parts.clock.now() + REFUSED_NS;
      return;
    }
    if (reply.type !== ACK || !isUsable(reply)) return;
    const now = this.parts.clock.now();
    const seconds = reply.leaseSeconds ?? 0;
    const forever = seconds === FOREVER;
    const soonest = now + Math.min(RENEW_NS, (seconds * 1e9) / 2);
    const part = (of: number | undefined, share: number): number =>
      Math.max(soonest, now + (of !== undefined && of <= seconds ? of : seconds * share) * 1e9);
    this.endNs = forever ? Number.POSITIVE_INFINITY : now + seconds * 1e9;
    this.rebindNs = forever ? Number.POSITIVE_INFINITY : part(reply.t2Seconds, 0.875);
    this.renewNs = forever ? Number.POSITIVE_INFINITY : Math.min(this.rebindNs, part(reply.t1Seconds, 0.5));
    this.deadlineNs = this.renewNs;
    this.state = 'BOUND';
    this.server = reply.server ?? this.server;
    const { address, netmask, gateway, nameservers } = reply;
    const lease = {
      address,
      netmask: netmask!,
      gateway: isOnLink(gateway, address, netmask!) ? gateway : undefined,
      nameservers,
    };
    const before = this.lease;
    this.lease = lease;
    if (before?.address !== address) {
      this.parts.log?.info(
        `dhcp: ${formatIpv4(address)} from ${formatIpv4(this.server)} for ${forever ? 'ever' : `${seconds} s`}`,
      );
    }
    this.parts.onLease(lease);
  }
}

/** untrusted: an address that a host can have, a mask, and a time that it is ours. */
function isUsable({ address, netmask, leaseSeconds, type }: DhcpReply): boolean {
  if (address === 0 || address >>> 28 === 15 || isMulticast(address) || isLoopback(address)) return false;
  if (netmask === undefined || netmask === 0 || !isNetmask(netmask)) return false;
  return type === OFFER || (leaseSeconds !== undefined && leaseSeconds >= 10);
}
const isOnLink = (gateway: number | undefined, address: number, netmask: number): boolean =>
  gateway !== undefined && ((gateway ^ address) & netmask) === 0;
