// The daemon without its sockets: the store and its clients. What there is of domains is in introduced-domains.ts.
// Nothing here waits; domain rings are served by `step()`, sockets by whoever called `accept`.
import {
  type Clock,
  type Domid,
  type Log,
  parseDecimal,
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
import { Connection, type ConnectionParts, type ConnectionState } from './connection.ts';
import { Contention } from './contention.ts';
import type { ControlFiles } from './control-files.ts';
import type { DomainDoor } from './domains.ts';
import { EventFaults, type PassEvent } from './event-faults.ts';
import { type Answering, type RequestFaultState, RequestFaults } from './faults.ts';
import { type DomainsState, IntroducedDomains } from './introduced-domains.ts';
import type { LiveUpdate } from './live-update.ts';
import { Misuse } from './misuse.ts';
import { XS_SET_FEATURE, XS_SET_QUOTA } from './newer-wire.ts';
import { DOM0, type Permissions } from './permissions.ts';
import { type QuotaState, Quotas, UNLIMITED } from './quota.ts';
import { RecordedDoor } from './recorded-door.ts';
import { noRecorder, type Outcome, type Recorder } from './recorder.ts';
import { answer, mayTake } from './requests.ts';
import { apply, type Change, find, type Node, type Operation, Store, type Tree, treeOf } from './store.ts';
import { Trace } from './trace.ts';
import { Transaction, type TransactionState, type View } from './transaction.ts';
import { wrongIn } from './tree-check.ts';
import { type NodePatch, patched, patchOf } from './tree-patch.ts';
import { Watches, type WatchState } from './watches.ts';

/** A client that takes nothing for this long while something waits for it is cut off. */
const STALL_NS = 20e9;

/** What changes more than a socket's own connection, in a transaction or not. */
const LASTING = new Set([XS_CONTROL, XS_INTRODUCE, XS_RELEASE, XS_RESUME, XS_SET_FEATURE, XS_SET_QUOTA, XS_SET_TARGET]);

/** What does so outside of one. */
const CHANGES_NODES = new Set([XS_MKDIR, XS_RM, XS_SET_PERMS, XS_WRITE]);

/** What TRANSACTION_END begins with when it is not to be forgotten: T. */
const COMMIT = 0x54;

const HAPPEN: PassEvent = (_op, _domid, event) => event();

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
  /** How a fault gets at this process. */
  readonly strikes?: Strikes;
}

