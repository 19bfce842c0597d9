// What a xenstore daemon does, as plainly as it can be said: maps from whole paths, copies of everything, no
// thought of cost. It is docs/xenstore.md as a program, and shares nothing with the daemon it is compared with.
//
// Where the document leaves a choice (a conflict with what was changed and changed back, the number of a
// transaction) the model is told the daemon's answer, and makes it its own if it is one of those allowed.
import * as xs from '#pvbus';
import * as newer from '../../../dom0/xenstored/newer-wire.ts';
import {
  below,
  type Change,
  chainOf,
  copyOf,
  type Done,
  domidOf,
  FEATURES,
  factsOf,
  guestOf,
  homeOf,
  isChange,
  isNodeRequest,
  listOf,
  may,
  type Node,
  number,
  only,
  owned,
  type Perm,
  parentOf,
  pathOf,
  perform,
  QUOTAS,
  type Quotas,
  Refused,
  type Reply,
  type Request,
  refuse,
  shownPerms,
  sizeOf,
  specialOf,
  specialPerms,
  strings,
  subjectOf,
  type Tree,
  UNLIMITED,
} from './model-nodes.ts';

export type { Reply, Request } from './model-nodes.ts';

/** An event a client is to be told. */
export interface Heard {
  /** Its payload. */
  readonly event: string;
  /** False when it may as well not come: a transaction undid it, or it could be seen only within one. */
  readonly sure: boolean;
  /** Which change it tells of. */
  readonly change: number;
}
interface Watch {
  readonly path: string;
  readonly token: string;
  readonly relative: boolean;
  readonly depth: number;
}
interface Transaction {
  /** As it is at its first request, with what it has changed. */
  tree: Tree;
  readonly asked: { readonly request: Request; readonly reply: Reply }[];
  /** Paths that count for `transaction-nodes`. */
  readonly touched: Set<string>;
  /** Written by itself, so that others have no part in its value. */
  readonly written: Set<string>;
  /** What it has looked at, and what was changed since by others. */
  readonly seen: Set<string>;
  disturbed: Set<string>;
  changing: number;
  /** It was done with other rights than its client has now. */
  otherRights: boolean;
}
interface Client {
  readonly name: string;
  readonly domid: number;
  target: number | undefined;
  readonly watches: Watch[];
  readonly transactions: Map<number, Transaction>;
  heard: Heard[];
}
interface Introduced {
  readonly client: Client;
  shutdownTold: boolean;
}

const OF_DOM0 = new Set<number>([
  xs.XS_CONTROL,
  xs.XS_INTRODUCE,
  xs.XS_RELEASE,
  xs.XS_IS_DOMAIN_INTRODUCED,
  xs.XS_RESUME,
  xs.XS_SET_TARGET,
  newer.XS_SET_FEATURE,
  newer.XS_GET_QUOTA,
  newer.XS_SET_QUOTA,
]);
/** All from 0 to 26 but what only the daemon sends, and one that was removed. */
const KNOWN = new Set([...Array(27).keys()].filter(type => ![15, 16, 20].includes(type)));
const DOMID_SELF = 0x7ff0;

/** Whether a watch is told of a change at `path` as such. */
function reaches({ path, depth }: Watch, at: string): boolean {
  return (at === path || below(at, path)) && chainOf(at).length - chainOf(path).length <= depth;
}
function shownTo({ domid }: Client, { relative }: Watch, path: string): string {
  const home = `${homeOf(domid)}/`;
  return relative && path.startsWith(home) ? path.slice(home.length) : path;
}

// ---- the daemon ----

export class Model {
  readonly #clients = new Map<string, Client>();
  readonly #tree: Tree;
  #global = QUOTAS;
  readonly #own = new Map<number, Quotas>();
  readonly #features = new Map<number, number>();
  /** Domains that exist, whatever the daemon knows of them; true: it has shut down. */
  readonly #world = new Map<number, boolean>();
  readonly #introduced = new Map<number, Introduced>();
  readonly #released = new Set<number>();
  /** What was listed under a generation. */
  readonly #generations = new Map<string, string>();
  #changes = 0;

  constructor() {
    const node: Node = { value: '', perms: [{ letter: 'n', domid: 0 }] };
    this.#tree = { nodes: new Map(['/', '/tool', '/tool/xenstored'].map(path => [path, node])), special: new Map() };
  }

