// The lines a guest's console log has got since they were last asked for.
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';

export class ConsoleTail {
  readonly #path: string;
  readonly #buffer = Buffer.alloc(65_536);
  #fd = -1;
  #at = 0;
  #rest = '';

  constructor(path: string) {
    this.#path = path;
  }
  lines(): string[] {
    let text = this.#rest;
    let aside = false;
    for (;;) {
      if (this.#fd < 0) {
        try {
          this.#fd = openSync(this.#path, 'r');
        } catch {
          break; // not there yet
        }
        this.#at = 0;
      }
      const n = readSync(this.#fd, this.#buffer, 0, this.#buffer.length, this.#at);
      this.#at += n;
      text += this.#buffer.toString('latin1', 0, n);
      if (n > 0) {
        aside = false;
        continue;
      }
      // A full log was put aside, perhaps with a last line in it, and there is a new one.
      if (aside) this.close();
      else if (this.#isCurrent()) break;
      aside = !aside;
    }
    const lines = text.split('\n');
    this.#rest = lines.pop()!;
    return lines.map(line => line.trimEnd());
  }
  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
  #isCurrent(): boolean {
    try {
      return statSync(this.#path).ino === fstatSync(this.#fd).ino;
    } catch {
      return true; // between the two names
    }
  }
}
