// A console's log: appended to, never longer than its bound. A full one is kept once, as NAME.1.
import { closeSync, fstatSync, openSync, readSync, renameSync, writeSync } from 'node:fs';
import { SCROLLBACK_BYTES } from './scrollback.ts';

export const MAX_LOG_BYTES = 1 << 20;

/** The disk, so that a test can take it away. */
export interface LogDisk {
  open(path: string): { fd: number; size: number };
  write(fd: number, bytes: Uint8Array): number;
  rename(from: string, to: string): void;
  close(fd: number): void;
}
export const systemDisk: LogDisk = {
  open(path) {
    const fd = openSync(path, 'a', 0o600);
    return { fd, size: fstatSync(fd).size };
  },
  write: (fd, bytes) => writeSync(fd, bytes),
  rename: renameSync,
  close: closeSync,
};

export class LogFile {
  readonly path: string;
  readonly #disk: LogDisk;
  readonly #limit: number;
  #fd = -1;
  #size = 0;

  constructor(path: string, disk: LogDisk = systemDisk, limit = MAX_LOG_BYTES) {
    this.path = path;
    this.#disk = disk;
    this.#limit = limit;
  }

  /** Have the file there before there is something to write. */
  open(): void {
    if (this.#fd < 0) this.#open();
  }
  /** Appends; throws what the disk throws, with nothing half open. */
  write(bytes: Uint8Array): void {
    if (this.#size + bytes.length > this.#limit) this.#rotate();
    if (this.#fd < 0) this.#open();
    for (let at = 0; at < bytes.length; ) {
      const n = this.#disk.write(this.#fd, bytes.subarray(at));
      at += n;
      this.#size += n;
    }
  }
  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    this.#disk.close(fd);
  }

  #open(): void {
    const { fd, size } = this.#disk.open(this.path);
    this.#fd = fd;
    this.#size = size;
  }
  #rotate(): void {
    this.close();
    this.#disk.rename(this.path, `${this.path}.1`);
    this.#size = 0;
  }
}

/** The last bytes of a log, for a scrollback; none where there is no log. */
export function endOf(path: string): Uint8Array {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return new Uint8Array(0); // it could not be kept: then there is nothing to show
  }
  try {
    const { size } = fstatSync(fd);
    const bytes = new Uint8Array(Math.min(size, SCROLLBACK_BYTES));
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, size - bytes.length));
  } finally {
    closeSync(fd);
  }
}
