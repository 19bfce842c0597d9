// A transaction: a snapshot, what was seen in it, and what is to be done. Its end is as if all of it
// happened at that moment: when everything it saw still holds, its operations are done again on the tree
// of then, so that two which do not touch what the other saw both commit. Otherwise EAGAIN.
// The snapshot is that of its first request: until then it has asked for nothing that could be outdated.
import { parentOf, XenError } from '#pvbus';
import { segmentsOf } from './path.ts';
import { type Actor, DOM0, samePermissions } from './permissions.ts';
import { type Limits, UNLIMITED } from './quota.ts';
import { OverQuota, Refusal } from './refusal.ts';
import {
  apply,
  type Change,
  checkMemory,
  checkSize,
  checkUsage,
  find,
  nearest,
  type Operation,
  type Store,
  sizeOf,
  specialPerms,
  type Tree,
} from './store.ts';

/** What of a path a request has looked at. */
export const SAW_EXISTENCE = 1;
export const SAW_VALUE = 2;
export const SAW_NAMES = 4;
export const SAW_PERMS = 8;
/** It is what there was above a path that the transaction itself had removed. No request has named it. */
const SAW_ABOVE = 16;

/**
 * Generations within a transaction: the first of these that none in its tree has reached, and the place of the
 * operation. The store's own are given at the commit, so a transaction that is open or was given up has no influence
 * on them. The first is a small integer to the engine: once a node has had a greater one, all take more room, and what
 * was compiled for the others is given up.
 */
const PROVISIONAL = [2 ** 30, 2 ** 52] as const;

/** Counted for a transaction, and for each path and operation of it, beside their text. */
const OVERHEAD = 64;

const bytesOf = (op: Operation): number => OVERHEAD + op.path.length + (op.kind === 'write' ? op.value.length : 0);

/** On whose account a transaction is. */
export interface Account {
  limits(): Limits;
  /** Bytes that are kept for it beside nodes: watches and transactions. */
  held(): number;
}

/** What a request works on: the store itself, or a transaction. */
export interface View {
  readonly tree: Tree;
  /** Do it, or throw and have done nothing. */
  apply(op: Operation): void;
  /** The request's reply depends on this (an OR of SAW_*). */
  saw(path: string, what: number): void;
}

/** All that a transaction is, beside whose it is. */
export interface TransactionState {
  /** The store's tree when it began; of no meaning as long as nothing was seen or done. */
  readonly base: Tree;
  readonly operations: readonly Operation[];
  /** By path, an OR of SAW_*. */
  readonly seen: readonly (readonly [string, number])[];
}

export class Transaction implements View {
  readonly #store: Store;
  readonly #actor: Actor;
  readonly #account: Account;
  #base: Tree;
  #tree: Tree;
  readonly #seen = new Map<string, number>();
  readonly #touched = new Set<string>();
  readonly #operations: Operation[] = [];
  /** The last write of each path, by its place in #operations; only writes no removal came after. */
  readonly #written = new Map<string, number>();
  #bytes = OVERHEAD;
  #removes = false;
  /** Where a commit has failed because of somebody else. */
  conflict: string | undefined;

  constructor(store: Store, actor: Actor, account: Account, base = store.tree) {
    this.#store = store;
    this.#actor = actor;
    this.#account = account;
    this.#base = base;
    this.#tree = base;
  }

  /** The transaction that `state()` was asked of. */
  static restored(store: Store, actor: Actor, account: Account, state: TransactionState): Transaction {
    const transaction = new Transaction(store, actor, account, state.base);
    for (const [path, what] of state.seen) {
      transaction.#remember(path, what);
      if (what & ~SAW_ABOVE) transaction.#touched.add(path);
    }
    for (const op of state.operations) {
      transaction.#touched.add(op.path);
      transaction.#do(op, UNLIMITED, 0);
    }
    return transaction;
  }

  state(): TransactionState {
    return { base: this.#base, operations: [...this.#operations], seen: [...this.#seen] };
  }

  get tree(): Tree {
    return this.#tree;
  }

  /** What it takes of its client's memory quota. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether it has had a request that named a path. */
  get begun(): boolean {
    return this.#touched.size > 0;
  }

  #begin(): void {
    if (this.begun) return;
    this.#base = this.#store.tree;
    this.#tree = this.#base;
  }

