// A xenstore transport over the ring page a domain shares with xenstored. Xen: docs/misc/xenstore-ring.txt
import {
  XENSTORE_ERROR_NONE,
  XENSTORE_RECONNECT,
  XENSTORE_RING_SIZE,
  XENSTORE_SERVER_FEATURE_ERROR,
  xenstore_domain_interface,
} from './abi/xs_wire.ts';
import { type ByteRingReader, type ByteRingWriter, xenstoreRing } from './byte-ring.ts';
import type { Page } from './page.ts';
import type { XenstoreTransport } from './xenstore-client.ts';

const { server_features, connection, error } = xenstore_domain_interface.at;
const FEATURES = server_features / 4;
const CONNECTION = connection / 4;
const ERROR = error / 4;

/**
 * Ask the daemon to empty both rings and to forget this domain's watches, transactions and unfinished
 * requests. A RingTransport made afterwards waits for the answer by itself.
 */
export function requestReconnect(page: Page, notify: () => void): void {
  Atomics.store(page.words, CONNECTION, XENSTORE_RECONNECT);
  notify();
}

/** The domain's end of its xenstore page. Nothing moves but in `step()`, which never blocks. */
export class RingTransport implements XenstoreTransport {
  readonly #page: Page;
  readonly #notify: () => void;
  readonly #reader: ByteRingReader;
  readonly #writer: ByteRingWriter;
  readonly #queue: Uint8Array[] = [];
  readonly #chunk = new Uint8Array(XENSTORE_RING_SIZE);
  #sent = 0; // bytes of #queue[0] that are in the ring already
  #onData: (bytes: Uint8Array) => void = () => {};
  #onClose: ((reason: string) => void) | undefined;
  #closed: string | undefined;

  /** `notify` sends on the domain's xenstore port. */
  constructor(page: Page, notify: () => void) {
    this.#page = page;
    this.#notify = notify;
    const { reader, writer } = xenstoreRing(page, 'front');
    this.#reader = reader;
    this.#writer = writer;
  }

  send(bytes: Uint8Array): void {
    if (this.#closed === undefined) this.#queue.push(bytes);
  }

  onData(cb: (bytes: Uint8Array) => void): void {
    this.#onData = cb;
  }

  onClose(cb: (reason: string) => void): void {
    this.#onClose = cb;
    if (this.#closed !== undefined) cb(this.#closed);
  }

  close(): void {
    this.#closed ??= 'closed';
    this.#queue.length = 0;
  }

  /** Move what can be moved both ways. Call it when the xenstore port fired and after `send`. */
  step(): 'progress' | 'idle' {
    if (this.#closed !== undefined) return 'idle';
    // Xen: while a reconnection is in progress every other field is to be ignored.
    if (Atomics.load(this.#page.words, CONNECTION) === XENSTORE_RECONNECT) return 'idle';
    if (Atomics.load(this.#page.words, FEATURES) & XENSTORE_SERVER_FEATURE_ERROR) {
      const code = Atomics.load(this.#page.words, ERROR);
      if (code !== XENSTORE_ERROR_NONE) return this.#fail(`the daemon closed the ring with error ${code}`);
    }
    const received = this.#receive();
    if (received < 0) return this.#fail('the daemon left impossible indices in the response ring');
    const sent = this.#transmit();
    if (sent < 0) return this.#fail('the daemon left impossible indices in the request ring');
    if (received + sent === 0) return 'idle';
    this.#notify(); // Xen: whoever changes the ring signals the event channel
    return 'progress';
  }

  #receive(): number {
    const readable = this.#reader.readable(); // untrusted: -1 when the indices claim more than a ring
    if (readable <= 0) return readable;
    const n = this.#reader.read(this.#chunk);
    if (n > 0) this.#onData(this.#chunk.subarray(0, n));
    return n;
  }

  #transmit(): number {
    let total = 0;
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      const room = this.#writer.writable(); // untrusted: as above
      if (room < 0) return -1;
      if (room === 0) break;
      const n = this.#writer.write(head.subarray(this.#sent));
      if (n < 0) return -1;
      total += n;
      this.#sent += n;
      if (this.#sent < head.length) break;
      this.#queue.shift();
      this.#sent = 0;
    }
    return total;
  }

  #fail(reason: string): 'progress' {
    this.close();
    this.#closed = reason;
    this.#onClose?.(reason);
    return 'progress';
  }
}
