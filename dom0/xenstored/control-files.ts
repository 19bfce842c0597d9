// The files that CONTROL writes, for dom0: a report, and a log.
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { type Clock, type Log, streamLog } from '#pvbus';

/** For this user alone: they name domains and their nodes. */
const MODE = 0o600;

export class ControlFiles {
  readonly #clock: Clock;
  #logFd: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Throws when it cannot be. */
  write(path: string, text: string): void {
    writeFileSync(path, text, { mode: MODE });
  }

  /** A log at the end of a file, in the place of an earlier one. Throws when it cannot be. */
  log(path: string): Log {
    const fd = openSync(path, 'a', MODE);
    if (this.#logFd !== undefined) closeSync(this.#logFd);
    this.#logFd = fd;
    return streamLog({ write: text => this.#append(fd, text) }, 'xenstored', this.#clock);
  }

  #append(fd: number, text: string): void {
    if (fd !== this.#logFd) return;
    try {
      writeSync(fd, text);
    } catch {
      // A full disk: to tell requests is not worth failing them.
      this.#logFd = undefined;
      closeSync(fd);
    }
  }
}
