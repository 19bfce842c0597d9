// ARP (RFC 826): which MAC address an on-link IPv4 address has. Bounded in entries and in frames held back,
// and every change made by a peer's packet is one that peer could have made by answering a question of ours.
import type { Clock, Log } from '#pvbus';
import { formatIpv4, formatMac, IPV4_BROADCAST, isLoopback, isMulticast } from './address.ts';
import {
  BROADCAST_MAC,
  ETH_ALEN,
  ETH_HLEN,
  ETHERTYPE_ARP,
  equalMac,
  isGroupMac,
  writeEthernet,
  writeMac,
} from './ethernet.ts';
import { type HeldFrame, HeldFrames } from './held-frames.ts';

export const ARP_LENGTH = 28;
const REQUEST = 1;
const REPLY = 2;

// Offsets in a frame.
const HTYPE = ETH_HLEN;
const PTYPE = ETH_HLEN + 2;
const HLEN = ETH_HLEN + 4;
const PLEN = ETH_HLEN + 5;
const OPER = ETH_HLEN + 6;
const SHA = ETH_HLEN + 8;
const SPA = ETH_HLEN + 14;
const THA = ETH_HLEN + 18;
const TPA = ETH_HLEN + 24;

export const ARP_ENTRIES = 256;
export const ARP_TRIES = 3;
export const ARP_RETRY_NS = 1e9;
/** An answer older than this is asked for again when it is next used. */
export const ARP_FRESH_NS = 60e9;
/** An address does not change owner within this time of an answer: the first of two stands. As Linux, but for who announces itself. */
const ARP_LOCK_NS = 1e9;

/** What ARP needs to know of the interface, and how it speaks. */
export interface ArpLink {
  readonly mac: Uint8Array;
  /** 0: none. */
  address(): number;
  isOnLink(address: number): boolean;
  transmit(frame: Uint8Array, length: number, flags: number): boolean;
  /** Nobody answered for `address`; the held frames are dropped. */
  unreachable(address: number, held: readonly HeldFrame[]): void;
}

interface Entry {
  readonly address: number;
  readonly mac: Uint8Array;
  known: boolean;
  confirmedNs: number;
  usedNs: number;
  /** Requests sent, or put off, since the last answer; 0: none outstanding. */
  tries: number;
  retryNs: number;
  /** For it, while it is being asked for. */
  readonly held: HeldFrames;
}

export class Arp {
  readonly stats = { requests: 0, replies: 0, ignored: 0, conflicts: 0, unreachable: 0, heldDropped: 0 };
  private readonly link: ArpLink;
  private readonly clock: Clock;
  private readonly log: Log | undefined;
  private readonly entries = new Map<number, Entry>();
  /** Entries with a request outstanding. */
  private readonly asking = new Set<Entry>();
  private readonly frame = new Uint8Array(ETH_HLEN + ARP_LENGTH);
  private readonly view = new DataView(this.frame.buffer);

  constructor(link: ArpLink, clock: Clock, log?: Log) {
    this.link = link;
    this.clock = clock;
    this.log = log;
  }

  get size(): number {
    return this.entries.size;
  }

  /** The MAC address of an on-link address, when it is known. The bytes are ours: copy them. */
  lookup(address: number): Uint8Array | undefined {
    const entry = this.entries.get(address);
    if (!entry?.known) return undefined;
    const now = this.clock.now();
    entry.usedNs = now;
    if (entry.tries === 0 && now - entry.confirmedNs > ARP_FRESH_NS) this.ask(entry, now);
    return entry.mac;
  }

  /** Keep a copy of a frame until its next hop is known, then fill in the destination and send it. */
  hold(address: number, frame: Uint8Array, length: number, flags: number): void {
    const now = this.clock.now();
    const entry = this.entries.get(address) ?? this.create(address, now);
    entry.usedNs = now;
    this.stats.heldDropped += entry.held.hold(frame, length, flags);
    if (entry.tries === 0) this.ask(entry, now);
  }

  /** Gratuitous ARP: tell everybody on the link where our address is. */
  announce(): void {
    this.write(REQUEST, BROADCAST_MAC, ZERO_MAC, this.link.address());
  }

  /** One received ARP frame in a private buffer; `length` counts the Ethernet header. */
  input(frame: Uint8Array, view: DataView, length: number): void {
    const bad =
      length < ETH_HLEN + ARP_LENGTH ||
      view.getUint16(HTYPE) !== 1 ||
      view.getUint16(PTYPE) !== 0x0800 ||
      frame[HLEN] !== ETH_ALEN ||
      frame[PLEN] !== 4;
    if (bad || isGroupMac(frame, SHA) || equalMac(frame, SHA, ZERO_MAC) || equalMac(frame, SHA, this.link.mac)) {
      this.stats.ignored++;
      return;
    }
    const sender = view.getUint32(SPA);
    const forUs = view.getUint32(TPA) === this.link.address() && this.link.address() !== 0;
    if (sender === this.link.address() && sender !== 0) {
      this.conflict(frame);
      return;
    }
    const plausible = sender !== 0 && this.link.isOnLink(sender) && !isMulticast(sender) && !isLoopback(sender);
    const isRequest = view.getUint16(OPER) === REQUEST;
    const announced = view.getUint32(TPA) === sender && (isRequest || equalMac(frame, THA, frame.subarray(SHA)));
    if (plausible && sender !== IPV4_BROADCAST) this.learn(sender, frame, forUs && isRequest, announced);
    else if (sender !== 0) this.stats.ignored++;
    if (forUs && isRequest) {
      const mac = frame.slice(SHA, SHA + ETH_ALEN);
      this.stats.replies++;
      this.write(REPLY, mac, mac, sender);
    }
  }

