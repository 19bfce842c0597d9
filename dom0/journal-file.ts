// The journal as a file: a header, then checked records one after another. What follows the first record that
// is torn or damaged is cut off, so what is read is always a prefix of what was written.
// A record: u32 length of its body, u32 crc32 of the body, the body: one byte of kind and what that kind holds.
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { crc32 } from 'node:zlib';
import { XenError } from '#pvbus';

/** What a journal's header says of what follows: whose it is, and in which version. */
export interface JournalFormat {
  /** Whoever keeps it, as messages name it. */
  readonly owner: string;
  /** Eight characters. */
  readonly magic: bigint;
  readonly version: number;
}
const HEADER_BYTES = 16;
const RECORD_HEADER = 8;
/** No record is longer: a claim of more is damage. */
const MAX_RECORD = 64 * 1024 * 1024;

/** Where a journal lives. */
export interface JournalDisk {
  /** What there is from byte `from` on; undefined when there is no journal. */
  read(from?: number): Uint8Array | undefined;
  /** Go on with what is there, cut to `length` bytes. */
  open(length: number): JournalFile;
  /** A new file beside the present one, which it becomes with `replace`. */
  create(): JournalFile;
  /** `file`, of `create`, is the journal from here on, wholly or not at all. */
  replace(file: JournalFile): void;
  /** There is no journal any more. */
  remove(): void;
}
export interface JournalFile {
  /** Returns once the bytes outlive this process. Throws when they cannot be kept; then none of them is. */
  append(bytes: Uint8Array): void;
  /** Make what was appended outlive the machine; `done` when it does, or with what went wrong. */
  sync(done: (error: Error | null) => void): void;
  close(): void;
}

/** The system calls of a journal. */
export interface JournalCalls {
  openSync(path: string, flags: string, mode?: number): number;
  closeSync(fd: number): void;
  fstatSync(fd: number): { readonly size: number };
  ftruncateSync(fd: number, length: number): void;
  readSync(fd: number, into: Uint8Array, offset: number, length: number, at: number): number;
  writeSync(fd: number, from: Uint8Array, offset: number, length: number, at: number): number;
  fdatasync(fd: number, done: (error: Error | null) => void): void;
  fdatasyncSync(fd: number): void;
  renameSync(from: string, to: string): void;
  rmSync(path: string, options: { readonly force: boolean }): void;
}
const hostCalls: JournalCalls = {
  openSync,
  closeSync,
  fstatSync,
  ftruncateSync,
  readSync,
  writeSync,
  fdatasync,
  fdatasyncSync,
  renameSync,
  rmSync,
};

/** A journal in the file system, `path`; a successor is written at `path`.new. */
export class FileDisk implements JournalDisk {
  readonly #path: string;
  readonly #calls: JournalCalls;

