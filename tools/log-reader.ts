// A log that somebody else writes, line by line.

import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';

const CHUNK = 64 << 10;

/** Whole lines of a file that grows, that another one may take the place of, and that may begin anew: its past is in PATH.1 then. */
export class LogReader {
  readonly #path: string;
  #fd: number;
  #inode: number;
  /** Up to where it is read. */
  #at = 0;
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
    const parts: Buffer[] = [this.#rest];
    if (fstatSync(this.#fd).size < this.#at) {
      parts.push(...this.#past());
      this.#at = 0;
    }
    parts.push(...this.#chunks());
    const inode = statSync(this.#path, { throwIfNoEntry: false })?.ino;
    if (inode !== undefined && inode !== this.#inode) {
      // order: what came into the old one up to its end, then the new one.
      parts.push(...this.#chunks());
      closeSync(this.#fd);
      this.#fd = openSync(this.#path, 'r');
      this.#inode = fstatSync(this.#fd).ino;
      this.#at = 0;
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
    const chunks = chunksOf(this.#fd, this.#at);
    for (const { length } of chunks) this.#at += length;
    return chunks;
  }
  /** What had not been read when it began anew. */
  #past(): Buffer[] {
    let fd: number;
    try {
      fd = openSync(`${this.#path}.1`, 'r');
    } catch {
      return []; // somebody else has emptied it
    }
    try {
      return chunksOf(fd, this.#at);
    } finally {
      closeSync(fd);
    }
  }
}

function chunksOf(fd: number, from: number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = from; ; ) {
    const chunk = Buffer.alloc(CHUNK);
    const length = readSync(fd, chunk, 0, CHUNK, at);
    if (length === 0) return chunks;
    chunks.push(chunk.subarray(0, length));
    at += length;
  }
}
