// What a bridge has learnt: which port a MAC address was last seen behind. A fixed table: an address has a few
// places it may be in, so a guest that invents addresses can fill the table but never make it grow, and its share
// of it is bounded. MAC addresses are two numbers: the first 16 bits, with the VLAN above them, and the other 32.

const WAYS = 8;
const NOBODY = -1;
/** The time of an entry that does not age. */
const PINNED = Number.POSITIVE_INFINITY;

export interface MacTableOptions {
  /** Addresses in all; a power of two. */
  readonly capacity?: number;
  /** Addresses learnt behind one port. */
  readonly perPort?: number;
  /** An address not seen for this long is forgotten. Linux and 802.1D: 300 s. */
  readonly ageNs?: number;
  /** In [0, 1): hidden from guests, so that they cannot choose addresses that share a place. */
  readonly random: () => number;
}

export class MacTable {
  private readonly high: Uint32Array;
  private readonly low: Int32Array;
  private readonly port: Int32Array;
  private readonly seenNs: Float64Array;
  private readonly learnt: number[] = [];
  private readonly perPort: number;
  private readonly ageNs: number;
  private readonly seed: number;
  private readonly shift: number;

  constructor(options: MacTableOptions) {
    const capacity = options.capacity ?? 4096;
    this.high = new Uint32Array(capacity);
    this.low = new Int32Array(capacity);
    this.port = new Int32Array(capacity).fill(NOBODY);
    this.seenNs = new Float64Array(capacity);
    this.perPort = options.perPort ?? capacity / 4;
    this.ageNs = options.ageNs ?? 300e9;
    this.seed = Math.floor(options.random() * 0x1_0000_0000) | 0;
    this.shift = 32 - Math.log2(capacity / WAYS);
  }

  /** The port behind which the address was seen; -1 when it is not known (any more). */
  lookup(high: number, low: number, nowNs: number): number {
    const i = this.find(high, low | 0);
    return i >= 0 && nowNs - this.seenNs[i]! <= this.ageNs ? this.port[i]! : NOBODY;
  }

  /** The address was seen behind `port`. A pinned address stays where it is. */
  learn(high: number, low: number, port: number, nowNs: number): void {
    const known = this.find(high, low | 0);
    if (known >= 0) {
      if (this.seenNs[known] === PINNED) return;
      if (this.port[known] !== port) {
        this.release(known);
        if (!this.mayLearn(port)) return;
        this.take(known, high, low, port, nowNs);
      }
      this.seenNs[known] = nowNs;
      return;
    }
    const place = this.placeFor(high, low | 0, port, nowNs);
    if (place < 0) return;
    if (this.port[place] !== NOBODY) this.release(place);
    this.take(place, high, low, port, nowNs);
  }

  /** The address belongs to `port` until that is forgotten. False when there is no place for one more. */
  pin(high: number, low: number, port: number): boolean {
    let place = this.find(high, low | 0);
    if (place < 0) place = this.oldest(high, low | 0);
    if (place < 0) return false;
    if (this.port[place] !== NOBODY) this.release(place);
    this.high[place] = high;
    this.low[place] = low | 0;
    this.port[place] = port;
    this.seenNs[place] = PINNED;
    return true;
  }

  /** Everything behind `port` is forgotten. */
  forget(port: number): void {
    for (let i = 0; i < this.port.length; i++) if (this.port[i] === port) this.release(i);
  }

  /** Addresses learnt behind `port`, aged ones among them. */
  learntBehind(port: number): number {
    return this.learnt[port] ?? 0;
  }

  private find(high: number, low: number): number {
    const first = this.bucket(high, low);
    for (let i = first; i < first + WAYS; i++) {
      if (this.low[i] === low && this.high[i] === high && this.port[i] !== NOBODY) return i;
    }
    return -1;
  }

  private bucket(high: number, low: number): number {
    let h = Math.imul(low ^ this.seed, 0x9e3779b1) ^ high;
    h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h >>> this.shift) * WAYS;
  }

  private mayLearn(port: number): boolean {
    return (this.learnt[port] ?? 0) < this.perPort;
  }

  /** A place for an address behind `port`; one that has used up its share only gets a place of its own. */
  private placeFor(high: number, low: number, port: number, nowNs: number): number {
    const oldest = this.oldest(high, low);
    if (this.mayLearn(port) || oldest < 0) return oldest;
    const first = this.bucket(high, low);
    let own = -1;
    for (let i = first; i < first + WAYS; i++) {
      if (this.port[i] !== port || this.seenNs[i] === PINNED) continue;
      if (own < 0 || this.seenNs[i]! < this.seenNs[own]!) own = i;
    }
    return own >= 0 && this.seenNs[own]! <= nowNs ? own : -1;
  }

  /** A free place, else the one seen longest ago; -1 when all are pinned. */
  private oldest(high: number, low: number): number {
    const first = this.bucket(high, low);
    let oldest = -1;
    for (let i = first; i < first + WAYS; i++) {
      if (this.port[i] === NOBODY) return i;
      if (this.seenNs[i] !== PINNED && (oldest < 0 || this.seenNs[i]! < this.seenNs[oldest]!)) oldest = i;
    }
    return oldest;
  }

  private take(place: number, high: number, low: number, port: number, nowNs: number): void {
    this.high[place] = high;
    this.low[place] = low | 0;
    this.port[place] = port;
    this.seenNs[place] = nowNs;
    this.learnt[port] = (this.learnt[port] ?? 0) + 1;
  }

  private release(place: number): void {
    const port = this.port[place]!;
    if (this.seenNs[place] !== PINNED) this.learnt[port] = (this.learnt[port] ?? 1) - 1;
    this.port[place] = NOBODY;
  }
}
