// Datagrams that come in parts (RFC 791, 3.2; RFC 8200, 4.5): what of each has come so far. Bounded in datagrams, in parts
// of one and in bytes; parts that overlap end their datagram (RFC 5722).
import type { Clock } from '#pvbus';
import type { IpAddress } from './ip-address.ts';

export const MAX_DATAGRAMS = 256;
export const MAX_HELD_BYTES = 2 << 20;
/** A datagram of 64 KiB in packets of the smallest link of IPv6 has 54; of 300 bytes, 235. */
export const MAX_PARTS = 256;
/** What keeping a part costs besides its bytes, so that many small ones are not for nothing. */
const PART_BYTES = 256;
const LARGEST_PAYLOAD = 0xffff;

export interface Part {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** One datagram of theirs at a time has it; with IPv4 the protocol is part of it. */
  readonly id: number;
  readonly offset: number;
  /** There are parts behind it. */
  readonly more: boolean;
  /** Where in the receive buffer its packet begins, what it carries, and how much that is. */
  readonly at: number;
  readonly payloadAt: number;
  readonly length: number;
}

interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** One that is complete, or will never be. */
export class Datagram {
  readonly source: string;
  readonly deadlineNs: number;
  /** The headers in front of the first part; undefined while that has not come. */
  head: Uint8Array | undefined;
  /** In order. */
  readonly pieces: Piece[] = [];
  /** Of all parts; undefined while the last has not come. */
  length: number | undefined;
  /** Of it there are parts that do not fit together: what else comes of it is dropped. */
  refused = false;
  held = 0;
  private got = 0;

  constructor(source: string, deadlineNs: number) {
    this.source = source;
    this.deadlineNs = deadlineNs;
  }
  get isComplete(): boolean {
    return this.got === this.length;
  }
  /** untrusted: false when it contradicts what has come. */
  add(bytes: Uint8Array, { offset, more, at, payloadAt, length }: Part): boolean {
    const end = offset + length;
    const { pieces } = this;
    if (end > LARGEST_PAYLOAD || (this.length !== undefined && end > this.length)) return false;
    let before = pieces.length;
    while (before > 0 && pieces[before - 1]!.offset >= offset) before--;
    const next = pieces[before];
    // RFC 8200, 4.5: a link may double a packet, and a double is no overlap; it is when it says something else.
    if (next !== undefined && next.offset === offset && next.bytes.length === length) {
      return isSame(next.bytes, bytes, payloadAt) && (more || this.length === end);
    }
    const previous = pieces[before - 1];
    if (previous !== undefined && previous.offset + previous.bytes.length > offset) return false;
    if (next !== undefined && next.offset < end) return false;
    if (!more) {
      if (this.length !== undefined || before < pieces.length) return false;
      this.length = end;
    }
    if (pieces.length >= MAX_PARTS) return false;
    pieces.splice(before, 0, { offset, bytes: bytes.slice(payloadAt, payloadAt + length) });
    if (offset === 0) this.head = bytes.slice(at, payloadAt);
    this.got += length;
    this.held += length + PART_BYTES;
    return true;
  }
  refuse(): void {
    this.refused = true;
    this.pieces.length = 0;
    this.head = undefined;
    this.held = 0;
  }
  /** What the parts carry, in order. */
  copyTo(into: Uint8Array, at: number): void {
    for (const { offset, bytes } of this.pieces) into.set(bytes, at + offset);
  }
  /** The packet of the first part. */
  get first(): Uint8Array | undefined {
    if (this.head === undefined) return undefined;
    const payload = this.pieces[0]!.bytes;
    const packet = new Uint8Array(this.head.length + payload.length);
    packet.set(this.head);
    packet.set(payload, this.head.length);
    return packet;
  }
}

export class Reassembly {
  readonly stats = { completed: 0, refused: 0, expired: 0, evicted: 0 };
  private readonly clock: Clock;
  private readonly timeoutNs: number;
  private readonly expired: (first: Uint8Array) => void;
  /** The oldest first. */
  private readonly datagrams = new Map<string, Datagram>();
  private held = 0;

  /** `expired` gets the packet of a first part whose datagram was not complete in time. */
  constructor(clock: Clock, timeoutNs: number, expired: (first: Uint8Array) => void) {
    this.clock = clock;
    this.timeoutNs = timeoutNs;
    this.expired = expired;
  }
  get size(): number {
    return this.datagrams.size;
  }
  /** Bytes kept. */
  get bytes(): number {
    return this.held;
  }

  /** untrusted: one part, of the private receive buffer. The datagram when it is complete now. */
  add(bytes: Uint8Array, part: Part): Datagram | undefined {
    const source = part.source.toString();
    const key = `${source} ${part.destination} ${part.id}`;
    let datagram = this.datagrams.get(key);
    if (datagram === undefined) {
      while (this.datagrams.size >= MAX_DATAGRAMS) this.evict();
      datagram = new Datagram(source, this.clock.now() + this.timeoutNs);
      this.datagrams.set(key, datagram);
    }
    if (datagram.refused) return undefined;
    this.held -= datagram.held;
    if (!datagram.add(bytes, part)) {
      datagram.refuse();
      this.stats.refused++;
      return undefined;
    }
    if (datagram.isComplete) {
      this.datagrams.delete(key);
      this.stats.completed++;
      return datagram;
    }
    this.held += datagram.held;
    while (this.held > MAX_HELD_BYTES) this.evict();
    return undefined;
  }

  step(): 'progress' | 'idle' {
    if (this.datagrams.size === 0) return 'idle';
    const now = this.clock.now();
    let result: 'progress' | 'idle' = 'idle';
    for (const [key, datagram] of this.datagrams) {
      if (datagram.deadlineNs > now) break;
      this.forget(key, datagram);
      result = 'progress';
      if (datagram.refused) continue;
      this.stats.expired++;
      const { first } = datagram;
      if (first !== undefined) this.expired(first);
    }
    return result;
  }
  deadline(): number | undefined {
    for (const { deadlineNs } of this.datagrams.values()) return deadlineNs;
    return undefined;
  }

  /** The oldest of the host that has the most here: who floods has its own dropped. */
  private evict(): void {
    const counts = new Map<string, number>();
    let most = '';
    for (const { source } of this.datagrams.values()) {
      const count = (counts.get(source) ?? 0) + 1;
      counts.set(source, count);
      if (count > (counts.get(most) ?? 0)) most = source;
    }
    for (const [key, datagram] of this.datagrams) {
      if (datagram.source !== most) continue;
      this.forget(key, datagram);
      this.stats.evicted++;
      return;
    }
  }
  private forget(key: string, datagram: Datagram): void {
    this.datagrams.delete(key);
    this.held -= datagram.held;
  }
}

function isSame(piece: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < piece.length; i++) if (piece[i] !== bytes[at + i]) return false;
  return true;
}
