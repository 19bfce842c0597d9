// Frames between tools and toolstack: one byte of version, three of length (little-endian), then that
// many bytes of MessagePack. Both ends decode a byte stream that may be cut anywhere.

import { Packr, Unpackr } from 'msgpackr/pack'; // without the streams and the native part, which take longer to load than xl runs
import { XenError } from './errors.ts';

export const TOOLSTACK_VERSION = 1;
/** The longest body. A frame that claims more is refused before a byte of its body is kept. */
export const MAX_FRAME = 1 << 20;
const HEADER = 4;
const MAX_DEPTH = 24;

const packr = new Packr({ useRecords: false, moreTypes: false, int64AsType: 'number' });
// copyBuffers: bytes would else be a view of what the next frame is put into.
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number', copyBuffers: true });

export function encodeFrame(message: unknown): Uint8Array {
  const body = packr.pack(message);
  if (body.length > MAX_FRAME)
    throw new XenError('EMSGSIZE', `message of ${body.length} bytes, at most ${MAX_FRAME} fit`);
  const frame = new Uint8Array(HEADER + body.length);
  frame[0] = TOOLSTACK_VERSION;
  frame[1] = body.length & 0xff;
  frame[2] = (body.length >> 8) & 0xff;
  frame[3] = body.length >> 16;
  frame.set(body, HEADER);
  return frame;
}

/** Cuts a byte stream into messages. After it threw, the stream is lost: close the connection. */
export class FrameDecoder {
  /** Bytes of a frame that is not complete yet are its first `#length`; grows, so that no byte is moved twice. */
  #pending = new Uint8Array(0);
  #length = 0;
  #broken: XenError | null = null;

  /**
   * untrusted: bytes of the other process. Returns the messages they complete; throws EPROTO for another
   * version or a body that isn't plain MessagePack, EMSGSIZE for a length above MAX_FRAME.
   */
  push(chunk: Uint8Array): unknown[] {
    if (this.#broken !== null) throw this.#broken;
    try {
      return this.#decode(chunk);
    } catch (error) {
      this.#pending = new Uint8Array(0);
      this.#broken =
        error instanceof XenError ? error : new XenError('EPROTO', 'toolstack frame is not MessagePack', error);
      throw this.#broken;
    }
  }

  /** True when the stream stops between two frames, which is where it may end. */
  get idle(): boolean {
    return this.#length === 0;
  }

  #decode(chunk: Uint8Array): unknown[] {
    const bytes = this.#length === 0 ? chunk : this.#append(chunk);
    const messages: unknown[] = [];
    let at = 0;
    while (bytes.length > at) {
      // Byte by byte: a wrong version is told by its first byte, whatever follows.
      if (bytes[at] !== TOOLSTACK_VERSION) {
        throw new XenError('EPROTO', `toolstack protocol version ${bytes[at]}, this side speaks ${TOOLSTACK_VERSION}`);
      }
      if (bytes.length - at < HEADER) break;
      const length = bytes[at + 1]! | (bytes[at + 2]! << 8) | (bytes[at + 3]! << 16);
      if (length > MAX_FRAME) {
        throw new XenError('EMSGSIZE', `toolstack frame of ${length} bytes, at most ${MAX_FRAME}`);
      }
      if (bytes.length - at < HEADER + length) break;
      const body = bytes.subarray(at + HEADER, at + HEADER + length);
      checkPlain(body);
      messages.push(unpackr.unpack(body));
      at += HEADER + length;
    }
    this.#keep(bytes, at);
    return messages;
  }

  #append(chunk: Uint8Array): Uint8Array {
    const length = this.#length + chunk.length;
    this.#reserve(length);
    this.#pending.set(chunk, this.#length);
    this.#length = length;
    return this.#pending.subarray(0, length);
  }

  /** The chunk belongs to the socket, so what is left of it is copied. */
  #keep(bytes: Uint8Array, at: number): void {
    const length = bytes.length - at;
    if (this.#length > 0) {
      if (at > 0) this.#pending.copyWithin(0, at, bytes.length);
    } else if (length > 0) {
      this.#reserve(length);
      this.#pending.set(bytes.subarray(at));
    }
    this.#length = length;
  }

  #reserve(length: number): void {
    if (this.#pending.length >= length) return;
    const larger = new Uint8Array(Math.max(length, this.#pending.length * 2, 256));
    larger.set(this.#pending.subarray(0, this.#length));
    this.#pending = larger;
  }
}

/**
 * Walks a MessagePack body without building it. The codec would honour extension types of its own
 * (records compiled to code, regular expressions, typed arrays, cyclic references) and nest as deep as
 * the bytes say; a toolstack message needs none of that.
 */
function checkPlain(body: Uint8Array): void {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  let at = 0;
  const skip = (n: number): number => {
    if (n > body.length - at) throw new XenError('EPROTO', 'toolstack frame ends inside a value');
    at += n;
    return at - n;
  };
  const length = (width: number): number => {
    const from = skip(width);
    return width === 1 ? view.getUint8(from) : width === 2 ? view.getUint16(from) : view.getUint32(from);
  };
  /** Steps over one value, or over the head of a container; returns how many values that contains. */
  const head = (): number => {
    const tag = view.getUint8(skip(1));
    if (tag >= 0x80 && tag <= 0x8f) return (tag & 0x0f) * 2;
    if (tag >= 0x90 && tag <= 0x9f) return tag & 0x0f;
    if (tag === 0xdc || tag === 0xdd) return length(tag === 0xdc ? 2 : 4);
    if (tag === 0xde || tag === 0xdf) return length(tag === 0xde ? 2 : 4) * 2;
    if (tag >= 0xa0 && tag <= 0xbf) skip(tag & 0x1f);
    else if (tag >= 0xc4 && tag <= 0xc6) skip(length(1 << (tag - 0xc4)));
    else if (tag >= 0xd9 && tag <= 0xdb) skip(length(1 << (tag - 0xd9)));
    else if (tag === 0xca || tag === 0xcb) skip(tag === 0xca ? 4 : 8);
    else if (tag >= 0xcc && tag <= 0xd3) skip(1 << ((tag - 0xcc) & 3));
    else if (tag === 0xc1 || (tag >= 0xc7 && tag <= 0xc9) || (tag >= 0xd4 && tag <= 0xd8)) {
      throw new XenError('EPROTO', `toolstack frame holds a value of type 0x${tag.toString(16)}`);
    }
    return 0;
  };
  const left = [1]; // values still to come, per open container
  while (left.length > 0) {
    const depth = left.length - 1;
    if (left[depth] === 0) {
      left.pop();
      continue;
    }
    left[depth]!--;
    const count = head();
    if (count === 0) continue;
    // Each value is a byte at least, so a count beyond the rest of the body is a lie.
    if (left.length > MAX_DEPTH || count > body.length - at) {
      throw new XenError('EPROTO', 'toolstack frame nests or counts more than it holds');
    }
    left.push(count);
  }
  if (at !== body.length) throw new XenError('EPROTO', 'toolstack frame has bytes after its value');
}
