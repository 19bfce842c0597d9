// What the peer says it has of what is on its way (RFC 2018), and what that says of the rest (RFC 6675).
import { distance, earliest, isAfter, isBefore, latest } from './sequence.ts';

interface Range {
  start: number;
  end: number;
}
/** untrusted: blocks that would make more ranges than this are forgotten; it is only advice. */
export const MAX_SACKED_RANGES = 256;
/** RFC 6675: so many segments behind a hole say that it is lost. */
export const DUP_THRESH = 3;

export class Scoreboard {
  /** In order, apart from one another, between what is acknowledged and what was sent. */
  private readonly ranges: Range[] = [];
  /** Bytes in them. */
  sacked = 0;

  get isEmpty(): boolean {
    return this.ranges.length === 0;
  }
  /** Behind the last byte the peer has. */
  get highest(): number | undefined {
    return this.ranges.at(-1)?.end;
  }

  /** The peer has `start` to `end`, which lie between what is acknowledged and what was sent. True: that is news. */
  add(start: number, end: number): boolean {
    const { ranges } = this;
    let first = 0;
    while (first < ranges.length && isBefore(ranges[first]!.end, start)) first++;
    let last = first;
    let inside = 0;
    const merged = { start, end };
    for (; last < ranges.length && !isAfter(ranges[last]!.start, end); last++) {
      const range = ranges[last]!;
      inside += distance(range.end, range.start);
      merged.start = earliest(merged.start, range.start);
      merged.end = latest(merged.end, range.end);
    }
    const news = distance(merged.end, merged.start) - inside;
    if (news === 0 || (last === first && ranges.length >= MAX_SACKED_RANGES)) return false;
    ranges.splice(first, last - first, merged);
    this.sacked += news;
    return true;
  }
  /** All before `seq` has been acknowledged. */
  acknowledge(seq: number): void {
    const { ranges } = this;
    while (ranges.length > 0) {
      const first = ranges[0]!;
      if (!isBefore(first.start, seq)) return;
      const gone = distance(earliest(first.end, seq), first.start);
      this.sacked -= gone;
      if (isAfter(first.end, seq)) {
        first.start = seq;
        return;
      }
      ranges.shift();
    }
  }
  /** RFC 2018, 8: after a timeout the peer may have thrown away what it said it had. */
  clear(): void {
    this.ranges.length = 0;
    this.sacked = 0;
  }

  /** Everything before this that the peer has not said to have is lost, as RFC 6675's IsLost says; `una` when nothing is. */
  lostBefore(una: number, mss: number): number {
    const { ranges } = this;
    let bytes = 0;
    for (let i = ranges.length - 1; i >= 0; i--) {
      const { start, end } = ranges[i]!;
      bytes += distance(end, start);
      if (bytes > (DUP_THRESH - 1) * mss || ranges.length - i >= DUP_THRESH) return start;
    }
    return una;
  }
  /** The first byte from `from` on that the peer does not have. */
  nextHole(from: number): number {
    for (const { start, end } of this.ranges) {
      if (isBefore(from, start)) return from;
      if (isBefore(from, end)) return end;
    }
    return from;
  }
  /** Where the hole that `from` is in ends; `limit` at the latest. */
  holeEnd(from: number, limit: number): number {
    for (const { start } of this.ranges) if (isAfter(start, from)) return earliest(start, limit);
    return limit;
  }
  /** Bytes of `from` to `to` that the peer has not. */
  missing(from: number, to: number): number {
    let bytes = Math.max(0, distance(to, from));
    for (const { start, end } of this.ranges) {
      bytes -= Math.max(0, distance(earliest(end, to), latest(start, from)));
    }
    return bytes;
  }
}
