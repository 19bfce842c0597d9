// What a domain's process prints by itself: it is to be found in the log, and not to fill it.
import { StringDecoder } from 'node:string_decoder';
import type { Clock } from '#pvbus';

/** So much is passed on of one process, and of one line. */
const MOST_BYTES = 64 << 10;
const MOST_OF_LINE = 1000;
/** What the end of a line counts for: each comes to the log by itself, with its time and a name. */
const BYTES_OF_LINE_END = 64;
const LINE_END = 10;
/** What is no character to be seen where it stands: controls, what turns the direction of text, line ends of Unicode. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;

/** Of a process that lives as long as its host, and has something to say all the time. See BYTES_OF_LINE_END. */
export interface Allowance {
  readonly clock: Clock;
  readonly mostBytes: number;
  readonly bytesPerSecond: number;
}

export class BoundedLines {
  readonly #line: (text: string) => void;
  readonly #decoder = new StringDecoder();
  readonly #allowance: Allowance | undefined;
  #left: number;
  /** Up to when `#left` has grown (monotonic ns). */
  #grownAt: number;
  #dropped = 0;
  #partial = '';

  /** `line` hears each line, made printable. Without an allowance there are so many bytes, and no more come. */
  constructor(line: (text: string) => void, allowance?: Allowance) {
    this.#line = line;
    this.#allowance = allowance;
    this.#left = allowance?.mostBytes ?? MOST_BYTES;
    this.#grownAt = allowance?.clock.now() ?? 0;
  }
  /** untrusted: bytes of the process. False when no more of them are wanted: now, or ever. */
  take(chunk: Buffer): boolean {
    this.#grow();
    if (this.#dropped > 0 && this.#left >= 1) {
      this.#line(`(it prints too much: ${this.#dropped} bytes are dropped)`);
      this.#dropped = 0;
    }
    const bytes = this.#allowed(chunk);
    const lines = (this.#partial + this.#decoder.write(bytes)).split('\n');
    this.#partial = (lines.pop() ?? '').slice(0, MOST_OF_LINE);
    for (const line of lines) this.#say(line);
    if (this.#left >= 1) return true;
    this.end();
    this.#dropped += chunk.length - bytes.length;
    if (!this.#allowance) this.#line('(it prints too much; the rest is dropped)');
    return false;
  }
  end(): void {
    if (this.#partial !== '') this.#say(this.#partial);
    this.#partial = '';
  }
  #allowed(chunk: Buffer): Buffer {
    let n = 0;
    while (n < chunk.length && this.#left >= 1) this.#left -= chunk[n++] === LINE_END ? BYTES_OF_LINE_END : 1;
    return chunk.subarray(0, n);
  }
  #grow(): void {
    if (!this.#allowance) return;
    const { clock, mostBytes, bytesPerSecond } = this.#allowance;
    const now = clock.now();
    this.#left = Math.min(mostBytes, this.#left + ((now - this.#grownAt) / 1e9) * bytesPerSecond);
    this.#grownAt = now;
  }
  #say(line: string): void {
    this.#line(line.slice(0, MOST_OF_LINE).replace(UNPRINTABLE, '?'));
  }
}
