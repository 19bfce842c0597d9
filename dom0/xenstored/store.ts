// The tree. A tree is a value: every operation makes a new one that shares what it did not change, so a
// snapshot is a reference and a commit is the replacement of one.

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
import { OverQuota, Refusal } from './refusal.ts';
import { each, minus, NO_USAGE, plus, type Usage, type Usages, usageIn } from './usage.ts';

export interface Node {
  /** Its bytes, each as one character: as small in memory as can be, and equal when it is the same. */
  readonly value: string;
  readonly perms: Permissions;
  readonly children: NameMap<Node>;
  /** Of the last change to the value, the permissions or the set of children; unique in a store's life. */
  readonly generation: number;
  /** Of the last change to the set of children. */
  readonly namesGeneration: number;
  /** How many nodes are below. */
  readonly count: number;
  /** What they are to each domain. */
  readonly below: Usages;
}

export interface Tree {
  readonly root: Node;
  /** Of all nodes. */
  readonly usage: Usages;
  /** Who may hear of the special watches, by their path. */
  readonly special: NameMap<Permissions>;
}

export type Operation =
  | { readonly kind: 'write'; readonly path: string; readonly value: string }
  | { readonly kind: 'mkdir'; readonly path: string }
  | { readonly kind: 'rm'; readonly path: string }
  | { readonly kind: 'set-perms'; readonly path: string; readonly perms: Permissions };

/** What an operation did to the node it named, for those who watch it. */
export interface Change {
  readonly path: string;
  readonly before: Node | undefined;
  readonly after: Node | undefined;
  /** Of the node above it, which the root has none of. */
  readonly above: Permissions | undefined;
}

/** What one operation makes of a tree; no change when there was nothing to do. */
export interface Outcome {
  readonly tree: Tree;
  readonly change: Change | undefined;
}

const NOTHING = '';
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
  if (!mayRead(actor, node.perms)) throw new Refusal('EACCES', `dom${actor.domid} may not read ${path}`);
  if (depth < segments.length) throw new Refusal('ENOENT', `${path} does not exist`);
  return node;
}

/** Who may hear of a special watch; of one for a single domain, who may hear of all unless it says otherwise. */
export function specialPerms(tree: Tree, path: string): Permissions {
  const [name = path] = path.split('/');
  return tree.special.get(path) ?? tree.special.get(name) ?? ownedBy(0);
}

export function usageOf(tree: Tree, domid: number): Usage {
  return usageIn(tree.usage, domid) ?? { domid, nodes: 0, bytes: 0, named: 0 };
}

/** The names of a node's children as DIRECTORY lists them: numbers first and by value, then the others. */
export function listing(node: Node): readonly string[] {
  return [...node.children.namesFrom(0)];
}

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
  const tree = treeOf(leaf(NOTHING, perms, 0), [
    [INTRODUCE_DOMAIN, perms],
    [RELEASE_DOMAIN, perms],
  ]);
  return apply(tree, { kind: 'mkdir', path: '/tool/xenstored' }, DOM0, UNLIMITED, 0).tree;
}

// Nodes are made in as few ways as can be, and each is written out: a copy by spreading is, to the engine, an object
// of another kind, and code that has met both is slower with either.

function leaf(value: string, perms: Permissions, generation: number): Node {
  return made(value, perms, NameMap.empty, generation, 0, NO_USAGE);
}
function made(
  value: string,
  perms: Permissions,
  children: NameMap<Node>,
  generation: number,
  count: number,
  below: Usages,
): Node {
  return { value, perms, children, generation, namesGeneration: generation, count, below };
}

// ---- what nodes are to domains ----

/** What a node itself is to domains. */
function usagesOf({ value, perms }: Node, name: string): Usages {
  const { owner, entries } = perms;
  const bytes = NODE_OVERHEAD + name.length + value.length + 4 * entries.length;
  let usages: Usages = [{ domid: owner, nodes: 1, bytes, named: 0 }];
  for (const { domid } of entries) {
    if (domid !== 0) usages = plus(usages, [{ domid, nodes: 0, bytes: 0, named: 1 }]);
  }
  return usages;
}

