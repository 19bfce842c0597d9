// The daemon without its sockets: the store, its clients, and the domains it was introduced to.
// Nothing here waits; domain rings are served by `step()`, sockets by whoever called `accept`.
import {
  type Clock,
  type Domid,
  type EvtchnPort,
  type Gfn,
  type Log,
  type Page,
  XENSTORE_SERVER_FEATURE_ERROR,
  XENSTORE_SERVER_FEATURE_RECONNECTION,
  XenError,
} from '#pvbus';
import { Connection } from './connection.ts';
import { DomainRing } from './domain-ring.ts';
import type { Domain, DomainDoor } from './domains.ts';
import { XENSTORE_SERVER_FEATURE_DOMID_ANY, XENSTORE_SERVER_FEATURE_WATCHDEPTH } from './newer-wire.ts';
import { INTRODUCE_DOMAIN, RELEASE_DOMAIN } from './path.ts';
import { DOM0, ownedBy, type Permissions } from './permissions.ts';
import { Quotas } from './quota.ts';
import { answer } from './requests.ts';
import { apply, type Change, countUsage, Store, type Tree, walk } from './store.ts';
import type { View } from './transaction.ts';
import { Watches } from './watches.ts';

const FEATURES =
  XENSTORE_SERVER_FEATURE_RECONNECTION |
  XENSTORE_SERVER_FEATURE_ERROR |
  XENSTORE_SERVER_FEATURE_WATCHDEPTH |
  XENSTORE_SERVER_FEATURE_DOMID_ANY;

/** A client that takes nothing for this long while something waits for it is cut off. */
const STALL_NS = 20e9;

export interface ServerParts {
  readonly door: DomainDoor;
  readonly clock: Clock;
  readonly log: Log;
  /** Some ring has work: `step()` is to be called soon. */
  readonly onWork: () => void;
}

