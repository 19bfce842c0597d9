// A disk on an NBD server, over as many connections as its life takes. What a server has not answered is asked again
// when it is back, in its order, and before that what it acknowledged and had not flushed. Nothing here blocks: the
// stream calls back, `tick` is called at `deadline`.
import {
  type Clock,
  describeNbd,
  type Log,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_ERRORS,
  NBD_ESHUTDOWN,
  NBD_REQUEST_BYTES,
  type NbdTarget,
  XenError,
} from '#pvbus';
import { BlockTurns } from './block-turns.ts';
import { Command, type CommandSink } from './command.ts';
import { type NbdExport, Negotiation } from './negotiation.ts';
import { writeRequest } from './protocol.ts';
import { ReplyParser } from './replies.ts';
import { type SpareChunks, Unflushed, type UnflushedWrite } from './unflushed.ts';

/** A connection as the session uses it. */
export interface NbdStream {
  /** The bytes stay as they are until they are sent or the stream is destroyed. */
  write(bytes: Uint8Array): void;
  /** What is written between these two goes out together. */
  cork(): void;
  uncork(): void;
  /** The last bytes, when nothing else is on its way; it calls nobody afterwards. */
  end(bytes: Uint8Array): void;
  /** Afterwards it touches no memory and calls nobody, and what the server has not received it does not receive. */
  destroy(): void;
}
export interface StreamEvents {
  connected(): void;
  /** The first `length` of `bytes`, which are the stream's again afterwards. */
  data(bytes: Uint8Array, length: number): void;
  lost(why: string): void;
}
export type Connect = (server: NbdTarget['server'], events: StreamEvents) => NbdStream;

export interface SessionOptions {
  readonly target: NbdTarget;
  /** How messages name it. */
  readonly label: string;
  readonly connect: Connect;
  readonly clock: Clock;
  readonly log: Log;
  /** What is not flushed is kept in these. */
  readonly spare: SpareChunks;
  /** `deadline` is another one than when it was asked for. */
  readonly wake: () => void;
  /** The export is there for the first time, or it is not to be had within `openMs`. */
  readonly onOpen: (result: NbdExport | XenError) => void;
  readonly openMs: number;
  /** It has lost its server, or has it again. */
  readonly onAway: (away: boolean) => void;
  /** It is not full any more. */
  readonly onRoom: () => void;
  /** Its disk has become larger. */
  readonly onGrown: (sizeBytes: number) => void;
  /** It can never go on: the server has another disk now. */
  readonly onBroken: (error: XenError) => void;
}

const MS = 1e6;
const FIRST_WAIT_MS = 20;
const LONGEST_WAIT_MS = 2000;
/** A server that says nothing for so long while it is spoken to for the first time is as good as none. */
const NEGOTIATE_MS = 10_000;
/** The last flush of a disk that is closed. */
const LAST_FLUSH_MS = 10_000;
/** A server that was let go of, to be another one, is missed when it is not there by then. */
const RENEWAL_MS = 10_000;
/** So much is acknowledged before the server is asked to flush by us. */
const FLUSH_AFTER_BYTES = 32 << 20;
/** Servers lost in a row are logged so often, then at every power of two. */
const LOGGED_LOSSES = 4;

type State = 'connecting' | 'negotiating' | 'restoring' | 'serving' | 'draining' | 'held' | 'waiting' | 'closed';