/** Bits of the domains to whom a node or one below it is something; dom0 has none. */
const tagsOf = ({ perms, children }: Node): number => children.tags | tagsOfPerms(perms);

function tagsOfPerms({ owner, entries }: Permissions): number {
  let tags = tagOf(owner);
  for (const { domid } of entries) tags |= tagOf(domid);
  return tags;
}
const tagOf = (domid: number): number => (domid === 0 ? 0 : 1 << (domid % 31));

/** Xen: what `node-size` limits: the value, the list of children and the permissions. */
export function sizeOf(node: Node): number {
  return node.value.length + node.children.nameBytes + 4 * (1 + node.perms.entries.length);
}

/** Throws ENOSPC. */
export function checkSize(node: Node, path: string, limits: Limits): void {
  if (sizeOf(node) > limits['node-size']) {
    throw new OverQuota('node-size', `${path} would be larger than ${limits['node-size']} bytes`);
  }
}

/**
 * Throws ENOSPC or ENOMEM when `actor` has more in `after` than in `before`, and more than it may. `held`: bytes
 * that are kept for it beside the tree.
 */
export function checkUsage(before: Tree, after: Tree, actor: Actor, limits: Limits, held: number): void {
  if (limits === UNLIMITED) return;
  const was = usageOf(before, actor.domid);
  const is = usageOf(after, actor.domid);
  if (is.nodes > was.nodes && is.nodes > limits.nodes) {
    throw new OverQuota('nodes', `dom${actor.domid} has ${limits.nodes} nodes already`);
  }
  if (is.bytes > was.bytes) checkMemory(after, actor, limits, held);
}

/** Throws ENOMEM. */
export function checkMemory(tree: Tree, actor: Actor, limits: Limits, held: number): void {
  if (usageOf(tree, actor.domid).bytes + held <= limits.memory) return;
  throw new OverQuota('memory', `dom${actor.domid} has used its memory quota`, 'ENOMEM');
}

/**
 * Do `op` for `actor`: the only place where rights to change the tree are checked. Throws EACCES, EPERM,
 * ENOENT, EINVAL, ENOSPC or ENOMEM; then nothing has happened. `generation` is not lower than any in the tree;
 * `held` are bytes that are kept for the actor beside the tree.
 */
