// A raw image as an export has it.
import { closeSync, constants, fdatasyncSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { XenError } from '#pvbus';
import type { ExportedDisk } from './conversation.ts';

const SECTOR_SIZE = 512;

export class RawImage implements ExportedDisk {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly #fd: number;

  /** Throws a XenError. */
  constructor(path: string, name: string, readOnly: boolean) {
    this.name = name;
    this.readOnly = readOnly;
    this.#fd = open(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
    const { size } = fstatSync(this.#fd);
    this.sizeBytes = size - (size % SECTOR_SIZE); // as its guest has it
  }

  read(into: Uint8Array, at: number): void {
    for (let n = 0; n < into.length; ) {
      const more = readSync(this.#fd, into, n, into.length - n, at + n);
      if (more === 0) throw new Error(`the image ends at ${at + n}`); // it was cut off meanwhile
      n += more;
    }
  }
  write(from: Uint8Array, at: number): void {
    for (let n = 0; n < from.length; ) n += writeSync(this.#fd, from, n, from.length - n, at + n);
  }
  flush(): void {
    fdatasyncSync(this.#fd);
  }
  close(): void {
    closeSync(this.#fd);
  }
}

function open(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException; // a system call throws nothing else
    throw new XenError(code, message, error);
  }
}