  /** `calls`: another file system's than the host's. */
  constructor(path: string, calls: JournalCalls = hostCalls) {
    this.#path = path;
    this.#calls = calls;
  }
  read(from = 0): Uint8Array | undefined {
    const calls = this.#calls;
    let fd: number;
    try {
      fd = calls.openSync(this.#path, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const bytes = new Uint8Array(Math.max(0, calls.fstatSync(fd).size - from));
      let length = 0;
      for (let n = -1; n !== 0 && length < bytes.length; length += n)
        n = calls.readSync(fd, bytes, length, bytes.length - length, from + length);
      return bytes.subarray(0, length);
    } finally {
      calls.closeSync(fd);
    }
  }
  open(length: number): JournalFile {
    const fd = this.#calls.openSync(this.#path, 'r+', 0o600);
    this.#calls.ftruncateSync(fd, length);
    return new PlainFile(this.#calls, fd, length);
  }
  create(): JournalFile {
    return new PlainFile(this.#calls, this.#calls.openSync(`${this.#path}.new`, 'w', 0o600), 0);
  }
  replace(file: JournalFile): void {
    // order: all of it is on the disk before its name is; else a power loss could leave a name with nothing in it.
    (file as PlainFile).syncNow();
    this.#calls.renameSync(`${this.#path}.new`, this.#path);
  }
  remove(): void {
    for (const path of [this.#path, `${this.#path}.new`]) this.#calls.rmSync(path, { force: true });
  }
}

class PlainFile implements JournalFile {
  readonly #calls: JournalCalls;
  readonly #fd: number;
  #length: number;

  constructor(calls: JournalCalls, fd: number, length: number) {
    this.#calls = calls;
    this.#fd = fd;
    this.#length = length;
  }
  append(bytes: Uint8Array): void {
    const calls = this.#calls;
    try {
      for (let at = 0; at < bytes.length; )
        at += calls.writeSync(this.#fd, bytes, at, bytes.length - at, this.#length + at);
    } catch (error) {
      calls.ftruncateSync(this.#fd, this.#length); // half a batch would be half a truth
      throw error;
    }
    this.#length += bytes.length;
  }
  sync(done: (error: Error | null) => void): void {
    this.#calls.fdatasync(this.#fd, done);
  }
  syncNow(): void {
    this.#calls.fdatasyncSync(this.#fd);
  }
  close(): void {
    this.#calls.closeSync(this.#fd);
  }
}

/** Records on their way to a file. The memory grows to the largest batch there was, and stays. */
export class Batch {
  #bytes = new Uint8Array(64 * 1024);
  /** Of the same memory, for who fills a body; valid until the next `begin`. */
  view = new DataView(this.#bytes.buffer);
  #length = 0;
  #start = 0;

  get length(): number {
    return this.#length;
  }
  /** What was put in since `clear`; valid until the next `begin`. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
  clear(): void {
    this.#length = 0;
  }
  header({ magic, version }: JournalFormat): void {
    this.#room(HEADER_BYTES);
    this.view.setBigUint64(this.#length, magic, true);
    this.view.setUint32(this.#length + 8, version, true);
    this.view.setUint32(this.#length + 12, 0, true);
    this.#length += HEADER_BYTES;
  }
  /** A record whose body has `size` bytes beside its kind: returns where in `view` they are to be put. */
  begin(kind: number, size: number): number {
    this.#room(RECORD_HEADER + 1 + size);
    this.#start = this.#length;
    const body = this.#start + RECORD_HEADER;
    this.view.setUint32(this.#start, 1 + size, true);
    this.view.setUint8(body, kind);
    this.#length = body + 1 + size;
    return body + 1;
  }
  put(at: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, at);
  }
  /** The body of the record begun last is complete. */
  end(): void {
    const body = this.#bytes.subarray(this.#start + RECORD_HEADER, this.#length);
    this.view.setUint32(this.#start + 4, crc32(body), true);
  }

  #room(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + more));
    bytes.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }
}

export interface JournalRecord {
  readonly kind: number;
  readonly body: Uint8Array;
  readonly view: DataView;
  /** Where, in the bytes they are read from, the record ends. */
  readonly end: number;
}

/** The length of a journal's header. Throws EINVAL when this is another journal, or one of another version. */
export function readHeader(file: Uint8Array, { owner, magic, version: ours }: JournalFormat): number {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  if (file.length < HEADER_BYTES || view.getBigUint64(0, true) !== magic) {
    throw new XenError('EINVAL', `this is not a journal of ${owner}`);
  }
  const version = view.getUint32(8, true);
  if (version !== ours) throw new XenError('EINVAL', `a journal of version ${version}; ${owner} reads version ${ours}`);
  return HEADER_BYTES;
}

/** The records in `bytes` from byte `from` on, up to the first that is not whole. */
export function* recordsOf(bytes: Uint8Array, from: number): Generator<JournalRecord> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = from; at + RECORD_HEADER < bytes.length; ) {
    const length = view.getUint32(at, true);
    const start = at + RECORD_HEADER;
    if (length < 1 || length > MAX_RECORD || start + length > bytes.length) return;
    const whole = bytes.subarray(start, start + length);
    if (crc32(whole) !== view.getUint32(at + 4, true)) return;
    const body = whole.subarray(1);
    at = start + length;
    yield {
      kind: whole[0]!, // at least one byte
      body,
      view: new DataView(body.buffer, body.byteOffset, body.length),
      end: at,
    };
  }
}
