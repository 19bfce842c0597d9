// Who is to be told of a change. Watches hang in a tree of their own along the paths they name, so a change
// costs what the length of its path and the number of its watchers is, however many watches there are.

import { homeOf, segmentsOf } from './path.ts';
import { type Actor, mayRead, type Permissions } from './permissions.ts';
import { Refusal } from './refusal.ts';
import type { Change, Node } from './store.ts';

/** One who may watch: a connection. */
export interface Watcher {
  readonly actor: Actor;
  /** Queue an event. Never throws and never calls back. */
  event(path: string, token: string): void;
}

interface Watch {
  readonly watcher: Watcher;
  /** Absolute, or special. */
  readonly path: string;
  readonly token: string;
  /** The client named it relative to its home, and is told in the same way. */
  readonly relative: boolean;
  /** How many levels below `path` it reaches; all of them when undefined. */
  readonly depth: number | undefined;
  /** Order of registration. */
  readonly nr: number;
}

/** A watch without its watcher. */
export type WatchState = Omit<Watch, 'watcher'>;

interface Branch {
  readonly children: Map<string, Branch>;
  readonly watches: Set<Watch>;
}
const branch = (): Branch => ({ children: new Map(), watches: new Set() });

/** Counted for each watch beside its text. */
const WATCH_OVERHEAD = 64;

/** What a watch takes of its watcher's memory quota. */
export function watchBytes(path: string, token: string): number {
  return WATCH_OVERHEAD + path.length + token.length;
}

const keyOf = (path: string, token: string): string => `${path}\0${token}`;

export class Watches {
  readonly #paths = branch();
  readonly #special = branch();
  readonly #of = new Map<Watcher, Map<string, Watch>>();
  readonly #bytes = new Map<Watcher, number>();
  #nextNr = 0;

  count(watcher: Watcher): number {
    return this.#of.get(watcher)?.size ?? 0;
  }

  /** What the watches of a watcher take. */
  bytes(watcher: Watcher): number {
    return this.#bytes.get(watcher) ?? 0;
  }

