// Which MAC address a neighbour has, and whether it still answers (RFC 4861, 7). Bounded in entries and in frames held
// back; only who was asked, who asks us, and routers get an entry.
import type { Clock } from '#pvbus';
import { ETH_ALEN } from '../ethernet.ts';
import { type HeldFrame, HeldFrames } from '../held-frames.ts';
import type { IpAddress } from '../ip-address.ts';

export const NEIGHBOURS = 256;
const SOLICITS = 3;
export const DELAY_FIRST_PROBE_NS = 5e9;
const RETRANS_NS = 1e9;
const REACHABLE_NS = 30e9;

type State = 'INCOMPLETE' | 'REACHABLE' | 'STALE' | 'DELAY' | 'PROBE';

export interface NeighbourLink {
  /** Ask for an address: the neighbour that has had `mac`, or everybody. */
  solicit(target: IpAddress, mac: Uint8Array | undefined): void;
  transmit(frame: Uint8Array, length: number, flags: number): boolean;
  /** Nobody answers; the held frames are dropped. */
  unreachable(address: IpAddress, held: readonly HeldFrame[]): void;
}

export interface Neighbour {
  readonly address: IpAddress;
  readonly mac: Uint8Array;
  state: State;
  isRouter: boolean;
  usedNs: number;
  /** REACHABLE: until when; INCOMPLETE, DELAY and PROBE: when something is to be done. */
  deadlineNs: number;
  tries: number;
  readonly held: HeldFrames;
}

export interface Advertisement {
  readonly isRouter: boolean;
  readonly solicited: boolean;
  readonly override: boolean;
}

export class Neighbours {
  readonly stats = { solicits: 0, unreachable: 0, heldDropped: 0 };
  /** RFC 4861, 6.3.2, as the last router that said so has them. */
  retransNs = RETRANS_NS;
  reachableNs = REACHABLE_NS;
  private readonly link: NeighbourLink;
  private readonly clock: Clock;
  private readonly random: () => number;
  private readonly entries: Neighbour[] = [];
  /** The one that was looked up last. */
  private last: Neighbour | undefined;

  constructor(link: NeighbourLink, clock: Clock, random: () => number) {
    this.link = link;
    this.clock = clock;
    this.random = random;
  }

  get size(): number {
    return this.entries.length;
  }
  find(address: IpAddress): Neighbour | undefined {
    if (this.last?.address.equals(address)) return this.last;
    const found = this.entries.find(entry => entry.address.equals(address));
    if (found !== undefined) this.last = found;
    return found;
  }

  /** The MAC address of a neighbour, when it is known. The bytes are ours: copy them. */
  lookup(address: IpAddress): Uint8Array | undefined {
    const entry = this.find(address);
    if (entry === undefined || entry.state === 'INCOMPLETE') return undefined;
    const now = this.clock.now();
    entry.usedNs = now;
    if (entry.state === 'REACHABLE' && entry.deadlineNs <= now) entry.state = 'STALE';
    if (entry.state === 'STALE') {
      entry.state = 'DELAY';
      entry.deadlineNs = now + DELAY_FIRST_PROBE_NS;
    }
    return entry.mac;
  }
  /** It answers, or nobody has said yet that it does not. */
  isProbablyReachable(address: IpAddress): boolean {
    const entry = this.find(address);
    return entry !== undefined && entry.state !== 'INCOMPLETE';
  }

  /** Keep a copy of a frame until its next hop is known, then fill in the destination and send it. */
  hold(address: IpAddress, frame: Uint8Array, length: number, flags: number): void {
    const now = this.clock.now();
    const known = this.find(address);
    const entry = known ?? this.create(address, 'INCOMPLETE', now);
    entry.usedNs = now;
    this.stats.heldDropped += entry.held.hold(frame, length, flags);
    if (known === undefined) this.ask(entry, now);
  }

