// Frames in a stream of bytes as QEMU's stream netdev and passt have them: the length, a u32 with its first byte first,
// then the frame. Both ends are over memory that system calls can be given.
import { mapPrivate, mapPrivateOver, viewOf } from '#pvbus';
import { ETH_HLEN, type Frame, SourcePage } from '../frame.ts';

/** QEMU's NET_BUFSIZE: no peer sends a longer one, and one that does is not understood any more. */
export const MAX_STREAM_FRAME = 4096 + 65536;
const HEADER_BYTES = 4;
const IN_BYTES = 1 << 18;
const OUT_BYTES = 1 << 19;

export class FrameReader {
  readonly #address = mapPrivate(IN_BYTES);
  readonly #page = new SourcePage(new Uint8Array(viewOf(this.#address, IN_BYTES)));
  #start = 0;
  #end = 0;

  /** Where bytes may be received, and how many: at least as many as the frame that has begun needs. */
  get room(): { address: number; bytes: number } {
    if (this.#start === this.#end) this.clear();
    else if (this.#start > 0 && IN_BYTES - this.#start < HEADER_BYTES + MAX_STREAM_FRAME) {
      this.#page.bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return { address: this.#address + this.#end, bytes: IN_BYTES - this.#end };
  }
  received(bytes: number): void {
    this.#end += bytes;
  }
  /** The length of the frame that comes next; 0 while it has not come whole; -1 when that cannot be one. */
  peek(): number {
    const there = this.#end - this.#start;
    if (there < HEADER_BYTES) return 0;
    const { bytes } = this.#page;
    const at = this.#start;
    // untrusted: our own memory, which the peer does not reach.
    const length = bytes[at]! * 2 ** 24 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
    if (length < ETH_HLEN || length > MAX_STREAM_FRAME) return -1;
    return there < HEADER_BYTES + length ? 0 : length;
  }
  /** Make `frame` the one that `peek` has announced. It is there until bytes are received again. */
  take(length: number, frame: Frame, nowNs: number): void {
    frame.begin(0, nowNs);
    frame.add(this.#page, this.#start + HEADER_BYTES, length);
    frame.readHeader();
    this.#start += HEADER_BYTES + length;
  }
  /** It is not wanted. */
  skip(length: number): void {
    this.#start += HEADER_BYTES + length;
  }
  clear(): void {
    this.#start = 0;
    this.#end = 0;
  }
  /** Its memory is the machine's again; it is not used any more. */
  release(): void {
    mapPrivateOver(this.#address, IN_BYTES);
  }
}

export class FrameWriter {
  readonly #address = mapPrivate(OUT_BYTES);
  readonly #bytes = new Uint8Array(viewOf(this.#address, OUT_BYTES));
  #start = 0;
  #end = 0;

  /** False when there is no room for it. */
  put(frame: Frame): boolean {
    const { length } = frame;
    if (OUT_BYTES - this.#end < HEADER_BYTES + length) {
      this.#bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
      if (OUT_BYTES - this.#end < HEADER_BYTES + length) return false;
    }
    const at = this.#end;
    this.#bytes[at] = length >>> 24;
    this.#bytes[at + 1] = length >>> 16;
    this.#bytes[at + 2] = length >>> 8;
    this.#bytes[at + 3] = length;
    frame.copy(0, length, this.#bytes, at + HEADER_BYTES);
    this.#end += HEADER_BYTES + length;
    return true;
  }
  /** What is still to be sent. */
  get pending(): { address: number; bytes: number } {
    return { address: this.#address + this.#start, bytes: this.#end - this.#start };
  }
  sent(bytes: number): void {
    this.#start += bytes;
    if (this.#start === this.#end) this.clear();
  }
  clear(): void {
    this.#start = 0;
    this.#end = 0;
  }
  release(): void {
    mapPrivateOver(this.#address, OUT_BYTES);
  }
}
