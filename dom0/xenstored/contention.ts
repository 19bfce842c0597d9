// Who goes first where transactions conflict. After a commit has failed because of a node, the transactions that
// are about that node take turns: the first request of one is not taken from its connection while another has its
// turn. A transaction is taken to be about the node its first request names, or what its client's last one was
// about. Nothing else changes, and a turn that takes too long is over.
//
// Nobody who has a turn ever waits, and what waits has not begun, so there is no circle of waiting. A transaction
// that goes on to another contended node joins the two: from then on one turn is for both.
import type { Clock } from '#pvbus';

/** A transaction, as far as it has to wait. */
export interface Contest {
  /** It has had a request that names a path. */
  readonly begun: boolean;
}

/** A connection, as far as it has to wait. */
export interface Contender {
  readonly name: string;
  /** The open transactions. */
  readonly transactions: ReadonlyMap<number, Contest>;
  /** Its next request was not taken, and nothing has begun anew since. */
  readonly waits: boolean;
  /** The request that was not taken may be now. */
  goOn(): void;
}

/** A turn is over after this long when somebody waits for it. */
const TURN_NS = 5e6;
/**
 * Who let that happen has no more turns, and waits for none, for as long as it has cost: it fails all that time, and
 * may only have been without a CPU...
 */
const DISTRUST_NS = TURN_NS;
/** ... and for twice as long as the last time, unless that is so many times as long ago. */
const FORGIVE = 16;
const LONGEST_DISTRUST_NS = 60e9;
/** Nobody waits longer, however many were there before. */
const PATIENCE_NS = 100e6;
/** A node is contended until it has not been changed by a transaction for so long. */
const COOL_NS = 1e9;
/** No more nodes than this. */
const MOST = 1024;

/** A transaction of a client: by identity, for numbers are used again. */
interface Bid {
  readonly client: Contender;
  readonly tx_id: number;
  readonly transaction: Contest;
}
interface Waiting extends Bid {
  readonly since: number;
}

/** Nodes that one transaction at a time has. */
interface Group {
  turn: Bid | undefined;
  /** When the turn is over; nobody waits for it as long as it has no end. */
  end: number;
  readonly queue: Waiting[];
}

interface Hot {
  group: Group;
  changed: number;
}

const isOpen = ({ client, tx_id, transaction }: Bid): boolean => client.transactions.get(tx_id) === transaction;

export class Contention {
  readonly #clock: Clock;
  readonly #hot = new Map<string, Hot>();
  /** The group whose turn a client has. */
  readonly #turns = new Map<Contender, Group>();
  /** Groups for which somebody waits. */
  readonly #awaited = new Set<Group>();
  /** The contended node that the last transaction of a client was about. */
  readonly #wanted = new WeakMap<Contender, string>();
  readonly #distrusted = new WeakMap<Contender, { until: number; forNs: number }>();
  /** Whose patience is over: its request is to be taken, with or without a turn. */
  readonly #excused = new WeakSet<Contender>();
  #conflicts = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Commits that have failed. */
  get conflicts(): number {
    return this.#conflicts;
  }
  /** When `step` has something to do, if nothing happens before. */
  get deadline(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const { end } of this.#awaited) first = Math.min(first, end);
    return first;
  }

  /** No node is contended. */
  get quiet(): boolean {
    return this.#hot.size === 0;
  }

  /** A commit of a client has failed because something at `path` had changed. */
  failed(client: Contender, path: string): void {
    this.#conflicts++;
    this.#wanted.set(client, path);
    const now = this.#clock.now();
    const hot = this.#hot.get(path);
    if (hot) hot.changed = now;
    else {
      this.#cool(now);
      this.#hot.set(path, { group: { turn: undefined, end: Number.POSITIVE_INFINITY, queue: [] }, changed: now });
    }
  }

  /** A transaction of a client has changed these nodes. */
  committed(client: Contender, changes: Iterable<{ readonly path: string }>): void {
    if (this.quiet) return;
    this.#wanted.delete(client);
    for (const { path } of changes) {
      // A listing of its parent may be what is contended.
      for (const at of [path, path.slice(0, Math.max(1, path.lastIndexOf('/')))]) {
        const hot = this.#hot.get(at);
        if (!hot) continue;
        hot.changed = this.#clock.now();
        this.#wanted.set(client, at);
      }
    }
  }