  saw(path: string, what: number): void {
    this.#begin();
    // A value this transaction has written itself depends on nobody else. Permissions still do: whether the
    // write made the node, and so whose it is, is decided when the write is done again.
    const own = this.#written.has(path) ? SAW_VALUE | (what & SAW_PERMS ? 0 : SAW_EXISTENCE) : 0;
    const others = what & ~own;
    this.#touch(path);
    if (others !== 0) this.#see(path, others);
  }

  apply(op: Operation): void {
    this.#begin();
    const limits = this.#account.limits();
    // As many as nodes, four times over: alternating writes and removals of one node must end somewhere.
    if (this.#operations.length >= 4 * limits['transaction-nodes']) {
      throw new OverQuota('transaction-nodes', `dom${this.#actor.domid}: a transaction of too many operations`);
    }
    this.#touch(op.path);
    try {
      // What is written here is held twice, in this tree and in #operations, by one and the same array.
      this.#do(op, limits, Math.max(0, this.#account.held() - this.#bytes));
    } catch (error) {
      // The refusal is a reply too, and it came from what is on the way to the path.
      this.#see(op.path, SAW_EXISTENCE | SAW_PERMS);
      throw error;
    }
  }

  /** A path of which something that was seen is no longer so in `now`. */
  #outdated(now: Tree): string | undefined {
    for (const [path, what] of this.#seen) if (!unchanged(this.#base, now, path, what)) return path;
    return undefined;
  }

