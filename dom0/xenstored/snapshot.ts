// The whole daemon as plain data: nodes in pieces, then everything else.
import type { Permissions } from './permissions.ts';
import { type Node, nodeOf } from './store.ts';

/** One node, parents before children; `depth` 0 is the root. */
type NodeEntry = readonly [
  depth: number,
  name: string,
  value: string,
  owner: number,
  others: number,
  entries: readonly number[],
  generation: number,
  namesGeneration: number,
];

const NODES_PER_PIECE = 256;

/** Every node, in pieces that take a bounded time each. The tree is a value: it may be replaced meanwhile. */
export function* nodePieces(root: Node): Generator<NodeEntry[]> {
  let piece: NodeEntry[] = [entryOf(0, '', root)];
  const open = [root.children.entries()];
  while (open.length > 0) {
    const next = open[open.length - 1]!.next(); // not empty
    if (next.done) {
      open.pop();
      continue;
    }
    const [name, node] = next.value;
    piece.push(entryOf(open.length, name, node));
    if (node.children.size > 0) open.push(node.children.entries());
    if (piece.length === NODES_PER_PIECE) {
      yield piece;
      piece = [];
    }
  }
  yield piece;
}

function entryOf(depth: number, name: string, { value, perms, generation, namesGeneration }: Node): NodeEntry {
  const entries = perms.entries.flatMap(entry => [entry.domid, entry.access]);
  return [depth, name, value, perms.owner, perms.others, entries, generation, namesGeneration];
}

interface Open {
  readonly name: string;
  readonly entry: NodeEntry;
  readonly children: (readonly [string, Node])[];
}

/** Takes the pieces of a snapshot in their order. */
export class TreeBuilder {
  readonly #open: Open[] = [];
  readonly #perms = new Map<string, Permissions>();

  add(piece: readonly NodeEntry[]): void {
    for (const entry of piece) {
      while (this.#open.length > entry[0]) this.#close();
      this.#open.push({ name: entry[1], entry, children: [] });
    }
  }
  /** The root. */
  finish(): Node {
    while (this.#open.length > 1) this.#close();
    const root = this.#open.pop();
    if (!root) throw new Error('a snapshot without a root');
    return this.#node(root);
  }
  #close(): void {
    const done = this.#open.pop()!; // the caller has looked
    const parent = this.#open[this.#open.length - 1]!; // depth 0 is never closed here
    parent.children.push([done.name, this.#node(done)]);
  }
  #node({ entry, children }: Open): Node {
    const [, , value, owner, others, entries, generation, namesGeneration] = entry;
    return nodeOf({ value, perms: this.#shared(owner, others, entries), generation, namesGeneration }, children);
  }
  /** Most nodes have the permissions of their parent: one object for all that are equal. */
  #shared(owner: number, others: number, flat: readonly number[]): Permissions {
    const key = `${owner} ${others} ${flat.join(' ')}`;
    let perms = this.#perms.get(key);
    if (!perms) {
      const entries = [];
      for (let i = 0; i < flat.length; i += 2) entries.push({ domid: flat[i]!, access: flat[i + 1]! });
      perms = { owner, others, entries };
      this.#perms.set(key, perms);
    }
    return perms;
  }
}