export function apply(tree: Tree, op: Operation, actor: Actor, limits: Limits, generation: number, held = 0): Outcome {
  const segments = segmentsOf(op.path);
  switch (op.kind) {
    case 'write':
    case 'mkdir':
      return put(tree, segments, op, actor, limits, generation, held);
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

function withChildren(
  { value, perms, count, below }: Node,
  children: NameMap<Node>,
  more: Usages,
  moreCount: number,
  generation: number,
  namesGeneration: number,
): Node {
  const all = plus(below, more);
  return { value, perms, children, generation, namesGeneration, count: count + moreCount, below: all };
}

function withOwn(node: Node, value: string, perms: Permissions, generation: number): Node {
  const { children, namesGeneration, count, below } = node;
  return { value, perms, children, generation, namesGeneration, count, below };
}

/**
 * The tree with `node` at the end of `segments`, for a chain of the nodes above it. `more` and `count`:
 * what that adds to the usage and the number of nodes.
 */
function rebuilt(
  tree: Tree,
  chain: readonly Node[],
  segments: readonly string[],
  node: Node,
  more: Usages,
  count: number,
): Tree {
  let root = node;
  for (let i = segments.length - 1; i >= 0; i--) {
    const parent = chain[i]!; // one node above each segment
    const children = parent.children.with(segments[i]!, root, tagsOf(root));
    root = withChildren(parent, children, more, count, parent.generation, parent.namesGeneration);
  }
  return { root, usage: plus(tree.usage, more), special: tree.special };
}

function put(
  tree: Tree,
  segments: readonly string[],
  op: Operation & { kind: 'write' | 'mkdir' },
  actor: Actor,
  limits: Limits,
  generation: number,
  held: number,
): Outcome {
  const chain = chainOf(tree, segments);
  const last = chain[chain.length - 1]!; // never empty
  const denied = () => new Refusal('EACCES', `dom${actor.domid} may not write ${op.path}`);
  if (chain.length > segments.length) {
    // Xen: MKDIR of what exists leaves it alone, but only for who may write it.
    if (!mayWrite(actor, last.perms)) throw denied();
    if (op.kind === 'mkdir') return { tree, change: undefined };
    // A transaction's later write of a node takes the place, and so the generation, of its first.
    const after = withOwn(last, op.value, last.perms, Math.max(generation, last.generation));
    checkSize(after, op.path, limits);
    const grown = op.value.length - last.value.length;
    const more = grown === 0 ? [] : [{ domid: last.perms.owner, nodes: 0, bytes: grown, named: 0 }];
    const next = rebuilt(tree, chain, segments, after, more, 0);
    if (grown > 0) checkUsage(tree, next, actor, limits, held);
    return { tree: next, change: { path: op.path, before: last, after, above: chain.at(-2)?.perms } };
  }
  if (!mayWrite(actor, last.perms)) throw denied();
  // Xen: a new node has its parent's permissions, but belongs to the domain that made it.
  const { others, entries } = last.perms;
  const perms = actor.privileged ? last.perms : { owner: actor.domid, others, entries };
  const end = segments.length - 1;
  const after = leaf(op.kind === 'write' ? op.value : NOTHING, perms, generation);
  let more: Usages = usagesOf(after, segments[end]!); // at least one segment was missing
  checkSize(after, op.path, limits);
  const at = chain.length - 1;
  let node = after;
  for (let i = end - 1; i >= at; i--) {
    const children = (NameMap.empty as NameMap<Node>).with(segments[i + 1]!, node, tagsOf(node));
    node = made(NOTHING, perms, children, generation, end - i, more);
    checkSize(node, op.path, limits);
    more = plus(more, usagesOf(node, segments[i]!));
  }
  const siblings = last.children.with(segments[at]!, node, tagsOf(node));
  const parent = withChildren(last, siblings, more, node.count + 1, generation, generation);
  checkSize(parent, op.path, limits);
  const next = rebuilt(tree, chain, segments.slice(0, at), parent, more, node.count + 1);
  checkUsage(tree, next, actor, limits, held);
  // What else was made on the way has the permissions of the node itself.
  const above = at === end ? last.perms : perms;
  return { tree: next, change: { path: op.path, before: undefined, after, above } };
}

function remove(tree: Tree, segments: readonly string[], path: string, actor: Actor, generation: number): Outcome {
  const chain = chainOf(tree, segments);
  const last = chain[chain.length - 1]!; // never empty
  if (!mayWrite(actor, last.perms)) throw new Refusal('EACCES', `dom${actor.domid} may not remove ${path}`);
  if (segments.length === 0) throw new Refusal('EINVAL', 'the root stays');
  if (chain.length <= segments.length) {
    // Xen: removing what is not there is fine, but its parent must be there.
    if (chain.length === segments.length) return { tree, change: undefined };
    throw new Refusal('ENOENT', `the parent of ${path} does not exist`);
  }
  const above = segments.slice(0, -1);
  const name = segments[above.length]!; // not the root
  const less = minus(plus(last.below, usagesOf(last, name)));
  const parent = chain[above.length]!; // the node above the last segment
  const siblings = parent.children.without(name);
  const without = withChildren(parent, siblings, less, -last.count - 1, generation, generation);
  const next = rebuilt(tree, chain, above, without, less, -last.count - 1);
  return { tree: next, change: { path, before: last, after: undefined, above: parent.perms } };
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
    throw new OverQuota('permissions', `more than ${limits.permissions} permissions for ${path}`);
  }
  if (path.startsWith('@')) {
    if (!actor.privileged) throw new Refusal('EACCES', `dom${actor.domid} may not change ${path}`);
    const { root, usage, special } = tree;
    return { tree: { root, usage, special: special.with(path, perms, tagsOfPerms(perms)) }, change: undefined };
  }
  const chain = chainOf(tree, segments);
  const last = chain[chain.length - 1]!; // never empty
  const exists = chain.length > segments.length;
  if (!(exists ? isOwner(actor, last.perms) : mayWrite(actor, last.perms))) {
    throw new Refusal('EACCES', `dom${actor.domid} does not own ${path}`);
  }
  if (!exists) throw new Refusal('ENOENT', `${path} does not exist`);
  if (!actor.privileged && perms.owner !== last.perms.owner) {
    throw new Refusal('EPERM', `dom${actor.domid} may not give ${path} away`);
  }
  const after = withOwn(last, last.value, perms, generation);
  checkSize(after, path, limits);
  const name = segments[segments.length - 1] ?? '';
  const more = plus(usagesOf(after, name), minus(usagesOf(last, name)));
  const next = rebuilt(tree, chain, segments, after, more, 0);
  return { tree: next, change: { path, before: last, after, above: chain.at(-2)?.perms } };
}

// ---- from a snapshot ----

/** A node of a snapshot: these fields, and exactly these children. */
export function nodeOf(
  own: Pick<Node, 'value' | 'perms' | 'generation' | 'namesGeneration'>,
  children: Iterable<readonly [string, Node]>,
): Node {
  const { value, perms, generation, namesGeneration } = own;
  let names: NameMap<Node> = NameMap.empty;
  let count = 0;
  let below = NO_USAGE;
  for (const [name, child] of children) {
    names = names.with(name, child, tagsOf(child));
    count += 1 + child.count;
    below = plus(plus(below, usagesOf(child, name)), each(child.below));
  }
  return { value, perms, children: names, generation, namesGeneration, count, below };
}

export function treeOf(root: Node, permissions: Iterable<readonly [string, Permissions]>): Tree {
  let special: NameMap<Permissions> = NameMap.empty;
  for (const [path, perms] of permissions) special = special.with(path, perms, tagsOfPerms(perms));
  return { root, usage: plus(root.below, usagesOf(root, '')), special };
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
   * Does no more than `most` changes: call it until it does none.
   */
  removeDomain(domid: number, most = Number.POSITIVE_INFINITY): Change[] {
    const changes: Change[] = [];
    let tree = withoutSpecial(this.#tree, domid);
    let generation = this.#generation;
    for (const op of tracesOf(tree, domid)) {
      if (changes.length >= most) break;
      generation++;
      const outcome = apply(tree, op, DOM0, UNLIMITED, generation);
      tree = outcome.tree;
      if (outcome.change) changes.push(outcome.change);
    }
    this.commit(tree, generation);
    return changes;
  }
}

/** What has to be done so that a domain is nowhere in the tree; a node before those below it. */
function* tracesOf(tree: Tree, domid: number): Generator<Operation> {
  const top: readonly [string, Node] = ['', tree.root];
  // Not all at once: who stops early has not paid for a large directory.
  const open: { readonly at: string; readonly nodes: Iterator<readonly [string, Node]> }[] = [
    { at: '', nodes: [top].values() },
  ];
  for (let here = open.at(-1); here; here = open.at(-1)) {
    const next = here.nodes.next();
    if (next.done) {
      open.pop();
      continue;
    }
    const [name, node] = next.value;
    const path = `${here.at}/${name}`;
    const { perms, below, count, children } = node;
    const mine = usageIn(below, domid);
    if (path !== '/' && perms.owner === domid && count === (mine?.nodes ?? 0)) {
      yield { kind: 'rm', path };
      continue;
    }
    const without = withoutDomain(perms, domid);
    if (without !== perms) yield { kind: 'set-perms', path, perms: without };
    if (!mine) continue;
    open.push({ at: path === '/' ? '' : path, nodes: children.tagged(tagOf(domid)) });
  }
}

function withoutSpecial(tree: Tree, domid: number): Tree {
  const own = [INTRODUCE_DOMAIN, RELEASE_DOMAIN].map(name => `${name}/${domid}`);
  let { special } = tree;
  for (const path of own) special = special.without(path);
  for (const [path, perms] of special.tagged(tagOf(domid))) {
    const without = withoutDomain(perms, domid);
    if (without !== perms) special = special.with(path, without, tagsOfPerms(without));
  }
  return special === tree.special ? tree : { root: tree.root, usage: tree.usage, special };
}