export class NbdSession {
  readonly #options: SessionOptions;
  #state: State = 'waiting';
  #stream: NbdStream | undefined;
  #export: NbdExport | undefined;
  #negotiation: Negotiation | undefined;
  #parser: ReplyParser<Command> | undefined;
  readonly #table: Command[] = [];
  readonly #free: Command[] = [];
  readonly #inFlight = new Set<Command>();
  #made = 0;
  readonly #unflushed: Unflushed;
  #restoring: Iterator<UnflushedWrite> | undefined;
  #flushing = false;
  /** What was acknowledged could not be written again: it is not on the disk, and a flush must say so. */
  #lostWrites = false;
  /** It is to have no connection, until `renew`. */
  #whenHeld: (() => void) | undefined;
  /** What waits for that, and is not with the server. */
  #unsent = 0;
  /** The next server may have a larger disk. */
  #mayGrow = false;
  /** It is to be there again by then, after it was held. */
  #missedFromNs = 0;
  /** It is to be closed. */
  #whenFlushed: (() => void) | undefined;
  /** When the state is left for another one if nothing happens. */
  #deadlineNs: number | undefined;
  #waitMs = FIRST_WAIT_MS;
  #losses = 0;
  #lastWhy = '';
  #openUntilNs: number;
  /** When requests have waited enough for a server. */
  #failAtNs = Number.POSITIVE_INFINITY;
  readonly #headers = new Uint8Array(NBD_REQUEST_BYTES * 1024);
  readonly #headerView = new DataView(this.#headers.buffer);
  #headerAt = 0;
  /** Of its requests, where the server's blocks are larger than sectors. */
  readonly turns = new BlockTurns();
  readonly stats = { connections: 0, repeated: 0, restored: 0 };

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#unflushed = new Unflushed(options.spare);
    this.#openUntilNs = options.clock.now() + options.openMs * MS;
    this.#connect();
  }

  get serving(): boolean {
    return this.#state === 'serving' || this.#state === 'draining';
  }
  get inFlight(): number {
    return this.#inFlight.size;
  }
  /** Of the last server that was there. */
  get export(): NbdExport | undefined {
    return this.#export;
  }
  /** So much is acknowledged and not flushed that writes had better wait. */
  get full(): boolean {
    return this.#unflushed.bytes > 2 * FLUSH_AFTER_BYTES;
  }

  // ---- requests ----

  acquire(type: number, at: number, length: number, sink: CommandSink, flags = 0): Command {
    let command = this.#free.pop();
    if (command === undefined) {
      command = new Command(this.#table.length);
      this.#table.push(command);
    }
    return command.reset(type, at, length, sink, flags);
  }

  /** Its sink hears of the answer, never before this returns unless the disk is gone for good. */
  send(command: Command): void {
    command.order = this.#made++;
    this.#inFlight.add(command);
    if (this.#state === 'serving') this.#transmit(command);
    else if (this.#state === 'draining') this.#unsent++;
  }
  cork(): void {
    this.#stream?.cork();
  }
  uncork(): void {
    this.#stream?.uncork();
  }

  #transmit(command: Command): void {
    const stream = this.#stream!; // there is one while it is serving
    command.generation = (command.generation + 1) >>> 0;
    command.received = 0;
    command.error = 0;
    if (command.type === NBD_CMD_FLUSH) command.covers = this.#unflushed.next;
    const { type, flags, at, length, slot, generation } = command;
    stream.write(this.#header({ type, flags, at, length, cookieHi: generation, cookieLo: slot }));
    if (type === NBD_CMD_WRITE) for (const piece of command.pieces()) stream.write(piece);
  }
  /** The stream may hold on to it for as long as there are other requests; then its place is used again. */
  #header(request: Parameters<typeof writeRequest>[2]): Uint8Array {
    if (this.#inFlight.size * NBD_REQUEST_BYTES >= this.#headers.length / 2) {
      const bytes = new Uint8Array(NBD_REQUEST_BYTES);
      writeRequest(new DataView(bytes.buffer), 0, request);
      return bytes;
    }
    const at = this.#headerAt;
    this.#headerAt = (at + NBD_REQUEST_BYTES) % this.#headers.length;
    writeRequest(this.#headerView, at, request);
    return this.#headers.subarray(at, at + NBD_REQUEST_BYTES);
  }

  readonly #replies = {
    find: (hi: number, lo: number): Command | undefined => {
      const command = this.#table[lo];
      return command !== undefined && command.generation === hi && this.#inFlight.has(command) ? command : undefined;
    },
    answered: (command: Command, error: number): void => {
      if (error === NBD_ESHUTDOWN) throw new XenError('ESHUTDOWN', 'it is shutting down');
      this.#answered(command, error);
    },
  };

  #answered(command: Command, error: number): void {
    const wrote = command.type === NBD_CMD_WRITE || command.type === NBD_CMD_TRIM;
    if (wrote && error === 0 && this.#state !== 'restoring') this.#remember(command);
    let answer = error;
    if (command.type === NBD_CMD_FLUSH && error === 0) {
      this.#unflushed.drop(command.covers);
      if (this.#lostWrites) answer = 5;
    }
    this.#settle(command, answer);
    if (this.#state === 'draining') this.#drain();
  }
  #settle(command: Command, error: number): void {
    const { sink } = command;
    this.#inFlight.delete(command);
    sink?.answered(command, error);
    command.sink = undefined;
    this.#free.push(command);
  }

  #remember(command: Command): void {
    if (!this.#export?.flush || (command.flags & NBD_CMD_FLAG_FUA) !== 0) return;
    const { type, at, length } = command;
    const unflushed = this.#unflushed;
    command.copyTo(unflushed.add(type, at, length, type === NBD_CMD_WRITE ? length : 0));
    if (this.#flushing || unflushed.bytes < FLUSH_AFTER_BYTES) return;
    this.#flushing = true;
    this.send(this.acquire(NBD_CMD_FLUSH, 0, 0, this.#ownFlush));
  }
  readonly #ownFlush: CommandSink = {
    answered: (_, error) => {
      this.#flushing = false;
      if (error !== 0) this.#lose(`flush: ${NBD_ERRORS[error] ?? 'EINVAL'}`);
      // No request of a frontend is answered by this: what waits for room would not hear of it.
      this.#options.onRoom();
    },
  };
  #lose(what: string): void {
    if (!this.#lostWrites) this.#options.log.error(`${this.#options.label}: acknowledged writes are lost: ${what}`);
    this.#lostWrites = true;
    this.#unflushed.drop(this.#unflushed.next);
  }

  // ---- connections ----

  get deadline(): number | undefined {
    if (!this.#isAway || this.#inFlight.size === 0 || this.#failAtNs === Number.POSITIVE_INFINITY)
      return this.#deadlineNs;
    return Math.min(this.#failAtNs, this.#deadlineNs ?? this.#failAtNs);
  }
  get #isAway(): boolean {
    return this.#state !== 'serving' && this.#state !== 'restoring' && this.#state !== 'draining';
  }
  /** Called at `deadline`, or any time. */
  tick(): void {
    const now = this.#options.clock.now();
    if (now >= this.#failAtNs && this.#isAway && this.#inFlight.size > 0) this.#failAll();
    if (this.#deadlineNs === undefined || now < this.#deadlineNs) return;
    if (this.#whenFlushed !== undefined) this.#whenFlushed();
    else if (this.#state === 'waiting') this.#connect();
    else if (this.#state !== 'serving') this.#lost('it does not answer');
  }

  /** No request is with the server, and nothing is connected to it, when `done` is called; what is asked waits for `renew`. */
  hold(done: () => void): void {
    this.#whenHeld = done;
    if (this.#state === 'serving') {
      this.#state = 'draining';
      this.#unsent = 0;
      this.#drain();
    } else if (this.#state !== 'restoring') this.#held();
  }
  /** order: what was sent is answered before there is another connection, where it would be asked a second time. */
  #drain(): void {
    if (this.#inFlight.size > this.#unsent) return;
    this.#sayGoodbye();
    this.#held();
  }
  #held(): void {
    const done = this.#whenHeld;
    this.#whenHeld = undefined;
    this.#drop();
    if (this.#state !== 'closed') {
      this.#state = 'held';
      this.#deadlineNs = undefined;
      this.#beginPatience();
    }
    done?.();
  }
  /** Go on, with a disk that may be larger. */
  renew(): void {
    if (this.#state !== 'held') return;
    this.#mayGrow = true;
    this.#missedFromNs = this.#options.clock.now() + RENEWAL_MS * MS;
    this.#connect();
    this.#options.wake();
  }

  #connect(): void {
    this.#state = 'connecting';
    this.#deadlineNs = this.#options.clock.now() + NEGOTIATE_MS * MS;
    // A stream that was given up may have something to say still.
    let stream: NbdStream | undefined;
    const mine = (act: () => void): void => {
      if (this.#stream !== stream) return;
      const deadline = this.#deadlineNs;
      try {
        act();
      } catch (error) {
        if (!(error instanceof XenError)) throw error;
        if (this.#stream === stream) this.#lost(error.message, error.code);
      }
      if (this.#deadlineNs !== deadline) this.#options.wake();
    };
    stream = this.#options.connect(this.#options.target.server, {
      connected: () => mine(() => this.#negotiate()),
      data: (bytes, length) => mine(() => this.#data(bytes, length)),
      lost: why => mine(() => this.#lost(why)),
    });
    this.#stream = stream;
  }
  #negotiate(): void {
    this.#state = 'negotiating';
    this.#negotiation = new Negotiation(this.#options.target.exportName, bytes => this.#stream?.write(bytes));
  }

  #data(bytes: Uint8Array, length: number): void {
    if (this.#parser !== undefined) {
      this.#parser.feed(bytes, length);
      return;
    }
    const found = this.#negotiation?.feed(bytes.subarray(0, length));
    if (found !== undefined) this.#letIn(found);
  }

  #letIn(found: NbdExport): void {
    const { label, log, onOpen, onBroken } = this.#options;
    const before = this.#export;
    const grown = before !== undefined && this.#mayGrow && found.sizeBytes > before.sizeBytes;
    const expected = grown ? { ...before, sizeBytes: found.sizeBytes } : before;
    const other = expected === undefined ? undefined : difference(expected, found);
    if (other !== undefined) {
      const error = new XenError('ENXIO', `${label}: the server came back with another disk: ${other}`);
      this.close();
      onBroken(error);
      return;
    }
    // Requests that are under way reckon with the blocks that there were.
    this.#export = before === undefined ? found : { ...found, minBlock: before.minBlock };
    this.#mayGrow = false;
    this.#negotiation = undefined;
    this.#parser = new ReplyParser(this.#replies, found.structuredReplies);
    this.stats.connections++;
    if (before === undefined) {
      this.#openUntilNs = Number.POSITIVE_INFINITY;
      this.#serve();
      onOpen(found);
      return;
    }
    if (grown) this.#options.onGrown(found.sizeBytes);
    if (this.#losses > 0) {
      log.info(`${label}: the server is back`);
      this.#options.onAway(false);
    }
    this.#state = 'restoring';
    this.#restoring = this.#unflushed.entries();
    this.#restoreNext();
  }

  /** One after the other: a server may do requests in any order, and these have one. */
  #restoreNext(): void {
    const { value, done } = this.#restoring!.next();
    if (done) {
      this.#serve();
      return;
    }
    this.#deadlineNs = undefined;
    const { type, at, length, data } = value;
    const command = this.acquire(type, at, length, this.#restored);
    if (data.length > 0) command.addPiece(data, 0, data.length);
    this.stats.restored++;
    command.order = -1;
    this.#inFlight.add(command);
    this.#transmit(command);
  }
  readonly #restored: CommandSink = {
    answered: (_, error) => {
      if (error !== 0) this.#lose(`writing them again: ${NBD_ERRORS[error] ?? 'EINVAL'}`);
      if (this.#state === 'restoring') this.#restoreNext();
    },
  };

  #serve(): void {
    this.#state = 'serving';
    this.#restoring = undefined;
    this.#deadlineNs = undefined;
    this.#failAtNs = Number.POSITIVE_INFINITY;
    this.#waitMs = FIRST_WAIT_MS;
    this.#losses = 0;
    const again = [...this.#inFlight].sort((a, b) => a.order - b.order);
    this.stats.repeated += again.length;
    this.#stream!.cork();
    for (const command of again) this.#transmit(command);
    this.#stream!.uncork();
    if (this.#whenHeld !== undefined) this.hold(this.#whenHeld);
  }

  #lost(why: string, code = 'ENOTCONN'): void {
    const { clock, label, log, target } = this.#options;
    const now = clock.now();
    const wasThere = !this.#isAway;
    this.#drop();
    if (this.#whenFlushed !== undefined) {
      this.#whenFlushed();
      return;
    }
    // What was being written again is begun anew with the next server.
    for (const command of this.#inFlight) {
      if (command.sink !== this.#restored) continue;
      this.#inFlight.delete(command);
      this.#free.push(command);
    }
    if (this.#export === undefined && (now >= this.#openUntilNs || code === 'ENOENT')) {
      this.#state = 'closed';
      this.#deadlineNs = undefined;
      this.#options.onOpen(
        new XenError(code === 'ENOTCONN' ? 'ECONNREFUSED' : code, `${label}: ${describeNbd(target)}: ${why}`),
      );
      return;
    }
    const isRenewed = this.#mayGrow && now < this.#missedFromNs;
    if (this.#export !== undefined && !isRenewed) {
      const n = ++this.#losses;
      if (n === 1) this.#options.onAway(true);
      const worth = why !== this.#lastWhy || n <= LOGGED_LOSSES || (n & (n - 1)) === 0;
      if (worth) log.warn(`${label}: the server is lost: ${why}`);
      this.#lastWhy = why;
      if (wasThere) this.#beginPatience();
    }
    if (this.#whenHeld !== undefined) {
      this.#held();
      return;
    }
    this.#state = 'waiting';
    this.#deadlineNs = now + this.#waitMs * MS;
    this.#waitMs = Math.min(this.#waitMs * 2, LONGEST_WAIT_MS);
  }

  #beginPatience(): void {
    const { clock, target } = this.#options;
    if (this.#failAtNs === Number.POSITIVE_INFINITY) this.#failAtNs = clock.now() + target.patienceMs * MS;
  }
  /** No server has come in time: what waits for one is answered with an error. */
  #failAll(): void {
    for (const command of [...this.#inFlight]) {
      if (command.sink !== this.#ownFlush) this.#settle(command, Number.POSITIVE_INFINITY);
    }
  }

  /** Nothing that was sent is answered on this connection any more, and nobody's memory is used by it. */
  #drop(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#negotiation = undefined;
    this.#parser = undefined;
    this.#restoring = undefined;
    stream?.destroy();
  }

  /** Whoever waits for these forgets them: their memory is not used when this returns. */
  abandon(): void {
    this.turns.clear();
    let any = false;
    for (const command of this.#inFlight) {
      if (command.sink === this.#restored || command.sink === this.#ownFlush) continue;
      any = true;
      this.#inFlight.delete(command);
      command.sink = undefined;
      this.#free.push(command);
    }
    if (any && this.#stream !== undefined) this.#lost('its requests were given up');
  }

  /**
   * What was acknowledged is on the server's medium, or there is no connection, when `done` is called: requests that were given up
   * have taken it along, or it is held. Then a server that lives has what it acknowledged, and a qemu-nbd that was told to end has
   * written it.
   */
  flushAndClose(done: () => void): void {
    const over = (): void => {
      if (this.#whenFlushed === undefined) return;
      this.#whenFlushed = undefined;
      this.close();
      done();
    };
    this.#whenFlushed = over;
    if (this.#state !== 'serving' || this.#unflushed.size === 0) {
      over();
      return;
    }
    this.#deadlineNs = this.#options.clock.now() + LAST_FLUSH_MS * MS;
    this.send(this.acquire(NBD_CMD_FLUSH, 0, 0, { answered: over }));
  }

  /** Tell the server good-bye. Requests in flight are answered by nobody. */
  close(): void {
    if (this.#state === 'serving') this.#sayGoodbye();
    this.#state = 'closed';
    this.#deadlineNs = undefined;
    this.#held();
  }
  #sayGoodbye(): void {
    const bye = new Uint8Array(NBD_REQUEST_BYTES);
    const request = { type: NBD_CMD_DISC, flags: 0, cookieHi: 0, cookieLo: 0, at: 0, length: 0 };
    writeRequest(new DataView(bye.buffer), 0, request);
    this.#stream?.end(bye);
    this.#stream = undefined;
  }
}

/** What is not as it was. A disk that grew unexpectedly is another one too: nobody has told its guest. */
function difference(before: NbdExport, now: NbdExport): string | undefined {
  if (before.sizeBytes !== now.sizeBytes) return `${now.sizeBytes} bytes, it had ${before.sizeBytes}`;
  if (before.readOnly !== now.readOnly) return now.readOnly ? 'it is read-only now' : 'it was read-only';
  if (before.flush && !now.flush) return 'it cannot flush any more';
  // Requests under way may ask for these, and what is written again.
  if (before.fua && !now.fua) return 'it cannot write through any more';
  if (before.trim && !now.trim) return 'it cannot trim any more';
  if (now.minBlock > before.minBlock || now.maxBlock < before.maxBlock) return 'it wants other blocks';
  return undefined;
}