  /** A watcher's watches in the order in which they were made. */
  of(watcher: Watcher): WatchState[] {
    return [...(this.#of.get(watcher)?.values() ?? [])].map(({ watcher: _, ...watch }) => watch);
  }

  /** The number the next watch will have. */
  get nextNr(): number {
    return this.#nextNr;
  }

  /** Put back a watch that `of` gave, in the order in which it gave them. `nextNr`: as it was then. */
  restore(watcher: Watcher, watch: WatchState, nextNr: number): void {
    this.#hang({ ...watch, watcher });
    this.#nextNr = nextNr;
  }

  /** `path` is absolute or special. Throws EEXIST. */
  add(watcher: Watcher, path: string, token: string, relative: boolean, depth?: number): void {
    if (this.#of.get(watcher)?.has(keyOf(path, token))) {
      throw new Refusal('EEXIST', `dom${watcher.actor.domid} watches ${path} with that token already`);
    }
    this.#hang({ watcher, path, token, relative, depth, nr: this.#nextNr++ });
  }

  #hang(watch: Watch): void {
    const own = this.#of.get(watch.watcher) ?? new Map<string, Watch>();
    own.set(keyOf(watch.path, watch.token), watch);
    this.#of.set(watch.watcher, own);
    this.#bytes.set(watch.watcher, this.bytes(watch.watcher) + watchBytes(watch.path, watch.token));
    let at = this.#rootFor(watch.path);
    for (const name of segmentsOf(watch.path)) {
      let next = at.children.get(name);
      if (!next) {
        next = branch();
        at.children.set(name, next);
      }
      at = next;
    }
    at.watches.add(watch);
  }

  /** Throws ENOENT. */
  remove(watcher: Watcher, path: string, token: string): void {
    const own = this.#of.get(watcher);
    const watch = own?.get(keyOf(path, token));
    if (!own || !watch) throw new Refusal('ENOENT', `dom${watcher.actor.domid} does not watch ${path} with that token`);
    own.delete(keyOf(path, token));
    this.#bytes.set(watcher, this.bytes(watcher) - watchBytes(path, token));
    if (own.size === 0) this.#forget(watcher);
    this.#unhang(watch);
  }

  removeAll(watcher: Watcher): void {
    for (const watch of this.#of.get(watcher)?.values() ?? []) this.#unhang(watch);
    this.#forget(watcher);
  }

  #forget(watcher: Watcher): void {
    this.#of.delete(watcher);
    this.#bytes.delete(watcher);
  }

  /** Tell everybody who watches the node of a change, a node above it, or one that went with it. */
  fire(change: Change): void {
    const { path, before, after, above } = change;
    const heard: Heard[] = [];
    const visible = (actor: Actor): boolean => [before?.perms, after?.perms, above].some(perms => canSee(actor, perms));
    const segments = segmentsOf(path);
    let at: Branch | undefined = this.#paths;
    for (let level = 0; at; level++) {
      for (const watch of at.watches) {
        const reached = watch.depth === undefined || segments.length - level <= watch.depth;
        if (reached && visible(watch.watcher.actor)) heard.push({ watch, path });
      }
      const name: string | undefined = segments[level];
      if (name === undefined) break;
      at = at.children.get(name);
    }
    if (at && before && !after) collectBelow(at, before, heard);
    tell(heard);
  }

  /** `name` happened to domain `domid`. `perms`: who may hear of it. */
  fireSpecial(name: string, domid: number, perms: Permissions): void {
    const heard: Heard[] = [];
    const at = this.#special.children.get(name);
    if (!at) return;
    // Xen: with a depth of 1 the domain is named in the event; without, the event says only what happened.
    for (const watch of at.watches) heard.push({ watch, path: watch.depth === 1 ? `${name}/${domid}` : name });
    for (const watch of at.children.get(String(domid))?.watches ?? []) heard.push({ watch, path: watch.path });
    tell(heard.filter(({ watch }) => mayRead(watch.watcher.actor, perms)));
  }

  #rootFor(path: string): Branch {
    return path.startsWith('@') ? this.#special : this.#paths;
  }

  #unhang(watch: Watch): void {
    const way: (readonly [Branch, string])[] = [];
    let at = this.#rootFor(watch.path);
    for (const name of segmentsOf(watch.path)) {
      way.push([at, name]);
      const next = at.children.get(name);
      if (!next) return;
      at = next;
    }
    at.watches.delete(watch);
    for (let step = way.pop(); step && at.watches.size === 0 && at.children.size === 0; step = way.pop()) {
      step[0].children.delete(step[1]);
      at = step[0];
    }
  }
}

interface Heard {
  readonly watch: Watch;
  readonly path: string;
}

/** Xen: who may read the node above hears of a node as well. */
function canSee(actor: Actor, perms: Permissions | undefined): boolean {
  return perms !== undefined && mayRead(actor, perms);
}

/** Watches of nodes that went together with `removed`. Each hears the path it watches. */
function collectBelow(at: Branch, removed: Node, heard: Heard[]): void {
  const open: (readonly [Branch, Node])[] = [[at, removed]];
  for (let next = open.pop(); next; next = open.pop()) {
    const [here, node] = next;
    for (const [name, below] of here.children) {
      const child = node.children.get(name);
      if (!child) continue;
      for (const watch of below.watches) {
        const { actor } = watch.watcher;
        if (canSee(actor, child.perms) || canSee(actor, node.perms)) heard.push({ watch, path: watch.path });
      }
      open.push([below, child]);
    }
  }
}

/** In the order in which the watches were made. */
function tell(heard: Heard[]): void {
  if (heard.length > 1) heard.sort((a, b) => a.watch.nr - b.watch.nr);
  for (const { watch, path } of heard) {
    const home = `${homeOf(watch.watcher.actor.domid)}/`;
    const shown = watch.relative && path.startsWith(home) ? path.slice(home.length) : path;
    watch.watcher.event(shown, watch.token);
  }
}