  /** Everything in the tree. */
  dump(): string[] {
    return [...this.#tree.nodes].map(([path, { value, perms }]) => `${path} ${shownPerms(perms)} ${value}`).sort();
  }
  isIntroduced(domid: number): boolean {
    return this.#introduced.has(domid);
  }
  /** Bits a domain's page is to announce. */
  featuresOf(domid: number): number {
    return this.#features.get(domid) ?? FEATURES;
  }
  /** Ids of a client's open transactions, the oldest first. */
  transactionsOf(who: string): number[] {
    return [...(this.#clients.get(who)?.transactions.keys() ?? [])];
  }
  /** What a client is to be told since this was asked last. */
  heardBy(who: string): Heard[] {
    const client = this.#clients.get(who);
    return client?.heard.splice(0) ?? [];
  }

  // ---- what happens around it ----

  connect(who: string, domid = 0, target?: number): Client {
    const client: Client = { name: who, domid, target, watches: [], transactions: new Map(), heard: [] };
    this.#clients.set(who, client);
    return client;
  }
  hangUp(who: string): void {
    this.#clients.delete(who);
  }
  /** A domain asks for a new start of its ring. */
  reconnect(domid: number): void {
    const { name, target } = this.#introduced.get(domid)!.client;
    const client = this.connect(name, domid, target);
    this.#introduced.set(domid, { ...this.#introduced.get(domid)!, client });
  }
  create(domid: number): void {
    this.#world.set(domid, false);
  }
  shutDown(domid: number): void {
    this.#world.set(domid, true);
  }
  vanish(domid: number): void {
    this.#world.delete(domid);
  }
  /** The hypervisor has said that something has become of some domain. */
  look(): void {
    for (const [domid, introduced] of [...this.#introduced]) {
      if (!this.#world.has(domid)) {
        this.#disconnect(domid);
        this.#bury(domid);
      } else if (this.#world.get(domid) && !introduced.shutdownTold) introduced.shutdownTold = true;
      else continue;
      this.#tellSpecial('@releaseDomain', domid);
    }
    const kept = [...this.#released, ...this.#features.keys(), ...this.#own.keys()];
    for (const domid of kept) if (!this.#world.has(domid) && !this.#introduced.has(domid)) this.#bury(domid);
  }

  // ---- requests ----

  /** What `who` is to be answered. `got`: what it was answered. */
  request(who: string, request: Request, got: Reply): Reply {
    const client = this.#clients.get(who)!;
    try {
      return `=${this.#answer(client, request, got)}`;
    } catch (error) {
      if (error instanceof Refused) return `!${error.message}`;
      throw error;
    }
  }

  #quotas({ domid }: Client): Quotas {
    if (domid === 0) return UNLIMITED;
    const quotas = this.#own.get(domid) ?? this.#global;
    return Object.fromEntries(
      Object.entries(quotas).map(([name, n]) => [name, n === 0 ? Number.POSITIVE_INFINITY : n]),
    );
  }

  #answer(client: Client, request: Request, got: Reply): string {
    const { type, tx, payload } = request;
    const quotas = this.#quotas(client);
    if (!KNOWN.has(type)) refuse('ENOSYS');
    if (OF_DOM0.has(type) && client.domid !== 0) refuse('EACCES');
    const watches = type === xs.XS_WATCH || type === xs.XS_UNWATCH;
    if (tx !== 0 && !watches && !client.transactions.has(tx)) refuse('ENOENT');
    if (isNodeRequest(type)) return this.#nodeRequest(client, request, got);
    switch (type) {
      case xs.XS_WATCH: {
        const [text = '', token = '', depth] = strings(payload, 2, 3);
        const special = text.startsWith('@');
        const path = special ? specialOf(text) : pathOf(client, text, quotas);
        const levels = depth === undefined ? Number.POSITIVE_INFINITY : number(depth);
        if (special && depth !== undefined && levels !== 1) refuse('EINVAL');
        if (client.watches.length >= quotas.watches!) refuse('ENOSPC');
        if (client.watches.some(w => w.path === path && w.token === token)) refuse('EEXIST');
        client.watches.push({ path, token, relative: !/^[/@]/.test(text), depth: levels });
        this.#changes++;
        this.#tellOne(client, text, token, true);
        return 'OK\0';
      }
      case xs.XS_UNWATCH: {
        const [text = '', token = ''] = strings(payload, 2, 3);
        const path = text.startsWith('@') ? specialOf(text) : pathOf(client, text, quotas);
        const at = client.watches.findIndex(w => w.path === path && w.token === token);
        if (at < 0) refuse('ENOENT');
        client.watches.splice(at, 1);
        return 'OK\0';
      }
      case xs.XS_RESET_WATCHES:
        client.watches.splice(0);
        client.transactions.clear();
        return 'OK\0';
      case xs.XS_TRANSACTION_START: {
        if (tx !== 0) refuse('EBUSY');
        if (client.transactions.size >= quotas.transactions!) refuse('ENOSPC');
        const id = Number(/^=([1-9][0-9]{0,9})\0$/.exec(got)?.[1] ?? 0);
        if (id === 0 || id > 0xffffffff || client.transactions.has(id)) return 'an id that is not open';
        const sets = { touched: new Set<string>(), written: new Set<string>(), seen: new Set<string>() };
        const rest = { disturbed: new Set<string>(), changing: 0, otherRights: false };
        client.transactions.set(id, { tree: copyOf(this.#tree), asked: [], ...sets, ...rest });
        return `${id}\0`;
      }
      case xs.XS_TRANSACTION_END: {
        if (payload !== 'T\0' && payload !== 'F\0') refuse('EINVAL');
        const transaction = client.transactions.get(tx) ?? refuse('ENOENT');
        client.transactions.delete(tx);
        if (payload === 'T\0') this.#commit(client, transaction, got);
        return 'OK\0';
      }
      case xs.XS_INTRODUCE: {
        const [id, frame, port] = strings(payload, 3);
        number(frame?.replace(/^-/, ''), Number.MAX_SAFE_INTEGER);
        const remote = number(port);
        this.#introduce(guestOf(id), remote);
        return 'OK\0';
      }
      case xs.XS_RELEASE: {
        const domid = guestOf(only(payload));
        if (!this.#introduced.has(domid)) refuse('ENOENT');
        this.#disconnect(domid);
        this.#bury(domid);
        if (this.#world.has(domid)) this.#released.add(domid);
        this.#tellSpecial('@releaseDomain', domid);
        return 'OK\0';
      }
      case xs.XS_RESUME:
        (this.#introduced.get(guestOf(only(payload))) ?? refuse('ENOENT')).shutdownTold = false;
        return 'OK\0';
      case xs.XS_SET_TARGET: {
        const [id, target] = strings(payload, 2, 2).map(guestOf);
        const introduced = this.#introduced.get(id!);
        if (!introduced || !this.#introduced.has(target!)) refuse('ENOENT');
        this.#setTarget(introduced.client, target);
        return 'OK\0';
      }
      case xs.XS_GET_DOMAIN_PATH:
        return `${homeOf(domidOf(only(payload)))}\0`;
      case xs.XS_IS_DOMAIN_INTRODUCED: {
        const domid = domidOf(only(payload));
        return domid === 0 || domid === DOMID_SELF || this.#introduced.has(domid) ? 'T\0' : 'F\0';
      }
      case newer.XS_GET_FEATURE: {
        const [id] = strings(payload, 0, 1);
        if (!id) return `${FEATURES}\0`;
        if (client.domid !== 0) refuse('EACCES');
        return `${this.featuresOf(guestOf(id))}\0`;
      }
      case newer.XS_SET_FEATURE: {
        const [id, value] = strings(payload, 2, 2);
        const [domid, mask] = [guestOf(id), number(value)];
        if (this.#introduced.has(domid)) refuse('EBUSY');
        if (mask > FEATURES) refuse('EINVAL');
        this.#features.set(domid, mask);
        return 'OK\0';
      }
      case newer.XS_GET_QUOTA: {
        const [first, second] = strings(payload, 0, 2);
        if (!first) {
          const names = got.slice(1, -1).split(' ');
          return Object.keys(QUOTAS).every(name => names.includes(name)) ? got.slice(1) : Object.keys(QUOTAS).join(' ');
        }
        const name = second ?? first;
        const own = second === undefined ? undefined : this.#own.get(guestOf(first));
        return `${(own ?? this.#global)[name] ?? refuse('EINVAL')}\0`;
      }
      case newer.XS_SET_QUOTA: {
        const given = strings(payload, 2, 3);
        const value = number(given.pop());
        const name = given.pop()!;
        const domid = given.length > 0 ? guestOf(given[0]) : undefined;
        if (!(name in QUOTAS)) refuse('EINVAL');
        if (domid === undefined) this.#global = { ...this.#global, [name]: value };
        else this.#own.set(domid, { ...(this.#own.get(domid) ?? this.#global), [name]: value });
        return 'OK\0';
      }
      case xs.XS_CONTROL:
        return this.#control(strings(payload, 1), got);
      default:
        return refuse('ENOSYS');
    }
  }

  #control([command, ...args]: string[], got: Reply): string {
    /** A text for people, whatever it says. */
    const text = (): string => (got.startsWith('=') ? got.slice(1) : 'a text');
    const words = args.join(' ');
    if ((command === 'help' || command === 'quota' || command === 'quota-soft') && args.length === 0) return text();
    if ((command === 'check' || command === 'memreport') && args.length === 0) return 'OK\0';
    if (command === 'print' && args.length === 1) return 'OK\0';
    if (command === 'quota' && (words === 'max' || words === 'max -r')) return text();
    const [set, name = '', value, ...more] = args;
    if ((command === 'quota' || command === 'quota-soft') && set === 'set') {
      const key = command === 'quota' ? name : name === 'memory' ? 'memory-soft' : '';
      const allowed = key in QUOTAS && (key === 'memory-soft') === (command === 'quota-soft');
      if (!allowed || more.length > 0 || number(value) === 0) refuse('EINVAL');
      this.#global = { ...this.#global, [key]: Number(value) };
      return 'OK\0';
    }
    if (command !== 'quota' || args.length !== 1) refuse('EINVAL');
    const domid = domidOf(set);
    return domid === 0 || this.#introduced.has(domid) ? text() : refuse('ENOENT');
  }

  #nodeRequest(client: Client, request: Request, got: Reply): string {
    const { type, tx } = request;
    const quotas = this.#quotas(client);
    const transaction = client.transactions.get(tx);
    const path = subjectOf(client, request, quotas);
    if (transaction) {
      if (transaction.touched.size === 0) {
        transaction.tree = copyOf(this.#tree);
        transaction.disturbed = new Set();
      }
      const full = transaction.touched.size >= quotas['transaction-nodes']! && !transaction.touched.has(path);
      const busy = isChange(type) && transaction.changing >= 4 * quotas['transaction-nodes']!;
      if (full || (busy && got === '!ENOSPC')) refuse('ENOSPC');
      transaction.touched.add(path);
    }
    const tree = transaction?.tree ?? this.#tree;
    try {
      const done = perform(tree, client, path, request, quotas, got);
      if (transaction) noteIn(transaction, client, path, request, `=${done.text}`);
      else this.#publish(done);
      if (type === xs.XS_DIRECTORY_PART) this.#checkGeneration(tree, path, done.text, transaction);
      return done.text;
    } catch (error) {
      if (transaction && error instanceof Refused) noteIn(transaction, client, path, request, `!${error.message}`);
      throw error;
    }
  }

  /** The same generation of a node is the same list of children. */
  #checkGeneration(tree: Tree, path: string, text: string, transaction: Transaction | undefined): void {
    if (transaction) return;
    const key = `${path} ${text.slice(0, text.indexOf('\0'))}`;
    const list = listOf(tree, path);
    if ((this.#generations.get(key) ?? list) !== list) refuse(`another generation: ${key} was of other children`);
    this.#generations.set(key, list);
  }

  /** `done` is done to the tree of all, at once; `before`: what that was when it is done by a transaction. */
  #publish({ changes, facts }: Done, before?: Tree['nodes']): void {
    for (const client of this.#clients.values()) {
      for (const { disturbed } of client.transactions.values()) for (const fact of facts) disturbed.add(fact);
    }
    for (const [i, change] of changes.entries()) {
      this.#changes++;
      for (const client of this.#clients.values()) {
        for (const watch of client.watches) {
          if (before) this.#tellOfTransaction(client, watch, changes, i, before);
          else this.#tell(client, watch, change);
        }
      }
    }
  }

  /** A change as a watch is told of it. */
  #tell(client: Client, watch: Watch, change: Change): void {
    const { path, before, after, above, gone } = change;
    const sees = (node: Node | undefined): boolean => node !== undefined && may(client, node.perms, 'r');
    if (reaches(watch, path)) {
      if (sees(before) || sees(after) || sees(above))
        this.#tellOne(client, shownTo(client, watch, path), watch.token, true);
    } else if (
      below(watch.path, path) &&
      (sees(gone.get(watch.path)) || (gone.has(watch.path) && sees(gone.get(parentOf(watch.path)))))
    ) {
      this.#tellOne(client, shownTo(client, watch, watch.path), watch.token, true);
    }
  }

  /**
   * One of the changes of a transaction. What it has made and removed again is not told; of the rest the beginning
   * and the end count for sure, and what was so in between may.
   */
  #tellOfTransaction(client: Client, watch: Watch, changes: readonly Change[], i: number, first: Tree['nodes']): void {
    const { path, before, after, above, gone } = changes[i]!;
    const end = this.#tree.nodes;
    const sees = (node: Node | undefined): boolean => node !== undefined && may(client, node.perms, 'r');
    const wasGone = (at: string): boolean => changes.slice(0, i).some(earlier => earlier.gone.has(at));
    const at = reaches(watch, path) ? path : watch.path;
    if (!first.has(at) && !end.has(at)) return;
    const parent = parentOf(at);
    const seen = [first.get(at), end.get(at), first.get(parent), end.get(parent)].some(sees);
    let sure: boolean;
    let possible: boolean;
    if (at === path) {
      possible = seen || sees(before) || sees(after) || sees(above);
      const removed = changes.slice(i + 1).some(later => later.gone.has(at));
      if (after) {
        const stays = end.get(at) === after && (sees(after) || (at !== '/' && sees(end.get(parent))));
        sure = stays || (!removed && first.get(at) === before && sees(before));
      } else sure = first.has(at) && !wasGone(at) && (sees(above) || (first.get(at) === before && sees(before)));
    } else if (below(at, path) && gone.has(at)) {
      possible = seen || sees(gone.get(at)) || sees(gone.get(parent));
      sure = first.has(at) && !wasGone(at) && (sees(first.get(at)) || sees(first.get(parent)));
    } else return;
    if (possible) this.#tellOne(client, shownTo(client, watch, at), watch.token, sure);
  }

  #tellSpecial(name: string, domid: number): void {
    this.#changes++;
    const one = `${name}/${domid}`;
    for (const client of this.#clients.values()) {
      if (!may(client, specialPerms(this.#tree, one), 'r')) continue;
      for (const { path, token, depth } of client.watches) {
        if (path === name) this.#tellOne(client, depth === 1 ? one : name, token, true);
        else if (path === one) this.#tellOne(client, one, token, true);
      }
    }
  }

  #tellOne(client: Client, path: string, token: string, sure: boolean): void {
    const event = `${path}\0${token}\0`;
    if (event.length <= 4096) client.heard.push({ event, sure, change: this.#changes });
  }

  /** As if all that was asked in it were asked now; EAGAIN when the answers would be others. */
  #commit(client: Client, transaction: Transaction, got: Reply): void {
    if (transaction.changing === 0) return; // as if it had been done when it began
    const next = copyOf(this.#tree);
    const changes: Change[] = [];
    const facts: string[] = [];
    let same = true;
    for (const { request, reply } of transaction.asked) {
      if (reply === '!ENOSPC') continue; // a quota is no part of the tree
      const path = subjectOf(client, request, UNLIMITED);
      let again: Reply;
      try {
        // What was refused is nothing that could be done now, with whatever rights.
        const on = reply.startsWith('!') ? copyOf(next) : next;
        const done = perform(on, client, path, request, UNLIMITED, reply);
        again = `=${done.text}`;
        if (on !== next) {
          same = false;
          continue;
        }
        changes.push(...done.changes);
        facts.push(...done.facts);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        again = `!${error.message}`;
      }
      if (again !== reply) same = false;
    }
    const disturbed = transaction.otherRights || [...transaction.seen].some(fact => transaction.disturbed.has(fact));
    if (!same && !(transaction.otherRights && got === '=OK\0')) refuse('EAGAIN');
    if (got === '!EAGAIN' && disturbed) refuse('EAGAIN');
    const quotas = this.#quotas(client);
    const [was, is] = [this.#tree, next].map(tree => owned(tree, client.domid));
    if (is! > was! && is! > quotas.nodes!) refuse('ENOSPC');
    for (const path of next.nodes.keys()) {
      const size = sizeOf(next, path);
      if (size <= quotas['node-size']!) continue;
      if (!this.#tree.nodes.has(path) || size > sizeOf(this.#tree, path)) refuse('ENOSPC');
    }
    const before = this.#tree.nodes;
    Object.assign(this.#tree, next);
    this.#publish({ text: '', changes, facts }, before);
  }

  // ---- domains ----

  #introduce(domid: number, remotePort: number): void {
    if (remotePort === 0) refuse('EINVAL');
    if (!this.#world.has(domid)) refuse('EINVAL');
    const earlier = this.#introduced.get(domid);
    const client = this.connect(`dom${domid}`, domid, earlier?.client.target);
    this.#introduced.delete(domid);
    this.#introduced.set(domid, { client, shutdownTold: false });
    this.#released.delete(domid);
    if (!this.#own.has(domid)) this.#own.set(domid, this.#global);
    if (!earlier) this.#tellSpecial('@introduceDomain', domid);
  }
  #disconnect(domid: number): void {
    this.hangUp(`dom${domid}`);
    this.#introduced.delete(domid);
  }
  #setTarget(client: Client, target: number | undefined): void {
    client.target = target;
    for (const transaction of client.transactions.values()) transaction.otherRights = true;
  }

  /** Nothing of a dead domain is left. */
  #bury(domid: number): void {
    this.#released.delete(domid);
    this.#features.delete(domid);
    this.#own.delete(domid);
    for (const { client } of this.#introduced.values()) if (client.target === domid) this.#setTarget(client, undefined);
    const without = ([first, ...rest]: readonly Perm[]): Perm[] => [
      first!.domid === domid ? { letter: first!.letter, domid: 0 } : first!,
      ...rest.filter(perm => perm.domid !== domid),
    ];
    const { nodes, special } = this.#tree;
    const its = (path: string): boolean => nodes.get(path)!.perms[0]!.domid === domid;
    const doomed = new Set(
      [...nodes.keys()].filter(
        path => path !== '/' && its(path) && ![...nodes.keys()].some(p => below(p, path) && !its(p)),
      ),
    );
    const changes: Change[] = [];
    for (const [path, before] of [...nodes].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const above = path === '/' ? undefined : nodes.get(parentOf(path)); // parents come first
      if (doomed.has(path)) {
        if (doomed.has(parentOf(path))) continue;
        const gone = new Map([...nodes].filter(([at]) => at === path || below(at, path)));
        changes.push({ path, before, after: undefined, above, gone });
        continue;
      }
      if (!before.perms.some(perm => perm.domid === domid)) continue;
      const after = { ...before, perms: without(before.perms) };
      nodes.set(path, after);
      changes.push({ path, before, after, above, gone: new Map() });
    }
    for (const path of doomed) nodes.delete(path);
    for (const path of ['@introduceDomain', '@releaseDomain']) special.delete(`${path}/${domid}`);
    for (const [path, perms] of [...special]) special.set(path, without(perms));
    const facts = changes.flatMap(({ path, gone }) =>
      gone.size > 0 ? [...gone.keys()].flatMap(factsOf) : [`perms ${path}`],
    );
    this.#publish({ text: '', changes, facts: [...facts, ...[...special.keys()].map(path => `special ${path}`)] });
  }
}

/** Remember what was asked in a transaction, and what its answer came from. */
function noteIn(transaction: Transaction, client: Client, path: string, request: Request, reply: Reply): void {
  const { type } = request;
  transaction.asked.push({ request, reply });
  const own = transaction.written.has(path);
  const see = (...facts: string[]): void => {
    for (const fact of facts) transaction.seen.add(fact);
  };
  const refused = reply.startsWith('!');
  if (!isChange(type) || refused) {
    if (path.startsWith('@')) {
      see(`special ${path}`, `special ${path.split('/')[0]}`);
      return;
    }
    const rights = client.domid !== 0 || type === xs.XS_GET_PERMS || refused;
    if (rights) see(...chainOf(path).map(at => `perms ${at}`));
    if (rights || !own) see(...chainOf(path).map(at => `is ${at}`));
    if (type === xs.XS_READ && !own) see(`value ${path}`);
    if (type === xs.XS_DIRECTORY || type === xs.XS_DIRECTORY_PART) see(`names ${path}`);
    return;
  }
  transaction.changing++;
  if (type === xs.XS_WRITE) transaction.written.add(path);
  if (type === xs.XS_RM) transaction.written.clear();
}
