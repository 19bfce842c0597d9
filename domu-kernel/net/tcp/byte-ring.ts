// Bytes of a stream by their sequence number. The memory is had when it is first needed, doubles as it is
// needed, and is counted against what all connections may have together.

/** What all connections of a stack have, and may have, of memory for data. */
export class MemoryBudget {
  used = 0;
  readonly limit: number;
  constructor(limit: number) {
    this.limit = limit;
  }
  take(bytes: number): boolean {
    if (this.used + bytes > this.limit) return false;
    this.used += bytes;
    return true;
  }
  give(bytes: number): void {
    this.used -= bytes;
  }
  /** From here on a connection has little, and what it does not use it gives back: so that all have something. */
  get isTight(): boolean {
    return this.used > this.limit / 2;
  }
}

/** What a connection gets in any case, while there is anything. */
export const FIRST = 4096;
const NOTHING = new Uint8Array(0);

export class ByteRing {
  private bytes = NOTHING;
  private readonly budget: MemoryBudget;

  constructor(budget: MemoryBudget) {
    this.budget = budget;
  }
  get capacity(): number {
    return this.bytes.length;
  }

  /**
   * Have room for `needed` bytes. What is kept are the `kept` bytes from `from`. Returns the capacity, which is
   * less when there is no memory for more.
   */
  reserve(needed: number, from: number, kept: number): number {
    const old = this.bytes;
    let capacity = Math.max(FIRST, old.length);
    while (capacity < needed && !this.budget.isTight) capacity *= 2;
    if (capacity <= old.length) return old.length;
    while (!this.budget.take(capacity - old.length)) {
      capacity /= 2;
      if (capacity <= old.length) return old.length;
      if (capacity < FIRST) return 0;
    }
    this.bytes = new Uint8Array(capacity);
    if (kept > 0) {
      const at = from & (old.length - 1);
      const first = Math.min(kept, old.length - at);
      this.write(from, old, at, first);
      this.write((from + first) >>> 0, old, 0, kept - first);
    }
    return capacity;
  }

  write(seq: number, from: Uint8Array, at: number, length: number): void {
    const { bytes } = this;
    const to = seq & (bytes.length - 1);
    const first = Math.min(length, bytes.length - to);
    if (first > 0) bytes.set(at === 0 && first === from.length ? from : from.subarray(at, at + first), to);
    if (length > first) bytes.set(from.subarray(at + first, at + length), 0);
  }
  read(seq: number, into: Uint8Array, at: number, length: number): void {
    const { bytes } = this;
    const from = seq & (bytes.length - 1);
    const first = Math.min(length, bytes.length - from);
    if (first > 0) into.set(bytes.subarray(from, from + first), at);
    if (length > first) into.set(bytes.subarray(0, length - first), at + first);
  }

  /** What it kept is not needed any more. */
  emptied(): void {
    if (this.budget.isTight) this.release();
  }
  release(): void {
    this.budget.give(this.bytes.length);
    this.bytes = NOTHING;
  }
}
