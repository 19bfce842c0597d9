// The daemon without its sockets: the store, its clients, and the domains it was introduced to.
// Nothing here waits; domain rings are served by `step()`, sockets by whoever called `accept`.
import {
  type Clock,
  type Domid,
  type EvtchnPort,
  type Gfn,
  type Log,
  privatePage,
  XENSTORE_SERVER_FEATURE_ERROR,
  XENSTORE_SERVER_FEATURE_RECONNECTION,
  XenError,
  XS_CONTROL,
  XS_INTRODUCE,
  XS_MKDIR,
  XS_RELEASE,
  XS_RESUME,
  XS_RM,
  XS_SET_PERMS,
  XS_SET_TARGET,
  XS_TRANSACTION_END,
  XS_WRITE,
} from '#pvbus';
import { Accounts } from './accounts.ts';
import { Connection, type ConnectionState } from './connection.ts';
import { Contention } from './contention.ts';
import type { ControlFiles } from './control-files.ts';
import { DomainRing, type DomainRingState } from './domain-ring.ts';
import type { Domain, DomainDoor, DomainInfo } from './domains.ts';
import type { LiveUpdate } from './live-update.ts';
import {
  XENSTORE_SERVER_FEATURE_DOMID_ANY,
  XENSTORE_SERVER_FEATURE_WATCHDEPTH,
  XS_SET_FEATURE,
  XS_SET_QUOTA,
} from './newer-wire.ts';
import { INTRODUCE_DOMAIN, RELEASE_DOMAIN } from './path.ts';
import { DOM0, type Permissions } from './permissions.ts';
import { type QuotaState, Quotas, UNLIMITED } from './quota.ts';
import { RecordedDoor, type StorePage } from './recorded-door.ts';
import { type DomainSeen, noRecorder, type Outcome, type Recorder } from './recorder.ts';
import { answer, mayTake } from './requests.ts';
import { apply, type Change, type Node, type Operation, Store, specialPerms, type Tree, treeOf } from './store.ts';
import { Trace } from './trace.ts';
import { Transaction, type TransactionState, type View } from './transaction.ts';
import { wrongIn } from './tree-check.ts';
import { type NodePatch, patched, patchOf } from './tree-patch.ts';
import { Watches, type WatchState } from './watches.ts';

const FEATURES =
  XENSTORE_SERVER_FEATURE_RECONNECTION |
  XENSTORE_SERVER_FEATURE_ERROR |
  XENSTORE_SERVER_FEATURE_WATCHDEPTH |
  XENSTORE_SERVER_FEATURE_DOMID_ANY;

/** A client that takes nothing for this long while something waits for it is cut off. */
const STALL_NS = 20e9;

/** Nodes of a dead domain that go, or rights that are taken from it, before others have a turn. */
const CHANGES_PER_STEP = 50;

/** What changes more than a socket's own connection, in a transaction or not. */
const LASTING = new Set([XS_CONTROL, XS_INTRODUCE, XS_RELEASE, XS_RESUME, XS_SET_FEATURE, XS_SET_QUOTA, XS_SET_TARGET]);

/** What does so outside of one. */
const CHANGES_NODES = new Set([XS_MKDIR, XS_RM, XS_SET_PERMS, XS_WRITE]);

/** What TRANSACTION_END begins with when it is not to be forgotten: T. */
const COMMIT = 0x54;

export interface ServerParts {
  /** Not yet, for a server that is to go on where another one ends. */
  readonly door?: DomainDoor;
  readonly clock: Clock;
  readonly log: Log;
  /** Some ring has work: `step()` is to be called soon. */
  readonly onWork: () => void;
  /** Told everything the state depends on. */
  readonly recorder?: Recorder;
  /** Where CONTROL writes what it is asked to. */
  readonly files?: ControlFiles;
}

/** The store itself, as a request outside of a transaction sees and changes it. */
class LiveView implements View {
  readonly #server: Server;
  readonly #client: Connection;