export class Server {
  readonly store = new Store();
  readonly watches = new Watches();
  readonly quotas = new Quotas();
  readonly log: Log;
  /** Log every request: `xenstore-control log on`. */
  tracing = false;
  readonly #parts: ServerParts;
  readonly #connections = new Set<Connection>();
  readonly #domains = new Map<Domid, Domain>();
  readonly #features = new Map<Domid, number>();
  /** Rings with something to do. */
  readonly #ready = new Set<Domain>();
  /** Released by request while alive: what they own goes when they die. */
  readonly #released = new Set<Domid>();
  #nextName = 1;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.log = parts.log;
    parts.door.onDomExc(() => this.checkDomains());
  }

  trace(line: string): void {
    if (this.tracing) this.log.info(line);
  }

  // ---- clients of dom0 ----

  /** A new client with dom0's rights. `onOutput`: it has something to send, or is broken. */
  accept(onOutput: () => void): Connection {
    const connection = new Connection({
      name: `socket ${this.#nextName++}`,
      actor: { ...DOM0 },
      limits: () => this.quotas.limits(0, true),
      answer: (...message) => answer(this, ...message),
      clock: this.#parts.clock,
      onOutput,
    });
    this.#connections.add(connection);
    return connection;
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
    const { store } = this;
    return {
      get tree() {
        return store.tree;
      },
      saw() {},
      apply: op => {
        const { tree, change } = apply(store.tree, op, client.actor, client.limits(), store.nextGeneration());
        store.commit(tree);
        if (change) this.watches.fire(change);
      },
    };
  }

  /** Tell the watchers. Xen: before the reply to the request that made the changes, its own watches included. */
  fire(changes: readonly Change[]): void {
    for (const change of changes) this.watches.fire(change);
  }

  /** Who may hear of a special watch; of one for a single domain, who may hear of all unless it says otherwise. */
  specialPerms(tree: Tree, path: string): Permissions {
    const [name = path] = path.split('/');
    return tree.special.get(path) ?? tree.special.get(name) ?? ownedBy(0);
  }

  #fireSpecial(name: string, domid: Domid): void {
    this.watches.fireSpecial(name, domid, this.specialPerms(this.store.tree, `${name}/${domid}`));
  }

  // ---- domains ----

  isIntroduced(domid: Domid): boolean {
    return domid === 0 || this.#domains.has(domid);
  }

  /** A second introduction of the same domain connects its ring anew: a restored or reset domain. */
  introduce(domid: Domid, gfn: Gfn, remotePort: EvtchnPort): void {
    const { door, clock, log } = this.#parts;
    const earlier = this.#domains.get(domid);
    if (earlier) this.#disconnect(earlier);
    const page = this.#mapped(domid);
    let local: EvtchnPort;
    try {
      local = door.bind(domid, remotePort);
    } catch (error) {
      door.unmapStorePage(domid);
      throw error;
    }
    this.quotas.admit(domid);
    const wake = (): void => {
      this.#ready.add(domain);
      this.#parts.onWork();
    };
    const connection = new Connection({
      name: `dom${domid}`,
      actor: { domid, privileged: false, target: earlier?.connection.actor.target },
      limits: () => this.quotas.limits(domid, false),
      answer: (...message) => answer(this, ...message),
      clock,
      onOutput: wake,
    });
    const forget = (): void => this.watches.removeAll(connection);
    const notify = (): void => {
      try {
        door.notify(local);
      } catch (error) {
        // The domain is being torn down; its end is about to be told. It must not be the daemon's too.
        this.trace(`dom${domid}: ${error instanceof Error ? error.message : error}`);
      }
    };
    const ring = new DomainRing({ page, connection, notify, forget, log }, this.features(domid));
    const domain: Domain = { domid, gfn, port: local, connection, ring, shutdown: false };
    this.#domains.set(domid, domain);
    this.#connections.add(connection);
    this.#released.delete(domid);
    door.onEvent(local, wake);
    wake(); // it may have written before anybody listened
    log.info(`dom${domid} introduced, port ${local}`);
    if (!earlier) this.#fireSpecial(INTRODUCE_DOMAIN, domid);
  }

  #mapped(domid: Domid): Page {
    const info = this.#parts.door.domainInfo(domid);
    if (!info || info.dying) throw new XenError('ENOENT', `there is no dom${domid} to introduce`);
    return this.#parts.door.mapStorePage(domid);
  }

  /** Undo the connection of a domain; what it wrote stays. */
  #disconnect(domain: Domain): void {
    const { door, log } = this.#parts;
    this.#domains.delete(domain.domid);
    this.#ready.delete(domain);
    this.drop(domain.connection);
    for (const undo of [() => door.unbind(domain.port), () => door.unmapStorePage(domain.domid)]) {
      try {
        undo();
      } catch (error) {
        // The hypervisor has undone it already when the domain died.
        log.warn(`dom${domain.domid}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  /** RELEASE. Throws ENOENT. */
  release(domid: Domid): void {
    const domain = this.#known(domid);
    this.#disconnect(domain);
    if (this.#isGone(domid)) this.#bury(domid);
    else this.#released.add(domid);
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
    const info = this.#parts.door.domainInfo(domid);
    return info === undefined || info.dying;
  }

  /** Look at every domain after VIRQ_DOM_EXC, which does not say whom it is about. */
  checkDomains(): void {
    for (const domain of [...this.#domains.values()]) {
      const { domid } = domain;
      const info = this.#parts.door.domainInfo(domid);
      if (!info || info.dying) {
        this.#disconnect(domain);
        this.#bury(domid);
        this.log.info(`dom${domid} is gone`);
        this.#fireSpecial(RELEASE_DOMAIN, domid);
      } else if (info.shutdown && !domain.shutdown) {
        domain.shutdown = true;
        this.log.info(`dom${domid} has shut down, reason ${info.shutdownReason}`);
        this.#fireSpecial(RELEASE_DOMAIN, domid);
      }
    }
    for (const domid of this.#released) if (this.#isGone(domid)) this.#bury(domid);
  }

  /** Nothing of a dead domain may come to the next one of its number. */
  #bury(domid: Domid): void {
    this.#released.delete(domid);
    this.#features.delete(domid);
    this.quotas.forget(domid);
    for (const other of this.#domains.values()) {
      if (other.connection.actor.target === domid) other.connection.actor.target = undefined;
    }
    this.fire(this.store.removeDomain(domid));
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
    for (const domain of [...this.#ready]) {
      if (!this.#ready.has(domain)) continue; // released by one before it
      // order: taken out first; what happens to it in its own turn puts it back.
      this.#ready.delete(domain);
      if (domain.ring.step() === 'progress') {
        this.#ready.add(domain);
        result = 'progress';
      }
    }
    return result;
  }

  /** True when `step` would find something to look at. */
  get hasWork(): boolean {
    return this.#ready.size > 0;
  }

  // ---- for people ----

  /** What is wrong with the store, in words; undefined when all is well. */
  check(): string | undefined {
    const { tree } = this.store;
    const [kept, counted] = [tree.usage, countUsage(tree)].map(usage => JSON.stringify([...usage.entries()]));
    if (kept !== counted) return `usage is kept as ${kept} but counts as ${counted}`;
    for (const [path, node] of walk(tree.root, '/')) {
      let bytes = 0;
      for (const [name] of node.children.entries()) bytes += name.length + 1;
      if (bytes !== node.children.nameBytes) return `the children of ${path} are miscounted`;
    }
    return undefined;
  }
}
