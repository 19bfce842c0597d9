// An immutable map from names to values. A change makes a new map that shares all but O(log n) with the old
// one, so a snapshot of a directory costs nothing however many children it has.

interface Branch<V> {
  readonly name: string;
  readonly value: V;
  readonly left: Branch<V> | undefined;
  readonly right: Branch<V> | undefined;
  readonly height: number;
  readonly size: number;
  readonly nameBytes: number;
}
type Tree<V> = Branch<V> | undefined;

const height = (t: Tree<unknown>): number => t?.height ?? 0;

function branch<V>(name: string, value: V, left: Tree<V>, right: Tree<V>): Branch<V> {
  return {
    name,
    value,
    left,
    right,
    height: 1 + Math.max(height(left), height(right)),
    size: 1 + (left?.size ?? 0) + (right?.size ?? 0),
    nameBytes: name.length + 1 + (left?.nameBytes ?? 0) + (right?.nameBytes ?? 0),
  };
}

/** A branch whose sides differ by at most two levels, brought back to at most one (AVL). */
function balanced<V>(name: string, value: V, left: Tree<V>, right: Tree<V>): Branch<V> {
  const lean = height(left) - height(right);
  if (lean > 1 && left) {
    if (height(left.left) >= height(left.right)) {
      return branch(left.name, left.value, left.left, branch(name, value, left.right, right));
    }
    const mid = left.right!; // the higher side of a tree that is too high
    return branch(
      mid.name,
      mid.value,
      branch(left.name, left.value, left.left, mid.left),
      branch(name, value, mid.right, right),
    );
  }
  if (lean < -1 && right) {
    if (height(right.right) >= height(right.left)) {
      return branch(right.name, right.value, branch(name, value, left, right.left), right.right);
    }
    const mid = right.left!; // as above, mirrored
    return branch(
      mid.name,
      mid.value,
      branch(name, value, left, mid.left),
      branch(right.name, right.value, mid.right, right.right),
    );
  }
  return branch(name, value, left, right);
}

function insert<V>(t: Tree<V>, name: string, value: V): Branch<V> {
  if (!t) return branch(name, value, undefined, undefined);
  if (name === t.name) return branch(name, value, t.left, t.right);
  return name < t.name
    ? balanced(t.name, t.value, insert(t.left, name, value), t.right)
    : balanced(t.name, t.value, t.left, insert(t.right, name, value));
}

function remove<V>(t: Tree<V>, name: string): Tree<V> {
  if (!t) return undefined;
  if (name < t.name) return balanced(t.name, t.value, remove(t.left, name), t.right);
  if (name > t.name) return balanced(t.name, t.value, t.left, remove(t.right, name));
  if (!t.left) return t.right;
  if (!t.right) return t.left;
  let next = t.right;
  while (next.left) next = next.left;
  return balanced(next.name, next.value, t.left, remove(t.right, next.name));
}

export class NameMap<V> {
  static readonly empty: NameMap<never> = new NameMap<never>(undefined);
  readonly #root: Tree<V>;

  private constructor(root: Tree<V>) {
    this.#root = root;
  }

  get size(): number {
    return this.#root?.size ?? 0;
  }
  /** The length of all names, each with a NUL after it. */
  get nameBytes(): number {
    return this.#root?.nameBytes ?? 0;
  }

  get(name: string): V | undefined {
    let t = this.#root;
    while (t && t.name !== name) t = name < t.name ? t.left : t.right;
    return t?.value;
  }

  with(name: string, value: V): NameMap<V> {
    return new NameMap(insert(this.#root, name, value));
  }

  without(name: string): NameMap<V> {
    return this.get(name) === undefined ? this : new NameMap(remove(this.#root, name));
  }

  /** In the order of the names' characters. */
  *entries(): Generator<readonly [string, V]> {
    const above: Branch<V>[] = [];
    for (let t = this.#root; t || above.length > 0; ) {
      if (t) {
        above.push(t);
        t = t.left;
        continue;
      }
      const next = above.pop()!; // the loop's condition
      yield [next.name, next.value];
      t = next.right;
    }
  }
}
