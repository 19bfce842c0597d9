// What has arrived and not yet been read: bytes in order, and behind gaps those that came too early.
import { ByteRing, FIRST, type MemoryBudget } from './byte-ring.ts';
import { add, distance, earliest, isAfter, isBefore, latest } from './sequence.ts';

interface Range {
  start: number;
  end: number;
}
/** untrusted: a peer that leaves more gaps than this has what follows dropped. */
export const MAX_RANGES = 256;

export class ReceiveQueue {
  /** The next byte in order that has not come. */
  next: number;
  /** Bytes in order that wait to be read. */
  readable = 0;
  /** Bytes it may hold. */
  limit: number;
  /** In order, apart from one another and from `next`. */
  private readonly ranges: Range[] = [];
  /** Where the last segment out of order was put: RFC 2018 wants its block first. */
  private lastStart = 0;
  private readonly ring: ByteRing;
  private readonly budget: MemoryBudget;

  constructor(next: number, limit: number, budget: MemoryBudget) {
    this.next = next;
    this.limit = limit;
    this.budget = budget;
    this.ring = new ByteRing(budget);
  }

  get window(): number {
    const { limit } = this;
    return Math.max(
      0,
      (this.budget.isTight ? Math.min(limit, Math.max(FIRST, this.ring.capacity)) : limit) - this.readable,
    );
  }
  get hasGaps(): boolean {
    return this.ranges.length > 0;
  }

  /**
   * `length` bytes that begin at `seq`, all of them inside the window. Returns by how much `next` moved; what
   * there was no memory for has not come.
   */
  insert(seq: number, from: Uint8Array, at: number, length: number): number {
    const old = distance(this.next, seq);
    if (old > 0) {
      seq = this.next;
      at += old;
      length -= old;
    }
    if (length <= 0) return 0;
    const ahead = distance(seq, this.next);
    const end = ahead + length;
    const capacity = this.ring.reserve(this.readable + end, add(this.next, -this.readable), this.readable + this.reach);
    const fits = Math.min(length, capacity - this.readable - ahead);
    if (fits <= 0) return 0;
    if (ahead > 0 && !this.remember(seq, add(seq, fits))) return 0;
    this.ring.write(seq, from, at, fits);
    if (ahead > 0) return 0;
    const before = this.next;
    this.next = add(seq, fits);
    for (let first = this.ranges[0]; first && !isAfter(first.start, this.next); first = this.ranges[0]) {
      this.next = latest(this.next, first.end);
      this.ranges.shift();
    }
    const moved = distance(this.next, before);
    this.readable += moved;
    return moved;
  }

  /** Copies what there is in order, as much as fits. */
  read(into: Uint8Array, at: number, length: number): number {
    const n = Math.min(length, this.readable);
    if (n === 0) return 0;
    this.ring.read(add(this.next, -this.readable), into, at, n);
    this.readable -= n;
    if (this.readable === 0 && !this.hasGaps) this.ring.emptied();
    return n;
  }

  /** The same, and they stay. */
  peek(into: Uint8Array): number {
    const n = Math.min(into.length, this.readable);
    if (n > 0) this.ring.read(add(this.next, -this.readable), into, 0, n);
    return n;
  }

  /** As a SACK option has them, at most `most`, the newest first. Returns how many there are. */
  writeBlocks(view: DataView, at: number, most: number): number {
    const { ranges, lastStart } = this;
    const newest = ranges.findIndex(range => !isAfter(range.start, lastStart) && isAfter(range.end, lastStart));
    let count = 0;
    const put = ({ start, end }: Range): void => {
      view.setUint32(at + count * 8, start);
      view.setUint32(at + count * 8 + 4, end);
      count++;
    };
    if (newest >= 0 && most > 0) put(ranges[newest]!);
    for (let i = 0; i < ranges.length && count < most; i++) if (i !== newest) put(ranges[i]!);
    return count;
  }

  /** Drop everything. */
  release(): void {
    this.readable = 0;
    this.ranges.length = 0;
    this.ring.release();
  }

  /** From `next` to behind the last byte that came too early. */
  private get reach(): number {
    const last = this.ranges.at(-1);
    return last === undefined ? 0 : distance(last.end, this.next);
  }

  /** Bytes `start` to `end` are here though those before them are not. False: there are too many gaps. */
  private remember(start: number, end: number): boolean {
    const { ranges } = this;
    let first = 0;
    while (first < ranges.length && isBefore(ranges[first]!.end, start)) first++;
    let last = first;
    const merged = { start, end };
    for (; last < ranges.length && !isAfter(ranges[last]!.start, end); last++) {
      merged.start = earliest(merged.start, ranges[last]!.start);
      merged.end = latest(merged.end, ranges[last]!.end);
    }
    if (last === first && ranges.length >= MAX_RANGES) return false;
    ranges.splice(first, last - first, merged);
    this.lastStart = start;
    return true;
  }
}