  /** Ask again, or give up, where it is time. */
  step(): 'progress' | 'idle' {
    if (this.asking.size === 0) return 'idle';
    const now = this.clock.now();
    let result: 'progress' | 'idle' = 'idle';
    for (const entry of [...this.asking]) {
      if (entry.retryNs > now) continue;
      result = 'progress';
      if (entry.tries < ARP_TRIES) this.ask(entry, now);
      else this.giveUp(entry);
    }
    return result;
  }

  /** When step() has something to do, in monotonic ns. */
  deadline(): number | undefined {
    let earliest: number | undefined;
    for (const { retryNs } of this.asking) if (earliest === undefined || retryNs < earliest) earliest = retryNs;
    return earliest;
  }

  private create(address: number, now: number): Entry {
    if (this.entries.size >= ARP_ENTRIES) this.evict();
    const entry: Entry = {
      address,
      mac: new Uint8Array(ETH_ALEN),
      known: false,
      confirmedNs: 0,
      usedNs: now,
      tries: 0,
      retryNs: 0,
      held: new HeldFrames(),
    };
    this.entries.set(address, entry);
    return entry;
  }

  /** The least recently used one goes; a known one before one that is being asked for. */
  private evict(): void {
    let victim: Entry | undefined;
    for (const entry of this.entries.values()) {
      const worse = victim === undefined || (entry.known === victim.known ? entry.usedNs < victim.usedNs : entry.known);
      if (worse) victim = entry;
    }
    if (victim) this.remove(victim);
  }

  private remove(entry: Entry): void {
    this.entries.delete(entry.address);
    this.asking.delete(entry);
    this.stats.heldDropped += entry.held.length;
  }

  private learn(address: number, frame: Uint8Array, mayCreate: boolean, announced: boolean): void {
    const now = this.clock.now();
    let entry = this.entries.get(address);
    if (!entry) {
      // Only who asks for us is going to need an answer from us; nobody else's word makes an entry.
      if (!mayCreate) return;
      entry = this.create(address, now);
    }
    const changes = entry.known && !equalMac(frame, SHA, entry.mac);
    if (changes && now - entry.confirmedNs < ARP_LOCK_NS) {
      if (entry.tries === 0) this.askLater(entry, entry.confirmedNs + ARP_LOCK_NS);
      if (!announced) {
        this.stats.ignored++;
        return;
      }
    }
    for (let i = 0; i < ETH_ALEN; i++) entry.mac[i] = frame[SHA + i]!;
    // An announcement is used at once, and answers no question that is out, or will be when the lock ends.
    if (announced && entry.known && entry.tries > 0) return;
    entry.known = true;
    entry.confirmedNs = now;
    entry.tries = 0;
    this.asking.delete(entry);
    this.stats.heldDropped += entry.held.release(entry.mac, this.link.transmit);
  }

  private conflict(frame: Uint8Array): void {
    if (this.stats.conflicts++ === 0) {
      this.log?.warn(`arp: ${formatMac(frame, SHA)} also claims our address ${formatIpv4(this.link.address())}`);
    }
  }

  private ask(entry: Entry, now: number): void {
    entry.tries++;
    entry.retryNs = now + ARP_RETRY_NS;
    this.asking.add(entry);
    this.stats.requests++;
    this.write(REQUEST, BROADCAST_MAC, ZERO_MAC, entry.address);
  }

  /** Two claim it: whoever answers then has it. A guest that is made anew has another MAC address, and announces it. */
  private askLater(entry: Entry, atNs: number): void {
    entry.tries = 1;
    entry.retryNs = atNs;
    this.asking.add(entry);
  }

  private giveUp(entry: Entry): void {
    this.entries.delete(entry.address);
    this.asking.delete(entry);
    this.stats.unreachable++;
    this.link.unreachable(entry.address, entry.held.take());
  }

  private write(operation: number, destination: Uint8Array, target: Uint8Array, address: number): void {
    const { frame, view } = this;
    writeEthernet(frame, destination, this.link.mac, ETHERTYPE_ARP);
    view.setUint16(HTYPE, 1);
    view.setUint16(PTYPE, 0x0800);
    frame[HLEN] = ETH_ALEN;
    frame[PLEN] = 4;
    view.setUint16(OPER, operation);
    writeMac(frame, SHA, this.link.mac);
    view.setUint32(SPA, this.link.address());
    writeMac(frame, THA, target);
    view.setUint32(TPA, address);
    this.link.transmit(frame, frame.length, 0);
  }
}

const ZERO_MAC = new Uint8Array(ETH_ALEN);
