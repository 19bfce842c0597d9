// The domains that the daemon was introduced to: their rings, what they can, and what becomes of all they had.
// Nothing here waits; rings are served by `step()`.
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
} from '#pvbus';
import { Connection } from './connection.ts';
import { DomainRing, type DomainRingState } from './domain-ring.ts';
import type { Domain, DomainDoor, DomainInfo } from './domains.ts';
import { XENSTORE_SERVER_FEATURE_DOMID_ANY, XENSTORE_SERVER_FEATURE_WATCHDEPTH } from './newer-wire.ts';
import { INTRODUCE_DOMAIN, RELEASE_DOMAIN } from './path.ts';
import type { RecordedDoor, StorePage } from './recorded-door.ts';
import type { DomainSeen, Recorder } from './recorder.ts';
import type { ClientState, Server } from './server.ts';
import { specialPerms } from './store.ts';

const FEATURES =
  XENSTORE_SERVER_FEATURE_RECONNECTION |
  XENSTORE_SERVER_FEATURE_ERROR |
  XENSTORE_SERVER_FEATURE_WATCHDEPTH |
  XENSTORE_SERVER_FEATURE_DOMID_ANY;

/** Nodes of a dead domain that go, or rights that are taken from it, before others have a turn. */
const CHANGES_PER_STEP = 50;

export interface IntroducedDomainsParts {
  readonly clock: Clock;
  readonly log: Log;
  /** Some ring has work: `step()` is to be called soon. */
  readonly onWork: () => void;
  readonly recorder: Recorder;
  /** The hypervisor as requests see it. */
  readonly door: RecordedDoor;
}

export class IntroducedDomains {
  readonly #server: Server;
  readonly #parts: IntroducedDomainsParts;
  readonly #door: RecordedDoor;
  #live: DomainDoor | undefined;
  readonly #introduced = new Map<Domid, Domain>();
  readonly #features = new Map<Domid, number>();
  /** Rings with something to do. */
  readonly #ready = new Set<Domain>();
  /** Gone, with something left in the store; it is taken out in slices. */
  readonly #leaving = new Set<Domid>();
  /** Released by request while alive: what they are given after that goes when they die. */
  readonly #released = new Set<Domid>();

  constructor(server: Server, parts: IntroducedDomainsParts) {
    this.#server = server;
    this.#parts = parts;
    this.#door = parts.door;
  }

  open(door: DomainDoor): void {
    this.#live = door;
    this.#door.open(door);
    door.onDomExc(() => this.check());
  }
  /** The hypervisor, once `open` was called. */
  get door(): DomainDoor | undefined {
    return this.#live;
  }

  /** Who is introduced, dom0 first. */
  domids(): number[] {
    return [0, ...[...this.#introduced.keys()].filter(id => id !== 0)];
  }
  /** Whether a client is a domain's ring: what it asks is on record, with its answer. */
  isRing(client: Connection): boolean {
    return this.#introduced.get(client.actor.domid as Domid)?.connection === client;
  }

  /** dom0 always is. */
  has(domid: Domid): boolean {
    return domid === 0 || this.#introduced.has(domid);
  }

  /** A second introduction of the same domain connects its ring anew: a restored or reset domain. */
  introduce(domid: Domid, gfn: Gfn, remotePort: EvtchnPort): void {
    const earlier = this.#introduced.get(domid);
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
    this.#server.quotas.admit(domid);
    this.#released.delete(domid);
    const domain = this.#connect(domid, gfn, local, mapped, earlier?.connection.actor.target);
    domain.wake(); // it may have written before anybody listened
    this.#server.log.info(`dom${domid} introduced, port ${local}`);
    // dom0 has always been there: what is introduced of it is only its ring.
    if (!earlier && domid !== 0) this.#fireSpecial(INTRODUCE_DOMAIN, domid);
  }

  #connect(domid: Domid, gfn: Gfn, local: EvtchnPort, mapped: StorePage, target?: number): Domain {
    const { clock, log, recorder } = this.#parts;
    const server = this.#server;
    const wake = (): void => {
      this.#ready.add(domain);
      this.#parts.onWork();
    };
    const connection = new Connection({
      name: `dom${domid}`,
      actor: { domid, privileged: domid === 0, target },
      limits: () => server.quotas.limits(domid, domid === 0),
      watchBytes: client => server.watches.bytes(client),
      answer: (...message) => server.answer(...message),
      // What is repeated was taken.
      mayTake: (...next) => server.replaying || server.mayTake(...next),
      clock,
      onOutput: wake,
    });
    const forget = (): void => server.watches.removeAll(connection);
    const tell = (): void => {
      try {
        this.#door.notify(local);
      } catch (error) {
        // The domain is being torn down; its end is about to be told. It must not be the daemon's too.
        server.trace(`dom${domid}: ${error instanceof Error ? error.message : error}`);
      }
    };
    // What is repeated has been told.
    const notify = (): void => (server.replaying ? tell() : server.passEvent('send', domid, tell));
    const ring = new DomainRing(mapped, this.features(domid), {
      connection,
      notify,
      forget,
      recorder,
      log,
    });
    const domain: Domain = { domid, gfn, port: local, connection, ring, wake, shutdown: false };
    this.#introduced.set(domid, domain);
    server.add(connection);
    this.#listen(domain);
    return domain;
  }

  #listen({ domid, port, wake }: Domain): void {
    this.#door.onEvent(port, () => this.#server.passEvent('receive', domid, wake));
  }

