// The events in a file of the run directory's logs, which stays when the host has ended: a line each, as `xl events --json` has them.
import { closeSync, fstatSync, ftruncateSync, openSync, renameSync, writeSync } from 'node:fs';
import { type HostEvent, hostEventJson, type Log, XenError } from '#pvbus';

/** What is longer is moved aside as `.1`, in the place of what was there. */
const MAX_BYTES = 4 << 20;

export class EventFile {
  readonly #path: string;
  readonly #log: Log;
  readonly #maxBytes: number;
  #fd: number | undefined;
  #length = 0;
  #failing = false;

  constructor(path: string, log: Log, maxBytes = MAX_BYTES) {
    this.#path = path;
    this.#log = log;
    this.#maxBytes = maxBytes;
    try {
      this.#open(); // at once: what a host has open does not change with what happens
    } catch {
      // Said when there is something to keep.
    }
  }

  add(event: HostEvent): void {
    const line = Buffer.from(`${JSON.stringify(hostEventJson(event))}\n`);
    try {
      if (this.#fd === undefined) this.#open();
      if (this.#length > 0 && this.#length + line.length > this.#maxBytes) this.#rotate();
      this.#append(line);
      this.#failing = false;
    } catch (error) {
      // A full disk keeps nothing else from going on.
      if (!this.#failing) this.#log.warn(`events are not kept: ${error instanceof Error ? error.message : error}`);
      this.#failing = true;
    }
  }
  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
  /** All of it or nothing: of what is longer than the disk has room for, Linux writes the beginning. */
  #append(line: Buffer): void {
    const n = writeSync(this.#fd!, line);
    this.#length += n;
    if (n === line.length) return;
    this.#length = fstatSync(this.#fd!).size - n;
    ftruncateSync(this.#fd!, this.#length);
    throw new XenError('ENOSPC', 'there is no room for a whole line');
  }
  #open(): void {
    this.#fd = openSync(this.#path, 'a', 0o600);
    this.#length = fstatSync(this.#fd).size;
  }
  #rotate(): void {
    this.close();
    renameSync(this.#path, `${this.#path}.1`);
    this.#open();
  }
}
