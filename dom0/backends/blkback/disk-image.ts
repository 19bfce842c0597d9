// What a vbd's requests act on. A test may pass one that fails, stalls or lies.
import { fdatasyncSync, fstatSync, readSync, writeSync } from 'node:fs';
import {
  addressOf,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fallocate,
  type GrantMapping,
  readAt,
  writeAt,
  XenError,
} from '#pvbus';
import type { BlkbackRequest } from './request.ts';

/**
 * Thrown by an image that cannot do it now: nothing of the request has happened that may not happen again. The vbd begins
 * it anew at `atNs`, and serves nothing of its ring before.
 */
export class Later {
  readonly atNs: number;

  constructor(atNs: number) {
    this.atNs = atNs;
  }
}

/** Bytes of a disk. Each call does all of what it was asked for, or throws. */
export interface DiskImage {
  readonly sizeBytes: number;
  /** Bytes [at, at + length) of the disk into `into` from `offset` on. */
  read(into: Uint8Array, offset: number, length: number, at: number): void;
  write(from: Uint8Array, offset: number, length: number, at: number): void;
  /** Everything written before is on the medium when this returns. */
  flush(): void;
  /** These bytes are not needed any more; they read as zeros afterwards. */
  discard(at: number, length: number): void;
}

/** What an image that answers later looks at. */
export type AskedOf = Pick<
  BlkbackRequest,
  'operation' | 'sector' | 'sectors' | 'nr_segments' | 'grefs' | 'offsets' | 'lengths'
>;

/** A request that is answered later: nothing of it changes until it is. */
export interface Deferred {
  readonly request: AskedOf;
  /** Where each of its segments is mapped. */
  readonly mapped: readonly (GrantMapping | undefined)[];
  /** Its answer, a BLKIF_RSP_: once. */
  settle(status: number, why?: string): void;
}

/** Bytes of a disk that are far away: many requests are under way, and end in any order. */
export interface LaterImage {
  readonly sizeBytes: number;
  /** Whether a request of this operation may come now; when not, it is asked again after an answer. */
  accepts(operation: number): boolean;
  /** Begin it; what takes no time may be settled before this returns. */
  submit(deferred: Deferred): void;
}

/** pread(2) and pwrite(2) between a file and mapped memory: how many bytes they did. */
export interface FileCalls {
  read(fd: number, address: number, length: number, at: number): number;
  write(fd: number, address: number, length: number, at: number): number;
}
export const SYSTEM_CALLS: FileCalls = { read: readAt, write: writeAt };

/** To be made again, nothing was done. */
const isInterrupted = (error: unknown): boolean => ['EINTR', 'EAGAIN'].includes((error as { code: string }).code);

/** A file whose bytes are the disk's. Reads and writes go straight between it and the caller's memory. */
export class RawFile implements DiskImage {
  readonly sizeBytes: number;
  readonly #fd: number;
  readonly #calls: FileCalls;
  /** The memory used last and where it is mapped: pools change rarely. */
  #memory: Uint8Array | undefined;
  #address: number | undefined;

  /** `fd` stays the caller's. */
  constructor(fd: number, sizeBytes: number, calls = SYSTEM_CALLS) {
    this.#fd = fd;
    this.#calls = calls;
    this.sizeBytes = sizeBytes;
  }

  read(into: Uint8Array, offset: number, length: number, at: number): void {
    const base = this.#addressOf(into);
    for (let n = 0; n < length; ) {
      let more: number;
      try {
        more =
          base === undefined
            ? readSync(this.#fd, into, offset + n, length - n, at + n)
            : this.#calls.read(this.#fd, base + offset + n, length - n, at + n);
      } catch (error) {
        if (!isInterrupted(error)) throw error;
        continue;
      }
      if (more === 0) throw new XenError('EIO', `the image ends at ${at + n}, it had ${this.sizeBytes} bytes`);
      n += more;
    }
  }

  write(from: Uint8Array, offset: number, length: number, at: number): void {
    const base = this.#addressOf(from);
    for (let n = 0; n < length; ) {
      try {
        n +=
          base === undefined
            ? writeSync(this.#fd, from, offset + n, length - n, at + n)
            : this.#calls.write(this.#fd, base + offset + n, length - n, at + n);
      } catch (error) {
        if (!isInterrupted(error)) throw error;
      }
    }
  }

  /** undefined for memory of JavaScript's own, which moves. */
  #addressOf(memory: Uint8Array): number | undefined {
    if (memory !== this.#memory) {
      const mapped = addressOf(memory.buffer);
      this.#memory = memory;
      this.#address = mapped === undefined ? undefined : mapped + memory.byteOffset;
    }
    return this.#address;
  }

  flush(): void {
    fdatasyncSync(this.#fd);
  }

  discard(at: number, length: number): void {
    fallocate(this.#fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, length);
  }
}

/** The smallest range whose discard gives memory of the file system back; 0 when it cannot punch holes. */
export function discardGranularity(fd: number): number {
  const { size, blksize } = fstatSync(fd);
  try {
    // Past the end there is nothing to lose, and the answer is the same.
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, size, blksize);
    return blksize;
  } catch {
    return 0; // EOPNOTSUPP, or a file that is open for reading only
  }
}
