// What was written and not yet acknowledged, and the end of the stream.
import { ByteRing, type MemoryBudget } from './byte-ring.ts';
import { add, distance } from './sequence.ts';

export class SendQueue {
  /** The first byte that is kept: the oldest not acknowledged. */
  start: number;
  length = 0;
  /** Nothing more will be written: a FIN follows the last byte. */
  ended = false;
  /** Bytes it may hold; more is for the writer to keep. */
  limit: number;
  private readonly ring: ByteRing;

  constructor(start: number, limit: number, budget: MemoryBudget) {
    this.start = start;
    this.limit = limit;
    this.ring = new ByteRing(budget);
  }

  /** Behind the last byte written; the FIN's number if there is one. */
  get end(): number {
    return add(this.start, this.length);
  }
  get room(): number {
    return Math.max(0, this.limit - this.length);
  }

  /** Takes as many of `length` bytes as there is room for. */
  write(from: Uint8Array, at: number, length: number): number {
    const wanted = Math.min(length, this.room);
    if (wanted === 0) return 0;
    const capacity = this.ring.reserve(this.length + wanted, this.start, this.length);
    const taken = Math.min(wanted, capacity - this.length);
    this.ring.write(this.end, from, at, taken);
    this.length += taken;
    return taken;
  }
  read(seq: number, into: Uint8Array, at: number, length: number): void {
    this.ring.read(seq, into, at, length);
  }
  /** All before `seq` has been acknowledged. Returns how many bytes that frees. */
  acknowledge(seq: number): number {
    const freed = Math.min(this.length, Math.max(0, distance(seq, this.start)));
    this.start = add(this.start, freed);
    this.length -= freed;
    if (freed > 0 && this.length === 0) this.ring.emptied();
    return freed;
  }
  release(): void {
    this.length = 0;
    this.ring.release();
  }
}
