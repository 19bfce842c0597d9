// The rings a trace is read from: the hypervisor's, one for each pCPU, and those that vCPUs write into the memory of
// their own domains. What is in the records is for the tool to say.
import { readSync } from 'node:fs';
import { type DomainLayout, PAGE_SIZE, TRACE_SLOT_SIZE, TRACE_SLOTS, t_buf, traceFrame } from '#pvbus';

/** A pCPU's ring, whose reader says how far it has read. Xen: t_buf in public/trace.h. */
export class CpuRing {
  readonly #words: Int32Array;
  readonly #records: Uint8Array;
  #cons: number;

  /** `bytes`: all pages of the ring. What is in it already was for another reader. */
  constructor(bytes: Uint8Array) {
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    this.#records = bytes.subarray(t_buf.size);
    this.#cons = this.#prod();
    this.#read();
  }
  /** A copy of what has come; empty when nothing has. */
  take(): Uint8Array {
    if (this.#prod() === this.#cons) return NOTHING;
    const size = this.#records.length;
    const prod = this.#prod();
    const count = (prod - this.#cons + 2 * size) % (2 * size);
    if (prod >= 2 * size || count > size) throw new Error(`a trace buffer of ${size} bytes holds ${count}`);
    const taken = new Uint8Array(count);
    const from = this.#cons % size;
    const first = Math.min(count, size - from);
    taken.set(this.#records.subarray(from, from + first));
    taken.set(this.#records.subarray(0, count - first), first);
    this.#cons = prod;
    this.#read();
    return taken;
  }
  #prod(): number {
    return Atomics.load(this.#words, t_buf.at.prod / 4) >>> 0;
  }
  #read(): void {
    // order: the bytes are copied, then they may be written over.
    Atomics.store(this.#words, t_buf.at.cons / 4, this.#cons);
  }
}

const MASK = TRACE_SLOTS - 1;

/** A vCPU's ring, read from the file that is its domain's memory. untrusted: the domain can write anything into it. */
export class VcpuRing {
  readonly #fd: number;
  readonly #head: number;
  readonly #slots: number;
  readonly #word = new Uint32Array(1);
  #cons: number;
  /** Records of the last `take` that were written over before they were read. */
  lost = 0;

  /** Begins with what is recorded from now on, or, of a domain that is new, with all that has been. */
  constructor(fd: number, layout: DomainLayout, vcpu: number, from: 'start' | 'now') {
    this.#fd = fd;
    this.#head = traceFrame(layout, vcpu) * PAGE_SIZE;
    this.#slots = this.#head + PAGE_SIZE;
    this.#cons = from === 'start' ? 0 : this.#prod();
  }
  /** A copy of what has come, slot by slot, at most a ring's worth; empty when nothing has. */
  take(): Uint8Array {
    this.lost = 0;
    const prod = this.#prod();
    const claimed = (prod - this.#cons) >>> 0;
    if (claimed === 0) return NOTHING;
    const count = Math.min(claimed, TRACE_SLOTS);
    const from = (prod - count) >>> 0;
    const bytes = new Uint8Array(count * TRACE_SLOT_SIZE);
    const first = Math.min(count, TRACE_SLOTS - (from & MASK));
    this.#copy(bytes.subarray(0, first * TRACE_SLOT_SIZE), from & MASK);
    this.#copy(bytes.subarray(first * TRACE_SLOT_SIZE), 0);
    // The vCPU went on meanwhile. It may be writing the slot after the last it has counted.
    const since = (this.#prod() - from) >>> 0;
    const overwritten = Math.min(count, Math.max(0, since + 1 - TRACE_SLOTS));
    this.#cons = prod;
    this.lost = claimed - count + overwritten;
    return bytes.subarray(overwritten * TRACE_SLOT_SIZE);
  }
  #prod(): number {
    readSync(this.#fd, this.#word, 0, 4, this.#head);
    return this.#word[0]!;
  }
  #copy(into: Uint8Array, slot: number): void {
    if (into.length > 0) readSync(this.#fd, into, 0, into.length, this.#slots + slot * TRACE_SLOT_SIZE);
  }
}
const NOTHING = new Uint8Array(0);
