// Bytes of a WebAssembly binary, read forwards. untrusted: they come from anybody, so every read is checked.
import { XenError } from '../errors.ts';

/** Longer reasons are cut. */
const MAX_WHY = 200;
/** untrusted: names of the program may be in the reason, which is for terminals and logs. */
export const notExecutable = (why: string): XenError =>
  new XenError('ENOEXEC', `WebAssembly program: ${why.slice(0, MAX_WHY).replace(/[^\x20-\x7e]/g, '?')}`);

const utf8 = new TextDecoder('utf-8', { fatal: true });

export class Reader {
  readonly bytes: Uint8Array;
  readonly end: number;
  pos: number;
  constructor(bytes: Uint8Array, pos = 0, end = bytes.length) {
    this.bytes = bytes;
    this.pos = pos;
    this.end = end;
  }

  get done(): boolean {
    return this.pos === this.end;
  }

  byte(): number {
    if (this.pos >= this.end) throw notExecutable('it is cut short');
    return this.bytes[this.pos++]!;
  }

  u32le(): number {
    return (this.byte() | (this.byte() << 8) | (this.byte() << 16) | (this.byte() << 24)) >>> 0;
  }

  /** An unsigned LEB128 number of 32 bits. */
  u32(): number {
    const first = this.byte();
    if (first < 0x80) return first;
    let value = first & 0x7f;
    for (let shift = 7; shift < 35; shift += 7) {
      const byte = this.byte();
      if (shift === 28 && byte > 0x0f) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw notExecutable('a number is longer than 32 bits');
  }

  /** A count of things that take at least a byte each: what claims more is refused before anything is allocated. */
  count(): number {
    const n = this.u32();
    if (n > this.end - this.pos) throw notExecutable('it is cut short');
    return n;
  }

  /** A signed LEB128 number of at most `bits` bits is passed over. */
  skipSigned(bits: number): void {
    for (let i = Math.ceil(bits / 7); i > 0; i--) if (this.byte() < 0x80) return;
    throw notExecutable(`a number is longer than ${bits} bits`);
  }

  /** A block's type: 0 to 2^32-1 names a function type, a negative number is a value type or nothing. */
  s33(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return byte & 0x40 ? value - 2 ** (shift + 7) : value;
    }
    throw notExecutable('a number is longer than 33 bits');
  }

  skip(length: number): void {
    if (length > this.end - this.pos) throw notExecutable('it is cut short');
    this.pos += length;
  }

  /** The next `length` bytes as a reader of their own; this one is behind them. */
  slice(length: number): Reader {
    const from = this.pos;
    this.skip(length);
    return new Reader(this.bytes, from, this.pos);
  }

  take(length: number): Uint8Array {
    const from = this.pos;
    this.skip(length);
    return this.bytes.subarray(from, this.pos);
  }

  name(): string {
    const bytes = this.take(this.u32());
    try {
      return utf8.decode(bytes);
    } catch {
      throw notExecutable('a name is not UTF-8');
    }
  }
}
