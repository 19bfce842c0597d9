// A program's memory, as its calls name it: every pointer and length is checked here, and what is there is read once.
import { XenError } from '#pvbus';
import type { Process } from '../process/process.ts';
import { iovec } from './abi.ts';

/** More buffers than this in one call are an error, as in Linux. */
export const IOV_MAX = 1024;

/** Of an i32 or i64 that is a pointer, a length or a bit set. */
export const u32 = (n: number): number => n >>> 0;
export const u64 = (n: bigint): bigint => BigInt.asUintN(64, n);

/** Where `length` bytes are, having checked that they are there. */
export function at(process: Process, pointer: number, length: number): number {
  // untrusted: both come from the program. Neither addition nor comparison wraps: they are doubles.
  const from = pointer >>> 0;
  if (from + length > process.bytes.length) throw new XenError('EFAULT', `${length} bytes at ${from} of the memory`);
  return from;
}

/** The bytes themselves: shared with the program, valid until it runs again. */
export function bytesAt(process: Process, pointer: number, length: number): Uint8Array {
  const from = at(process, pointer, length);
  return process.bytes.subarray(from, from + length);
}

const decoder = new TextDecoder('utf-8', { fatal: true });
const encoder = new TextEncoder();

/** A string the program has there; EILSEQ when it is not UTF-8. */
export function textAt(process: Process, pointer: number, length: number): string {
  // A copy: some engines refuse to decode what is shared.
  const bytes = bytesAt(process, pointer, length).slice();
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new XenError('EILSEQ', 'a name that is not UTF-8', error);
  }
}

/** As UTF-8. */
export const textBytes = (text: string): Uint8Array => encoder.encode(text);

/** The buffers of a scatter or gather, checked: pairs of pointer and length, their sum below 2^31. */
export class Buffers {
  readonly count: number;
  /** All of them, bytes. */
  readonly total: number;
  private readonly process: Process;
  /** Pointer and length of each. */
  private readonly pairs: number[] = [];

  constructor(process: Process, pointer: number, count: number) {
    const n = count >>> 0;
    if (n > IOV_MAX) throw new XenError('EINVAL', `${n} buffers`);
    const from = at(process, pointer, n * iovec.size);
    const { view } = process;
    this.process = process;
    this.count = n;
    let total = 0;
    for (let i = 0; i < n; i++) {
      const base = from + i * iovec.size;
      const buf = view.getUint32(base + iovec.at.buf, true);
      const length = view.getUint32(base + iovec.at.buf_len, true);
      at(process, buf, length);
      this.pairs.push(buf, length);
      total += length;
    }
    if (total > 0x7fff_ffff) throw new XenError('EINVAL', `buffers of ${total} bytes`);
    this.total = total;
  }

  /** One of them: shared with the program, valid until it runs again. */
  at(index: number): Uint8Array {
    const start = this.pairs[2 * index]!;
    return this.process.bytes.subarray(start, start + this.pairs[2 * index + 1]!);
  }
  /** Those bytes that come after the first `skip`, buffer by buffer, none empty. */
  *from(skip = 0): Generator<Uint8Array> {
    let left = skip;
    for (let i = 0; i < this.count; i++) {
      const length = this.pairs[2 * i + 1]!;
      if (left >= length) {
        left -= length;
        continue;
      }
      const start = this.pairs[2 * i]! + left;
      const end = this.pairs[2 * i]! + length;
      left = 0;
      yield this.process.bytes.subarray(start, end);
    }
  }

  /** The same, as one copy when there are several and no more than `limit` bytes. */
  gathered(skip: number, limit: number): Iterable<Uint8Array> {
    if (this.count === 1) return [skip === 0 ? this.at(0) : this.at(0).subarray(skip)];
    if (this.total > limit) return this.from(skip);
    const all = new Uint8Array(this.total - skip);
    let at = 0;
    for (const bytes of this.from(skip)) {
      all.set(bytes, at);
      at += bytes.length;
    }
    return [all];
  }
}

/** Stores an unsigned 64-bit number below 2^53, having been checked by `at`. */
export function storeU64(view: DataView, offset: number, n: number | bigint): void {
  view.setBigUint64(offset, BigInt(n), true);
}
