// What a domain's process prints by itself: it is to be found in the log, and not to fill it.

/** So much is passed on of one process, and of one line. */
const MOST_BYTES = 64 << 10;
const MOST_OF_LINE = 1000;

export class BoundedLines {
  readonly #line: (text: string) => void;
  #left = MOST_BYTES;
  #partial = '';

  /** `line` hears each line, made printable. */
  constructor(line: (text: string) => void) {
    this.#line = line;
  }
  /** untrusted: bytes of the process. False when no more of them are wanted. */
  take(chunk: Buffer): boolean {
    const bytes = chunk.subarray(0, this.#left);
    this.#left -= bytes.length;
    const lines = (this.#partial + bytes.toString('latin1')).split('\n');
    this.#partial = (lines.pop() ?? '').slice(0, MOST_OF_LINE);
    for (const line of lines) this.#say(line);
    if (this.#left > 0) return true;
    this.end();
    this.#line(`(it has printed ${MOST_BYTES} bytes; the rest is dropped)`);
    return false;
  }
  end(): void {
    if (this.#partial !== '') this.#say(this.#partial);
    this.#partial = '';
  }
  #say(line: string): void {
    this.#line(line.slice(0, MOST_OF_LINE).replace(/[^\x20-\x7e]/g, '?'));
  }
}
