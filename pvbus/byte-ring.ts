// Byte streams through shared memory: the console, the xenstore page, a pvcalls socket's data.
// Xen: io/console.h, io/xs_wire.h, io/ring.h (DEFINE_XEN_FLEX_RING).
//
// A stream is a power of two of bytes and two free-running u32 indices; byte i is at i & (size - 1).
// The reader owns cons, the writer owns prod. untrusted: both, the page is the peer's too. An impossible pair
// (prod - cons > size) is reported as -1 and nothing moves; a possible lie costs only the liar's own stream.
// After moving an index, notify the other end.

import { xencons_interface } from './abi/console.ts';
import { XENSTORE_RING_SIZE, xenstore_domain_interface } from './abi/xs_wire.ts';
import type { Page } from './page.ts';

/** Where one stream lies: data bytes and index words, of one page or of several (pvcalls). */
class ByteStream {
  protected readonly data: Uint8Array;
  protected readonly size: number;
  protected readonly idx: Int32Array;
  protected readonly cons: number;
  protected readonly prod: number;

  /** Offsets are in bytes; the data is in `page` unless `data` says otherwise. */
  constructor(page: Page, dataOffset: number, size: number, consOffset: number, prodOffset: number, data = page.bytes) {
    // We are wrong, not the peer: a size that is no power of two would break at the wrap.
    if (size < 1 || (size & (size - 1)) !== 0) throw new Error(`byte ring of ${size} bytes`);
    this.data = data.subarray(dataOffset, dataOffset + size);
    if (this.data.length !== size) throw new Error(`byte ring of ${size} bytes does not fit its memory`);
    this.size = size;
    this.idx = page.words;
    this.cons = consOffset / 4;
    this.prod = prodOffset / 4;
  }
}

export class ByteRingReader extends ByteStream {
  /** Bytes there to read; -1 when the indices are impossible. */
  readable(): number {
    const queued = (Atomics.load(this.idx, this.prod) - Atomics.load(this.idx, this.cons)) >>> 0;
    return queued <= this.size ? queued : -1;
  }

  /** Take at most into.length bytes. Returns how many; -1 when the indices are impossible. */
  read(into: Uint8Array): number {
    const cons = this.position;
    const n = this.peek(into, cons);
    if (n > 0) this.advance(cons + n);
    return n;
  }

  /** The index of the next byte to be taken. */
  get position(): number {
    return Atomics.load(this.idx, this.cons) >>> 0;
  }
  /**
   * Copy at most into.length bytes from `position` on, and leave them to the ring: they stay the reader's until
   * `advance`. Returns how many; -1 when the indices are impossible.
   */
  peek(into: Uint8Array, position: number): number {
    const queued = (Atomics.load(this.idx, this.prod) - position) >>> 0;
    if (queued > this.size) return -1;
    const n = Math.min(queued, into.length);
    if (n === 0) return 0;
    const at = position & (this.size - 1);
    const first = Math.min(n, this.size - at);
    into.set(this.data.subarray(at, at + first));
    if (first < n) into.set(this.data.subarray(0, n - first), first);
    return n;
  }
  /** Everything before `position` has been taken. */
  advance(position: number): void {
    Atomics.store(this.idx, this.cons, position); // order: the bytes are out before the writer may reuse them
  }
}

export class ByteRingWriter extends ByteStream {
  /** Bytes there is room for; -1 when the indices are impossible. */
  writable(): number {
    const queued = (Atomics.load(this.idx, this.prod) - Atomics.load(this.idx, this.cons)) >>> 0;
    return queued <= this.size ? this.size - queued : -1;
  }

  /** The index of the next byte to be written. */
  get position(): number {
    return Atomics.load(this.idx, this.prod) >>> 0;
  }

  /** Put as much of `from` as there is room for. Returns how many bytes; -1 when the indices are impossible. */
  write(from: Uint8Array): number {
    const prod = Atomics.load(this.idx, this.prod) >>> 0;
    const queued = (prod - Atomics.load(this.idx, this.cons)) >>> 0;
    if (queued > this.size) return -1;
    const n = Math.min(this.size - queued, from.length);
    if (n === 0) return 0;
    const at = prod & (this.size - 1);
    const first = Math.min(n, this.size - at);
    this.data.set(from.subarray(0, first), at);
    if (first < n) this.data.set(from.subarray(first, n));
    Atomics.store(this.idx, this.prod, prod + n); // order: data, then index
    return n;
  }
}

/** `reader` is what this end reads, `writer` what it writes. */
export interface ByteRingEnd {
  readonly reader: ByteRingReader;
  readonly writer: ByteRingWriter;
}

/** The console page: `in` (1 KiB) flows to the guest, the front end; `out` (2 KiB) from it. */
export function consoleRing(page: Page, end: 'front' | 'back'): ByteRingEnd {
  const { at, fields } = xencons_interface;
  const toGuest = [page, at.in, fields.in.count, at.in_cons, at.in_prod] as const;
  const fromGuest = [page, at.out, fields.out.count, at.out_cons, at.out_prod] as const;
  return end === 'front'
    ? { reader: new ByteRingReader(...toGuest), writer: new ByteRingWriter(...fromGuest) }
    : { reader: new ByteRingReader(...fromGuest), writer: new ByteRingWriter(...toGuest) };
}

/** The xenstore page: `req` flows to the daemon, the back end; `rsp` from it. */
export function xenstoreRing(page: Page, end: 'front' | 'back'): ByteRingEnd {
  const { at } = xenstore_domain_interface;
  const requests = [page, at.req, XENSTORE_RING_SIZE, at.req_cons, at.req_prod] as const;
  const replies = [page, at.rsp, XENSTORE_RING_SIZE, at.rsp_cons, at.rsp_prod] as const;
  return end === 'front'
    ? { reader: new ByteRingReader(...replies), writer: new ByteRingWriter(...requests) }
    : { reader: new ByteRingReader(...requests), writer: new ByteRingWriter(...replies) };
}

/** Empty both streams of a xenstore page: the daemon's part of a reconnection. */
export function emptyXenstoreRing(page: Page): void {
  const { req_cons, req_prod, rsp_cons, rsp_prod } = xenstore_domain_interface.at;
  for (const index of [req_cons, req_prod, rsp_cons, rsp_prod]) Atomics.store(page.words, index / 4, 0);
}
