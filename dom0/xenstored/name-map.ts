// An immutable map from names to values. A change makes a new map that shares all but O(log n) with the old
// one, so a snapshot of a directory costs nothing however many children it has. Names that are numbers come
// first and by value, then the others by their characters.

interface Branch<V> {
  readonly name: string;
  readonly rank: number;
  readonly value: V;
  /** Of this value. */
  readonly tags: number;
  readonly left: Branch<V> | undefined;
  readonly right: Branch<V> | undefined;
  readonly height: number;
  // of this one and all below:
  readonly size: number;
  readonly nameBytes: number;
  readonly allTags: number;
}
type Tree<V> = Branch<V> | undefined;
type Entry<V> = Pick<Branch<V>, 'name' | 'rank' | 'value' | 'tags'>;

/** The rank of a name that is no number. */
const NAME = 0x7fffffff;
const ZERO = 48;
const NINE = 57;

/** Where a name stands among others: by this, and by its characters among those of its rank. */
function rankOf(name: string): number {
  const first = name.charCodeAt(0);
  if (!(first >= ZERO && first <= NINE) || name.length > 9) return NAME;
  if (first === ZERO) return name.length === 1 ? 0 : NAME;
  let n = 0;
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (c < ZERO || c > NINE) return NAME;
    n = 10 * n + c - ZERO;
  }
  return n;
}

const before = (rank: number, name: string, b: Branch<unknown>): boolean =>
  rank === b.rank ? name < b.name : rank < b.rank;

const height = (t: Tree<unknown>): number => (t ? t.height : 0);

function branch<V>(entry: Entry<V>, left: Tree<V>, right: Tree<V>): Branch<V> {
  const { name, rank, value, tags } = entry;
  let size = 1;
  let nameBytes = name.length + 1;
  let allTags = tags;
  if (left) {
    size += left.size;
    nameBytes += left.nameBytes;
    allTags |= left.allTags;
  }
  if (right) {
    size += right.size;
    nameBytes += right.nameBytes;
    allTags |= right.allTags;
  }
  const high = 1 + Math.max(height(left), height(right));
  return { name, rank, value, tags, left, right, height: high, size, nameBytes, allTags };
}

/** A branch whose sides differ by at most two levels, brought back to at most one (AVL). */
function balanced<V>(entry: Entry<V>, left: Tree<V>, right: Tree<V>): Branch<V> {
  const lean = height(left) - height(right);
  if (lean > 1 && left) {
    if (height(left.left) >= height(left.right)) return branch(left, left.left, branch(entry, left.right, right));
    const mid = left.right!; // the higher side of a tree that is too high
    return branch(mid, branch(left, left.left, mid.left), branch(entry, mid.right, right));
  }
  if (lean < -1 && right) {
    if (height(right.right) >= height(right.left)) return branch(right, branch(entry, left, right.left), right.right);
    const mid = right.left!; // as above, mirrored
    return branch(mid, branch(entry, left, mid.left), branch(right, mid.right, right.right));
  }
  return branch(entry, left, right);
}

function insert<V>(t: Tree<V>, entry: Entry<V>): Branch<V> {
  if (!t) return branch(entry, undefined, undefined);
  if (entry.name === t.name) return branch(entry, t.left, t.right);
  return before(entry.rank, entry.name, t)
    ? balanced(t, insert(t.left, entry), t.right)
    : balanced(t, t.left, insert(t.right, entry));
}

function remove<V>(t: Tree<V>, rank: number, name: string): Tree<V> {
  if (!t) return undefined;
  if (name !== t.name) {
    return before(rank, name, t)
      ? balanced(t, remove(t.left, rank, name), t.right)
      : balanced(t, t.left, remove(t.right, rank, name));
  }
  if (!t.left) return t.right;
  if (!t.right) return t.left;
  let next = t.right;
  while (next.left) next = next.left;
  return balanced(next, t.left, remove(t.right, next.rank, next.name));
}

export class NameMap<V> {
  static readonly empty: NameMap<never> = new NameMap<never>(undefined);
  readonly #root: Tree<V>;

  private constructor(root: Tree<V>) {
    this.#root = root;
  }

  get size(): number {
    return this.#root ? this.#root.size : 0;
  }
  /** The length of all names, each with a NUL after it. */
  get nameBytes(): number {
    return this.#root ? this.#root.nameBytes : 0;
  }
  /** The tags of all values. */
  get tags(): number {
    return this.#root ? this.#root.allTags : 0;
  }

  get(name: string): V | undefined {
    const rank = rankOf(name);
    let t = this.#root;
    while (t && t.name !== name) t = before(rank, name, t) ? t.left : t.right;
    return t?.value;
  }

  /** `tags`: a set of bits by which `tagged` finds the value. */
  with(name: string, value: V, tags = 0): NameMap<V> {
    return new NameMap(insert(this.#root, { name, rank: rankOf(name), value, tags }));
  }

  without(name: string): NameMap<V> {
    return this.get(name) === undefined ? this : new NameMap(remove(this.#root, rankOf(name), name));
  }

  *entries(): Generator<readonly [string, V]> {
    for (const { name, value } of inOrder(this.#root, ALL)) yield [name, value];
  }

  /** The entries that have one of `tags`; costs O(log n) for each, not a look at the others. */
  *tagged(tags: number): Generator<readonly [string, V]> {
    for (const { name, value } of inOrder(this.#root, tags)) yield [name, value];
  }

  /** The names, as if each had a NUL after it, from the byte `offset` on; costs nothing for those before. */
  *namesFrom(offset: number): Generator<string> {
    const above: Branch<V>[] = [];
    let skip = offset;
    for (let t = this.#root; t; ) {
      const left = t.left ? t.left.nameBytes : 0;
      if (skip < left + t.name.length + 1) above.push(t);
      if (skip < left) t = t.left;
      else {
        skip -= left;
        if (skip < t.name.length + 1) break;
        skip -= t.name.length + 1;
        t = t.right;
      }
    }
    for (let next = above.pop(); next; next = above.pop()) {
      yield next.name.slice(skip);
      skip = 0;
      for (let t = next.right; t; t = t.left) above.push(t);
    }
  }
}

const ALL = -1;

function* inOrder<V>(root: Tree<V>, tags: number): Generator<Branch<V>> {
  const wanted = (t: Tree<V>): Tree<V> => (t && (tags === ALL || (t.allTags & tags) !== 0) ? t : undefined);
  const above: Branch<V>[] = [];
  for (let t = wanted(root); t || above.length > 0; ) {
    if (t) {
      above.push(t);
      t = wanted(t.left);
      continue;
    }
    const next = above.pop()!; // the loop's condition
    if (tags === ALL || (next.tags & tags) !== 0) yield next;
    t = wanted(next.right);
  }
}
