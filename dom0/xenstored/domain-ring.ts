// A domain's ring page, the daemon's end. Xen: docs/misc/xenstore-ring.txt
import {
  type ByteRingReader,
  type ByteRingWriter,
  emptyXenstoreRing,
  type Log,
  type Page,
  XENSTORE_CONNECTED,
  XENSTORE_ERROR_COMM,
  XENSTORE_ERROR_NONE,
  XENSTORE_ERROR_PROTO,
  XENSTORE_ERROR_RINGIDX,
  XENSTORE_RECONNECT,
  XENSTORE_RING_SIZE,
  xenstore_domain_interface,
  xenstoreRing,
} from '#pvbus';
import type { Connection } from './connection.ts';

const { server_features, connection: connection_at, error: error_at } = xenstore_domain_interface.at;
const FEATURES = server_features / 4;
const CONNECTION = connection_at / 4;
const ERROR = error_at / 4;

/** Requests of one domain that are answered before the others have their turn. */
const REQUESTS_PER_STEP = 16;

export interface DomainRingParts {
  readonly page: Page;
  readonly connection: Connection;
  readonly notify: () => void;
  /** Drop what the daemon keeps for this client outside its connection: its watches. */
  readonly forget: () => void;
  readonly log: Log;
}

export class DomainRing {
  readonly #parts: DomainRingParts;
  readonly #reader: ByteRingReader;
  readonly #writer: ByteRingWriter;
  readonly #chunk = new Uint8Array(XENSTORE_RING_SIZE);
  /** Bytes out of the ring that wait until their client takes its replies. */
  #left = this.#chunk.subarray(0, 0);
  /** XENSTORE_ERROR_* while the ring is ignored. */
  #bad: number = XENSTORE_ERROR_NONE;
  #faults = 0;

  /** Announces `features` and takes the ring as it is: a domain may have queued requests already. */
  constructor(parts: DomainRingParts, features: number) {
    this.#parts = parts;
    const { words } = parts.page;
    const { reader, writer } = xenstoreRing(parts.page, 'back');
    this.#reader = reader;
    this.#writer = writer;
    // order: features before any byte is moved (Xen's promise to guests).
    Atomics.store(words, FEATURES, features);
    Atomics.store(words, ERROR, XENSTORE_ERROR_NONE);
    Atomics.store(words, CONNECTION, XENSTORE_CONNECTED);
    parts.notify();
  }

  /** Serve the ring for one turn. */
  step(): 'progress' | 'idle' {
    const { page, connection } = this.#parts;
    if (Atomics.load(page.words, CONNECTION) === XENSTORE_RECONNECT) return this.#reconnect();
    if (this.#bad !== XENSTORE_ERROR_NONE) return 'idle';
    if (connection.broken !== undefined) return this.#ignore(XENSTORE_ERROR_COMM, connection.broken);
    let moved = this.#send();
    if (this.#left.length === 0 && connection.ready()) {
      const n = this.#reader.read(this.#chunk); // untrusted: copied out once, judged after
      if (n < 0) return this.#ignore(XENSTORE_ERROR_RINGIDX, 'impossible request indices');
      this.#left = this.#chunk.subarray(0, n);
      moved += n;
    }
    if (this.#left.length > 0) {
      const n = connection.receive(this.#left, REQUESTS_PER_STEP);
      if (n < 0) return this.#ignore(XENSTORE_ERROR_PROTO, connection.broken ?? 'a protocol violation');
      this.#left = this.#left.subarray(n);
      moved += n;
    }
    const sent = this.#send();
    if (moved < 0 || sent < 0) return this.#ignore(XENSTORE_ERROR_RINGIDX, 'impossible reply indices');
    if (moved + sent === 0) return 'idle';
    this.#parts.notify();
    return 'progress';
  }

  /** Bytes put into the ring; a number below all others when the indices are impossible. */
  #send(): number {
    const n = this.#parts.connection.drain(bytes => this.#writer.write(bytes));
    return n < 0 ? Number.NEGATIVE_INFINITY : n;
  }

  /** Say what is wrong in the page and look at nothing else of it until the domain asks for a new start. */
  #ignore(code: number, why: string): 'progress' {
    const { page, connection, forget, notify, log } = this.#parts;
    this.#faults++;
    // A domain may do this again and again; 1, 2, 4, 8, ... keep the log short and still tell.
    if ((this.#faults & (this.#faults - 1)) === 0) {
      log.warn(`${connection.name}: xenstore ring ignored, error ${code}: ${why} (${this.#faults} times so far)`);
    }
    this.#forget();
    forget();
    this.#bad = code;
    Atomics.store(page.words, ERROR, code);
    notify();
    return 'progress';
  }

  #reconnect(): 'progress' {
    const { page, forget, notify } = this.#parts;
    this.#forget();
    forget();
    this.#bad = XENSTORE_ERROR_NONE;
    emptyXenstoreRing(page);
    Atomics.store(page.words, ERROR, XENSTORE_ERROR_NONE);
    // order: last, for the domain looks at the rest once this says connected.
    Atomics.store(page.words, CONNECTION, XENSTORE_CONNECTED);
    notify();
    return 'progress';
  }

  #forget(): void {
    this.#left = this.#chunk.subarray(0, 0);
    this.#parts.connection.reset();
  }
}
