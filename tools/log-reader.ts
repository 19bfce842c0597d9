// A log that somebody else writes, line by line.

import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';

const CHUNK = 64 << 10;

/** Whole lines of a file that grows, and that another one may take the place of. */
export class LogReader {
  readonly #path: string;
  #fd: number;
  #inode: number;
  #rest = Buffer.alloc(0);

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
    this.#inode = fstatSync(fd).ino;
  }

  /** undefined when there is no such file. */
  static open(path: string): LogReader | undefined {
    try {
      return new LogReader(path, openSync(path, 'r'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return undefined;
    }
  }
  close(): void {
    closeSync(this.#fd);
  }

  /** What has come since; `all`: also a line without its end. */
  read(all: boolean): string[] {
    const parts = [this.#rest, ...this.#chunks()];
    const inode = statSync(this.#path, { throwIfNoEntry: false })?.ino;
    if (inode !== undefined && inode !== this.#inode) {
      // order: what came into the old one up to its end, then the new one.
      parts.push(...this.#chunks());
      closeSync(this.#fd);
      this.#fd = openSync(this.#path, 'r');
      this.#inode = fstatSync(this.#fd).ino;
      parts.push(...this.#chunks());
    }
    const bytes = Buffer.concat(parts);
    const end = all ? bytes.length : bytes.lastIndexOf(10) + 1;
    this.#rest = bytes.subarray(end);
    if (end === 0) return [];
    const lines = bytes.toString('utf8', 0, end).split('\n');
    if (lines.at(-1) === '') lines.pop();
    return lines.map(text => text.replace(/\r+$/, ''));
  }

  #chunks(): Buffer[] {
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.alloc(CHUNK);
      const length = readSync(this.#fd, chunk);
      if (length === 0) return chunks;
      chunks.push(chunk.subarray(0, length));
    }
  }
}
