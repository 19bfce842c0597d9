// One client of the daemon, whatever carries its bytes: unfinished input, open transactions, waiting output.
import { type Clock, XENSTORE_PAYLOAD_MAX, XenstoreFrameReader } from '#pvbus';
import { OutputQueue, type WaitingOutput } from './output-queue.ts';
import type { Actor } from './permissions.ts';
import type { Limits } from './quota.ts';
import type { Asked } from './succession.ts';
import type { Transaction } from './transaction.ts';
import type { Watcher } from './watches.ts';

/** Output of a client that is held by no quota: reading its requests pauses above this many bytes. */
const PAUSE_BYTES = 256 * 1024;
/** ... and it is cut off above this many: they are events, for it takes no replies meanwhile. */
const EVENTS_BYTES = 16 * 1024 * 1024;

/** Answers one complete request through `client.output`. Must not throw. */
export type Answer = (client: Connection, type: number, req_id: number, tx_id: number, payload: Uint8Array) => void;

export interface ConnectionParts {
  /** For the log. */
  readonly name: string;
  readonly actor: Actor;
  readonly limits: () => Limits;
  /** What its watches take. */
  readonly watchBytes: (client: Connection) => number;
  readonly answer: Answer;
  /** Whether the request that begins at `at` may be taken now; when not, `goOn` is called later. */
  readonly mayTake: (client: Connection, bytes: Uint8Array, at: number) => boolean;
  readonly clock: Clock;
  /** There is something to send, or the connection is broken. */
  readonly onOutput: () => void;
}

/** A connection as plain data, but for its transactions. */
export interface ConnectionState {
  readonly unfinished: Uint8Array;
  readonly lastTransaction: number;
  readonly output: WaitingOutput;
}

export class Connection implements Watcher {
  readonly name: string;
  readonly actor: Actor;
  readonly output = new OutputQueue();
  readonly transactions = new Map<number, Transaction>();
  readonly #parts: ConnectionParts;
  readonly #frames = new XenstoreFrameReader();
  #lastTransaction = 0;
  #waitingSince: number | undefined;
  #broken: string | undefined;
  #waits = false;

  constructor(parts: ConnectionParts) {
    this.name = parts.name;
    this.actor = parts.actor;
    this.#parts = parts;
  }

  limits(): Limits {
    return this.#parts.limits();
  }

  /** Bytes that are kept for it, beside nodes and output. */
  held(): number {
    let bytes = this.#parts.watchBytes(this);
    for (const transaction of this.transactions.values()) bytes += transaction.bytes;
    return bytes;
  }

  /** Why nothing more can come of this connection, until it is reset. */
  get broken(): string | undefined {
    return this.#broken;
  }

  /** Its next request is not to be taken yet, for the sake of others. */
  get waits(): boolean {
    return this.#waits;
  }
  goOn(): void {
    this.#waits = false;
    this.#parts.onOutput();
  }

  /** False while no request is to be taken from it: it waits, or so much of its output does. */
  ready(): boolean {
    const { outstanding, memory } = this.limits();
    return (
      this.#broken === undefined &&
      !this.#waits &&
      this.output.replies < outstanding &&
      this.output.bytes < Math.min(PAUSE_BYTES, memory)
    );
  }

  /**
   * Take bytes and answer the requests they complete, `maxRequests` at most and none while not `ready()`.
   * Returns how many bytes were taken; -1 when the client claimed a longer payload than is legal.
   */
  receive(bytes: Uint8Array, maxRequests = Number.POSITIVE_INFINITY): number {
    let at = 0;
    for (let done = 0; at < bytes.length && done < maxRequests && this.ready(); ) {
      // A request that comes in pieces is taken in any case.
      if (this.#frames.atBoundary() && !this.#parts.mayTake(this, bytes, at)) {
        this.#waits = true;
        break;
      }
      const n = this.#frames.take(bytes, at); // untrusted: everything in it
      if (n < 0) {
        this.#broken = `a payload of more than ${XENSTORE_PAYLOAD_MAX} bytes`;
        return -1;
      }
      at += n;
      if (!this.#frames.complete) continue;
      const { type, req_id, tx_id, payload } = this.#frames.frame;
      this.#parts.answer(this, type, req_id, tx_id, payload);
      this.#queued();
      done++;
    }
    return at;
  }

  /** The answer to a request that was not answered at once. */
  answerLate(type: number, { req_id, tx_id }: Asked, text: string): void {
    this.output.reply(type, req_id, tx_id, `${text}\0`);
    this.#queued();
  }

  event(path: string, token: string): void {
    if (this.#broken !== undefined) return;
    this.output.event(path, token);
    if (this.output.bytes > Math.min(EVENTS_BYTES, this.limits().memory)) this.#broken = 'too many unread watch events';
    this.#queued();
  }

  #queued(): void {
    if (!this.output.empty) this.#waitingSince ??= this.#parts.clock.now();
    this.#parts.onOutput();
  }

  /** Send what `write` takes (see OutputQueue.drain). */
  drain(write: (bytes: Uint8Array) => number): number {
    const n = this.output.drain(write);
    if (n !== 0) this.#taken();
    return n;
  }

  /** So many bytes of its output were sent. */
  sent(bytes: number): void {
    this.output.took(bytes);
    this.#taken();
  }

  #taken(): void {
    this.#waitingSince = this.output.empty ? undefined : this.#parts.clock.now();
  }

  /** Breaks the connection when its client has taken nothing for so long while there was something to take. */
  checkStalled(now: number, limitNs: number): void {
    if (this.#broken !== undefined || this.#waitingSince === undefined) return;
    if (now - this.#waitingSince < limitNs) return;
    this.#broken = `it has read nothing for ${Math.round(limitNs / 1e9)} s`;
    this.#parts.onOutput();
  }

  /** An id that no open transaction of this client has. */
  newTransactionId(): number {
    do {
      this.#lastTransaction = this.#lastTransaction === 0xffffffff ? 1 : this.#lastTransaction + 1;
    } while (this.transactions.has(this.#lastTransaction));
    return this.#lastTransaction;
  }

  state(): ConnectionState {
    return {
      unfinished: this.#frames.unfinished(),
      lastTransaction: this.#lastTransaction,
      output: this.output.state(),
    };
  }
  restore({ unfinished, lastTransaction, output }: ConnectionState): void {
    this.#frames.take(unfinished);
    this.#lastTransaction = lastTransaction;
    this.output.restore(output);
  }

  /** As new: unfinished input, transactions and waiting output are gone. Its watches are in `Watches`. */
  reset(): void {
    this.#frames.reset();
    this.transactions.clear();
    this.output.clear();
    this.#waitingSince = undefined;
    this.#broken = undefined;
    this.#waits = false;
  }
}
