// A journal in memory, of no longer than a rehearsal.
import type { JournalDisk, JournalFile } from '../journal-file.ts';

export class PlayDisk implements JournalDisk, JournalFile {
  readonly #written: Uint8Array[] = [];

  read(): Uint8Array {
    return Buffer.concat(this.#written);
  }
  open(): JournalFile {
    return this;
  }
  create(): JournalFile {
    return this;
  }
  append(bytes: Uint8Array): void {
    this.#written.push(bytes.slice());
  }
  sync(done: (error: null) => void): void {
    done(null);
  }
  replace(): void {}
  remove(): void {}
  close(): void {}
}
