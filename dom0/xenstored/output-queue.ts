// What a client has not taken yet: replies and watch events, in order, bounded, events only once.
import { XENSTORE_PAYLOAD_MAX, XS_WATCH_EVENT, xenstoreFrame } from '#pvbus';

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

export class OutputQueue {
  #messages: Message[] = [];
  #head = 0;
  #taken = 0; // bytes of the head message that are gone already
  readonly #events = new Set<string>();
  #bytes = 0;
  #replies = 0;
  #total = 0;

  /** Bytes queued since the beginning, modulo 2^32. */
  get total(): number {
    return this.#total;
  }
  /** Bytes waiting. */
  get bytes(): number {
    return this.#bytes;
  }
  /** Replies waiting, whole or in part. */
  get replies(): number {
    return this.#replies;
  }
  get empty(): boolean {
    return this.#bytes === 0;
  }

  reply(type: number, req_id: number, tx_id: number, payload: Uint8Array): void {
    this.#replies++;
    this.#push({ bytes: xenstoreFrame(type, req_id, tx_id, payload), key: undefined });
  }

  /**
   * An event that waits already is not queued again: whoever reads it looks after both changes. One that no
   * frame can hold is dropped (Xen: a token may be almost as long as a frame).
   */
  event(path: string, token: string): void {
    const key = `${path}\0${token}\0`;
    if (this.#events.has(key)) return;
    const payload = Buffer.from(key, 'latin1');
    if (payload.length > XENSTORE_PAYLOAD_MAX) return;
    this.#events.add(key);
    this.#push({ bytes: xenstoreFrame(XS_WATCH_EVENT, 0, 0, payload), key });
  }

  #push(message: Message): void {
    this.#messages.push(message);
    this.#bytes += message.bytes.length;
    this.#total = (this.#total + message.bytes.length) >>> 0;
  }

  /** Copy what waits, from its beginning and as much as fits, without taking it. Returns how much it was. */
  peek(into: Uint8Array): number {
    let at = 0;
    for (let i = this.#head; i < this.#messages.length && at < into.length; i++) {
      const { bytes } = this.#messages[i]!; // within the array
      const from = i === this.#head ? this.#taken : 0;
      const n = Math.min(bytes.length - from, into.length - at);
      into.set(n === bytes.length ? bytes : bytes.subarray(from, from + n), at);
      at += n;
    }
    return at;
  }

  /** Give bytes to `write` until it takes fewer than it is offered. Returns how many it took; -1: it failed. */
  drain(write: (bytes: Uint8Array) => number): number {
    let total = 0;
    while (this.#head < this.#messages.length) {
      const message = this.#messages[this.#head]!; // within the array
      const rest = this.#taken === 0 ? message.bytes : message.bytes.subarray(this.#taken);
      const n = write(rest);
      if (n < 0) return -1;
      // Part of it is out: a later event of the same kind is news again.
      if (n > 0 && message.key !== undefined) this.#events.delete(message.key);
      total += n;
      this.#bytes -= n;
      this.#taken += n;
      if (this.#taken < message.bytes.length) break;
      if (message.key === undefined) this.#replies--;
      this.#head++;
      this.#taken = 0;
    }
    if (this.#head === this.#messages.length) {
      this.#messages = [];
      this.#head = 0;
    } else if (this.#head > 1024) {
      this.#messages = this.#messages.slice(this.#head);
      this.#head = 0;
    }
    return total;
  }

  state(): WaitingOutput {
    const messages = this.#messages.slice(this.#head);
    const [first] = messages;
    if (first && this.#taken > 0) messages[0] = { ...first, bytes: first.bytes.subarray(this.#taken) };
    return { messages, begun: this.#taken > 0, total: this.#total };
  }
  restore({ messages, begun, total }: WaitingOutput): void {
    this.clear();
    messages.forEach((message, i) => {
      if (message.key === undefined) this.#replies++;
      else if (i > 0 || !begun) this.#events.add(message.key);
      this.#push(message);
    });
    this.#total = total;
  }

  clear(): void {
    this.#messages = [];
    this.#head = 0;
    this.#taken = 0;
    this.#events.clear();
    this.#bytes = 0;
    this.#replies = 0;
  }
}