  #mapped(domid: Domid, gfn: Gfn): StorePage {
    const info = this.#door.info(domid);
    if (!info && domid === 0) throw new XenError('EINVAL', 'dom0 has a ring only under a hypervisor');
    if (!info || info.dying) throw new XenError('EINVAL', `there is no dom${domid} to introduce`);
    return this.#door.map(domid, gfn);
  }

  /** Undo the connection of a domain; what it wrote stays. */
  #disconnect(domain: Domain): void {
    this.#introduced.delete(domain.domid);
    this.#server.forgetEvents(domain.domid);
    this.#ready.delete(domain);
    this.#server.drop(domain.connection);
    for (const undo of [() => this.#door.unbind(domain.port), () => this.#door.unmap(domain.domid)]) {
      try {
        undo();
      } catch (error) {
        // The hypervisor has undone it already when the domain died.
        this.#server.log.warn(`dom${domain.domid}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  /** RELEASE. Throws ENOENT. */
  release(domid: Domid): void {
    const domain = this.get(domid);
    this.#disconnect(domain);
    this.#bury(domid);
    if (!this.#isGone(domid)) this.#released.add(domid);
    this.#server.log.info(`dom${domid} released`);
    this.#fireSpecial(RELEASE_DOMAIN, domid);
  }

  /** RESUME: its next shutdown is to be announced again. Throws ENOENT. */
  resume(domid: Domid): void {
    this.get(domid).shutdown = false;
  }

  /** SET_TARGET: `domid` gets the rights of `target` beside its own. Throws ENOENT. */
  setTarget(domid: Domid, target: Domid): void {
    this.get(target);
    this.get(domid).connection.actor.target = target;
  }

  /** A domain that is introduced. Throws ENOENT. */
  get(domid: Domid): Domain {
    const domain = this.#introduced.get(domid);
    if (!domain) throw new XenError('ENOENT', `dom${domid} is not introduced`);
    return domain;
  }

  #isGone(domid: Domid): boolean {
    return isGone(this.#door.info(domid));
  }

  /** Look at every domain after VIRQ_DOM_EXC, which does not say whom it is about. */
  check(): void {
    const door = this.#live;
    if (!door) return;
    const seen: DomainSeen[] = [];
    for (const { domid, shutdown } of this.#introduced.values()) {
      const info = door.domainInfo(domid);
      if (isGone(info) || (info?.shutdown && !shutdown)) seen.push([domid, info ?? null]);
    }
    for (const domid of this.#absent()) {
      const info = door.domainInfo(domid);
      if (isGone(info)) seen.push([domid, info ?? null]);
    }
    if (seen.length === 0) return;
    this.saw(seen);
    this.#parts.recorder.domains(seen);
  }

  /** Domains that are not introduced, but for which something is kept. */
  #absent(): Set<Domid> {
    const domids = new Set(this.#released);
    for (const id of this.#features.keys()) domids.add(id);
    for (const id of this.#server.quotas.domids()) domids.add(id as Domid); // as SET_QUOTA was given it
    domids.delete(0 as Domid);
    for (const id of this.#introduced.keys()) domids.delete(id);
    return domids;
  }

  /** Domains have shut down, or are gone. */
  saw(seen: readonly DomainSeen[]): void {
    for (const [id, info] of seen) {
      const domain = this.#introduced.get(id);
      if (info && !isGone(info)) {
        if (!domain) continue;
        domain.shutdown = true;
        this.#server.log.info(`dom${id} has shut down, reason ${info.shutdownReason}`);
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
      this.#server.log.info(`dom${id} is gone`);
      this.#fireSpecial(RELEASE_DOMAIN, id);
    }
  }

  /** Nothing of a dead domain may come to the next one of its number. */
  #bury(domid: Domid): void {
    this.#released.delete(domid);
    this.#features.delete(domid);
    this.#server.quotas.forget(domid);
    this.#server.accounts.forget(domid);
    this.#server.misuse.forget(domid);
    for (const other of this.#introduced.values()) {
      if (other.connection.actor.target === domid) other.connection.actor.target = undefined;
    }
    this.#removeSome(domid);
  }

  #removeSome(domid: Domid): void {
    const changes = this.#server.store.removeDomain(domid, CHANGES_PER_STEP);
    if (changes.length < CHANGES_PER_STEP) this.#leaving.delete(domid);
    else this.#leaving.add(domid);
    this.#server.fire(changes);
  }

  /** What a domain's page announces, or what this daemon can. */
  features(domid?: Domid): number {
    return (domid === undefined ? undefined : this.#features.get(domid)) ?? FEATURES;
  }

  /** Xen: only before the domain is introduced, and only bits that exist. */
  setFeatures(domid: Domid, mask: number): void {
    if (this.#introduced.has(domid)) throw new XenError('EBUSY', `dom${domid} is introduced already`);
    if ((mask & ~FEATURES) !== 0) throw new XenError('EINVAL', `features ${mask} are more than ${FEATURES}`);
    this.#features.set(domid, mask);
  }

  #fireSpecial(name: string, domid: Domid): void {
    this.#server.watches.fireSpecial(name, domid, specialPerms(this.#server.store.tree, `${name}/${domid}`));
  }

  // ---- rings ----

  /** Give every ring with something to do one turn. */
  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    // order: taken out first; what happens to one in its own turn puts it back.
    const turn = [...this.#ready];
    this.#ready.clear();
    const again = (domain: Domain): void => {
      if (this.#introduced.get(domain.domid) === domain) this.#ready.add(domain);
      result = 'progress';
    };
    const there = (domain: Domain): boolean => this.#introduced.get(domain.domid) === domain;
    for (const domain of turn) if (there(domain) && domain.ring.take() === 'progress') again(domain);
    for (const domid of this.#leaving) {
      const seen = [[domid, null]] as const;
      this.saw(seen);
      this.#parts.recorder.domains(seen);
      result = 'progress';
      break; // one in a turn
    }
    this.#server.flush();
    for (const domain of turn) if (there(domain) && domain.ring.give() === 'progress') again(domain);
    return result;
  }

  /** True when `step` would find something to look at. */
  get hasWork(): boolean {
    return this.#ready.size > 0 || this.#leaving.size > 0;
  }

  // ---- going on where another daemon has ended ----

  state(): DomainsState {
    return {
      features: [...this.#features],
      released: [...this.#released],
      leaving: [...this.#leaving],
      domains: [...this.#introduced.values()].map(domain => this.#stateOf(domain)),
    };
  }

  #stateOf({ domid, gfn, port, shutdown, connection, ring }: Domain): DomainState {
    const { target } = connection.actor;
    return { domid, gfn, port, shutdown, target, ring: ring.state(), client: this.#server.clientState(connection) };
  }

  restore({ features, released, leaving, domains }: DomainsState, nextWatch: number): void {
    for (const [domid, mask] of features) this.#features.set(domid, mask);
    for (const domid of released) this.#released.add(domid);
    for (const domid of leaving) this.#leaving.add(domid);
    for (const domain of domains) this.#restoreDomain(domain, nextWatch);
  }

  #restoreDomain({ domid, gfn, port, shutdown, target, ring, client }: DomainState, nextWatch: number): void {
    const { taken, given } = ring;
    const domain = this.#connect(domid, gfn, port, { page: privatePage(), taken, given }, target);
    domain.shutdown = shutdown;
    domain.ring.restore(ring);
    this.#server.restoreClient(domain.connection, client, nextWatch);
  }

  /** All is repeated: meet the domains again, and whatever has become of them meanwhile. */
  goOn(door: DomainDoor): void {
    if (door === this.#live) this.#door.open(door);
    else this.open(door);
    for (const domain of [...this.#introduced.values()]) {
      const page = door.adopt(domain.domid, domain.gfn, domain.port);
      if (!page) {
        if (isGone(door.domainInfo(domain.domid))) continue; // check tells of it
        this.#server.log.error(`dom${domain.domid}: its xenstore page or port is lost, and with it its connection`);
        this.#disconnect(domain);
        this.#released.add(domain.domid);
        continue;
      }
      this.#listen(domain);
      domain.ring.adopt(page);
      domain.wake();
    }
    door.dropUnadopted();
    this.check();
  }
}

/** As plain data, without nodes. */
export interface DomainsState {
  readonly features: readonly (readonly [Domid, number])[];
  readonly released: readonly Domid[];
  readonly leaving: readonly Domid[];
  readonly domains: readonly DomainState[];
}
interface DomainState {
  readonly domid: Domid;
  readonly gfn: Gfn;
  readonly port: EvtchnPort;
  readonly shutdown: boolean;
  readonly target: number | undefined;
  readonly ring: DomainRingState;
  readonly client: ClientState;
}

function isGone(info: DomainInfo | null | undefined): boolean {
  return !info || info.dying;
}
