// The life every backend shares: find the devices the toolstack made for it, negotiate with each frontend
// through xenstore, and take each device down for itself. Xen: io/xenbus.h and the state diagrams of
// io/blkif.h. Runs on promises in the main thread of the backend's domain; rings are a worker's business.
import {
  childrenOf,
  type Domid,
  domid,
  errorPath,
  type Injected,
  type Log,
  messageOf,
  type Planted,
  parentOf,
  parseDecimal,
  Reconciler,
  readKey,
  readState,
  reportFatal,
  stateName,
  XenbusState,
  XenError,
  type XenstoreClient,
} from '#pvbus';

import { FaultNodes } from './fault-nodes.ts';

/** Keys of a xenstore directory, to be published together. */
export type Keys = Readonly<Record<string, string | number>>;

/** What one kind of backend does for one device. Each step is called when the one before has settled. */
export interface BackendInstance {
  /** Read what the toolstack wrote, open what the device stands for; the features to publish with InitWait. */
  probe(): Promise<Keys>;
  /** The frontend has published its rings: check its keys, serve them; what to publish with Connected. */
  connect(): Promise<Keys>;
  /** Stop serving: afterwards nothing of the frontend is mapped or bound. Also after a connect that failed. */
  disconnect(): Promise<void>;
  /** What it stands for may be another one now, larger or slower: what to publish of that, if anything. `asked`: by its node `resize`. */
  reconsider?(asked: boolean): Promise<Keys | undefined>;
  /** The device is gone for good: let go of what probe opened. */
  remove?(): Promise<void>;
  /** These faults befall it from now on, connected or not, and no others. */
  setFaults?(planted: readonly Planted[]): Promise<void>;
}

export interface BackendOptions {
  readonly xs: XenstoreClient;
  readonly log: Log;
  /** Xen's name of the device class: 'vbd', 'vif', 'pvcalls'. */
  readonly type: string;
  /** The domain this backend lives in. */
  readonly domid?: Domid;
  create(device: BackendDevice): BackendInstance;
}

/** A device that keeps failing is logged this often, then at every power of two. */
const LOGGED_FAILURES = 8;

const asXenError = (error: unknown): XenError =>
  error instanceof XenError ? error : new XenError('EIO', messageOf(error), error);
/** The device's nodes went away under a step of ours, or we are asked to close: being unplugged is no failure. */
class Unplugged extends Error {}

/** Every device of one type that the backends of a domain serve. */
export class Backend {
  readonly #options: BackendOptions;
  readonly #root: string;
  readonly #devices = new Map<string, BackendDevice>();
  readonly #listing: Reconciler;
  #stopped = false;

