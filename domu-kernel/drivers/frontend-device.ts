// The life every frontend shares, twin of dom0/backends/backend-device.ts: find the devices the toolstack
// gave this domain, negotiate with each backend through xenstore, close with it, and come back when it
// does. Xen: io/xenbus.h and the state diagrams of io/blkif.h. Nothing a backend writes is trusted.
import {
  type Domid,
  domid,
  type Log,
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

/** Keys of a xenstore directory, to be published together. */
export type Keys = Readonly<Record<string, string | number>>;

/** What one kind of frontend does for one device. Each step is called when the one before has settled. */
export interface FrontendInstance {
  /**
   * The backend waits: read its features, make the rings; what to publish with Initialised. Called again
   * for every new connection, when what is left of the one before must be let go of first.
   */
  setup(): Promise<Keys>;
  /** The backend serves the rings: read its properties; requests may flow from here on. */
  connected(): Promise<void>;
  /** The backend is leaving: send nothing more. Its last answers may still be read until the next setup. */
  disconnect(): Promise<void>;
  /** The device will not come back: fail what is unanswered. */
  remove(reason: XenError): Promise<void>;
  /** After remove, once the backend has left or its nodes are gone: give back what was shared with it. */
  release?(): Promise<void>;
}

export interface FrontendOptions {
  readonly xs: XenstoreClient;
  readonly log: Log;
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

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
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
  readonly #listing: Reconciler;

  constructor(options: FrontendOptions) {
    this.#options = options;
    this.#root = `${deviceRoot(options.domid)}/${options.type}`;
    options.xs.onClose(() => {
      for (const device of this.#devices.values()) device.freeze();
    });
    this.#listing = new Reconciler(
      () => this.#list(),
      error => options.log.error(`${this.#root}: ${messageOf(error)}`),
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

  async #list(): Promise<void> {
    let names: string[] = [];
    try {
      names = await this.#options.xs.directory(this.#root);
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
      if (existed) this.#listing.poke(); // the toolstack may have made it anew while the old one was let go
    });
    this.#devices.set(name, device);
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
  readonly #reconciler: Reconciler;
  readonly #forget: (existed: boolean) => void;
  readonly #ready: Promise<void>;
  #isReady: () => void = () => {};
  #isNot: (error: XenError) => void = () => {};
  #backendPath: string | undefined;
  #backendDomid: Domid = domid(0);
  #state: XenbusState = XenbusState.Initialising;
  /** False until its nodes were there at least once. */
  #seen = false;
  #wasConnected = false;
  #retries = 0;
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
    this.#reconciler = new Reconciler(
      () => this.#turn(),
      error => this.#log.error(`${this.label}: ${messageOf(error)}`),
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
  key(name: string): Promise<string | undefined> {
    return readKey(this.#xs, `${this.path}/${name}`);
  }
  /** untrusted: a key of the backend's directory. At most 4096 bytes, and nothing else is known of it. */
  backendKey(name: string): Promise<string | undefined> {
    return readKey(this.#xs, `${this.#backendPath}/${name}`);
  }
  /** A decimal key of the backend's, at most `max`. Throws EINVAL when it is something else. */
  async backendNumber(name: string, max = 0xffffffff, absent?: number): Promise<number> {
    const value = await this.backendKey(name);
    if (value === undefined && absent !== undefined) return absent;
    const n = parseDecimal(value, max);
    if (n !== undefined) return n;
    const seen = value === undefined ? 'is missing' : `is ${JSON.stringify(value.slice(0, 40))}`;
    throw new XenError('EINVAL', `${this.label}: the backend's ${name} ${seen}, expected a number up to ${max}`);
  }

  /** Requests are being answered: a backend that closes later may be asked to start again. */
  healthy(): void {
    this.#retries = 0;
  }
  /** The backend broke the protocol: give the device up. */
  fail(error: XenError): void {
    this.#failure ??= error;
    this.poke();
  }
  poke(): void {
    if (!this.#ended) this.#reconciler.poke();
  }
  settled(): Promise<void> {
    return this.#reconciler.settled();
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

  async #turn(): Promise<void> {
    if (this.#ended) return;
    try {
      await this.#reconcile();
    } catch (error) {
      if (error instanceof Unplugged) return this.poke();
      await this.#giveUp(asXenError(error));
    }
  }

  async #reconcile(): Promise<void> {
    const [own, path, backendId] = await Promise.all([this.key('state'), this.key('backend'), this.key('backend-id')]);
    if (own === undefined && path === undefined) return this.#seen ? this.#vanish() : this.#neverWas();
    const peer = parseDecimal(backendId, 0x7fef);
    if (own === undefined || path === undefined || peer === undefined) return; // the toolstack isn't done with it
    this.#seen = true;
    if (path !== this.#backendPath) await this.#follow(path);
    this.#backendDomid = domid(peer);
    if (this.#failure && !this.#leaving) throw this.#failure;
    if (this.#leaving) return this.#leave();
    await this.#answer(await this.#backendState());
  }

  async #answer(backend: XenbusState): Promise<void> {
    switch (this.#state) {
      case XenbusState.Initialising:
        if (backend === XenbusState.InitWait || backend === XenbusState.Initialised) return this.#setup();
        if (backend !== XenbusState.Closing) return;
        this.#refused();
        return this.#switch(XenbusState.Closed);
      case XenbusState.Initialised:
        if (backend === XenbusState.Connected) return this.#connect();
        if (backend === XenbusState.InitWait || backend === XenbusState.Initialised) return;
        return this.#part(backend);
      case XenbusState.Connected:
        if (backend === XenbusState.Connected) return;
        return this.#part(backend);
      case XenbusState.Closed:
        if (backend === XenbusState.InitWait) return this.#switch(XenbusState.Initialising);
        if (backend !== XenbusState.Closed || this.#retries >= MAX_RETRIES) return;
        // Both ends are closed but the device is still meant to be: start again.
        if ((await this.backendKey('online').catch(() => '0')) === '0') return;
        this.#retries++;
        return this.#switch(XenbusState.Initialising);
    }
  }

  async #setup(): Promise<void> {
    const keys = await this.#instance.setup();
    await this.#switch(XenbusState.Initialised, keys);
  }

  async #connect(): Promise<void> {
    await this.#instance.connected();
    await this.#switch(XenbusState.Connected);
    this.#isReady();
    if (!this.#wasConnected) this.#options.onConnected?.(this);
    else this.#log.info(`${this.label}: connected again`);
    this.#wasConnected = true;
  }

  /** The backend has left Connected: close with it, or be ready for the one that takes its place. */
  async #part(backend: XenbusState): Promise<void> {
    this.#log.warn(`${this.label}: the backend is ${stateName(backend)}`);
    await this.#instance.disconnect();
    if (backend !== XenbusState.Closing) return this.#switch(XenbusState.Initialising);
    if (!this.#wasConnected) this.#refused();
    await this.#switch(XenbusState.Closing);
    await this.#switch(XenbusState.Closed);
  }

  /** Nobody is to wait for a first connection any more, though one may still come. */
  #refused(): void {
    this.#isNot(new XenError('ENODEV', `${this.label}: its backend has closed before it connected`));
  }

  async #leave(): Promise<void> {
    if (this.#state !== XenbusState.Closed) {
      await this.#instance.disconnect();
      await this.#switch(XenbusState.Closing);
      await this.#switch(XenbusState.Closed);
    }
    await this.#remove(new XenError('ENODEV', `${this.label}: closed`));
    const backend = await this.#backendState();
    if (backend !== XenbusState.Connected && backend !== XenbusState.Closing) await this.#release();
  }

  async #giveUp(error: XenError): Promise<void> {
    this.#leaving = true;
    await this.#instance.disconnect();
    this.#state = XenbusState.Closing;
    await reportFatal(this.#xs, this.path, error, this.#log);
    await this.#switch(XenbusState.Closed).catch(() => {}); // unplugged meanwhile: the same end
    await this.#remove(error);
  }

  /** News of a device that is gone already, or not written in full. A later event finds it again. */
  async #neverWas(): Promise<void> {
    if (this.#reconciler.wanted) return;
    this.#ended = true;
    this.#forget(false);
    await this.#remove(new XenError('ENODEV', `${this.label}: there is no such device`));
  }

  /** The toolstack removed the nodes. */
  async #vanish(): Promise<void> {
    this.#ended = true;
    await this.#instance.disconnect();
    await this.#remove(new XenError('ENODEV', `${this.label}: unplugged`));
    await this.#release();
    if (this.#backendPath !== undefined) {
      await this.#xs.unwatch(`${this.#backendPath}/state`, `frontend:${this.path}`).catch(() => {}); // gone with it
    }
    this.#forget(true);
  }

  async #remove(reason: XenError): Promise<void> {
    if (this.#removed) return;
    this.#removed = true;
    this.#isNot(reason);
    await this.#instance.remove(reason);
  }

  async #release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    await this.#instance.release?.();
  }

  /** Watch a backend; the toolstack names another one when a driver domain was replaced. */
  async #follow(path: string): Promise<void> {
    const token = `frontend:${this.path}`;
    if (this.#backendPath !== undefined) {
      await this.#xs.unwatch(`${this.#backendPath}/state`, token).catch(() => {}); // its nodes may be gone
      if (this.#state !== XenbusState.Closed) await this.#part(XenbusState.Unknown);
    }
    this.#backendPath = path;
    await this.#xs.watch(`${path}/state`, token, () => this.poke());
  }

  async #backendState(): Promise<XenbusState> {
    try {
      return await readState(this.#xs, this.#backendPath ?? '');
    } catch (error) {
      // A backend's directory that went away, or that we may not read: there is no backend now.
      if (error instanceof XenError && error.code === 'EACCES') return XenbusState.Unknown;
      throw error;
    }
  }

  /** Our state and the keys that come with it, seen by the backend as one change. */
  async #switch(state: XenbusState, keys: Keys = {}): Promise<void> {
    await this.#xs.transaction(async tx => {
      // A device that was unplugged meanwhile must not come back as some lone keys.
      if ((await readKey(this.#xs, `${this.path}/state`, tx)) === undefined) throw new Unplugged();
      await Promise.all(
        Object.entries({ ...keys, state }).map(([name, value]) =>
          this.#xs.write(`${this.path}/${name}`, String(value), tx),
        ),
      );
    });
    this.#state = state;
    this.poke();
  }
}
