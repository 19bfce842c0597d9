// The part of the model that is about nodes: payloads, paths, permissions, and what a request does to a tree.
import * as xs from '#pvbus';

export interface Request {
  readonly type: number;
  readonly tx: number;
  /** A character for each byte. */
  readonly payload: string;
}
/** `=` and the payload, or `!` and the name of an error. */
export type Reply = string;

export interface Perm {
  readonly letter: string;
  readonly domid: number;
}
/** Never changed: another takes its place. */
export interface Node {
  readonly value: string;
  readonly perms: readonly Perm[];
}
export interface Tree {
  nodes: Map<string, Node>;
  special: Map<string, readonly Perm[]>;
}
export interface Change {
  readonly path: string;
  readonly before: Node | undefined;
  readonly after: Node | undefined;
  /** The node above it then. */
  readonly above: Node | undefined;
  /** What went with it, by path. */
  readonly gone: ReadonlyMap<string, Node>;
}
/** What a request did, and what of the tree is another than before: `value /a`, `names /`, ... */
export interface Done {
  readonly text: string;
  readonly changes: readonly Change[];
  readonly facts: readonly string[];
}
/** On whose behalf a request is done. */
export interface Actor {
  readonly domid: number;
  /** SET_TARGET: whose rights it has too. */
  readonly target: number | undefined;
}

const DOMID_ANY = 32757;
export const FEATURES = 15;
export const QUOTAS: Readonly<Record<string, number>> = {
  nodes: 1000,
  watches: 128,
  transactions: 10,
  outstanding: 20,
  'transaction-nodes': 1024,
  memory: 2_621_440,
  'memory-soft': 2_097_152,
  'node-size': 2048,
  'path-max': 2048,
  permissions: 5,
};
export type Quotas = Readonly<Record<string, number>>;
export const UNLIMITED: Quotas = Object.fromEntries(Object.keys(QUOTAS).map(name => [name, Number.POSITIVE_INFINITY]));

export class Refused extends Error {}
export function refuse(name: string): never {
  throw new Refused(name);
}
// ---- payloads ----

export function strings(payload: string, least: number, most = 100_000): string[] {
  const all = payload.split('\0').slice(0, -1);
  return all.length < least || all.length > most ? refuse('EINVAL') : all;
}
export function only(payload: string): string {
  return /^[^\0]*\0$/.test(payload) ? payload.slice(0, -1) : refuse('EINVAL');
}
export function number(text: string | undefined, max = 0xffffffff): number {
  return text !== undefined && /^[0-9]{1,10}$/.test(text) && Number(text) <= max ? Number(text) : refuse('EINVAL');
}
export const domidOf = (text: string | undefined): number => number(text, 0xffff);
export function guestOf(text: string | undefined): number {
  const id = domidOf(text);
  return id === 0 || id >= 0x7ff0 ? refuse('EINVAL') : id;
}
function permsOf(texts: readonly string[]): Perm[] {
  return texts.map(text => {
    if (!/^[nrwb]/.test(text)) refuse('EINVAL');
    return { letter: text.slice(0, 1), domid: domidOf(text.slice(1)) };
  });
}
export const shownPerms = (perms: readonly Perm[]): string => perms.map(p => `${p.letter}${p.domid}\0`).join('');

export const homeOf = (domid: number): string => `/local/domain/${domid}`;

export function pathOf(actor: Actor, text: string, quotas: Quotas): string {
  if (text === '/') return text;
  const path = text.startsWith('/') ? text : `${homeOf(actor.domid)}/${text}`;
  const legal = !text.startsWith('@') && /^(\/[A-Za-z0-9\-_@]+)+$/.test(path) && path.length <= 3072;
  if (!legal || (!text.startsWith('/') && text.length > 2048)) refuse('EINVAL');
  const [, home, rest = ''] = /^\/local\/domain\/([^/]+)(.*)$/.exec(path) ?? [];
  if (home !== undefined) domidOf(home);
  const counted = home === undefined ? path : rest;
  return counted.length - 1 > quotas['path-max']! ? refuse('EINVAL') : path;
}
export function specialOf(text: string): string {
  const [, id] = /^@(?:introduceDomain|releaseDomain)(?:\/(.*))?$/.exec(text) ?? refuse('EINVAL');
  if (id !== undefined) domidOf(id);
  return text;
}

