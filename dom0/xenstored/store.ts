// The tree. A tree is a value: every operation makes a new one that shares what it did not change, so a
// snapshot is a reference and a commit is the replacement of one.
import { XenError } from '#pvbus';
import { NameMap } from './name-map.ts';
import { INTRODUCE_DOMAIN, RELEASE_DOMAIN, segmentsOf } from './path.ts';
import {
  type Actor,
  DOM0,
  isOwner,
  mayRead,
  mayWrite,
  ownedBy,
  type Permissions,
  withoutDomain,
} from './permissions.ts';
import { type Limits, UNLIMITED } from './quota.ts';

export interface Node {
  readonly value: Uint8Array;
  readonly perms: Permissions;
  readonly children: NameMap<Node>;
  /** Of the last change to the value, the permissions or the set of children; unique in a store's life. */
  readonly generation: number;
  /** Of the last change to the set of children. */
  readonly namesGeneration: number;
}

/** What the nodes a domain owns take. */
export interface Usage {
  readonly nodes: number;
  readonly bytes: number;
}

export interface Tree {
  readonly root: Node;
  /** By owner, as decimal text. */
  readonly usage: NameMap<Usage>;
  /** Who may hear of the special watches, by their path. */
  readonly special: NameMap<Permissions>;
}

export type Operation =
  | { readonly kind: 'write'; readonly path: string; readonly value: Uint8Array }
  | { readonly kind: 'mkdir'; readonly path: string }
  | { readonly kind: 'rm'; readonly path: string }
  | { readonly kind: 'set-perms'; readonly path: string; readonly perms: Permissions };

/** What an operation did to the node it named, for those who watch it. */
export interface Change {
  readonly path: string;
  readonly before: Node | undefined;
  readonly after: Node | undefined;
}

/** What one operation makes of a tree; no change when there was nothing to do. */
export interface Outcome {
  readonly tree: Tree;
  readonly change: Change | undefined;
}

const NOTHING = new Uint8Array(0);
/** Counted for each node beside its text: what the records of it take. */
const NODE_OVERHEAD = 64;

// ---- looking ----

/** The node at a path, or the last existing one on the way there, with how many steps were made. */
export interface Nearest {
  readonly node: Node;
  readonly depth: number;
}

export function nearest(tree: Tree, segments: readonly string[]): Nearest {
  let node = tree.root;
  let depth = 0;
  for (const name of segments) {
    const next = node.children.get(name);
    if (!next) break;
    node = next;
    depth++;
  }
  return { node, depth };
}

export function find(tree: Tree, path: string): Node | undefined {
  const segments = segmentsOf(path);
  const { node, depth } = nearest(tree, segments);
  return depth === segments.length ? node : undefined;
}

/** Xen: who may not read a node is not told either that something below it does not exist. */
export function readable(tree: Tree, actor: Actor, path: string): Node {
  const segments = segmentsOf(path);
  const { node, depth } = nearest(tree, segments);
  if (!mayRead(actor, node.perms)) throw new XenError('EACCES', `dom${actor.domid} may not read ${path}`);
  if (depth < segments.length) throw new XenError('ENOENT', `${path} does not exist`);
  return node;
}

export function usageOf(tree: Tree, domid: number): Usage {
  return tree.usage.get(String(domid)) ?? { nodes: 0, bytes: 0 };
}

/** The names of a node's children as DIRECTORY lists them: numbers first and by value, then the others. */
export function listing(node: Node): readonly string[] {
  let names = listings.get(node.children);
  if (!names) {
    const all = [...node.children.entries()].map(([name]) => name);
    const numbers = all.filter(isNumber).sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
    names = [...numbers, ...all.filter(name => !isNumber(name))];
    listings.set(node.children, names);
  }
  return names;
}
const listings = new WeakMap<NameMap<Node>, readonly string[]>();
const isNumber = (name: string): boolean => /^(0|[1-9][0-9]*)$/.test(name);

/** Every node at or below `node`, parents first. Not recursive: a guest decides how deep a tree is. */
export function* walk(node: Node, path: string): Generator<readonly [string, Node]> {
  const open: (readonly [string, Node])[] = [[path, node]];
  for (let next = open.pop(); next; next = open.pop()) {
    yield next;
    if (next[1].children.size === 0) continue;
    const prefix = next[0] === '/' ? '/' : `${next[0]}/`;
    for (const [name, child] of next[1].children.entries()) open.push([prefix + name, child]);
  }
}

