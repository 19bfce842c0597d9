// What a client has not taken yet: replies and watch events, in order, bounded, events only once.
import { XENSTORE_PAYLOAD_MAX, XS_WATCH_EVENT, xsd_sockmsg } from '#pvbus';

/** Bytes, also as a string of them (latin1). */
export type Payload = Uint8Array | string;

export interface Message {
  readonly bytes: Uint8Array;
  /** Of an event: what makes two of them the same. */
  readonly key: string | undefined;
}

/** A queue as plain data. The first message is what is left of it. */
export interface WaitingOutput {
  readonly messages: readonly Message[];
  /** Part of the first is out already. */
  readonly begun: boolean;
  readonly total: number;
}

const { type: TYPE, req_id: REQ_ID, tx_id: TX_ID, len: LEN } = xsd_sockmsg.at;
const HEADER = xsd_sockmsg.size;
/** Room that a queue begins with, and that an empty one may keep. */
const LEAST_BYTES = 512;
const KEPT_BYTES = 16 * 1024;
const KEPT_MESSAGES = 1024;
/** Longer payloads are cheaper to copy by a call. */
const SHORT = 48;
const NONE = Buffer.alloc(0);
const NO_VIEW = new DataView(NONE.buffer, NONE.byteOffset, 0);

export class OutputQueue {
  // What waits: one message after the other in [from, to), so that a reply allocates nothing.
  #buffer = NONE;
  #view = NO_VIEW;
  #from = 0;
  #to = 0;
  /** Of each message that waits: where it ends, as bytes put since the queue was cleared, and its key. */
  #ends: number[] = [];
  #keys: (string | undefined)[] = [];
  #head = 0;
  #tail = 0;
  /** Where the first of them begins. */
  #begins = 0;
  #put = 0;
  readonly #events = new Set<string>();
  #replies = 0;
  #total = 0;

  /** Bytes queued since the beginning, modulo 2^32. */
  get total(): number {
    return this.#total;
  }
  /** Bytes waiting. */
  get bytes(): number {
    return this.#to - this.#from;
  }
  /** Replies waiting, whole or in part. */
  get replies(): number {
    return this.#replies;
  }
  get empty(): boolean {
    return this.#to === this.#from;
  }

  reply(type: number, req_id: number, tx_id: number, payload: Payload): void {
    this.#message(type, req_id, tx_id, payload);
    this.#added(HEADER + payload.length, undefined);
  }

