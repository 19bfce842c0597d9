// xs_wire.h messages in a byte stream: a header of four u32, then at most XENSTORE_PAYLOAD_MAX bytes.
// Both ends cut their streams with this file; what a payload means is known elsewhere.
import { XENSTORE_PAYLOAD_MAX, xsd_sockmsg } from './abi/xs_wire.ts';

const HEADER = xsd_sockmsg.size;
const { type: TYPE, req_id: REQ_ID, tx_id: TX_ID, len: LEN } = xsd_sockmsg.at;

export interface XenstoreFrame {
  type: number;
  req_id: number;
  tx_id: number;
  /** Valid until the reader is given more bytes, and while the chunk it came in is as it was. Maybe a Buffer. */
  payload: Uint8Array;
}

const u32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0; // within the array

/** One message as bytes to send. */
export function xenstoreFrame(type: number, req_id: number, tx_id: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(TYPE, type, true);
  view.setUint32(REQ_ID, req_id, true);
  view.setUint32(TX_ID, tx_id, true);
  view.setUint32(LEN, payload.length, true);
  bytes.set(payload, HEADER);
  return bytes;
}

/** The frame that begins at `at`; undefined when not all of it is there, or its header claims too much. */
export function wholeFrame(bytes: Uint8Array, at: number): XenstoreFrame | undefined {
  if (bytes.length - at < HEADER) return undefined;
  const end = at + HEADER + u32(bytes, at + LEN); // untrusted
  if (end > bytes.length) return undefined;
  return {
    type: u32(bytes, at + TYPE),
    req_id: u32(bytes, at + REQ_ID),
    tx_id: u32(bytes, at + TX_ID),
    payload: bytes.subarray(at + HEADER, end),
  };
}

/**
 * Cuts a byte stream into frames. It never holds more than one frame of the largest legal size, whatever
 * the header claims: a length over XENSTORE_PAYLOAD_MAX is reported before a byte of that payload is kept.
 */
export class XenstoreFrameReader {
  readonly #bytes = new Uint8Array(HEADER + XENSTORE_PAYLOAD_MAX);
  readonly #view = new DataView(this.#bytes.buffer);
  #have = 0;
  readonly frame: XenstoreFrame = { type: 0, req_id: 0, tx_id: 0, payload: this.#bytes.subarray(0, 0) };

  /** True when the stream stands between two frames. */
  atBoundary(): boolean {
    return this.#have === 0;
  }

  /** A copy of what has come of a frame that is not complete. */
  unfinished(): Uint8Array {
    return this.#bytes.slice(0, this.#have);
  }

  reset(): void {
    this.#have = 0;
  }

  /**
   * Take bytes of `chunk` from `offset`, up to the end of one frame, and say how many were taken.
   * After each call `complete` tells whether `frame` holds a message. -1: the header claims too much.
   */
  take(chunk: Uint8Array, offset = 0): number {
    this.complete = false;
    if (this.#have === 0) {
      const taken = this.#takeWhole(chunk, offset);
      if (taken !== 0) return taken;
    }
    let at = offset;
    if (this.#have < HEADER) {
      at += this.#copy(chunk, at, HEADER - this.#have);
      if (this.#have < HEADER) return at - offset;
    }
    const len = this.#view.getUint32(LEN, true); // untrusted: the only field that is acted upon here
    if (len > XENSTORE_PAYLOAD_MAX) return -1;
    at += this.#copy(chunk, at, HEADER + len - this.#have);
    if (this.#have === HEADER + len) {
      this.frame.type = this.#view.getUint32(TYPE, true);
      this.frame.req_id = this.#view.getUint32(REQ_ID, true);
      this.frame.tx_id = this.#view.getUint32(TX_ID, true);
      this.frame.payload = this.#bytes.subarray(HEADER, this.#have);
      this.#have = 0;
      this.complete = true;
    }
    return at - offset;
  }
  complete = false;

  /** The same where all of a frame is there, without a copy; 0 when it is not. */
  #takeWhole(chunk: Uint8Array, at: number): number {
    if (chunk.length - at < HEADER) return 0;
    const len = u32(chunk, at + LEN); // untrusted, as below
    if (len > XENSTORE_PAYLOAD_MAX) return -1;
    const end = at + HEADER + len;
    if (end > chunk.length) return 0;
    this.frame.type = u32(chunk, at + TYPE);
    this.frame.req_id = u32(chunk, at + REQ_ID);
    this.frame.tx_id = u32(chunk, at + TX_ID);
    this.frame.payload = chunk.subarray(at + HEADER, end);
    this.complete = true;
    return end - at;
  }

  #copy(chunk: Uint8Array, from: number, wanted: number): number {
    const n = Math.min(wanted, chunk.length - from);
    this.#bytes.set(chunk.subarray(from, from + n), this.#have);
    this.#have += n;
    return n;
  }
}