  constructor(server: Server, client: Connection) {
    this.#server = server;
    this.#client = client;
  }
  get tree(): Tree {
    return this.#server.store.tree;
  }
  saw(): void {}
  apply(op: Operation): void {
    const { store, watches } = this.#server;
    const client = this.#client;
    const next = store.nextGeneration();
    const { tree, change } = apply(store.tree, op, client.actor, client.limits(), next, client.held());
    store.commit(tree);
    if (change) watches.fire(change);
  }
}

export class Server {
  readonly store = new Store();
  readonly watches = new Watches();
  readonly quotas = new Quotas();
  readonly contention: Contention;
  readonly log: Log;
  readonly tracing: Trace;
  readonly accounts: Accounts;
  readonly files: ControlFiles | undefined;
  /** Of a daemon that can start another one. */
  liveUpdate: LiveUpdate | undefined;
  readonly #parts: ServerParts;
  readonly #recorder: Recorder;
  /** The hypervisor, and as requests see it. */
  #live: DomainDoor | undefined;
  readonly #door: RecordedDoor;
  readonly #connections = new Set<Connection>();
  readonly #domains = new Map<Domid, Domain>();
  readonly #features = new Map<Domid, number>();
  /** Rings with something to do. */
  readonly #ready = new Set<Domain>();
  /** Gone, with something left in the store; it is taken out in slices. */
  readonly #leaving = new Set<Domid>();
  /** Released by request while alive: what they are given after that goes when they die. */
  readonly #released = new Set<Domid>();
  #nextName = 1;
  /** What happens has happened before, in the daemon that this one follows. */
  #replaying = false;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.contention = new Contention(parts.clock);
    this.#recorder = parts.recorder ?? noRecorder;
    this.#door = new RecordedDoor(this.#recorder);
    this.log = {
      info: line => this.#replaying || parts.log.info(line),
      warn: line => this.#replaying || parts.log.warn(line),
      error: line => this.#replaying || parts.log.error(line),
    };
    this.tracing = new Trace(this.log);
    this.accounts = new Accounts({ tree: () => this.store.tree, watches: this.watches, log: this.log });
    this.files = parts.files;
    if (parts.door) this.#open(parts.door);
  }

  #open(door: DomainDoor): void {
    this.#live = door;
    this.#door.open(door);
    door.onDomExc(() => this.checkDomains());
  }

  /** Of a connection. */
  trace(line: string): void {
    this.tracing.tell('obj', line);
  }

  // ---- clients of dom0 ----

  /** A new client with dom0's rights. `onOutput`: it has something to send, or is broken. */
  accept(onOutput: () => void): Connection {
    const connection = new Connection({
      name: `socket ${this.#nextName++}`,
      actor: { ...DOM0 },
      limits: () => this.quotas.limits(0, true),
      watchBytes: client => this.watches.bytes(client),
      answer: this.#answerSocket.bind(this),
      mayTake: mayTake.bind(undefined, this),
      clock: this.#parts.clock,
      onOutput,
    });
    this.#connections.add(connection);
    return connection;
  }

  /** What a socket asks is recorded when something of it outlives the socket. */
  #answerSocket(client: Connection, type: number, req_id: number, tx_id: number, payload: Uint8Array): void {
    const ended = type === XS_TRANSACTION_END ? client.transactions.get(tx_id) : undefined;
    const { asked } = this.#door;
    const lasts = LASTING.has(type) || (tx_id === 0 && CHANGES_NODES.has(type));
    const done = answer(this, client, type, req_id, tx_id, payload);
    if (ended) {
      if (done && payload[0] === COMMIT) this.#recorder.commit(ended.state().operations);
    } else if ((done && lasts) || this.#door.asked !== asked) {
      this.#recorder.request(type, payload);
    }
  }

  /** Replies may be sent: what they tell is kept. */
  flush(): void {
    this.#recorder.flush();
  }

  /** `step()` is to be called soon. */
  onWork(): void {
    this.#parts.onWork();
  }

  /** Its watches and transactions are gone from here on. */
  drop(connection: Connection): void {
    this.#connections.delete(connection);
    this.watches.removeAll(connection);
    connection.reset();
  }

  /** Cut off who does not read. Call it about once a second. */
  checkStalled(): void {
    const now = this.#parts.clock.now();
    for (const connection of this.#connections) connection.checkStalled(now, STALL_NS);
  }

  // ---- the store as requests see it ----

  viewOf(client: Connection): View {
    return new LiveView(this, client);
  }

  /** Tell the watchers. Xen: before the reply to the request that made the changes, its own watches included. */
  fire(changes: readonly Change[]): void {
    for (const change of changes) this.watches.fire(change);
  }

  #fireSpecial(name: string, domid: Domid): void {
    this.watches.fireSpecial(name, domid, specialPerms(this.store.tree, `${name}/${domid}`));
  }

  // ---- domains ----

  isIntroduced(domid: Domid): boolean {
    return domid === 0 || this.#domains.has(domid);
  }

  /** A second introduction of the same domain connects its ring anew: a restored or reset domain. */
  introduce(domid: Domid, gfn: Gfn, remotePort: EvtchnPort): void {
    const earlier = this.#domains.get(domid);
    if (earlier) {
      // order: first; one that is gone must stay known until its end is told, or it would never be buried.
      if (this.#isGone(domid)) throw new XenError('EINVAL', `there is no dom${domid} any more`);
      this.#disconnect(earlier);
    }
    const mapped = this.#mapped(domid, gfn);
    let local: EvtchnPort;
    try {
      local = this.#door.bind(domid, remotePort);
    } catch (error) {
      this.#door.unmap(domid);
      throw error;
    }
    // Nothing of the last one of its number is for this one.
    while (this.#leaving.has(domid)) this.#removeSome(domid);
    this.quotas.admit(domid);
    this.#released.delete(domid);
    const domain = this.#connect(domid, gfn, local, mapped, earlier?.connection.actor.target);
    domain.wake(); // it may have written before anybody listened
    this.log.info(`dom${domid} introduced, port ${local}`);
    // dom0 has always been there: what is introduced of it is only its ring.
    if (!earlier && domid !== 0) this.#fireSpecial(INTRODUCE_DOMAIN, domid);
  }

  #connect(domid: Domid, gfn: Gfn, local: EvtchnPort, mapped: StorePage, target?: number): Domain {
    const { clock, log } = this.#parts;
    const wake = (): void => {
      this.#ready.add(domain);
      this.#parts.onWork();
    };
    const connection = new Connection({
      name: `dom${domid}`,
      actor: domid === 0 ? { ...DOM0 } : { domid, privileged: false, target },
      limits: () => this.quotas.limits(domid, domid === 0),
      watchBytes: client => this.watches.bytes(client),
      answer: (...message) => answer(this, ...message),
      // What is repeated was taken.
      mayTake: (...next) => this.#replaying || mayTake(this, ...next),
      clock,
      onOutput: wake,
    });
    const forget = (): void => this.watches.removeAll(connection);
    const notify = (): void => {
      try {
        this.#door.notify(local);
      } catch (error) {
        // The domain is being torn down; its end is about to be told. It must not be the daemon's too.
        this.trace(`dom${domid}: ${error instanceof Error ? error.message : error}`);
      }
    };
    const ring = new DomainRing(mapped, this.features(domid), {
      connection,
      notify,
      forget,
      recorder: this.#recorder,
      log,
    });
    const domain: Domain = { domid, gfn, port: local, connection, ring, wake, shutdown: false };
    this.#domains.set(domid, domain);
    this.#connections.add(connection);
    this.#door.onEvent(local, wake);
    return domain;
  }

  #mapped(domid: Domid, gfn: Gfn): StorePage {
    const info = this.#door.info(domid);
    if (!info && domid === 0) throw new XenError('EINVAL', 'dom0 has a ring only under a hypervisor');
    if (!info || info.dying) throw new XenError('EINVAL', `there is no dom${domid} to introduce`);
    return this.#door.map(domid, gfn);
  }

  /** Undo the connection of a domain; what it wrote stays. */
  #disconnect(domain: Domain): void {
    this.#domains.delete(domain.domid);
    this.#ready.delete(domain);
    this.drop(domain.connection);
    for (const undo of [() => this.#door.unbind(domain.port), () => this.#door.unmap(domain.domid)]) {
      try {
        undo();
      } catch (error) {
        // The hypervisor has undone it already when the domain died.
        this.log.warn(`dom${domain.domid}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  /** RELEASE. Throws ENOENT. */
  release(domid: Domid): void {
    const domain = this.#known(domid);
    this.#disconnect(domain);
    this.#bury(domid);
    if (!this.#isGone(domid)) this.#released.add(domid);
    this.log.info(`dom${domid} released`);
    this.#fireSpecial(RELEASE_DOMAIN, domid);
  }

  /** RESUME: its next shutdown is to be announced again. Throws ENOENT. */
  resume(domid: Domid): void {
    this.#known(domid).shutdown = false;
  }

  /** SET_TARGET: `domid` gets the rights of `target` beside its own. Throws ENOENT. */
  setTarget(domid: Domid, target: Domid): void {
    this.#known(target);
    this.#known(domid).connection.actor.target = target;
  }

  #known(domid: Domid): Domain {
    const domain = this.#domains.get(domid);
    if (!domain) throw new XenError('ENOENT', `dom${domid} is not introduced`);
    return domain;
  }

  #isGone(domid: Domid): boolean {
    return isGone(this.#door.info(domid));
  }

  /** Look at every domain after VIRQ_DOM_EXC, which does not say whom it is about. */
  checkDomains(): void {
    const door = this.#live;
    if (!door) return;
    const seen: DomainSeen[] = [];
    for (const { domid, shutdown } of this.#domains.values()) {
      const info = door.domainInfo(domid);
      if (isGone(info) || (info?.shutdown && !shutdown)) seen.push([domid, info ?? null]);
    }
    for (const domid of this.#absent()) {
      const info = door.domainInfo(domid);
      if (isGone(info)) seen.push([domid, info ?? null]);
    }
    if (seen.length === 0) return;
    this.sawDomains(seen);
    this.#recorder.domains(seen);
  }

  /** Domains that are not introduced, but for which something is kept. */
  #absent(): Set<Domid> {
    const domids = new Set(this.#released);
    for (const id of this.#features.keys()) domids.add(id);
    for (const id of this.quotas.domids()) domids.add(id as Domid); // as SET_QUOTA was given it
    domids.delete(0 as Domid);
    for (const id of this.#domains.keys()) domids.delete(id);
    return domids;
  }

  /** Domains have shut down, or are gone. */
  sawDomains(seen: readonly DomainSeen[]): void {
    for (const [id, info] of seen) {
      const domain = this.#domains.get(id);
      if (info && !isGone(info)) {
        if (!domain) continue;
        domain.shutdown = true;
        this.log.info(`dom${id} has shut down, reason ${info.shutdownReason}`);
        this.#fireSpecial(RELEASE_DOMAIN, id);
        continue;
      }
      if (this.#leaving.has(id)) {
        this.#removeSome(id);
        continue;
      }
      if (domain) this.#disconnect(domain);
      this.#bury(id);
      if (!domain) continue; // its release was told when it was released
      this.log.info(`dom${id} is gone`);
      this.#fireSpecial(RELEASE_DOMAIN, id);
    }
  }

  /** Nothing of a dead domain may come to the next one of its number. */
  #bury(domid: Domid): void {
    this.#released.delete(domid);
    this.#features.delete(domid);
    this.quotas.forget(domid);
    this.accounts.forget(domid);
    for (const other of this.#domains.values()) {
      if (other.connection.actor.target === domid) other.connection.actor.target = undefined;
    }
    this.#removeSome(domid);
  }

  #removeSome(domid: Domid): void {
    const changes = this.store.removeDomain(domid, CHANGES_PER_STEP);
    if (changes.length < CHANGES_PER_STEP) this.#leaving.delete(domid);
    else this.#leaving.add(domid);
    this.fire(changes);
  }

  /** What a domain's page announces, or what this daemon can. */
  features(domid?: Domid): number {
    return (domid === undefined ? undefined : this.#features.get(domid)) ?? FEATURES;
  }

  /** Xen: only before the domain is introduced, and only bits that exist. */
  setFeatures(domid: Domid, mask: number): void {
    if (this.#domains.has(domid)) throw new XenError('EBUSY', `dom${domid} is introduced already`);
    if ((mask & ~FEATURES) !== 0) throw new XenError('EINVAL', `features ${mask} are more than ${FEATURES}`);
    this.#features.set(domid, mask);
  }

  // ---- rings ----

  /** Give every ring with something to do one turn. */
  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    // order: taken out first; what happens to one in its own turn puts it back.
    const turn = [...this.#ready];
    this.#ready.clear();
    const again = (domain: Domain): void => {
      if (this.#domains.get(domain.domid) === domain) this.#ready.add(domain);
      result = 'progress';
    };
    const there = (domain: Domain): boolean => this.#domains.get(domain.domid) === domain;
    for (const domain of turn) if (there(domain) && domain.ring.take() === 'progress') again(domain);
    for (const domid of this.#leaving) {
      const seen = [[domid, null]] as const;
      this.sawDomains(seen);
      this.#recorder.domains(seen);
      result = 'progress';
      break; // one in a turn
    }
    this.flush();
    for (const domain of turn) if (there(domain) && domain.ring.give() === 'progress') again(domain);
    if (this.#recorder.step() === 'progress') result = 'progress';
    this.contention.step();
    return result;
  }

  /** When `step` is to be called although nothing has happened. */
  get deadline(): number {
    return this.contention.deadline;
  }

  /** True when `step` would find something to look at. */
  get hasWork(): boolean {
    return this.#ready.size > 0 || this.#leaving.size > 0;
  }

  // ---- going on where another daemon has ended ----

  /** Everything but the nodes, as plain data. Sockets are not in it: they end with their daemon. */
  state(): ServerState {
    const { tree, generation } = this.store;
    return {
      generation,
      special: [...tree.special.entries()],
      quotas: this.quotas.state(),
      features: [...this.#features],
      released: [...this.#released],
      leaving: [...this.#leaving],
      tracing: this.tracing.on,
      nextWatch: this.watches.nextNr,
      domains: [...this.#domains.values()].map(domain => this.#stateOf(domain)),
    };
  }

  #stateOf({ domid, gfn, port, shutdown, connection, ring }: Domain): DomainState {
    const { target } = connection.actor;
    return { domid, gfn, port, shutdown, target, ring: ring.state(), client: this.clientState(connection) };
  }

  /** One client as plain data, beside the tree of now. */
  clientState(connection: Connection): ClientState {
    const { root } = this.store.tree;
    return {
      connection: connection.state(),
      watches: this.watches.of(connection),
      transactions: [...connection.transactions].map(([id, transaction]) => {
        const { base, operations, seen } = transaction.state();
        return { id, base: patchOf(base.root, root), special: [...base.special.entries()], operations, seen };
      }),
    };
  }

  /** What `clientState` gave, for a new connection beside the same tree. `nextWatch`: no watch of it has that number. */
  restoreClient(connection: Connection, client: ClientState, nextWatch: number): void {
    const { connection: state, watches, transactions } = client;
    const { root } = this.store.tree;
    connection.restore(state);
    for (const watch of watches) this.watches.restore(connection, watch, nextWatch);
    for (const { id, base, special, operations, seen } of transactions) {
      const was = { base: treeOf(patched(base, root), special), operations, seen };
      connection.transactions.set(id, Transaction.restored(this.store, connection.actor, connection, was));
    }
  }

  /** Of a new daemon: begin with what `state` gave, and repeat what follows, until `goOn`. */
  restore(root: Node, state: ServerState): void {
    this.#replaying = true;
    this.#door.close();
    this.store.restore(treeOf(root, state.special), state.generation);
    this.quotas.restore(state.quotas);
    for (const [domid, mask] of state.features) this.#features.set(domid, mask);
    for (const domid of state.released) this.#released.add(domid);
    for (const domid of state.leaving) this.#leaving.add(domid);
    this.tracing.on = state.tracing;
    for (const domain of state.domains) this.#restoreDomain(domain, state.nextWatch);
  }

  #restoreDomain({ domid, gfn, port, shutdown, target, ring, client }: DomainState, nextWatch: number): void {
    const { taken, given } = ring;
    const domain = this.#connect(domid, gfn, port, { page: privatePage(), taken, given }, target);
    domain.shutdown = shutdown;
    domain.ring.restore(ring);
    this.restoreClient(domain.connection, client, nextWatch);
  }

  /** Whether a client is a domain's ring: what it asks is on record, with its answer. */
  isRing(client: Connection): boolean {
    return this.#domains.get(client.actor.domid as Domid)?.connection === client;
  }
  /** A domain that is introduced. Throws ENOENT. */
  domain(domid: Domid): Domain {
    return this.#known(domid);
  }
  repeatAnswer(outcome: Outcome): void {
    this.#door.repeat(outcome);
  }
  repeatRequest(type: number, payload: Uint8Array): void {
    const client = this.accept(() => {});
    answer(this, client, type, 0, 0, payload);
    this.drop(client);
  }
  repeatCommit(operations: readonly Operation[]): void {
    const state = { base: this.store.tree, operations, seen: [] };
    this.fire(Transaction.restored(this.store, DOM0, { limits: () => UNLIMITED, held: () => 0 }, state).commit());
  }

  /** All is repeated: meet the domains again, and whatever has become of them meanwhile. */
  goOn(door = this.#live): void {
    if (!door) return;
    this.#replaying = false;
    if (door === this.#live) this.#door.open(door);
    else this.#open(door);
    for (const domain of [...this.#domains.values()]) {
      const page = door.adopt(domain.domid, domain.gfn, domain.port);
      if (!page) {
        if (isGone(door.domainInfo(domain.domid))) continue; // checkDomains tells of it
        this.log.error(`dom${domain.domid}: its xenstore page or port is lost, and with it its connection`);
        this.#disconnect(domain);
        this.#released.add(domain.domid);
        continue;
      }
      this.#door.onEvent(domain.port, domain.wake);
      domain.ring.adopt(page);
      domain.wake();
    }
    door.dropUnadopted();
    this.checkDomains();
  }

  // ---- for people ----

  /** What happens has happened before, in the daemon that this one follows. */
  get replaying(): boolean {
    return this.#replaying;
  }

  /** The connections of a domain. Throws ENOENT for one that is not introduced. */
  clientsOf(domid: number): Connection[] {
    if (domid !== 0) this.#known(domid as Domid); // only looked up
    return [...this.#connections].filter(({ actor }) => actor.domid === domid);
  }
  /** Who is introduced, dom0 first. */
  introduced(): number[] {
    return [0, ...[...this.#domains.keys()].filter(id => id !== 0)];
  }

  /** What is wrong with the store, in words; undefined when all is well. */
  check(): string | undefined {
    return wrongIn(this.store.tree);
  }
}

/** A daemon as plain data, without nodes and sockets. */
export interface ServerState {
  readonly generation: number;
  readonly special: SpecialPermissions;
  readonly quotas: QuotaState;
  readonly features: readonly (readonly [Domid, number])[];
  readonly released: readonly Domid[];
  readonly leaving: readonly Domid[];
  readonly tracing: boolean;
  readonly nextWatch: number;
  readonly domains: readonly DomainState[];
}
type SpecialPermissions = readonly (readonly [string, Permissions])[];
interface DomainState {
  readonly domid: Domid;
  readonly gfn: Gfn;
  readonly port: EvtchnPort;
  readonly shutdown: boolean;
  readonly target: number | undefined;
  readonly ring: DomainRingState;
  readonly client: ClientState;
}
/** What there is of one client, beside a tree. */
export interface ClientState {
  readonly connection: ConnectionState;
  readonly watches: readonly WatchState[];
  readonly transactions: readonly OpenTransaction[];
}
interface OpenTransaction extends Omit<TransactionState, 'base'> {
  readonly id: number;
  /** Beside the tree of the same snapshot. */
  readonly base: NodePatch;
  readonly special: SpecialPermissions;
}

function isGone(info: DomainInfo | null | undefined): boolean {
  return !info || info.dying;
}