// ---- changing ----

/** The first tree of a host. */
export function emptyTree(): Tree {
  const perms = ownedBy(0);
  const node = (children: NameMap<Node>): Node => ({
    value: NOTHING,
    perms,
    children,
    generation: 0,
    namesGeneration: 0,
  });
  const xenstored = node(NameMap.empty);
  const tool = node((NameMap.empty as NameMap<Node>).with('xenstored', xenstored));
  const root = node((NameMap.empty as NameMap<Node>).with('tool', tool));
  const special = (NameMap.empty as NameMap<Permissions>).with(INTRODUCE_DOMAIN, perms).with(RELEASE_DOMAIN, perms);
  const tree = { root, usage: NameMap.empty, special };
  return { ...tree, usage: countUsage(tree) };
}

/** Every domain's usage, by counting. What `apply` keeps along must always equal this. */
export function countUsage(tree: Tree): NameMap<Usage> {
  let usage: NameMap<Usage> = NameMap.empty;
  for (const [owner, used] of usageBelow(tree.root, '/')) usage = usage.with(String(owner), used);
  return usage;
}

/** What each owner has at or below `node`. */
function usageBelow(node: Node, path: string): Map<number, Usage> {
  const below = new Map<number, { nodes: number; bytes: number }>();
  for (const [at, { value, perms }] of walk(node, path)) {
    let used = below.get(perms.owner);
    if (!used) {
      used = { nodes: 0, bytes: 0 };
      below.set(perms.owner, used);
    }
    used.nodes++;
    used.bytes += bytesOf(value, perms, nameOf(at));
  }
  return below;
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

function bytesOf(value: Uint8Array, perms: Permissions, name: string): number {
  return NODE_OVERHEAD + name.length + value.length + 4 * perms.entries.length;
}

function charged(usage: NameMap<Usage>, owner: number, nodes: number, bytes: number): NameMap<Usage> {
  const key = String(owner);
  const now = usage.get(key) ?? { nodes: 0, bytes: 0 };
  const next = { nodes: now.nodes + nodes, bytes: now.bytes + bytes };
  return next.nodes === 0 ? usage.without(key) : usage.with(key, next);
}

/** With `after` in the place of `before`, which had the same name. */
function recharged(usage: NameMap<Usage>, before: Node, after: Node, name: string): NameMap<Usage> {
  const less = -bytesOf(before.value, before.perms, name);
  const more = bytesOf(after.value, after.perms, name);
  if (before.perms.owner === after.perms.owner) return charged(usage, after.perms.owner, 0, less + more);
  return charged(charged(usage, before.perms.owner, -1, less), after.perms.owner, 1, more);
}

/** Xen: what `node-size` limits: the value, the list of children and the permissions. */
export function sizeOf(node: Node): number {
  return node.value.length + node.children.nameBytes + 4 * (1 + node.perms.entries.length);
}

/** Throws ENOSPC. */
export function checkSize(node: Node, path: string, limits: Limits): void {
  if (sizeOf(node) > limits['node-size']) {
    throw new XenError('ENOSPC', `${path} would be larger than ${limits['node-size']} bytes`);
  }
}

/** Throws ENOSPC. */
export function checkUsage(tree: Tree, actor: Actor, limits: Limits): void {
  const usage = usageOf(tree, actor.domid);
  if (usage.nodes > limits.nodes) throw new XenError('ENOSPC', `dom${actor.domid} has ${limits.nodes} nodes already`);
  if (usage.bytes > limits.memory) throw new XenError('ENOSPC', `dom${actor.domid} has used its memory quota`);
}

/**
 * Do `op` for `actor`: the only place where rights to change the tree are checked. Throws EACCES, EPERM,
 * ENOENT, EINVAL or ENOSPC; then nothing has happened. `generation` is not lower than any in the tree.
 */
export function apply(tree: Tree, op: Operation, actor: Actor, limits: Limits, generation: number): Outcome {
  const segments = segmentsOf(op.path);
  switch (op.kind) {
    case 'write':
    case 'mkdir':
      return put(tree, segments, op, actor, limits, generation);
    case 'rm':
      return remove(tree, segments, op.path, actor, generation);
    case 'set-perms':
      return setPerms(tree, segments, op.path, op.perms, actor, limits, generation);
  }
}

/** The existing nodes from the root towards a path. */
function chainOf(tree: Tree, segments: readonly string[]): Node[] {
  const chain = [tree.root];
  for (const name of segments) {
    const next = chain[chain.length - 1]!.children.get(name); // never empty
    if (!next) break;
    chain.push(next);
  }
  return chain;
}

/** A new root with `leaf` at the end of `segments`, for a chain of the nodes above it. */
function rebuilt(chain: readonly Node[], segments: readonly string[], leaf: Node): Node {
  let node = leaf;
  for (let i = segments.length - 1; i >= 0; i--) {
    const parent = chain[i]!; // one node above each segment
    node = { ...parent, children: parent.children.with(segments[i]!, node) };
  }
  return node;
}

function put(
  tree: Tree,
  segments: readonly string[],
  op: Operation & { kind: 'write' | 'mkdir' },
  actor: Actor,
  limits: Limits,
  generation: number,
): Outcome {
  const chain = chainOf(tree, segments);
  const last = chain[chain.length - 1]!; // never empty
  const denied = () => new XenError('EACCES', `dom${actor.domid} may not write ${op.path}`);
  if (chain.length > segments.length) {
    // Xen: MKDIR of what exists leaves it alone, but only for who may write it.
    if (!mayWrite(actor, last.perms)) throw denied();
    if (op.kind === 'mkdir') return { tree, change: undefined };
    // A transaction's later write of a node takes the place, and so the generation, of its first.
    const after: Node = { ...last, value: op.value, generation: Math.max(generation, last.generation) };
    checkSize(after, op.path, limits);
    const name = segments[segments.length - 1] ?? '';
    const usage = recharged(tree.usage, last, after, name);
    const next = { ...tree, root: rebuilt(chain, segments, after), usage };
    if (op.value.length > last.value.length) checkUsage(next, actor, limits);
    return { tree: next, change: { path: op.path, before: last, after } };
  }
  if (!mayWrite(actor, last.perms)) throw denied();
  // Xen: a new node has its parent's permissions, but belongs to the domain that made it.
  const perms = actor.privileged ? last.perms : { ...last.perms, owner: actor.domid };
  let { usage } = tree;
  let node: Node | undefined;
  let after: Node | undefined;
  for (let i = segments.length - 1; i >= chain.length - 1; i--) {
    const value = node === undefined && op.kind === 'write' ? op.value : NOTHING;
    const children = node ? (NameMap.empty as NameMap<Node>).with(segments[i + 1]!, node) : NameMap.empty;
    node = { value, perms, children, generation, namesGeneration: generation };
    after ??= node;
    checkSize(node, op.path, limits);
    usage = charged(usage, perms.owner, 1, bytesOf(value, perms, segments[i]!));
  }
  const at = chain.length - 1;
  const children = last.children.with(segments[at]!, node!); // at least one segment was missing
  const parent: Node = { ...last, children, generation, namesGeneration: generation };
  checkSize(parent, op.path, limits);
  const next = { ...tree, root: rebuilt(chain, segments.slice(0, at), parent), usage };
  checkUsage(next, actor, limits);
  return { tree: next, change: { path: op.path, before: undefined, after } };
}

function remove(tree: Tree, segments: readonly string[], path: string, actor: Actor, generation: number): Outcome {
  const chain = chainOf(tree, segments);
  const last = chain[chain.length - 1]!; // never empty
  if (!mayWrite(actor, last.perms)) throw new XenError('EACCES', `dom${actor.domid} may not remove ${path}`);
  if (segments.length === 0) throw new XenError('EINVAL', 'the root stays');
  if (chain.length <= segments.length) {
    // Xen: removing what is not there is fine, but its parent must be there.
    if (chain.length === segments.length) return { tree, change: undefined };
    throw new XenError('ENOENT', `the parent of ${path} does not exist`);
  }
  let { usage } = tree;
  for (const [owner, used] of usageBelow(last, path)) usage = charged(usage, owner, -used.nodes, -used.bytes);
  const parent = chain[segments.length - 1]!; // the node above the last segment
  const children = parent.children.without(segments[segments.length - 1]!);
  const without: Node = { ...parent, children, generation, namesGeneration: generation };
  const root = rebuilt(chain, segments.slice(0, -1), without);
  return { tree: { ...tree, root, usage }, change: { path, before: last, after: undefined } };
}

function setPerms(
  tree: Tree,
  segments: readonly string[],
  path: string,
  perms: Permissions,
  actor: Actor,
  limits: Limits,
  generation: number,
): Outcome {
  if (1 + perms.entries.length > limits.permissions) {
    throw new XenError('ENOSPC', `more than ${limits.permissions} permissions for ${path}`);
  }
  if (path.startsWith('@')) {
    if (!actor.privileged) throw new XenError('EACCES', `dom${actor.domid} may not change ${path}`);
    return { tree: { ...tree, special: tree.special.with(path, perms) }, change: undefined };
  }
  const chain = chainOf(tree, segments);
  const last = chain[chain.length - 1]!; // never empty
  const exists = chain.length > segments.length;
  if (!(exists ? isOwner(actor, last.perms) : mayWrite(actor, last.perms))) {
    throw new XenError('EACCES', `dom${actor.domid} does not own ${path}`);
  }
  if (!exists) throw new XenError('ENOENT', `${path} does not exist`);
  if (!actor.privileged && perms.owner !== last.perms.owner) {
    throw new XenError('EPERM', `dom${actor.domid} may not give ${path} away`);
  }
  const after: Node = { ...last, perms, generation };
  checkSize(after, path, limits);
  const name = segments[segments.length - 1] ?? '';
  const usage = recharged(tree.usage, last, after, name);
  return { tree: { ...tree, root: rebuilt(chain, segments, after), usage }, change: { path, before: last, after } };
}

// ---- the store ----

/** The tree of the moment. */
export class Store {
  #tree: Tree;
  #generation = 0;

  constructor(tree: Tree = emptyTree()) {
    this.#tree = tree;
  }

  get tree(): Tree {
    return this.#tree;
  }

  /** The last generation that was given to a change. */
  get generation(): number {
    return this.#generation;
  }

  /** The one that the next change will have; `commit` takes it, so what fails or changes nothing takes none. */
  nextGeneration(): number {
    return this.#generation + 1;
  }

  /** From here on everybody sees `tree`, in which generations up to `last` are used. */
  commit(tree: Tree, last = this.nextGeneration()): void {
    if (tree === this.#tree) return;
    this.#tree = tree;
    this.#generation = last;
  }

  /** As it was when `tree` and `generation` were looked at. */
  restore(tree: Tree, generation: number): void {
    this.#tree = tree;
    this.#generation = generation;
  }

  /**
   * A domain is gone: its nodes go too, and it is taken out of every permission, so that the next domain of
   * that number inherits nothing. A node of it that still has somebody else's below becomes dom0's.
   */
  removeDomain(domid: number): Change[] {
    const changes: Change[] = [];
    let tree = this.#tree;
    let generation = this.#generation;
    const run = (op: Operation): void => {
      const outcome = apply(tree, op, DOM0, UNLIMITED, generation + 1);
      if (outcome.tree !== tree) generation++;
      tree = outcome.tree;
      if (outcome.change) changes.push(outcome.change);
    };
    const nodes = [...walk(tree.root, '/')];
    // invariant: children come after their parent in `nodes`, so from the back they are dealt with first.
    const kept = new Set<string>();
    const doomed = new Set<string>();
    for (let i = nodes.length - 1; i >= 0; i--) {
      const [path, node] = nodes[i]!; // within the array
      if (path !== '/' && node.perms.owner === domid && !kept.has(path)) doomed.add(path);
      else kept.add(path.slice(0, Math.max(1, path.lastIndexOf('/'))));
    }
    for (const [path, node] of nodes) {
      const parent = path.slice(0, Math.max(1, path.lastIndexOf('/')));
      if (doomed.has(path)) {
        if (!doomed.has(parent)) run({ kind: 'rm', path });
        continue;
      }
      const perms = withoutDomain(node.perms, domid);
      if (perms !== node.perms) run({ kind: 'set-perms', path, perms });
    }
    const special = [INTRODUCE_DOMAIN, RELEASE_DOMAIN].reduce(
      (map, name) => map.without(`${name}/${domid}`),
      tree.special,
    );
    tree = { ...tree, special };
    for (const [path, perms] of special.entries()) {
      const without = withoutDomain(perms, domid);
      if (without !== perms) run({ kind: 'set-perms', path, perms: without });
    }
    this.commit(tree, generation);
    return changes;
  }
}