  /**
   * An event that waits already is not queued again: whoever reads it looks after both changes. One that no
   * frame can hold is dropped (Xen: a token may be almost as long as a frame).
   */
  event(path: string, token: string): void {
    const key = `${path}\0${token}\0`;
    if (key.length > XENSTORE_PAYLOAD_MAX || this.#events.has(key)) return;
    this.#events.add(key);
    this.#message(XS_WATCH_EVENT, 0, 0, key);
    this.#added(HEADER + key.length, key);
  }

  /** Write a message behind those that wait. */
  #message(type: number, req_id: number, tx_id: number, payload: Payload): void {
    const { length } = payload;
    this.#reserve(HEADER + length);
    const view = this.#view;
    const at = this.#to;
    view.setUint32(at + TYPE, type, true);
    view.setUint32(at + REQ_ID, req_id, true);
    view.setUint32(at + TX_ID, tx_id, true);
    view.setUint32(at + LEN, length, true);
    const from = at + HEADER;
    const buffer = this.#buffer;
    if (typeof payload !== 'string') buffer.set(payload, from);
    else if (length > SHORT) buffer.write(payload, from, 'latin1');
    else for (let i = 0; i < length; i++) buffer[from + i] = payload.charCodeAt(i);
  }
  #added(bytes: number, key: string | undefined): void {
    this.#to += bytes;
    this.#put += bytes;
    this.#total = (this.#total + bytes) >>> 0;
    this.#ends[this.#tail] = this.#put;
    this.#keys[this.#tail++] = key;
    if (key === undefined) this.#replies++;
  }

  #reserve(bytes: number): void {
    if (this.#to + bytes <= this.#buffer.length) return;
    const waiting = this.bytes;
    // Only over a gap that is as large as what is moved: each byte is moved once on average.
    if (waiting <= this.#from && waiting + bytes <= this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#from, this.#to);
    } else {
      const larger = Buffer.allocUnsafeSlow(Math.max(LEAST_BYTES, 2 * (waiting + bytes)));
      larger.set(this.#buffer.subarray(this.#from, this.#to));
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#from = 0;
    this.#to = waiting;
  }

  /** Copy what waits, from its beginning and as much as fits, without taking it. Returns how much it was. */
  peek(into: Uint8Array): number {
    const n = Math.min(this.bytes, into.length);
    const from = this.#from;
    const buffer = this.#buffer;
    if (n > SHORT) into.set(buffer.subarray(from, from + n));
    else for (let i = 0; i < n; i++) into[i] = buffer[from + i]!; // within the array
    return n;
  }

  /** Give what waits to `write`, once; it returns how much it takes, or -1 when it failed. Returns the same. */
  drain(write: (bytes: Uint8Array) => number): number {
    if (this.empty) return 0;
    const n = write(this.#buffer.subarray(this.#from, this.#to));
    if (n > 0) this.took(n);
    return n;
  }

  /** So many bytes of what waits are gone. */
  took(bytes: number): void {
    this.#from += bytes;
    const gone = this.#gone;
    while (this.#head < this.#tail && this.#begins < gone) {
      const key = this.#keys[this.#head];
      // Even if it is only part of it: a later event of the same kind is news again.
      if (key !== undefined) this.#events.delete(key);
      const end = this.#ends[this.#head]!; // within the array
      if (end > gone) break;
      if (key === undefined) this.#replies--;
      this.#begins = end;
      this.#head++;
    }
    if (this.empty) this.#rewind();
    else if (this.#head > KEPT_MESSAGES) {
      this.#ends = this.#ends.slice(this.#head, this.#tail);
      this.#keys = this.#keys.slice(this.#head, this.#tail);
      this.#tail -= this.#head;
      this.#head = 0;
    }
  }

  /** Bytes that have been put and taken since the queue was cleared. */
  get #gone(): number {
    return this.#put - this.bytes;
  }

  /** Nothing waits. */
  #rewind(): void {
    this.#from = 0;
    this.#to = 0;
    this.#begins = this.#put;
    this.#head = 0;
    this.#tail = 0;
    if (this.#ends.length > KEPT_MESSAGES) {
      this.#ends = [];
      this.#keys = [];
    }
    if (this.#buffer.length <= KEPT_BYTES) return;
    this.#buffer = NONE;
    this.#view = NO_VIEW;
  }

  state(): WaitingOutput {
    const gone = this.#gone;
    let at = this.#from;
    const messages: Message[] = [];
    for (let i = this.#head; i < this.#tail; i++) {
      const end = this.#from + this.#ends[i]! - gone; // within the array
      messages.push({ bytes: new Uint8Array(this.#buffer.subarray(at, end)), key: this.#keys[i] });
      at = end;
    }
    return { messages, begun: this.#begins < gone, total: this.#total };
  }
  restore({ messages, begun, total }: WaitingOutput): void {
    this.clear();
    messages.forEach(({ bytes, key }, i) => {
      if (key !== undefined && (i > 0 || !begun)) this.#events.add(key);
      this.#reserve(bytes.length);
      this.#buffer.set(bytes, this.#to);
      this.#added(bytes.length, key);
    });
    if (begun) this.#begins = -1;
    this.#total = total;
  }

  clear(): void {
    this.#put = 0;
    this.#rewind();
    this.#events.clear();
    this.#replies = 0;
  }
}