  /** Whether a request of an open transaction that names `path` may be taken now. When not, `goOn` will tell. */
  mayTake(client: Contender, { tx_id, transaction, path }: Omit<Bid, 'client'> & { path: string }): boolean {
    const begins = !transaction.begun;
    const now = this.#clock.now();
    const hot = this.#hotAt(path, now) ?? (begins ? this.#hotAt(this.#wanted.get(client), now) : undefined);
    if (!hot || this.#excused.delete(client)) return true;
    const own = this.#turnOf(client);
    if (own) {
      if (own !== hot.group && own.turn?.transaction === transaction) this.#join(own, hot.group);
      return true;
    }
    if (!begins || (this.#distrusted.get(client)?.until ?? 0) > now) return true;
    const bid = { client, tx_id, transaction };
    const { group } = hot;
    if (group.turn && !isOpen(group.turn)) this.#next(group, now);
    if (!group.turn) {
      this.#begin(group, bid, now);
      return true;
    }
    if (group.end === Number.POSITIVE_INFINITY) group.end = now + TURN_NS;
    group.queue.push({ ...bid, since: now });
    this.#awaited.add(group);
    return false;
  }

  /** Let those go on whose turn it is, or who have waited long enough. */
  step(): void {
    if (this.#awaited.size === 0) return;
    const now = this.#clock.now();
    for (const group of this.#awaited) {
      const { turn, queue } = group;
      if (turn && isOpen(turn) && now >= group.end) {
        this.#distrust(turn.client, now);
        this.#next(group, now);
      } else if (!turn || !isOpen(turn)) {
        this.#next(group, now);
      }
      for (let first = queue[0]; first && now - first.since >= PATIENCE_NS; first = queue[0]) {
        queue.shift();
        if (!first.client.waits || !isOpen(first)) continue;
        this.#excused.add(first.client);
        first.client.goOn();
      }
      if (queue.length === 0) this.#awaited.delete(group);
    }
  }

  #hotAt(path: string | undefined, now: number): Hot | undefined {
    const hot = path === undefined ? undefined : this.#hot.get(path);
    if (!hot || path === undefined || now - hot.changed < COOL_NS) return hot;
    this.#hot.delete(path);
    return undefined;
  }

  #turnOf(client: Contender): Group | undefined {
    const group = this.#turns.get(client);
    if (!group) return undefined;
    if (group.turn?.client === client && isOpen(group.turn)) return group;
    this.#turns.delete(client);
    return undefined;
  }

  #begin(group: Group, { client, tx_id, transaction }: Bid, now: number): void {
    group.turn = { client, tx_id, transaction };
    group.end = group.queue.length > 0 ? now + TURN_NS : Number.POSITIVE_INFINITY;
    this.#turns.set(client, group);
  }

  /** The turn of `group` is over: the next one's, of those that still wait. */
  #next(group: Group, now: number): void {
    if (group.turn) this.#turns.delete(group.turn.client);
    group.turn = undefined;
    group.end = Number.POSITIVE_INFINITY;
    for (let next = group.queue.shift(); next; next = group.queue.shift()) {
      if (!next.client.waits || !isOpen(next)) continue;
      this.#begin(group, next, now);
      next.client.goOn();
      return;
    }
  }

  #distrust(client: Contender, now: number): void {
    const last = this.#distrusted.get(client);
    const again = last !== undefined && now - last.until < FORGIVE * last.forNs;
    const forNs = again ? Math.min(2 * last.forNs, LONGEST_DISTRUST_NS) : DISTRUST_NS;
    this.#distrusted.set(client, { until: now + forNs, forNs });
  }

  /** From here on `other` is `group`. Whoever has its turn goes on without one. */
  #join(group: Group, other: Group): void {
    for (const hot of this.#hot.values()) if (hot.group === other) hot.group = group;
    if (other.turn) this.#turns.delete(other.turn.client);
    other.turn = undefined;
    group.queue.push(...other.queue.splice(0));
    group.queue.sort((a, b) => a.since - b.since);
    this.#awaited.delete(other);
    if (group.queue.length === 0) return;
    this.#awaited.add(group);
    if (group.end === Number.POSITIVE_INFINITY) group.end = this.#clock.now() + TURN_NS;
  }

  /** Forget what is contended no more, and when there are too many the one that was changed longest ago. */
  #cool(now: number): void {
    let oldest: string | undefined;
    let when = Number.POSITIVE_INFINITY;
    for (const [path, { changed }] of this.#hot) {
      if (now - changed >= COOL_NS) this.#hot.delete(path);
      else if (changed < when) {
        oldest = path;
        when = changed;
      }
    }
    if (this.#hot.size >= MOST && oldest !== undefined) this.#hot.delete(oldest);
  }
}
