// A disk for a journal in memory, which can die with the daemon: what was appended is there afterwards, what
// was about to be is not.
import type { JournalDisk, JournalFile } from '../../dom0/journal-file.ts';

/** Thrown where the process is killed. */
export class Killed extends Error {}

class MemoryFile implements JournalFile {
  readonly #disk: MemoryDisk;
  #memory: Buffer;
  #length: number;

  constructor(disk: MemoryDisk, bytes: Uint8Array) {
    this.#disk = disk;
    this.#memory = Buffer.from(bytes);
    this.#length = bytes.length;
  }
  get bytes(): Buffer {
    return this.#memory.subarray(0, this.#length);
  }
  set bytes(bytes: Buffer) {
    this.#memory = bytes;
    this.#length = bytes.length;
  }
  append(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#disk.beforeAppend();
    if (this.#length + bytes.length > this.#memory.length) {
      const more = Buffer.alloc(2 * (this.#length + bytes.length));
      more.set(this.bytes);
      this.#memory = more;
    }
    this.#memory.set(bytes, this.#length);
    this.#length += bytes.length;
    this.#disk.afterAppend();
  }
  sync(done: (error: Error | null) => void): void {
    setImmediate(done, null);
  }
  close(): void {}
}

export class MemoryDisk implements JournalDisk {
  /** May throw: `Killed`, or an error of the disk. */
  beforeAppend: () => void = () => {};
  afterAppend: () => void = () => {};
  file: MemoryFile | undefined;

  read(from = 0): Uint8Array | undefined {
    return this.file && Uint8Array.from(this.file.bytes.subarray(from));
  }
  open(length: number): JournalFile {
    this.file = new MemoryFile(this, this.file!.bytes.subarray(0, length)); // `read` came before
    return this.file;
  }
  create(): JournalFile {
    return new MemoryFile(this, new Uint8Array(0));
  }
  replace(file: JournalFile): void {
    this.file = file as MemoryFile;
  }
  remove(): void {
    this.file = undefined;
  }
}