  #see(path: string, what: number): void {
    this.#remember(path, what);
    if (!this.#removes || path.startsWith('@')) return;
    // What this transaction has removed is not there: what it was told came from above that, where others may change it.
    const segments = segmentsOf(path);
    const { depth } = nearest(this.#tree, segments);
    if (depth >= nearest(this.#base, segments).depth) return;
    const above = `/${segments.slice(0, depth).join('/')}`;
    this.#remember(above, SAW_ABOVE);
  }
  #remember(path: string, what: number): void {
    const before = this.#seen.get(path) ?? 0;
    if ((before & ~SAW_ABOVE) === 0 && what & ~SAW_ABOVE) this.#bytes += OVERHEAD + path.length;
    this.#seen.set(path, before | what);
  }

  // invariant: what was touched is what was seen or is to be changed, so `restored` knows it too.
  #touch(path: string): void {
    if (this.#touched.has(path)) return;
    const { domid } = this.#actor;
    const limits = this.#account.limits();
    if (this.#touched.size >= limits['transaction-nodes']) {
      throw new OverQuota('transaction-nodes', `dom${domid}: a transaction of more than ${this.#touched.size} nodes`);
    }
    checkMemory(this.#store.tree, this.#actor, limits, this.#account.held() + OVERHEAD + path.length);
    this.#touched.add(path);
  }

  /** Do `op` and keep it for the end. */
  #do(op: Operation, limits: Limits, held: number): void {
    const place = this.#placeOf(op);
    const first = this.#store.generation < PROVISIONAL[0] ? PROVISIONAL[0] : PROVISIONAL[1];
    this.#tree = apply(this.#tree, op, this.#actor, limits, first + place, held).tree;
    // Of a node that was written here nothing is left for MKDIR to do.
    if (op.kind === 'mkdir' && this.#written.has(op.path)) return;
    if (op.kind === 'write') this.#written.set(op.path, place);
    if (op.kind === 'rm') {
      this.#written.clear();
      this.#removes = true;
    }
    const before = this.#operations[place];
    this.#bytes += bytesOf(op) - (before ? bytesOf(before) : 0);
    this.#operations[place] = op;
  }

  /**
   * Where in #operations `op` goes. A write replaces an earlier one of that path, so a loop of writes stays
   * small.
   * invariant: doing #operations in order makes #tree, generations included.
   */
  #placeOf(op: Operation): number {
    const earlier = this.#written.get(op.path);
    if (op.kind === 'write' && earlier !== undefined) return earlier;
    const end = this.#operations.length;
    const last = this.#operations[end - 1];
    return last && last.kind === op.kind && last.path === op.path ? end - 1 : end;
  }

  /**
   * Make it so. Returns what watchers are to hear of. Throws EAGAIN when it has to be tried again.
   * order: its account holds nothing for it any more.
   */
  commit(): Change[] {
    if (this.#operations.length === 0) return []; // it saw one moment's tree, as if it had run then
    const now = this.#store.tree;
    const outdated = now === this.#base ? undefined : this.#outdated(now);
    if (outdated !== undefined) {
      this.conflict = outdated;
      throw new Refusal('EAGAIN', `${outdated} was changed meanwhile`);
    }
    const again = this.#doneAgain(now, this.#store.nextGeneration());
    if (typeof again === 'string') {
      this.conflict = again;
      throw new Refusal('EAGAIN', `a change of ${again} is no longer possible`);
    }
    const limits = this.#account.limits();
    if (limits !== UNLIMITED) this.#checkLimits(now, again.tree, limits);
    this.#store.commit(again.tree, this.#store.generation + this.#operations.length);
    return merged(again.changes, now, again.tree);
  }

  /** All operations on another tree, with generations from `first` on; or the path of one that is impossible. */
  #doneAgain(on: Tree, first: number): Again | string {
    let tree = on;
    const changes: Change[] = [];
    for (const [place, op] of this.#operations.entries()) {
      try {
        // Only what the transaction leaves is held against quotas: writes may be done in another order here.
        const outcome = apply(tree, op, this.#actor, UNLIMITED, first + place);
        tree = outcome.tree;
        if (outcome.change) changes.push(outcome.change);
      } catch (error) {
        if (error instanceof XenError) return op.path;
        throw error;
      }
    }
    return { tree, changes };
  }

  /** Throws ENOSPC or ENOMEM when what this transaction makes of `before` is too much. */
  #checkLimits(before: Tree, after: Tree, limits: Limits): void {
    checkUsage(before, after, this.#actor, limits, this.#account.held());
    for (const { kind, path } of this.#operations) {
      if (kind === 'rm' || path.startsWith('@')) continue;
      // The node itself, and those above it that were made for it or have got a child.
      for (let at = path; ; at = parentOf(at)) {
        const [old, made] = [find(before, at), find(after, at)];
        if (made && (!old || sizeOf(made) > sizeOf(old))) checkSize(made, at, limits);
        if (old || at === '/') break;
      }
    }
  }
}

interface Again {
  readonly tree: Tree;
  readonly changes: Change[];
}

/** Whether a request that saw `what` of `path` in `then` would see the same in `now`. */
function unchanged(then: Tree, now: Tree, path: string, what: number): boolean {
  if (path.startsWith('@')) return samePermissions(specialPerms(then, path), specialPerms(now, path));
  const segments = segmentsOf(path);
  const a = nearest(then, segments);
  const b = nearest(now, segments);
  if (what & (SAW_EXISTENCE | SAW_ABOVE) && a.depth !== b.depth) return false;
  if (what & (SAW_PERMS | SAW_ABOVE) && !samePermissions(a.node.perms, b.node.perms)) return false;
  // Of a node that is not there, its absence and the permissions above it are all there is to see.
  const [x, y] = [a, b].map(({ node, depth }) => (depth === segments.length ? node : undefined));
  if (what & SAW_VALUE && x?.value !== y?.value) return false;
  return !(what & SAW_NAMES && x?.namesGeneration !== y?.namesGeneration);
}

/**
 * What watchers of the tree `before` are told of a transaction: each node once, and nothing of what it has made and
 * removed again.
 */
function merged(changes: readonly Change[], before: Tree, end: Tree): Change[] {
  /** What of `before` no change has removed so far. */
  let left = before;
  const told = new Map<string, Change>();
  for (const change of changes) {
    const { path, after } = change;
    const was = find(left, path);
    if (after !== undefined) {
      // order: what is above it at the end, for it may have been changed later.
      told.set(path, { ...change, before: was, above: find(end, parentOf(path))?.perms });
      continue;
    }
    for (const at of told.keys()) {
      if (!at.endsWith('/') && (at === path || at.startsWith(`${path}/`))) told.delete(at);
    }
    if (!was) continue;
    // No path ends in a slash: a node that is made in its place is told as well.
    told.set(`${path}/`, { ...change, before: was });
    left = apply(left, { kind: 'rm', path }, DOM0, UNLIMITED, 0).tree;
  }
  return [...told.values()];
}
