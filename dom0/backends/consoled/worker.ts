// One console's rings: what the guest writes goes to its sinks, what its clients type goes to the guest.
import { type ByteRingEnd, type Clock, consoleRing, type Page, XENCONS_OUT_SIZE } from '#pvbus';
import type { ConsoleFaults } from './console-faults.ts';
import type { ConsoleStats } from './stats.ts';

/** Where output goes. It must take everything: the guest is not to wait for a reader. */
export type OutputSink = (bytes: Uint8Array) => void;

export interface ConsoleEnds {
  readonly page: Page;
  readonly clock: Clock;
  readonly stats: ConsoleStats;
  readonly output: OutputSink;
  /** Tell the guest that its rings have moved. */
  notify(): void;
  /** The input queue has room again. */
  inputWanted(): void;
}

/** A guest may write this much at once, and then this much a second, so that it cannot fill dom0's time or disk. */
const BURST_BYTES = 256 << 10;
const BYTES_PER_SECOND = 1 << 20;
/** A ring's worth is earned, so that a throttled guest is served in few, full turns. */
const REFILL_NS = (XENCONS_OUT_SIZE / BYTES_PER_SECOND) * 1e9;
/** Typed bytes that wait for the guest; more are left in the clients' sockets. */
const INPUT_QUEUE_BYTES = 4096;

export class ConsoleWorker {
  readonly #ends: ConsoleEnds;
  readonly #ring: ByteRingEnd;
  readonly #chunk = new Uint8Array(XENCONS_OUT_SIZE);
  readonly #input = new Uint8Array(INPUT_QUEUE_BYTES);
  #inputLength = 0;
  #allowance = BURST_BYTES;
  #refilledAt: number;
  #broken = false;
  #isLast = false;
  /** What befalls its bytes. */
  faults: ConsoleFaults | undefined;

  constructor(ends: ConsoleEnds) {
    this.#ends = ends;
    this.#ring = consoleRing(ends.page, 'back');
    this.#refilledAt = ends.clock.now();
  }

  /** True once the guest's indices were impossible: nothing of this page is read or written again. */
  get broken(): boolean {
    return this.#broken;
  }
  /** Room for typed bytes; a client that has more must wait for inputWanted. */
  get inputRoom(): number {
    return this.#input.length - this.#inputLength;
  }
  /** Takes at most `inputRoom` bytes; returns how many. */
  type(bytes: Uint8Array): number {
    const n = Math.min(bytes.length, this.inputRoom);
    this.#input.set(bytes.subarray(0, n), this.#inputLength);
    this.#inputLength += n;
    return n;
  }

  /** At most one ring of output and one of input. */
  step(): 'progress' | 'idle' {
    if (this.#broken) return 'idle';
    const out = this.#drain();
    const typed = this.#feed();
    if (out > 0 || typed > 0) this.#ends.notify();
    return out > 0 || typed > 0 ? 'progress' : 'idle';
  }
  /** When a guest that wrote too fast, or whose bytes are held, is served again (monotonic ns); undefined: it is. */
  deadline(): number | undefined {
    if (this.#broken) return undefined;
    const held = this.faults?.deadline;
    if (this.#allowance > 0) return held;
    return Math.min(this.#refilledAt + REFILL_NS, held ?? Number.POSITIVE_INFINITY);
  }
  /** What is still in the ring, however much was written before: the domain has ended. */
  drainLast(): void {
    this.#allowance = BURST_BYTES;
    this.#isLast = true;
    while (!this.#broken && this.#drain() > 0);
  }

  #drain(): number {
    const { stats, output } = this.#ends;
    this.#refill();
    if (this.#allowance <= 0) return 0;
    const { reader } = this.#ring;
    const from = reader.position;
    const n = reader.peek(this.#chunk, from); // untrusted: copied out before anybody looks at it
    if (n < 0) return this.#violated();
    if (n === 0) return 0;
    const fate = this.faults?.fate('read');
    if (fate === 'hold' && !this.#isLast) return 0;
    this.#allowance -= n;
    if (this.#allowance <= 0) stats.throttled++;
    stats.outBytes += n;
    if (fate !== 'drop') output(this.#chunk.subarray(0, n));
    // order: kept, then taken. Who takes the place of this process finds in the ring what it did not keep.
    reader.advance(from + n);
    return n;
  }
  #feed(): number {
    if (this.#inputLength === 0 || (this.faults !== undefined && !this.#mayFeed(this.faults))) return 0;
    const n = this.#ring.writer.write(this.#input.subarray(0, this.#inputLength));
    if (n < 0) return this.#violated();
    if (n === 0) return 0;
    this.#input.copyWithin(0, n, this.#inputLength);
    this.#inputLength -= n;
    this.#ends.stats.inBytes += n;
    this.#ends.inputWanted();
    return n;
  }
  /** Bytes that cannot be put there yet are no occurrence. */
  #mayFeed(faults: ConsoleFaults): boolean {
    if (this.#ring.writer.writable() === 0) return false;
    const fate = faults.fate('write');
    if (fate === 'drop') {
      this.#inputLength = 0;
      this.#ends.inputWanted();
    }
    return fate === 'pass';
  }
  #refill(): void {
    const now = this.#ends.clock.now();
    // invariant: allowance > -XENCONS_OUT_SIZE, so one refill always makes it positive.
    if (now - this.#refilledAt < REFILL_NS) return;
    const earned = ((now - this.#refilledAt) / 1e9) * BYTES_PER_SECOND;
    this.#allowance = Math.min(BURST_BYTES, this.#allowance + earned);
    this.#refilledAt = now;
  }
  #violated(): number {
    this.#broken = true;
    return 0;
  }
}
