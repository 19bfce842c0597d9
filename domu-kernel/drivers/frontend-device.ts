// The life every frontend shares, twin of dom0/backends/backend-device.ts: find the devices the toolstack
// gave this domain, negotiate with each backend through xenstore, close with it, and come back when it
// does. Xen: io/xenbus.h and the state diagrams of io/blkif.h. Nothing a backend writes is trusted.
// Routines, not promises: a disk's backend is to be able to come back while a program waits in a read.
import {
  all,
  asState,
  type Clock,
  type Domid,
  domid,
  errorPath,
  type Log,
  messageOf,
  parseDecimal,
  type Routine,
  stateName,
  systemClock,
  XenbusState,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import { LOOK_NS, Patience } from './patience.ts';
import { Turns } from './turns.ts';

/** Keys of a xenstore directory, to be published together. */
export type Keys = Readonly<Record<string, string | number>>;

/** What one kind of frontend does for one device. Each step is called when the one before has settled. */
export interface FrontendInstance {
  /**
   * The backend waits: read its features, make the rings; what to publish with Initialised. Called again
   * for every new connection, when what is left of the one before must be let go of first.
   */
  setup(): Routine<Keys>;
  /** The backend serves the rings: read its properties; requests may flow from here on. */
  connected(): Routine<void>;
  /** The backend has written its state again: something of its properties may be new. Xen: how a disk grows. */
  refreshed?(): Routine<void>;
  /** The backend is leaving: send nothing more. Its last answers may still be read until the next setup. */
  disconnect(): void;
  /** The device will not come back: fail what is unanswered. */
  remove(reason: XenError): void;
  /** After remove, once the backend has left or its nodes are gone: give back what was shared with it. */
  release?(): void;
  /** Something of the backend's is waited for: the rings are looked at once a second although nobody notifies. */
  readonly waits: boolean;
  /** True when events since the last call brought something; of devices that are driven by events alone. */
  takeMoved?(): boolean;
  /** Look at what `step` would not: called once a second at most, while it waits. */
  look?(): void;
  /** Requests the backend owes an answer to; of devices whose answers may not take for ever. */
  readonly unanswered?: number;
  /** Answers there have been. */
  readonly answered?: number;
}

export interface FrontendOptions {
  readonly xs: XenstoreClient;
  readonly log: Log;
  /** The machine's, if it is no other. */
  readonly clock?: Clock | undefined;
  /** Xen's name of the device class: 'vbd', 'vif', 'pvcalls'. */
  readonly type: string;
  /** This domain. */
  readonly domid: Domid;
  create(device: FrontendDevice): FrontendInstance;
  /** A device is in use for the first time; for disks plugged in later. */
  onConnected?(device: FrontendDevice): void;
}

/** A backend that closes on us is asked to start again this often, unless requests were answered between. */
const MAX_RETRIES = 3;
/** And one that answers nothing is closed by us this often. */
const MAX_RESETS = 2;

const asXenError = (error: unknown): XenError =>
  error instanceof XenError ? error : new XenError('EIO', messageOf(error), error);
/** The device's nodes went away under a step of ours: being unplugged is no failure. */
class Unplugged extends Error {}

/** Where the toolstack describes a domain's devices, by type. */
const deviceRoot = (domid: Domid): string => `/local/domain/${domid}/device`;

/**
 * Find the devices of a domain, and hear of later ones. Xen: as Linux does, one watch and one listing for all types.
 * Resolves when those that exist are known.
 */
export async function findDevices(xs: XenstoreClient, domid: Domid, frontends: readonly Frontend[]): Promise<void> {
  const root = deviceRoot(domid);
  let first = true;
  const token = `devices:${frontends.map(({ type }) => type)}`;
  const watching = xs.watch(root, token, path => {
    const [type] = path.slice(root.length + 1).split('/');
    // Xen: a watch fires once when it is set, whatever there is. The listing below is younger than that.
    if (!first || path !== root)
      for (const frontend of frontends) if (!type || frontend.type === type) frontend.changed(path);
    first = false;
  });
  const listing = xs.directory(root).catch((error): string[] => {
    if (error instanceof XenError && error.code === 'ENOENT') return [];
    throw error;
  });
  const [types] = await Promise.all([listing, watching]);
  await Promise.all(frontends.map(frontend => (types.includes(frontend.type) ? frontend.look() : undefined)));
}

/** Every device of one type that this domain has. */
export class Frontend {
  readonly #options: FrontendOptions;
  readonly #root: string;
  readonly #devices = new Map<string, FrontendDevice>();
  /** The same, without an iterator: it is looked at before every sleep. */
  #all: readonly FrontendDevice[] = [];
  readonly #listing: Turns;

  constructor(options: FrontendOptions) {
    this.#options = options;
    this.#root = `${deviceRoot(options.domid)}/${options.type}`;
    options.xs.onClose(() => {
      for (const device of this.#devices.values()) device.freeze();
    });
    this.#listing = new Turns(
      () => this.#list(),
      error => options.log.error(`${this.#root}: ${messageOf(error)}`),
      options.clock ?? systemClock,
    );
  }

  get type(): string {
    return this.#options.type;
  }
  /** Resolves when the devices that exist are known; each negotiates by itself: see FrontendDevice.ready. */
  async look(): Promise<void> {
    this.#listing.poke();
    await this.#listing.settled();
  }

  /** In the order of their numbers. */
  devices(): FrontendDevice[] {
    return [...this.#devices.values()].sort((a, b) => a.devid - b.devid);
  }
  find(devid: number): FrontendDevice | undefined {
    return this.#devices.get(String(devid));
  }
  /** Resolves when every change seen so far has been acted on. */
  async settled(): Promise<void> {
    await this.#listing.settled();
    await Promise.all([...this.#devices.values()].map(device => device.settled()));
  }
  /** Close every device, e.g. before the domain ends. */
  async close(): Promise<void> {
    await Promise.all([...this.#devices.values()].map(device => device.close()));
  }

  /** When `tick` is to be called; undefined while nothing waits for time to pass. */
  deadline(): number | undefined {
    let first = this.#listing.deadline;
    for (let i = 0; i < this.#all.length; i++) {
      const { deadline } = this.#all[i]!;
      if (deadline !== undefined && (first === undefined || deadline < first)) first = deadline;
    }
    return first;
  }
  /** True when events since the last call brought a device something. */
  takeMoved(): boolean {
    let moved = false;
    for (let i = 0; i < this.#all.length; i++) if (this.#all[i]!.instance.takeMoved?.()) moved = true;
    return moved;
  }
  /** Something of a backend's is waited for: `tick` is to be called once a second. */
  waits(): boolean {
    for (let i = 0; i < this.#all.length; i++) if (this.#all[i]!.waits) return true;
    return false;
  }
  /** Time has passed. */
  tick(now: number): void {
    this.#listing.tick(now);
    for (const device of this.#devices.values()) device.tick(now);
  }

  /** A watch has fired for `path`, which is this type's directory, above it or below. */
  changed(path: string): void {
    const [devid, key] = path.slice(this.#root.length + 1).split('/');
    if (!devid) {
      this.#listing.poke();
      for (const device of this.#devices.values()) device.poke();
      return;
    }
    const device = this.#devices.get(devid) ?? this.#add(devid);
    if (key === undefined || key === 'state' || key === 'backend') device?.poke();
  }

  *#list(): Routine<void> {
    let names: string[] = [];
    try {
      names = yield* this.#options.xs.routines.directory(this.#root);
    } catch (error) {
      if (!(error instanceof XenError && error.code === 'ENOENT')) throw error;
    }
    for (const name of names) if (!this.#devices.has(name)) this.#add(name)?.poke();
  }

  #add(name: string): FrontendDevice | undefined {
    const devid = parseDecimal(name);
    if (devid === undefined) return undefined;
    const device = new FrontendDevice(this.#options, `${this.#root}/${name}`, devid, existed => {
      if (this.#devices.get(name) === device) this.#devices.delete(name);
      this.#all = [...this.#devices.values()];
      if (existed) this.#listing.poke(); // the toolstack may have made it anew while the old one was let go
    });
    this.#devices.set(name, device);
    this.#all = [...this.#devices.values()];
    return device;
  }
}

/** One device of this domain: `<type>` number `devid`. */
export class FrontendDevice {
  readonly type: string;
  /** Its directory, e.g. /local/domain/1/device/vbd/51712. */
  readonly path: string;
  readonly devid: number;
  /** How messages name it: `vbd 51712`. */
  readonly label: string;
  readonly #options: FrontendOptions;
  readonly #xs: XenstoreClient;
  readonly #log: Log;
  readonly #instance: FrontendInstance;
  readonly #turns: Turns;
  readonly #patience = new Patience();
  #lastLook = 0;
  readonly #forget: (existed: boolean) => void;
  readonly #ready: Promise<void>;
  #isReady: () => void = () => {};
  #isNot: (error: XenError) => void = () => {};
  #backendPath: string | undefined;
  #backendDomid: Domid = domid(0);
  #state: XenbusState = XenbusState.Initialising;
  /** What xenstore has of ours. */
  #written: XenbusState = XenbusState.Initialising;
  /** False until its nodes were there at least once. */
  #seen = false;
  #wasConnected = false;
  #retries = 0;
  #resets = 0;
  /** It has been waited for long enough. */
  #impatient = false;
  /** We close the connection, for the backend to begin anew. */
  #resetting = false;
  #failure: XenError | undefined;
  /** Closed by us: a backend that comes back is not answered. */
  #leaving = false;
  #removed = false;
  #released = false;
  #ended = false;

  constructor(options: FrontendOptions, path: string, devid: number, forget: (existed: boolean) => void) {
    this.#options = options;
    this.type = options.type;
    this.path = path;
    this.devid = devid;
    this.label = `${options.type} ${devid}`;
    this.#xs = options.xs;
    this.#log = options.log;
    this.#forget = forget;
    this.#ready = new Promise((resolve, reject) => {
      this.#isReady = resolve;
      this.#isNot = reject;
    });
    this.#ready.catch(() => {}); // a device nobody waits for may fail
    this.#instance = options.create(this);
    this.#turns = new Turns(
      () => this.#turn(),
      error => this.#log.error(`${this.label}: ${messageOf(error)}`),
      options.clock ?? systemClock,
    );
  }

  get state(): XenbusState {
    return this.#state;
  }
  get instance(): FrontendInstance {
    return this.#instance;
  }
  /** Who serves it. Another one after a driver domain was replaced. */
  get backendDomid(): Domid {
    return this.#backendDomid;
  }
  /** Resolves at the first connection; rejects when the device fails or goes before. */
  ready(): Promise<void> {
    return this.#ready;
  }

  /** A key of our own directory. */
  key(name: string): Routine<string | undefined> {
    return this.#xs.routines.readKey(`${this.path}/${name}`);
  }
  /** How many vCPUs of this domain, which may have `max`, are to be up. */
  *vcpus(max: number): Routine<number> {
    if (max === 1) return 1;
    const home = `/local/domain/${this.#options.domid}`;
    const ids = Array.from({ length: max }, (_, id) => id);
    const availability = yield* all(ids.map(id => this.#xs.routines.readKey(`${home}/cpu/${id}/availability`)));
    return ids.filter(id => id === 0 || availability[id] === 'online').length;
  }
  /** untrusted: a key of the backend's directory. At most 4096 bytes, and nothing else is known of it. */
  backendKey(name: string): Routine<string | undefined> {
    return this.#xs.routines.readKey(`${this.#backendPath}/${name}`);
  }
  /** A decimal key of the backend's, at most `max`. Throws EINVAL when it is something else. */
  *backendNumber(name: string, max = 0xffffffff, absent?: number): Routine<number> {
    const value = yield* this.backendKey(name);
    if (value === undefined && absent !== undefined) return absent;
    const n = parseDecimal(value, max);
    if (n !== undefined) return n;
    const seen = value === undefined ? 'is missing' : `is ${JSON.stringify(value.slice(0, 40))}`;
    throw new XenError('EINVAL', `${this.label}: the backend's ${name} ${seen}, expected a number up to ${max}`);
  }

  /** Requests are being answered: a backend that closes later may be asked to start again. */
  healthy(): void {
    this.#retries = 0;
    this.#resets = 0;
  }
  /** The backend broke the protocol: give the device up. */
  fail(error: XenError): void {
    this.#failure ??= error;
    this.poke();
  }
  poke(): void {
    if (!this.#ended) this.#turns.poke();
  }
  settled(): Promise<void> {
    return this.#turns.settled();
  }
  get deadline(): number | undefined {
    return this.#turns.deadline;
  }
  get waits(): boolean {
    return this.#resetting || this.#instance.waits;
  }
  tick(now: number): void {
    if (this.#ended) return;
    this.#turns.tick(now);
    if (now < this.#lastLook + LOOK_NS || !this.waits) return;
    this.#lastLook = now;
    this.#instance.look?.();
    this.#beImpatient();
  }
  /** An answer that does not come within a minute is asked for again, over a new connection; then the device fails. */
  #beImpatient(): void {
    const { unanswered = 0, answered = 0 } = this.#instance;
    const waits = this.#state === XenbusState.Connected ? unanswered > 0 : this.#resetting;
    const patience = this.#patience.look(waits, answered);
    if (this.#patience.answered) this.healthy();
    if (patience === 'patient') return;
    if (patience === 'uneasy') this.#log.warn(`${this.label}: the backend does not answer`);
    else {
      this.#impatient = true;
      this.poke();
    }
  }
  /** A backend that has lost what it serves from, and says so, is waited for as long as it does. */
  *#losePatience(): Routine<void> {
    this.#impatient = false;
    if ((yield* this.backendKey('reconnecting')) === '1') return;
    if (this.#resetting || this.#resets >= MAX_RESETS)
      throw new XenError('ETIMEDOUT', `${this.label}: the backend does not answer`);
    this.#log.warn(`${this.label}: the backend does not answer: connecting anew`);
    this.#resets++;
    this.#resetting = true;
  }

  /** Close the device for good. */
  async close(): Promise<void> {
    this.#leaving = true;
    this.poke();
    await this.settled();
  }
  /** Xenstore is gone: negotiate no more. */
  freeze(): void {
    this.#ended = true;
  }

  // Everything below runs in turns, one at a time. A turn looks at what is so now, not at what an event said.

  *#turn(): Routine<void> {
    if (this.#ended) return;
    try {
      yield* this.#reconcile();
    } catch (error) {
      if (error instanceof Unplugged) return this.poke();
      yield* this.#giveUp(asXenError(error));
    }
  }

  *#reconcile(): Routine<void> {
    const [own, path, backendId] = yield* all([this.key('state'), this.key('backend'), this.key('backend-id')]);
    if (own === undefined && path === undefined) return this.#seen ? yield* this.#vanish() : this.#neverWas();
    if (this.#isAnother(own)) return yield* this.#vanish();
    const peer = parseDecimal(backendId, 0x7fef);
    if (own === undefined || path === undefined || peer === undefined) return; // the toolstack isn't done with it
    this.#seen = true;
    if (path !== this.#backendPath) yield* this.#follow(path);
    this.#backendDomid = domid(peer);
    if (this.#failure && !this.#leaving) throw this.#failure;
    if (this.#leaving) return yield* this.#leave();
    const backend = yield* this.#backendState();
    if (this.#impatient) yield* this.#losePatience();
    if (this.#resetting && this.#state === XenbusState.Connected) return yield* this.#close();
    yield* this.#answer(backend);
  }

  *#answer(backend: XenbusState): Routine<void> {
    switch (this.#state) {
      case XenbusState.Initialising:
        if (backend === XenbusState.InitWait || backend === XenbusState.Initialised) return yield* this.#setup(backend);
        if (backend !== XenbusState.Closing) return;
        this.#refused();
        return yield* this.#switch(XenbusState.Closed);
      case XenbusState.Initialised:
        if (backend === XenbusState.Connected) return yield* this.#connect();
        if (backend === XenbusState.InitWait || backend === XenbusState.Initialised) return;
        return yield* this.#part(backend);
      case XenbusState.Connected:
        if (backend !== XenbusState.Connected) return yield* this.#part(backend);
        if (this.#instance.refreshed !== undefined) yield* this.#instance.refreshed();
        return;
      case XenbusState.Closed:
        if (backend === XenbusState.InitWait) return yield* this.#switch(XenbusState.Initialising);
        if (backend !== XenbusState.Closed || this.#retries >= MAX_RETRIES) return;
        // Both ends are closed but the device is still meant to be: start again.
        if ((yield* this.#isOnline()) === false) return;
        this.#retries++;
        return yield* this.#switch(XenbusState.Initialising);
    }
  }

  *#setup(backend: XenbusState): Routine<void> {
    let keys: Keys;
    try {
      keys = yield* this.#instance.setup();
    } catch (error) {
      return yield* this.#unlessItLeft(backend, error);
    }
    yield* this.#switch(XenbusState.Initialised, keys);
  }

  *#connect(): Routine<void> {
    try {
      yield* this.#instance.connected();
    } catch (error) {
      return yield* this.#unlessItLeft(XenbusState.Connected, error);
    }
    this.#resetting = false;
    yield* this.#switch(XenbusState.Connected);
    this.#isReady();
    if (!this.#wasConnected) this.#options.onConnected?.(this);
    else this.#log.info(`${this.label}: connected again`);
    this.#wasConnected = true;
  }

  /** A handshake failed. When the backend is not where it was either, it died in it, and the next turn sees that. */
  *#unlessItLeft(was: XenbusState, error: unknown): Routine<void> {
    if (error instanceof Unplugged || (yield* this.#backendState()) === was) throw error;
    this.poke();
  }

  /** The backend has left Connected: close with it, or be ready for the one that takes its place. */
  *#part(backend: XenbusState): Routine<void> {
    this.#log.warn(`${this.label}: the backend is ${stateName(backend)}`);
    if (backend === XenbusState.Closing) return yield* this.#close();
    this.#instance.disconnect();
    yield* this.#switch(XenbusState.Initialising);
  }

  *#close(): Routine<void> {
    this.#instance.disconnect();
    if (!this.#wasConnected) this.#refused();
    yield* this.#switch(XenbusState.Closing);
    yield* this.#switch(XenbusState.Closed);
  }

  *#isOnline(): Routine<boolean> {
    try {
      return (yield* this.backendKey('online')) !== '0';
    } catch {
      return false; // its directory has gone, or is not ours to read
    }
  }

  /** Nobody is to wait for a first connection any more, though one may still come. */
  #refused(): void {
    this.#isNot(new XenError('ENODEV', `${this.label}: its backend has closed before it connected`));
  }

  *#leave(): Routine<void> {
    if (this.#state !== XenbusState.Closed) {
      this.#instance.disconnect();
      yield* this.#switch(XenbusState.Closing);
      yield* this.#switch(XenbusState.Closed);
    }
    this.#remove(new XenError('ENODEV', `${this.label}: closed`));
    const backend = yield* this.#backendState();
    if (backend !== XenbusState.Connected && backend !== XenbusState.Closing) this.#release();
  }

  *#giveUp(error: XenError): Routine<void> {
    this.#leaving = true;
    this.#instance.disconnect();
    this.#state = XenbusState.Closing;
    this.#log.error(`${this.path}: ${error.code}: ${error.message}`);
    try {
      yield* this.#xs.routines.write(errorPath(this.path), `${error.code} ${error.message}`);
      yield* this.#switch(XenbusState.Closing);
      yield* this.#switch(XenbusState.Closed);
    } catch (cause) {
      // It is being unplugged, the same end, or xenstore is gone: the line above is what is left to say.
      if (!(cause instanceof Unplugged)) this.#log.warn(`${this.path}: could not report that: ${messageOf(cause)}`);
    }
    this.#remove(error);
  }

  /** Besides us only who makes a device writes its state: what is there now has the number of ours, which is gone. */
  #isAnother(own: string | undefined): boolean {
    return this.#written !== XenbusState.Initialising && asState(own) === XenbusState.Initialising;
  }

  /** News of a device that is gone already, or not written in full. A later event finds it again. */
  #neverWas(): void {
    if (this.#turns.wanted) return;
    this.#ended = true;
    this.#forget(false);
    this.#remove(new XenError('ENODEV', `${this.label}: there is no such device`));
  }

  /** The toolstack removed the nodes, or made others in their place. */
  *#vanish(): Routine<void> {
    this.#ended = true;
    this.#instance.disconnect();
    this.#remove(new XenError('ENODEV', `${this.label}: unplugged`));
    this.#release();
    if (this.#backendPath !== undefined) {
      yield* this.#unwatch(this.#backendPath);
    }
    this.#forget(true);
  }

  #remove(reason: XenError): void {
    if (this.#removed) return;
    this.#removed = true;
    this.#isNot(reason);
    this.#instance.remove(reason);
  }

  #release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#instance.release?.();
  }

  /** Watch a backend; the toolstack names another one when a driver domain was replaced. */
  *#follow(path: string): Routine<void> {
    if (this.#backendPath !== undefined) {
      yield* this.#unwatch(this.#backendPath);
      if (this.#state !== XenbusState.Closed) yield* this.#part(XenbusState.Unknown);
    }
    this.#backendPath = path;
    yield* this.#xs.routines.watch(`${path}/state`, `frontend:${this.path}`, () => this.poke());
  }
  *#unwatch(path: string): Routine<void> {
    try {
      yield* this.#xs.routines.unwatch(`${path}/state`, `frontend:${this.path}`);
    } catch {
      // Its nodes went, and the watch with them.
    }
  }

  *#backendState(): Routine<XenbusState> {
    try {
      return asState(yield* this.backendKey('state'));
    } catch (error) {
      // A backend's directory that went away, or that we may not read: there is no backend now.
      if (error instanceof XenError && error.code === 'EACCES') return XenbusState.Unknown;
      throw error;
    }
  }

  /** Our state and the keys that come with it, seen by the backend as one change. */
  *#switch(state: XenbusState, keys: Keys = {}): Routine<void> {
    const { routines } = this.#xs;
    const { path } = this;
    const isAnother = (own: string): boolean => this.#isAnother(own);
    yield* routines.transaction(function* (tx) {
      // A device that was unplugged meanwhile must not come back as some lone keys.
      const own = yield* routines.readKey(`${path}/state`, tx);
      if (own === undefined || isAnother(own)) throw new Unplugged();
      const entries = Object.entries({ ...keys, state });
      yield* all(entries.map(([name, value]) => routines.write(`${path}/${name}`, String(value), tx)));
    });
    this.#state = state;
    this.#written = state;
    this.poke();
  }
}