export interface Strikes {
  /** Does not return. */
  kill(): void;
  /** Returns after so long, in which nothing else is done. */
  stop(ms: number): void;
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
  readonly misuse: Misuse;
  readonly domains: IntroducedDomains;
  readonly files: ControlFiles | undefined;
  /** How requests are answered and when they are taken: plainly, or with faults before it. */
  answer: Answering = (...message) => answer(this, ...message);
  mayTake: ConnectionParts['mayTake'] = (...next) => mayTake(this, ...next);
  readonly #plain = { answer: this.answer, mayTake: this.mayTake };
  readonly faults: RequestFaults;
  readonly #eventFaults: EventFaults;
  /** How events between the daemon and its domains come to pass: plainly, or with faults before them. */
  passEvent: PassEvent = HAPPEN;
  /** Of a daemon that can start another one. */
  liveUpdate: LiveUpdate | undefined;
  readonly #parts: ServerParts;
  readonly #recorder: Recorder;
  /** The hypervisor as requests see it. */
  readonly #door: RecordedDoor;
  readonly #connections = new Set<Connection>();
  #nextName = 1;
  /** A fault is to end this process, or to stop it, when what was answered is on record. */
  #strikes = false;
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
    this.misuse = new Misuse(this.log);
    this.files = parts.files;
    this.faults = new RequestFaults({
      clock: parts.clock,
      plain: this.answer,
      isRing: client => this.domains.isRing(client),
      nameOf: domid => this.#nameOf(domid),
      strikeSoon: () => {
        this.#strikes = !this.#replaying;
        return this.#strikes;
      },
      recorded: body => this.#door.recorded(body),
    });
    const { clock, log, onWork } = parts;
    this.#eventFaults = new EventFaults({ clock, faults: this.faults, portOf: domid => this.#portOf(domid) });
    this.domains = new IntroducedDomains(this, { clock, log, onWork, recorder: this.#recorder, door: this.#door });
    if (parts.door) this.domains.open(parts.door);
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
      actor: { domid: 0, privileged: true, target: undefined },
      limits: () => this.quotas.limits(0, true),
      watchBytes: client => this.watches.bytes(client),
      answer: this.#answerSocket.bind(this),
      mayTake: (...next) => this.mayTake(...next),
      clock: this.#parts.clock,
      onOutput,
    });
    this.add(connection);
    return connection;
  }
  /** A new client. */
  add(connection: Connection): void {
    this.#connections.add(connection);
  }

  /** What a socket asks is recorded when something of it outlives the socket. */
  #answerSocket(client: Connection, type: number, req_id: number, tx_id: number, payload: Uint8Array): void {
    const ended = type === XS_TRANSACTION_END ? client.transactions.get(tx_id) : undefined;
    const { asked } = this.#door;
    const lasts = LASTING.has(type) || (tx_id === 0 && CHANGES_NODES.has(type));
    const done = this.answer(client, type, req_id, tx_id, payload);
    if (ended) {
      if (done && payload[0] === COMMIT) this.#recorder.commit(ended.state().operations);
    } else if ((done && lasts) || this.#door.asked !== asked) {
      this.#recorder.request(type, payload);
    }
  }

  /** The faults are others now. */
  faultsChanged(): void {
    const { answer, mayTake } = this.#plain;
    const { faults } = this;
    this.answer = faults.isEmpty ? answer : (...message) => faults.answer(...message);
    this.#eventFaults.letGo();
    this.passEvent = faults.isEmpty ? HAPPEN : this.#eventFaults.pass;
    this.mayTake = faults.isEmpty ? mayTake : (...next) => faults.mayTake(...next) && mayTake(...next);
  }
  /** What a replay must answer alike although it does not follow from the requests alone. */
  recorded<T>(body: () => T): T {
    return this.#door.recorded(body);
  }
  #nameOf(domid: number): string | undefined {
    return this.#valueAt(`/local/domain/${domid}/name`);
  }
  /** Xen: as the toolstack has it for the guest. */
  #portOf(domid: number): number | undefined {
    return parseDecimal(this.#valueAt(`/local/domain/${domid}/store/port`));
  }
  #valueAt(path: string): string | undefined {
    const value = find(this.store.tree, path)?.value;
    return value === undefined ? undefined : Buffer.from(value).toString();
  }

  /** Replies may be sent: what they tell is kept. */
  flush(): void {
    this.#recorder.flush();
    if (this.#strikes) this.#strike();
  }
  // order: on record that it was, then done: the daemon that follows must not end for the same.
  #strike(): void {
    this.#strikes = false;
    const how = this.faults.takeStrike();
    if (how === undefined) return;
    this.keepFaultCounts();
    this.#recorder.flush();
    if ('kill' in how) this.#parts.strikes?.kill();
    else this.#parts.strikes?.stop(how.stop);
  }

  /** On record, for a daemon that goes on where this one ends. */
  keepFaultCounts(): void {
    if (this.#replaying) return;
    for (const [name, text] of this.faults.counted())
      this.#recorder.request(XS_CONTROL, Buffer.from(`fault\0counted\0${name}\0${text}\0`));
  }

  forgetEvents(domid: Domid): void {
    this.#eventFaults.forget(domid);
  }

  /** `step()` is to be called soon. */
  onWork(): void {
    this.#parts.onWork();
  }

  /** Its watches and transactions are gone from here on. */
  drop(connection: Connection): void {
    this.#connections.delete(connection);
    this.watches.removeAll(connection);
    this.faults.forget(connection);
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

  /** Give every ring with something to do one turn, and the journal a slice. */
  step(): 'progress' | 'idle' {
    const rings = this.domains.step();
    const journal = this.#recorder.step();
    this.contention.step();
    this.faults.step();
    this.#eventFaults.step();
    return rings === 'progress' || journal === 'progress' ? 'progress' : 'idle';
  }

  /** When `step` is to be called although nothing has happened. */
  get deadline(): number {
    return Math.min(this.contention.deadline, this.faults.deadline, this.#eventFaults.deadline);
  }
  /** True when `step` would find something to look at. */
  get hasWork(): boolean {
    return this.domains.hasWork;
  }

  // ---- going on where another daemon has ended ----

  /** Everything but the nodes, as plain data. Sockets are not in it: they end with their daemon. */
  state(): ServerState {
    const { tree, generation } = this.store;
    return {
      generation,
      special: [...tree.special.entries()],
      quotas: this.quotas.state(),
      tracing: this.tracing.on,
      faults: this.faults.state(),
      nextWatch: this.watches.nextNr,
      ...this.domains.state(),
    };
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
    this.tracing.on = state.tracing;
    this.faults.restore(state.faults ?? []);
    this.faultsChanged();
    this.domains.restore(state, state.nextWatch);
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
  goOn(door = this.domains.door): void {
    if (!door) return;
    this.#replaying = false;
    this.domains.goOn(door);
  }

  // ---- for people ----

  /** What happens has happened before, in the daemon that this one follows. */
  get replaying(): boolean {
    return this.#replaying;
  }

  /** The connections of a domain. Throws ENOENT for one that is not introduced. */
  clientsOf(domid: number): Connection[] {
    if (domid !== 0) this.domains.get(domid as Domid); // only looked up
    return [...this.#connections].filter(({ actor }) => actor.domid === domid);
  }

  /** What is wrong with the store, in words; undefined when all is well. */
  check(): string | undefined {
    return wrongIn(this.store.tree);
  }
}

/** A daemon as plain data, without nodes and sockets. */
export interface ServerState extends DomainsState {
  readonly generation: number;
  readonly special: SpecialPermissions;
  readonly quotas: QuotaState;
  readonly tracing: boolean;
  /** Absent in what a daemon without them has written. */
  readonly faults?: readonly RequestFaultState[];
  readonly nextWatch: number;
}
type SpecialPermissions = readonly (readonly [string, Permissions])[];
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
