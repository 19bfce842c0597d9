// A domain's ring page, the daemon's end. Xen: docs/misc/xenstore-ring.txt
//
// A turn has two halves, so that a daemon that is killed anywhere in between repeats or loses nothing: `take`
// answers requests and tells the journal, but leaves the page alone; once the journal has it, `give` lets the
// requests' bytes go, hands out replies, and says in the page what there is to say.
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
import type { StorePage } from './recorded-door.ts';
import type { Recorder } from './recorder.ts';

const { server_features, connection: connection_at, error: error_at } = xenstore_domain_interface.at;
const FEATURES = server_features / 4;
const CONNECTION = connection_at / 4;
const ERROR = error_at / 4;

/** Requests of one domain that are answered before the others have their turn. */
const REQUESTS_PER_STEP = 16;
const NOTHING = new Uint8Array(0);

export interface DomainRingParts {
  readonly connection: Connection;
  readonly notify: () => void;
  /** Drop what the daemon keeps for this client outside its connection: its watches. */
  readonly forget: () => void;
  readonly recorder: Recorder;
  readonly log: Log;
}

/** A ring as plain data, but for its connection. */
export interface DomainRingState {
  /** Request bytes taken, reply bytes handed out: Xen's free-running indices. */
  readonly taken: number;
  readonly given: number;
  /** Taken, but their requests not yet answered. */
  readonly left: Uint8Array;
  readonly bad: number;
}

export class DomainRing {
  readonly #parts: DomainRingParts;
  readonly #domid: number;
  readonly #features: number;
  #page: Page;
  #reader: ByteRingReader;
  #writer: ByteRingWriter;
  readonly #chunk = new Uint8Array(XENSTORE_RING_SIZE);
  #taken: number;
  #given: number;
  #left: Uint8Array = NOTHING;
  /** XENSTORE_ERROR_* while the ring is ignored. */
  #bad: number = XENSTORE_ERROR_NONE;
  /** What `give` is to say in the page, once it is recorded. */
  #news: 'none' | 'ignored' | 'reconnected' = 'none';
  #faults = 0;

  /** Announces `features` and takes the ring as it is: a domain may have queued requests already. */
  constructor({ page, taken, given }: StorePage, features: number, parts: DomainRingParts) {
    this.#parts = parts;
    this.#domid = parts.connection.actor.domid;
    this.#features = features;
    this.#page = page;
    const { reader, writer } = xenstoreRing(page, 'back');
    this.#reader = reader;
    this.#writer = writer;
    this.#taken = taken;
    this.#given = given;
    this.#announce();
  }