// ---- the tree ----

export const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';
export const below = (path: string, ancestor: string): boolean =>
  path !== ancestor && path.startsWith(ancestor === '/' ? '/' : `${ancestor}/`);
/** The path and all above it, the root last. */
export function chainOf(path: string): string[] {
  const chain = [path];
  for (let at = path; at !== '/'; chain.push(at)) at = parentOf(at);
  return chain;
}
const nearestOf = (tree: Tree, path: string): Node => tree.nodes.get(chainOf(path).find(at => tree.nodes.has(at))!)!;
export const copyOf = ({ nodes, special }: Tree): Tree => ({ nodes: new Map(nodes), special: new Map(special) });

function namesOf(tree: Tree, path: string): string[] {
  const names = [...tree.nodes.keys()].filter(at => at !== '/' && parentOf(at) === path).map(at => nameOf(at));
  const isNumber = (name: string): boolean => /^(0|[1-9][0-9]*)$/.test(name);
  const numbers = names.filter(isNumber).sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  return [...numbers, ...names.filter(name => !isNumber(name)).sort()];
}
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
export const listOf = (tree: Tree, path: string): string =>
  namesOf(tree, path)
    .map(name => `${name}\0`)
    .join('');
export const sizeOf = (tree: Tree, path: string): number => {
  const { value, perms } = tree.nodes.get(path)!;
  return value.length + listOf(tree, path).length + 4 * perms.length;
};
export const owned = (tree: Tree, domid: number): number =>
  [...tree.nodes.values()].filter(node => node.perms[0]!.domid === domid).length;

function owns({ domid, target }: Actor, perms: readonly Perm[]): boolean {
  return domid === 0 || perms[0]!.domid === domid || perms[0]!.domid === target;
}
export function may(actor: Actor, perms: readonly Perm[], want: 'r' | 'w'): boolean {
  if (owns(actor, perms)) return true;
  const entries = perms.slice(1);
  const { letter } =
    entries.find(({ domid }) => domid === actor.domid || domid === actor.target) ??
    entries.find(({ domid }) => domid === DOMID_ANY) ??
    perms[0]!;
  return letter === want || letter === 'b';
}
export function specialPerms(tree: Tree, path: string): readonly Perm[] {
  const [name = path] = path.split('/');
  return tree.special.get(path) ?? tree.special.get(name) ?? [{ letter: 'n', domid: 0 }];
}

/** Everything one can know of a node, and that its parent lists it. */
export const factsOf = (path: string): string[] => [
  ...['is', 'value', 'perms', 'names'].map(what => `${what} ${path}`),
  `names ${parentOf(path)}`,
];

export const isChange = (type: number): boolean => [xs.XS_WRITE, xs.XS_MKDIR, xs.XS_RM, xs.XS_SET_PERMS].includes(type);
export const isNodeRequest = (type: number): boolean =>
  isChange(type) || [xs.XS_READ, xs.XS_DIRECTORY, xs.XS_DIRECTORY_PART, xs.XS_GET_PERMS].includes(type);

/** The path of a request of nodes. */
export function subjectOf(actor: Actor, { type, payload }: Request, quotas: Quotas): string {
  let text: string;
  if (type === xs.XS_WRITE) text = payload.includes('\0') ? payload.slice(0, payload.indexOf('\0')) : refuse('EINVAL');
  else if (type === xs.XS_SET_PERMS || type === xs.XS_DIRECTORY_PART) text = strings(payload, 2)[0]!;
  else text = only(payload);
  if (type === xs.XS_DIRECTORY_PART) number(strings(payload, 2)[1]);
  if (type === xs.XS_SET_PERMS) permsOf(strings(payload, 2).slice(1));
  const special = text.startsWith('@') && (type === xs.XS_SET_PERMS || type === xs.XS_GET_PERMS);
  return special ? specialOf(text) : pathOf(actor, text, quotas);
}

