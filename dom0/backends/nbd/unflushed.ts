// What a server has acknowledged and not flushed yet. A server that dies may lose it, and its guest must not notice: it
// is written again before anything else when the server is back.

export interface UnflushedWrite {
  readonly type: number;
  readonly at: number;
  readonly length: number;
  /** The bytes written; none where something was trimmed. */
  readonly data: Uint8Array;
}

const CHUNK_BYTES = 1 << 20;
/** What a disk may have before it is flushed: new memory costs more than what is copied into it. */
const SPARE_CHUNKS = 32;

/** Memory for entries of all disks of a thread, used again and again. */
export class SpareChunks {
  readonly #buffers: Uint8Array[] = [];

  /** Of `bytes` at least. */
  take(bytes: number): Uint8Array {
    if (bytes > CHUNK_BYTES) return new Uint8Array(bytes);
    return this.#buffers.pop() ?? new Uint8Array(CHUNK_BYTES);
  }
  giveBack(buffer: Uint8Array): void {
    if (buffer.length === CHUNK_BYTES && this.#buffers.length < SPARE_CHUNKS) this.#buffers.push(buffer);
  }
  /** Nobody is there to use them. */
  clear(): void {
    this.#buffers.length = 0;
  }
}

/** Entries share a buffer; it is free when the last of them is on the medium. */
interface Chunk {
  readonly buffer: Uint8Array;
  used: number;
  readonly entries: UnflushedWrite[];
}

export class Unflushed {
  readonly #chunks: Chunk[] = [];
  readonly #spare: SpareChunks;
  /** Of the first chunk: how many of its entries are on the medium. */
  #dropped = 0;
  #first = 0;
  #next = 0;
  #bytes = 0;

  constructor(spare: SpareChunks) {
    this.#spare = spare;
  }

  /** Memory that it takes. */
  get bytes(): number {
    return this.#bytes;
  }
  /** The number of the next entry. */
  get next(): number {
    return this.#next;
  }
  get size(): number {
    return this.#next - this.#first;
  }

  /** `length` bytes were written at `at`; the caller fills what is returned. */
  add(type: number, at: number, length: number, dataLength: number): Uint8Array {
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || chunk.used + dataLength > chunk.buffer.length) {
      chunk = { buffer: this.#spare.take(dataLength), used: 0, entries: [] };
      this.#chunks.push(chunk);
      this.#bytes += chunk.buffer.length;
    }
    const data = chunk.buffer.subarray(chunk.used, chunk.used + dataLength);
    chunk.used += dataLength;
    chunk.entries.push({ type, at, length, data });
    this.#next++;
    return data;
  }

  /** Those before number `before` are on the medium. */
  drop(before: number): void {
    while (this.#first < before) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) return;
      const n = Math.min(before - this.#first, chunk.entries.length - this.#dropped);
      this.#first += n;
      this.#dropped += n;
      if (this.#dropped < chunk.entries.length) return;
      this.#chunks.shift();
      this.#dropped = 0;
      this.#bytes -= chunk.buffer.length;
      this.#spare.giveBack(chunk.buffer);
    }
  }

  /** In the order in which they were acknowledged. */
  *entries(): Generator<UnflushedWrite> {
    for (const [i, chunk] of this.#chunks.entries()) {
      for (let n = i === 0 ? this.#dropped : 0; n < chunk.entries.length; n++) yield chunk.entries[n]!;
    }
  }
}