  #announce(): void {
    const { words } = this.#page;
    // order: features before any byte is moved (Xen's promise to guests).
    Atomics.store(words, FEATURES, this.#features);
    Atomics.store(words, ERROR, this.#bad);
    // A reconnection that was asked for and not recorded is still to be done.
    if (Atomics.load(words, CONNECTION) !== XENSTORE_RECONNECT) Atomics.store(words, CONNECTION, XENSTORE_CONNECTED);
    this.#parts.notify();
  }

  /** Answer requests of the domain, without a change to its page. */
  take(): 'progress' | 'idle' {
    const { connection, recorder } = this.#parts;
    if (this.#news !== 'none') return 'idle';
    if (Atomics.load(this.#page.words, CONNECTION) === XENSTORE_RECONNECT) {
      this.reset(XENSTORE_ERROR_NONE);
      recorder.reset(this.#domid, XENSTORE_ERROR_NONE);
      this.#news = 'reconnected';
      return 'progress';
    }
    if (this.#bad !== XENSTORE_ERROR_NONE) return 'idle';
    if (connection.broken !== undefined) return this.#ignore(XENSTORE_ERROR_COMM, connection.broken);
    let chunk: Uint8Array = NOTHING;
    if (this.#left.length === 0 && connection.ready()) {
      const n = this.#reader.peek(this.#chunk, this.#taken); // untrusted: copied out once, judged after
      if (n < 0) return this.#ignore(XENSTORE_ERROR_RINGIDX, 'impossible request indices');
      chunk = this.#chunk.subarray(0, n);
    }
    if (chunk.length === 0 && this.#left.length === 0) return 'idle';
    const n = this.answer(chunk);
    if (n !== 0 || chunk.length > 0) recorder.ring(connection, chunk, n);
    if (n < 0) return this.#ignore(XENSTORE_ERROR_PROTO, connection.broken ?? 'a protocol violation');
    return chunk.length > 0 || n > 0 ? 'progress' : 'idle';
  }

  /**
   * `chunk` are the next request bytes; none while some are left. Returns how many of what is left then were
   * used, -1 at a protocol violation. `use`: what this returned when it is a repetition.
   */
  answer(chunk: Uint8Array, use = -1): number {
    this.#taken = (this.#taken + chunk.length) >>> 0;
    if (chunk.length > 0) this.#left = chunk;
    const input = use < 0 ? this.#left : this.#left.subarray(0, use);
    const n = this.#parts.connection.receive(input, REQUESTS_PER_STEP);
    this.#left = n < 0 ? NOTHING : this.#left.subarray(n);
    return n;
  }

  /** Let the domain have what there is for it: what `take` did is recorded. */
  give(): 'progress' | 'idle' {
    const { notify } = this.#parts;
    if (this.#news !== 'none') {
      if (this.#news === 'reconnected') emptyXenstoreRing(this.#page);
      Atomics.store(this.#page.words, ERROR, this.#bad);
      // order: last, for the domain looks at the rest once this says connected.
      if (this.#news === 'reconnected') Atomics.store(this.#page.words, CONNECTION, XENSTORE_CONNECTED);
      this.#news = 'none';
      notify();
      return 'progress';
    }
    if (this.#bad !== XENSTORE_ERROR_NONE) return 'idle';
    // While the domain waits for a reconnection the indices are not to be touched.
    if (Atomics.load(this.#page.words, CONNECTION) === XENSTORE_RECONNECT) return 'idle';
    const moved = this.#reader.position !== this.#taken;
    if (moved) this.#reader.advance(this.#taken);
    const sent = this.#send();
    if (sent < 0) {
      this.#ignore(XENSTORE_ERROR_RINGIDX, 'impossible reply indices');
      return 'progress';
    }
    if (!moved && sent === 0) return 'idle';
    notify();
    return 'progress';
  }

  /** Bytes put into the ring; -1 when the indices are impossible. */
  #send(): number {
    const { connection, recorder } = this.#parts;
    if (connection.output.empty) return 0;
    let bad = false;
    const n = connection.drain(bytes => {
      const written = this.#writer.write(bytes);
      bad = written < 0;
      return Math.max(written, 0);
    });
    this.#given = (this.#given + n) >>> 0;
    if (n > 0) recorder.given(this.#domid, n);
    return bad ? -1 : n;
  }

  /** Look at nothing else of the page, after it says what is wrong, until the domain asks for a new start. */
  #ignore(code: number, why: string): 'progress' {
    const { connection, recorder, log } = this.#parts;
    this.#faults++;
    // A domain may do this again and again; 1, 2, 4, 8, ... keep the log short and still tell.
    if ((this.#faults & (this.#faults - 1)) === 0) {
      log.warn(`${connection.name}: xenstore ring ignored, error ${code}: ${why} (${this.#faults} times so far)`);
    }
    this.reset(code);
    recorder.reset(this.#domid, code);
    this.#news = 'ignored';
    return 'progress';
  }

  /** Forget the client; `bad`: an error to ignore it for, or XENSTORE_ERROR_NONE to begin anew with empty rings. */
  reset(bad: number): void {
    this.#left = NOTHING;
    this.#parts.connection.reset();
    this.#parts.forget();
    this.#bad = bad;
    if (bad !== XENSTORE_ERROR_NONE) return;
    this.#taken = 0;
    this.#given = 0;
  }

  // ---- for a daemon that goes on where another has ended ----

  /** `n` reply bytes were handed out by the daemon before this one. */
  wasGiven(n: number): void {
    let rest = n;
    this.#parts.connection.drain(bytes => {
      const taken = Math.min(rest, bytes.length);
      rest -= taken;
      return taken;
    });
    this.#given = (this.#given + n) >>> 0;
  }

  /** The real page in the place of the one that this ring was replayed on. */
  adopt(page: Page): void {
    this.#page = page;
    const { reader, writer } = xenstoreRing(page, 'back');
    this.#reader = reader;
    this.#writer = writer;
    this.#announce();
    if (this.#bad !== XENSTORE_ERROR_NONE || Atomics.load(page.words, CONNECTION) === XENSTORE_RECONNECT) return;
    // What was handed out after the last record. untrusted: the index is in a page of the domain's.
    const unrecorded = (writer.position - this.#given) >>> 0;
    if (unrecorded > this.#parts.connection.output.bytes) {
      this.#ignore(XENSTORE_ERROR_RINGIDX, 'impossible reply indices after a restart');
      return;
    }
    this.wasGiven(unrecorded);
    this.#parts.recorder.given(this.#domid, unrecorded);
  }

  state(): DomainRingState {
    return { taken: this.#taken, given: this.#given, left: this.#left.slice(), bad: this.#bad };
  }
  restore({ taken, given, left, bad }: DomainRingState): void {
    this.#taken = taken;
    this.#given = given;
    this.#left = left;
    this.#bad = bad;
  }
}