/** Do a request of nodes on `tree`. `got`: the daemon's answer, for the generation in it. */
export function perform(
  tree: Tree,
  actor: Actor,
  path: string,
  { type, payload }: Request,
  quotas: Quotas,
  got = '',
): Done {
  const said = (text: string): Done => ({ text, changes: [], facts: [] });
  if (path.startsWith('@')) {
    if (type === xs.XS_GET_PERMS)
      return actor.domid === 0 ? said(shownPerms(specialPerms(tree, path))) : refuse('EACCES');
    const perms = permsOf(strings(payload, 2).slice(1));
    if (perms.length > quotas.permissions!) refuse('ENOSPC');
    if (actor.domid !== 0) refuse('EACCES');
    tree.special.set(path, perms);
    return { text: 'OK\0', changes: [], facts: [`special ${path}`] };
  }
  const node = tree.nodes.get(path);
  const nearest = nearestOf(tree, path);
  if (!isChange(type)) {
    if (!may(actor, nearest.perms, 'r')) refuse('EACCES');
    if (!node) refuse('ENOENT');
    if (type === xs.XS_READ) return said(node.value);
    if (type === xs.XS_GET_PERMS) return said(shownPerms(node.perms));
    const list = listOf(tree, path);
    if (type === xs.XS_DIRECTORY_PART) return said(partOf(tree, path, number(strings(payload, 2)[1]), got));
    return list.length > 4096 ? refuse('E2BIG') : said(list);
  }
  const change = (after: Node | undefined, gone: Change['gone'], facts: readonly string[]): Done => ({
    text: 'OK\0',
    changes: [{ path, before: node, after, above: path === '/' ? undefined : tree.nodes.get(parentOf(path)), gone }],
    facts,
  });
  if (type === xs.XS_SET_PERMS) {
    const perms = permsOf(strings(payload, 2).slice(1));
    if (perms.length > quotas.permissions!) refuse('ENOSPC');
    if (!(node ? owns(actor, node.perms) : may(actor, nearest.perms, 'w'))) refuse('EACCES');
    if (!node) refuse('ENOENT');
    if (actor.domid !== 0 && perms[0]!.domid !== node.perms[0]!.domid) refuse('EPERM');
    const after = { ...node, perms };
    const next = new Map(tree.nodes).set(path, after);
    if (sizeOf({ ...tree, nodes: next }, path) > quotas['node-size']!) refuse('ENOSPC');
    tree.nodes = next;
    return change(after, new Map(), [`perms ${path}`]);
  }
  if (!may(actor, nearest.perms, 'w')) refuse('EACCES');
  if (type === xs.XS_RM) {
    if (path === '/') refuse('EINVAL');
    if (!node) return tree.nodes.has(parentOf(path)) ? said('OK\0') : refuse('ENOENT');
    const gone = new Map([...tree.nodes].filter(([at]) => at === path || below(at, path)));
    for (const at of gone.keys()) tree.nodes.delete(at);
    return change(undefined, gone, [...gone.keys()].flatMap(factsOf));
  }
  if (node && type === xs.XS_MKDIR) return said('OK\0');
  const value = type === xs.XS_WRITE ? payload.slice(payload.indexOf('\0') + 1) : '';
  const next: Tree = { ...tree, nodes: new Map(tree.nodes) };
  const made = chainOf(path).filter(at => !tree.nodes.has(at));
  const [first, ...rest] = nearest.perms;
  const perms = actor.domid === 0 ? nearest.perms : [{ letter: first!.letter, domid: actor.domid }, ...rest];
  for (const at of made) next.nodes.set(at, { value: '', perms });
  const after = { value, perms: node ? node.perms : perms };
  next.nodes.set(path, after);
  const grown = node ? [path] : [...made, parentOf(made.at(-1)!)];
  if (grown.some(at => sizeOf(next, at) > quotas['node-size']!)) refuse('ENOSPC');
  if (!node && owned(next, actor.domid) > quotas.nodes!) refuse('ENOSPC');
  tree.nodes = next.nodes;
  return change(after, new Map(), node ? [`value ${path}`] : made.flatMap(factsOf));
}

function partOf(tree: Tree, path: string, offset: number, got: Reply): string {
  const list = listOf(tree, path);
  const [, generation = '0'] = /^=([0-9]+)\0/.exec(got) ?? [];
  const head = `${generation}\0`;
  let body = '';
  for (const name of list.slice(offset).split('\0').slice(0, -1)) {
    if (head.length + body.length + name.length + 1 > 4096) return head + body;
    body += `${name}\0`;
  }
  return head.length + body.length < 4096 ? `${head}${body}\0` : head + body;
}