  constructor(options: BackendOptions) {
    this.#options = options;
    this.#root = `/local/domain/${options.domid ?? 0}/backend/${options.type}`;
    this.#listing = new Reconciler(
      () => this.#list(),
      error => options.log.error(`${this.#root}: ${messageOf(error)}`),
    );
  }

  /** Resolves when the devices that exist are known; each negotiates by itself from then on. */
  async start(): Promise<void> {
    const { xs, type } = this.#options;
    // Without xenstore nothing can be negotiated; the rings that are connected go on being served.
    xs.onClose(() => this.#freeze());
    await xs.watch(this.#root, `backend:${type}`, path => this.#changed(path));
    // Xen: elsewhere than in dom0 nobody hears of other domains' ends; the toolstack takes the devices' nodes away.
    if (!this.#options.domid) await xs.watch('@releaseDomain', `backend:${type}:release`, () => this.#domainReleased());
    await this.settled();
  }

  /** Disconnect every device, leaving their nodes as they are for whoever serves them next. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    const { xs, type } = this.#options;
    await xs.unwatch(this.#root, `backend:${type}`).catch(() => {}); // xenstored may be gone already
    await xs.unwatch('@releaseDomain', `backend:${type}:release`).catch(() => {});
    await Promise.all([...this.#devices.values()].map(device => device.stop()));
    this.#devices.clear();
  }

  devices(): BackendDevice[] {
    return [...this.#devices.values()];
  }
  find(frontendDomid: number, devid: number): BackendDevice | undefined {
    return this.#devices.get(`${frontendDomid}/${devid}`);
  }
  /** Resolves when every change seen so far has been acted on. */
  async settled(): Promise<void> {
    await this.#listing.settled();
    await Promise.all([...this.#devices.values()].map(device => device.settled()));
  }

  #changed(path: string): void {
    if (this.#stopped) return;
    const [frontend, devid, key] = path.slice(this.#root.length + 1).split('/');
    if (!frontend || !devid) {
      // The type's or one frontend's directory: it came, or it went with all below it.
      this.#listing.poke();
      for (const device of this.#devices.values())
        if (!frontend || device.frontendDomid === Number(frontend)) device.poke();
      return;
    }
    const device = this.#devices.get(`${frontend}/${devid}`) ?? this.#add(frontend, devid);
    if (key === 'faults') device?.faultsChanged();
    else if (key === 'resize') device?.reconsider(true);
    else if (key === undefined || key === 'state' || key === 'online' || key === 'frontend') device?.poke();
  }

  async #list(): Promise<void> {
    const { xs } = this.#options;
    const devicesOf = async (frontend: string): Promise<void> => {
      for (const devid of await childrenOf(xs, `${this.#root}/${frontend}`)) {
        if (!this.#devices.has(`${frontend}/${devid}`) && !this.#stopped) this.#add(frontend, devid)?.poke();
      }
    };
    await Promise.all((await childrenOf(xs, this.#root)).map(devicesOf));
  }

  #add(frontend: string, devid: string): BackendDevice | undefined {
    const feDomid = parseDecimal(frontend, 0x7fef); // Xen: DOMID_FIRST_RESERVED - 1
    const number = parseDecimal(devid);
    if (feDomid === undefined || number === undefined) return undefined;
    const name = `${frontend}/${devid}`;
    const device = new BackendDevice(this.#options, `${this.#root}/${name}`, domid(feDomid), number, existed => {
      if (this.#devices.get(name) === device) this.#devices.delete(name);
      if (existed) this.#listing.poke(); // the toolstack may have made it anew while the old one was taken down
    });
    this.#devices.set(name, device);
    return device;
  }

  #domainReleased(): void {
    for (const device of this.#devices.values()) device.checkDomain();
  }

  #freeze(): void {
    if (this.#stopped) return;
    this.#options.log.error(`${this.#root}: xenstore is gone: devices stay as they are`);
    for (const device of this.#devices.values()) device.freeze();
  }
}

/** One device: `<type>` number `devid` of the frontend's domain. */
export class BackendDevice {
  readonly type: string;
  /** Its directory, e.g. /local/domain/0/backend/vbd/1/51712. */
  readonly path: string;
  readonly frontendDomid: Domid;
  readonly devid: number;
  /** How messages name it: `vbd 51712 of dom1`. */
  readonly label: string;
  readonly #xs: XenstoreClient;
  readonly #log: Log;
  readonly #instance: BackendInstance;
  readonly #reconciler: Reconciler;
  readonly #forget: (existed: boolean) => void;
  readonly #token: string;
  #frontendPath: string | undefined;
  /** What we last wrote; xenstore's copy may have been overwritten by the toolstack. */
  #state: XenbusState = XenbusState.Initialising;
  /** False until its nodes were there at least once. */
  #seen = false;
  /** A frontend state that belongs to an earlier connection: its rings are not to be trusted. */
  #stale: XenbusState | undefined;
  /** Where the frontend was when it was last looked at. */
  #frontend: XenbusState = XenbusState.Unknown;
  /** Where it was when we went to Closing: only when it has moved from there may the device start again. */
  #leftAt: XenbusState = XenbusState.Unknown;
  #frontendConnected = false;
  #connected = false;
  #probed = false;
  #domainInDoubt = false;
  /** It has been introduced: before that the toolstack is making it, and it is not missing. */
  #domainWasThere = false;
  #domainDead = false;
  #failure: XenError | undefined;
  #failures = 0;
  /** There may be an error in xenstore: ours, or that of the backend before this one. */
  #mayHaveFailed = false;
  readonly #faultNodes: FaultNodes;
  #faultsInDoubt = true;
  #hasFaults = false;
  #inDoubt = false;
  #asked = false;
  #stopped = false;

  constructor(
    options: BackendOptions,
    path: string,
    frontendDomid: Domid,
    devid: number,
    forget: (existed: boolean) => void,
  ) {
    this.type = options.type;
    this.path = path;
    this.frontendDomid = frontendDomid;
    this.devid = devid;
    this.label = `${options.type} ${devid} of dom${frontendDomid}`;
    this.#xs = options.xs;
    this.#log = options.log;
    this.#forget = forget;
    this.#token = `backend:${path}`;
    this.#faultNodes = new FaultNodes(options.xs, path, options.log);
    this.#instance = options.create(this);
    this.#reconciler = new Reconciler(
      () => this.#turn(),
      error => this.#log.error(`${this.label}: ${messageOf(error)}`),
    );
  }

  get state(): XenbusState {
    return this.#state;
  }
  get connected(): boolean {
    return this.#connected;
  }
  get failures(): number {
    return this.#failures;
  }
  /** Only after probe was called. */
  get frontendPath(): string {
    return this.#frontendPath ?? '';
  }

  /** A key of the backend's own directory, which the toolstack wrote. */
  key(name: string): Promise<string | undefined> {
    return readKey(this.#xs, `${this.path}/${name}`);
  }
  /** untrusted: a key of the frontend's directory. At most 4096 bytes, and nothing else is known of it. */
  frontendKey(name: string): Promise<string | undefined> {
    return readKey(this.#xs, `${this.#frontendPath}/${name}`);
  }
  /** A decimal key of the frontend's, at most `max`. Throws EINVAL when it is something else. */
  async frontendNumber(name: string, max = 0xffffffff, absent?: number): Promise<number> {
    const value = await this.frontendKey(name);
    if (value === undefined && absent !== undefined) return absent;
    const n = parseDecimal(value, max);
    if (n !== undefined) return n;
    const seen = value === undefined ? 'is missing' : `is ${JSON.stringify(value.slice(0, 40))}`;
    throw new XenError('EINVAL', `${this.label}: the frontend's ${name} ${seen}, expected a number up to ${max}`);
  }
  /** Publish more keys while the device lives on, e.g. a new size. */
  publish(keys: Keys): Promise<void> {
    return this.#publish(keys);
  }

  /** The worker has given the connection up: the device goes to Closing, its error is written. */
  fail(error: XenError): void {
    if (!this.#connected || this.#failure) return;
    this.#failure = error;
    this.poke();
  }
  poke(): void {
    if (!this.#stopped) this.#reconciler.poke();
  }
  /** The toolstack has planted faults at it, or taken some away. */
  faultsChanged(): void {
    this.#faultsInDoubt = true;
    this.poke();
  }
  /** Ours: whoever has made its image larger says so by writing the node `resize`; or its worker has found it slow. */
  reconsider(asked = false): void {
    this.#inDoubt = true;
    this.#asked ||= asked;
    this.poke();
  }
  /** The worker has injected some. */
  injected(what: Injected): void {
    this.#faultNodes.told(what);
  }
  /** A domain has ended somewhere: see whether it is the frontend's. */
  checkDomain(): void {
    this.#domainInDoubt = true;
    this.poke();
  }
  settled(): Promise<void> {
    return this.#reconciler.settled();
  }
  /** Negotiate no more. */
  freeze(): void {
    this.#stopped = true;
  }
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#reconciler.settled();
    await this.#disconnect();
    await this.#release();
  }

  // Everything below runs in turns, one at a time. A turn looks at what is so now, not at what an event
  // said: a frontend may race through its states as fast as it likes and is only ever seen where it is.

  async #turn(): Promise<void> {
    if (this.#stopped) return;
    try {
      await this.#reconcile();
    } catch (error) {
      // Of a step whose keys went while it read them the error says what is missing, and not why.
      if (error instanceof Unplugged || (await this.#isGone())) return this.poke();
      await this.#giveUp(asXenError(error));
    }
  }
  async #isGone(): Promise<boolean> {
    try {
      return this.#seen && (await this.key('state')) === undefined;
    } catch {
      return false; // xenstored is gone
    }
  }

  async #reconcile(): Promise<void> {
    this.#frontendPath ??= await this.#findFrontend();
    const frontendPath = this.#frontendPath;
    const inDoubt = this.#domainInDoubt;
    this.#domainInDoubt = false;
    const faultsInDoubt = this.#faultsInDoubt && this.#instance.setFaults !== undefined;
    this.#faultsInDoubt = false;
    const [own, online, state, introduced, faults] = await Promise.all([
      this.key('state'),
      this.key('online'),
      this.#frontendState(),
      inDoubt ? this.#xs.isDomainIntroduced(this.frontendDomid) : !this.#domainDead,
      faultsInDoubt ? this.#faultNodes.read() : undefined,
    ]);
    if (own === undefined) return this.#seen ? this.#vanish() : this.#neverWas();
    if (frontendPath === undefined) return; // the toolstack isn't done with this device
    if (state > XenbusState.Initialising || (inDoubt && introduced)) this.#domainWasThere = true;
    if (!introduced && this.#domainWasThere && !this.#domainDead) {
      this.#domainDead = true;
      this.#log.info(`${this.label}: its domain is gone`);
    }
    const frontend = this.#domainDead ? XenbusState.Unknown : state;
    this.#frontend = frontend;
    if (!this.#seen) this.#firstLook(Number(own), frontend);
    if (frontend !== this.#stale) this.#stale = undefined;
    if (faults !== undefined && (faults.length > 0 || this.#hasFaults)) {
      this.#hasFaults = faults.length > 0;
      await this.#instance.setFaults?.(faults);
      await this.#faultNodes.written(); // what the faults before these have done
    }
    if (this.#failure) {
      const failure = this.#failure;
      this.#failure = undefined;
      return this.#giveUp(failure);
    }
    await this.#follow(frontend, online !== '0', Number(own) === XenbusState.Closing);
    if (this.#inDoubt && this.#state === XenbusState.Connected) {
      const asked = this.#asked;
      this.#inDoubt = false;
      this.#asked = false;
      const keys = await this.#instance.reconsider?.(asked);
      // Xen: the frontend watches the state, so that is written again.
      if (keys !== undefined) await this.#switch(XenbusState.Connected, keys);
    }
  }

  /**
   * A backend that died may have left any state behind, even a next one's InitWait that the frontend has not seen; the
   * rings of a frontend that is Connected are a dead one's, and not ours to use.
   */
  #firstLook(own: number, frontend: XenbusState): void {
    this.#seen = true;
    if (own !== XenbusState.Initialising) this.#mayHaveFailed = true;
    if (frontend === XenbusState.Connected) this.#stale = frontend;
  }

  /** `online`: the device is wanted. `asked`: our own state says Closing, be it by us or by the toolstack. */
  async #follow(frontend: XenbusState, online: boolean, asked: boolean): Promise<void> {
    const alive = frontend >= XenbusState.Initialising && frontend <= XenbusState.Connected;
    const unplugging = !online || asked;
    switch (this.#state) {
      case XenbusState.Initialising:
        if (unplugging || frontend === XenbusState.Unknown) return this.#switch(XenbusState.Closed);
        return this.#await();
      case XenbusState.InitWait:
        if (unplugging) {
          await this.#disconnect(); // it may have been asked to close just before it was Connected
          return this.#switch(XenbusState.Closed);
        }
        if (this.#stale !== undefined) return;
        if (frontend === XenbusState.Initialised || frontend === XenbusState.Connected) return this.#connect(frontend);
        if (frontend === XenbusState.Closing) return this.#close();
        if (!alive) return this.#switch(XenbusState.Closed);
        return;
      case XenbusState.Connected:
        if (frontend === XenbusState.Connected) {
          this.#frontendConnected = true;
          return;
        }
        // Initialised is where it was when we connected; coming back to it means a new connection.
        if (frontend === XenbusState.Initialised && !this.#frontendConnected) return;
        await this.#disconnect();
        if (frontend === XenbusState.Closing) return this.#close();
        if (alive && !unplugging) return this.#await();
        return this.#switch(XenbusState.Closed);
      case XenbusState.Closing:
        if (frontend === XenbusState.Closing) return;
        if (frontend === this.#leftAt && alive && online) return;
        return this.#switch(XenbusState.Closed);
      case XenbusState.Closed:
        if (alive && online && frontend !== XenbusState.Connected) return this.#await();
        return;
    }
  }

  #close(): Promise<void> {
    this.#leftAt = this.#frontend;
    return this.#switch(XenbusState.Closing);
  }

  /** To InitWait, with the features of the device as it is now. */
  async #await(): Promise<void> {
    this.#frontendConnected = false;
    this.#probed = true;
    const features = await this.#instance.probe();
    await this.#switch(XenbusState.InitWait, features);
  }

  async #connect(frontend: XenbusState): Promise<void> {
    this.#frontendConnected = frontend === XenbusState.Connected;
    this.#connected = true;
    const properties = await this.#instance.connect();
    await this.#switch(XenbusState.Connected, properties);
    this.#log.info(`${this.label}: connected`);
  }

  async #disconnect(): Promise<void> {
    if (!this.#connected) return;
    await this.#instance.disconnect();
    this.#connected = false;
    this.#failure = undefined;
    this.#log.info(`${this.label}: disconnected`);
  }

  /** The device failed, by its frontend's doing or the world's: only this device goes to Closing. */
  async #giveUp(error: XenError): Promise<void> {
    const n = ++this.#failures;
    this.#mayHaveFailed = true;
    const log = n <= LOGGED_FAILURES || (n & (n - 1)) === 0 ? this.#log : undefined;
    try {
      await this.#disconnect();
    } catch (cause) {
      this.#log.error(`${this.label}: disconnecting after a failure: ${messageOf(cause)}`);
    }
    this.#state = XenbusState.Closing;
    this.#leftAt = this.#frontend;
    await reportFatal(this.#xs, this.path, error, log);
  }

  /** News of a device that is gone already, or not written in full. A later event finds it again. */
  #neverWas(): void {
    if (this.#frontendPath === undefined && !this.#reconciler.wanted) this.#forget(false);
  }

  /** The toolstack removed the nodes. */
  async #vanish(): Promise<void> {
    this.#stopped = true;
    await this.#disconnect();
    await this.#release();
    this.#forget(true);
  }

  async #release(): Promise<void> {
    if (this.#frontendPath !== undefined) {
      await this.#xs.unwatch(`${this.#frontendPath}/state`, this.#token).catch(() => {}); // xenstored may be gone
    }
    if (this.#mayHaveFailed) await this.#removeError();
    if (this.#probed) await this.#instance.remove?.();
    if (this.#hasFaults) await this.#instance.setFaults?.([]);
  }

  /** With the directory of the frontend's domain, when nothing else is in it. */
  async #removeError(): Promise<void> {
    const xs = this.#xs;
    const own = parentOf(errorPath(this.path));
    try {
      await xs.transaction(async tx => {
        await xs.rm(own, tx);
        if ((await xs.directory(parentOf(own), tx)).length === 0) await xs.rm(parentOf(own), tx);
      });
    } catch {
      // There was none, or xenstored is gone.
    }
  }

  async #frontendState(): Promise<XenbusState> {
    if (this.#frontendPath === undefined) return XenbusState.Unknown;
    try {
      return await readState(this.#xs, this.#frontendPath);
    } catch (error) {
      // untrusted: the frontend owns the node, and may have made it unreadable for a backend outside dom0.
      if (error instanceof XenError && error.code === 'EACCES') return XenbusState.Unknown;
      throw error;
    }
  }

  async #findFrontend(): Promise<string | undefined> {
    const path = await this.key('frontend');
    if (path === undefined) return undefined;
    if (!path.startsWith(`/local/domain/${this.frontendDomid}/`) || path.endsWith('/')) {
      throw new XenError('EINVAL', `${this.label}: its frontend ${JSON.stringify(path)} is not of that domain`);
    }
    await this.#xs.watch(`${path}/state`, this.#token, () => this.poke());
    return path;
  }

  /** Our state and the keys that come with it, seen by the frontend as one change. */
  async #switch(state: XenbusState, keys: Keys = {}): Promise<void> {
    await this.#publish({ ...keys, state });
    this.#state = state;
    if (state === XenbusState.Closed) this.#log.info(`${this.label}: ${stateName(state)}`);
    this.poke();
  }

  async #publish(keys: Keys): Promise<void> {
    await this.#xs.transaction(async tx => {
      // Asked together, so that a transaction is three trips: it comes to nothing where this one is not to be.
      const reading = readKey(this.#xs, `${this.path}/state`, tx);
      const writing = Promise.all(
        Object.entries(keys).map(([name, value]) => this.#xs.write(`${this.path}/${name}`, String(value), tx)),
      );
      writing.catch(() => {}); // heard below
      // A device that was unplugged meanwhile must not come back as some lone keys.
      const was = await reading;
      if (was === undefined) throw new Unplugged();
      // invariant: the toolstack's Closing stays until it is answered by Closed: written over, it is never heard of by a
      // frontend, which would connect.
      const { state = XenbusState.Closed } = keys;
      if (was === String(XenbusState.Closing) && state !== XenbusState.Closing && state !== XenbusState.Closed)
        throw new Unplugged();
      await writing;
    });
  }
}
