// Two byte streams whose indices are on one page and whose bytes are on others: a flex ring with the
// error fields of pvcalls. Xen: io/ring.h, DEFINE_XEN_FLEX_RING; io/pvcalls.h, pvcalls_data_intf.
// Beside ring.ts and byte-ring.ts the only file that touches a shared index.
import { pvcalls_data_intf } from './abi/pvcalls.ts';
import { PAGE_SHIFT, PAGE_SIZE } from './abi/xenolith.ts';
import type { Page } from './page.ts';

/** XEN_FLEX_RING_SIZE: bytes of one of the two streams over 2^order pages. */
export const flexRingSize = (order: number): number => 2 ** (order + PAGE_SHIFT - 1);

const { at } = pvcalls_data_intf;
const IN = { cons: at.in_cons / 4, prod: at.in_prod / 4, error: at.in_error / 4 };
const OUT = { cons: at.out_cons / 4, prod: at.out_prod / 4, error: at.out_error / 4 };
type Indices = typeof IN;

/** Half of the data pages. The pages need not be neighbours: a peer may grant them from anywhere. */
class Half {
  readonly size: number;
  private readonly pages: readonly Uint8Array[];
  private readonly start: number;

  constructor(pages: readonly Uint8Array[], half: 0 | 1) {
    this.pages = pages;
    this.size = (pages.length * PAGE_SIZE) / 2;
    this.start = half * this.size;
  }
  /** The longest run of bytes from ring index `index` on that lies on one page, at most `max`. */
  run(index: number, max: number): Uint8Array {
    const masked = index % this.size; // a power of two: the wrap of the u32 index is a wrap of this too
    const offset = this.start + masked;
    const inPage = offset % PAGE_SIZE;
    const length = Math.min(max, PAGE_SIZE - inPage, this.size - masked);
    return this.pages[Math.floor(offset / PAGE_SIZE)]!.subarray(inPage, inPage + length);
  }
}

/** The end that takes bytes out. It trusts no index but its own. */
export class FlexRingReader {
  readonly size: number;
  private readonly words: Int32Array;
  private readonly at: Indices;
  private readonly half: Half;
  private cons: number;

  constructor(intf: Page, at: Indices, half: Half) {
    this.words = intf.words;
    this.at = at;
    this.half = half;
    this.size = half.size;
    this.cons = Atomics.load(this.words, at.cons) >>> 0;
  }
  /** Bytes to read; -1 when the producer's index claims more than the ring holds. */
  readable(): number {
    const n = (Atomics.load(this.words, this.at.prod) - this.cons) >>> 0; // untrusted
    return n <= this.size ? n : -1;
  }
  /** Moves up to `into.length` bytes and frees their place. Bytes moved; -1 as `readable`. */
  read(into: Uint8Array): number {
    const there = this.readable();
    if (there < 0) return -1;
    const n = Math.min(there, into.length);
    for (let done = 0; done < n; ) {
      const run = this.half.run((this.cons + done) >>> 0, n - done);
      into.set(run, done);
      done += run.length;
    }
    this.cons = (this.cons + n) >>> 0;
    // order: the bytes are out before the producer may write over them.
    if (n > 0) Atomics.store(this.words, this.at.cons, this.cons | 0);
    return n;
  }
  /** 0, or the negative errno with which the producer ended the stream. Read it before `readable`. */
  get error(): number {
    return Atomics.load(this.words, this.at.error);
  }
  /** Tell the producer that nothing will be read any more. */
  fail(errno: number): void {
    Atomics.store(this.words, this.at.error, -Math.abs(errno));
  }
}

/** The end that puts bytes in. */
export class FlexRingWriter {
  readonly size: number;
  private readonly words: Int32Array;
  private readonly at: Indices;
  private readonly half: Half;
  private prod: number;

  constructor(intf: Page, at: Indices, half: Half) {
    this.words = intf.words;
    this.at = at;
    this.half = half;
    this.size = half.size;
    this.prod = Atomics.load(this.words, at.prod) >>> 0;
  }
  /** Bytes there is room for; -1 when the consumer's index is impossible. */
  writable(): number {
    const queued = (this.prod - Atomics.load(this.words, this.at.cons)) >>> 0; // untrusted
    return queued <= this.size ? this.size - queued : -1;
  }
  /** Moves what there is room for. Bytes moved; -1 as `writable`. */
  write(from: Uint8Array): number {
    const room = this.writable();
    if (room < 0) return -1;
    const n = Math.min(room, from.length);
    for (let done = 0; done < n; ) {
      const run = this.half.run((this.prod + done) >>> 0, n - done);
      run.set(from.subarray(done, done + run.length));
      done += run.length;
    }
    this.prod = (this.prod + n) >>> 0;
    // order: the bytes, then the index that announces them.
    if (n > 0) Atomics.store(this.words, this.at.prod, this.prod | 0);
    return n;
  }
  /** 0, or the negative errno with which the consumer gave the stream up. */
  get error(): number {
    return Atomics.load(this.words, this.at.error);
  }
  /** No more bytes will follow those that are in the ring. */
  fail(errno: number): void {
    // order: the last bytes before the error, so that a reader that sees it can still take them.
    Atomics.store(this.words, this.at.error, -Math.abs(errno));
  }
}

/** The streams of a data ring as one end has them: 'front' reads `in` and writes `out`. */
export function dataRing(
  intf: Page,
  data: readonly Uint8Array[],
  end: 'front' | 'back',
): { reader: FlexRingReader; writer: FlexRingWriter } {
  const input = new Half(data, 0);
  const output = new Half(data, 1);
  return end === 'front'
    ? { reader: new FlexRingReader(intf, IN, input), writer: new FlexRingWriter(intf, OUT, output) }
    : { reader: new FlexRingReader(intf, OUT, output), writer: new FlexRingWriter(intf, IN, input) };
}