  /** It has told us its MAC address, without being asked. */
  heardFrom(address: IpAddress, frame: Uint8Array, macAt: number): void {
    const entry = this.find(address) ?? this.create(address, 'INCOMPLETE', this.clock.now());
    if (entry.state !== 'INCOMPLETE' && !differs(entry, frame, macAt)) return;
    this.setMac(entry, frame, macAt);
    entry.state = 'STALE';
    this.release(entry);
  }
  /** RFC 4861, 7.2.5. `macAt` is -1 where it did not say. */
  heardAdvertisement(address: IpAddress, said: Advertisement, frame: Uint8Array, macAt: number): void {
    const entry = this.find(address);
    if (entry === undefined) return;
    const now = this.clock.now();
    if (entry.state === 'INCOMPLETE') {
      if (macAt < 0) return;
      this.setMac(entry, frame, macAt);
      this.become(entry, said.solicited, now);
    } else {
      const other = macAt >= 0 && differs(entry, frame, macAt);
      if (other && !said.override) {
        if (entry.state === 'REACHABLE') entry.state = 'STALE';
        return;
      }
      if (other) this.setMac(entry, frame, macAt);
      if (said.solicited || other) this.become(entry, said.solicited, now);
    }
    entry.isRouter = said.isRouter;
    this.release(entry);
  }

  /** Ask again, probe, or give up, where it is time. */
  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    const now = this.clock.now();
    for (let i = this.entries.length - 1; i >= 0; i--) {
      const entry = this.entries[i];
      if (entry === undefined || !isTimed(entry) || entry.deadlineNs > now) continue;
      result = 'progress';
      if (entry.state === 'DELAY') {
        entry.state = 'PROBE';
        entry.tries = 0;
      }
      if (entry.tries < SOLICITS) this.ask(entry, now);
      else this.giveUp(entry);
    }
    return result;
  }
  /** When step() has something to do, in monotonic ns. */
  deadline(): number | undefined {
    let earliest: number | undefined;
    for (const entry of this.entries) {
      if (isTimed(entry) && (earliest === undefined || entry.deadlineNs < earliest)) earliest = entry.deadlineNs;
    }
    return earliest;
  }

  private create(address: IpAddress, state: State, now: number): Neighbour {
    if (this.entries.length >= NEIGHBOURS) this.evict();
    const entry: Neighbour = {
      address: address.clone(),
      mac: new Uint8Array(ETH_ALEN),
      state,
      isRouter: false,
      usedNs: now,
      deadlineNs: Number.POSITIVE_INFINITY,
      tries: 0,
      held: new HeldFrames(),
    };
    this.entries.push(entry);
    return entry;
  }
  /** The least recently used one goes; one that is known before one that is being asked for. */
  private evict(): void {
    let victim = this.entries[0]!;
    for (const entry of this.entries) {
      const [known, worst] = [entry.state !== 'INCOMPLETE', victim.state !== 'INCOMPLETE'];
      if (known === worst ? entry.usedNs < victim.usedNs : known) victim = entry;
    }
    this.stats.heldDropped += victim.held.length;
    this.remove(victim);
  }
  private remove(entry: Neighbour): void {
    this.entries.splice(this.entries.indexOf(entry), 1);
    if (this.last === entry) this.last = undefined;
  }
  private setMac(entry: Neighbour, frame: Uint8Array, at: number): void {
    for (let i = 0; i < ETH_ALEN; i++) entry.mac[i] = frame[at + i]!;
  }
  private become(entry: Neighbour, reachable: boolean, now: number): void {
    entry.state = reachable ? 'REACHABLE' : 'STALE';
    // RFC 4861, 6.3.2: at random, so that not all ask at once.
    entry.deadlineNs = now + this.reachableNs * (0.5 + this.random());
    entry.tries = 0;
  }
  private release(entry: Neighbour): void {
    if (entry.held.length === 0) return;
    this.stats.heldDropped += entry.held.release(entry.mac, this.link.transmit);
    this.lookup(entry.address); // it is used
  }
  private ask(entry: Neighbour, now: number): void {
    entry.tries++;
    entry.deadlineNs = now + this.retransNs;
    this.stats.solicits++;
    this.link.solicit(entry.address, entry.state === 'PROBE' ? entry.mac : undefined);
  }
  private giveUp(entry: Neighbour): void {
    this.remove(entry);
    this.stats.unreachable++;
    this.link.unreachable(entry.address, entry.held.take());
  }
}

const isTimed = ({ state }: Neighbour): boolean => state === 'INCOMPLETE' || state === 'DELAY' || state === 'PROBE';
function differs(entry: Neighbour, frame: Uint8Array, at: number): boolean {
  for (let i = 0; i < ETH_ALEN; i++) if (entry.mac[i] !== frame[at + i]) return true;
  return false;
}
