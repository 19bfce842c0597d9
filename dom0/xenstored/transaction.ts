// A transaction: a snapshot, what was seen in it, and what is to be done. Its end is as if all of it
// happened at that moment: when everything it saw still holds, its operations are done again on the tree
// of then, so that two which do not touch what the other saw both commit. Otherwise EAGAIN.
import { XenError } from '#pvbus';
import { segmentsOf } from './path.ts';
import { type Actor, samePermissions } from './permissions.ts';
import type { Limits } from './quota.ts';
import { apply, type Change, type Nearest, nearest, type Operation, type Store, type Tree } from './store.ts';

/** What of a path a request has looked at. */
export const SAW_EXISTENCE = 1;
export const SAW_VALUE = 2;
export const SAW_NAMES = 4;
export const SAW_PERMS = 8;

/** What a request works on: the store itself, or a transaction. */
export interface View {
  readonly tree: Tree;
  /** Do it, or throw and have done nothing. */
  apply(op: Operation): void;
  /** The request's reply depends on this (an OR of SAW_*). */
  saw(path: string, what: number): void;
}

export class Transaction implements View {
  readonly #store: Store;
  readonly #actor: Actor;
  readonly #limits: Limits;
  readonly #base: Tree;
  #tree: Tree;
  readonly #seen = new Map<string, number>();
  readonly #touched = new Set<string>();
  #operations: Operation[] = [];
  #changes: Change[] = [];
  /** The last write of each path, by its place in #operations; only writes no removal came after. */
  readonly #written = new Map<string, number>();

  constructor(store: Store, actor: Actor, limits: Limits) {
    this.#store = store;
    this.#actor = actor;
    this.#limits = limits;
    this.#base = store.tree;
    this.#tree = store.tree;
  }

  get tree(): Tree {
    return this.#tree;
  }

  saw(path: string, what: number): void {
    // A value this transaction has written itself depends on nobody else. Permissions still do: whether the
    // write made the node, and so whose it is, is decided when the write is done again.
    const own = this.#written.has(path) ? SAW_VALUE | (what & SAW_PERMS ? 0 : SAW_EXISTENCE) : 0;
    const others = what & ~own;
    this.#touch(path);
    if (others !== 0) this.#seen.set(path, (this.#seen.get(path) ?? 0) | others);
  }

  apply(op: Operation): void {
    this.#touch(op.path);
    // As many as nodes, four times over: alternating writes and removals of one node must end somewhere.
    if (this.#operations.length >= 4 * this.#limits['transaction-nodes']) {
      throw new XenError('ENOSPC', `dom${this.#actor.domid}: a transaction of too many operations`);
    }
    let outcome: ReturnType<typeof apply>;
    try {
      outcome = apply(this.#tree, op, this.#actor, this.#limits, this.#store.nextGeneration());
    } catch (error) {
      // The refusal is a reply too, and it came from what is on the way to the path.
      this.#see(op.path, SAW_EXISTENCE | SAW_PERMS);
      throw error;
    }
    this.#tree = outcome.tree;
    if (outcome.change) this.#changes.push(outcome.change);
    this.#record(op);
  }

  #see(path: string, what: number): void {
    this.#seen.set(path, (this.#seen.get(path) ?? 0) | what);
  }

  #touch(path: string): void {
    if (this.#touched.has(path)) return;
    if (this.#touched.size >= this.#limits['transaction-nodes']) {
      throw new XenError('ENOSPC', `dom${this.#actor.domid}: a transaction of more than ${this.#touched.size} nodes`);
    }
    this.#touched.add(path);
  }

  /** Keep `op` for the end. A write replaces an earlier one of that path, so a loop of writes stays small. */
  #record(op: Operation): void {
    const earlier = this.#written.get(op.path);
    if (op.kind === 'write' && earlier !== undefined) {
      this.#operations[earlier] = op;
      return;
    }
    if (op.kind === 'mkdir' && earlier !== undefined) return;
    const last = this.#operations[this.#operations.length - 1];
    if (last && last.kind === op.kind && last.path === op.path) this.#operations.pop();
    if (op.kind === 'write') this.#written.set(op.path, this.#operations.length);
    if (op.kind === 'rm') this.#written.clear();
    this.#operations.push(op);
  }

  /** Make it so. Returns what watchers are to hear of. Throws EAGAIN when it has to be tried again. */
  commit(): Change[] {
    if (this.#operations.length === 0) return []; // it saw one moment's tree, as if it had run then
    if (this.#store.tree === this.#base) {
      this.#store.commit(this.#tree);
      return merged(this.#changes);
    }
    const now = this.#store.tree;
    for (const [path, what] of this.#seen) {
      if (!unchanged(this.#base, now, path, what)) throw new XenError('EAGAIN', `${path} was changed meanwhile`);
    }
    let tree = now;
    const changes: Change[] = [];
    for (const op of this.#operations) {
      try {
        const outcome = apply(tree, op, this.#actor, this.#limits, this.#store.nextGeneration());
        tree = outcome.tree;
        if (outcome.change) changes.push(outcome.change);
      } catch (error) {
        if (error instanceof XenError && error.code !== 'ENOSPC') {
          throw new XenError('EAGAIN', `${op.kind} ${op.path} is no longer possible`, error);
        }
        throw error;
      }
    }
    this.#store.commit(tree);
    return merged(changes);
  }
}

/** Whether a request that saw `what` of `path` in `then` would see the same in `now`. */
function unchanged(then: Tree, now: Tree, path: string, what: number): boolean {
  if (path.startsWith('@')) return then.special.get(path) === now.special.get(path);
  const segments = segmentsOf(path);
  const a = nearest(then, segments);
  const b = nearest(now, segments);
  if (what & SAW_EXISTENCE && a.depth !== b.depth) return false;
  if (what & SAW_PERMS && !samePermissions(a.node.perms, b.node.perms)) return false;
  if (what & SAW_VALUE && !sameValue(a, b)) return false;
  return !(what & SAW_NAMES && a.node.namesGeneration !== b.node.namesGeneration);
}

function sameValue(a: Nearest, b: Nearest): boolean {
  const [x, y] = [a.node.value, b.node.value];
  return x === y || (x.length === y.length && x.every((byte, i) => byte === y[i]));
}

/** One change for each node, unless it was removed in between: a watcher is told of a transaction once. */
function merged(changes: Change[]): Change[] {
  const result: Change[] = [];
  const placeOf = new Map<string, number>();
  for (const change of changes) {
    const place = placeOf.get(change.path);
    const earlier = place === undefined ? undefined : result[place];
    if (change.after === undefined)
      placeOf.clear(); // also of nodes below: what follows is new
    else if (earlier && place !== undefined) {
      result[place] = { ...change, before: earlier.before };
      continue;
    } else placeOf.set(change.path, result.length);
    result.push(change);
  }
  return result;
}
