// Every domain's console: mapped and bound when the domain is introduced, let go when it is gone.
import { readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  domid as asDomid,
  port as asPort,
  type Clock,
  type Domid,
  type EvtchnPort,
  GNTTAB_RESERVED_CONSOLE,
  type GrantMapping,
  type Injected,
  type Log,
  type Planted,
  parseDecimal,
  readKey,
  runPaths,
  type Vcpu,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import { type DeviceEvents, plainEvents } from '../../faults/faulty-notifier.ts';
import { FaultNodes } from '../fault-nodes.ts';
import { ConsoleClients } from './console-clients.ts';
import { ConsoleFaults } from './console-faults.ts';
import { endOf, LogFile } from './log-file.ts';
import { ConsoleStats } from './stats.ts';
import { ConsoleTerminal } from './terminal.ts';
import { ConsoleWorker } from './worker.ts';

export interface ConsoledOptions {
  readonly vcpu: Vcpu;
  readonly xs: XenstoreClient;
  readonly log: Log;
  readonly clock: Clock;
  readonly runDir: string;
  /** Have step() run soon. */
  wake(): void;
}

/** One domain's console while it is served. */
class ConsoleDevice {
  readonly domid: Domid;
  /** Its backend's directory. */
  readonly path: string;
  readonly stats: ConsoleStats;
  readonly worker: ConsoleWorker;
  readonly #options: ConsoledOptions;
  readonly #label: string;
  readonly #mapping: GrantMapping;
  readonly #port: EvtchnPort;
  /** The guest's number of it. */
  readonly #remote: EvtchnPort;
  #events: DeviceEvents;
  readonly #clients: ConsoleClients;
  readonly #terminal: ConsoleTerminal | undefined;
  readonly #logFile: LogFile;
  readonly #faultNodes: FaultNodes;
  #logFailing = false;
  /** It has been said. */
  #throttled = false;

  constructor(options: ConsoledOptions, domid: Domid, name: string, parts: Parts) {
    this.#options = options;
    this.domid = domid;
    this.#label = `console of dom${domid}`;
    this.stats = parts.stats;
    this.#mapping = parts.mapping;
    this.#port = parts.port;
    this.#remote = parts.remote;
    this.#events = plainEvents(options.vcpu.events);
    this.#listen();
    this.#clients = parts.clients;
    this.path = backendPathOf(domid);
    this.#faultNodes = parts.nodes;
    this.#terminal = parts.terminal;
    this.#logFile = new LogFile(runPaths(options.runDir).consoleLog(name));
    this.#logging(0, () => this.#logFile.open());
    this.worker = new ConsoleWorker({
      page: parts.mapping.page,
      clock: options.clock,
      stats: parts.stats,
      output: bytes => this.#output(bytes),
      notify: () => this.#events.notify(parts.port),
      inputWanted: () => {
        parts.clients.resume();
        parts.terminal?.resume();
      },
    });
  }

  get logPath(): string {
    return this.#logFile.path;
  }

  #listen(): void {
    const { vcpu, wake } = this.#options;
    vcpu.events.on(this.#port, this.#events.hears(wake, this.#port, this.#remote));
  }
  step(): 'progress' | 'idle' {
    const result = this.worker.step();
    const { log } = this.#options;
    if (this.worker.broken) log.error(`${this.#label}: its ring indices are impossible, no longer served`);
    if (this.stats.throttled > 0 && !this.#throttled) log.warn(`${this.#label}: writes faster than it may, and waits`);
    this.#throttled = this.stats.throttled > 0;
    this.worker.faults?.step();
    return result;
  }
  /** What befalls it is in xenstore. Resolves when that is so, and what has come of it is written there. */
  async readFaults(): Promise<void> {
    this.plant(await this.#faultNodes.read());
    await this.#faultNodes.written();
  }
  plant(planted: readonly Planted[]): void {
    const { clock, wake, vcpu } = this.#options;
    const { worker } = this;
    if (planted.length === 0 && worker.faults === undefined) return;
    const label = `console 0 of dom${this.domid}`;
    const tell = (injected: Injected): void => this.#faultNodes.told(injected);
    const faults = worker.faults ?? new ConsoleFaults(label, clock, vcpu.events, tell);
    faults.plant(planted);
    worker.faults = planted.length === 0 ? undefined : faults;
    this.#events = worker.faults?.events ?? plainEvents(vcpu.events);
    this.#listen();
    wake();
  }
  async close(): Promise<void> {
    const { vcpu } = this.#options;
    try {
      this.worker.drainLast();
      // order: no event after the unmap; the handler would read the page.
      vcpu.events.close(this.#port);
      vcpu.grants.unmap([this.#mapping]);
    } finally {
      this.#logFile.close();
      this.#terminal?.close();
      await this.#clients.close();
    }
  }

  #output(bytes: Uint8Array): void {
    this.#clients.write(bytes);
    this.#terminal?.write(bytes);
    this.#logging(bytes.length, () => this.#logFile.write(bytes));
  }
  #logging(bytes: number, body: () => void): void {
    try {
      body();
      this.#logFailing = false;
    } catch (error) {
      this.stats.logDropped += bytes;
      if (!this.#logFailing)
        this.#options.log.error(`${this.#label}: ${this.#logFile.path}: ${(error as Error).message}`);
      this.#logFailing = true;
    }
  }
}
interface Parts {
  readonly stats: ConsoleStats;
  readonly mapping: GrantMapping;
  readonly port: EvtchnPort;
  readonly remote: EvtchnPort;
  readonly clients: ConsoleClients;
  readonly terminal: ConsoleTerminal | undefined;
  readonly nodes: FaultNodes;
}

const backendPathOf = (domid: Domid): string => `/local/domain/0/backend/console/${domid}/0`;

const NOTHING = new Uint8Array(0);

export class Consoled {
  readonly #options: ConsoledOptions;
  readonly #devices = new Map<number, ConsoleDevice>();
  /** Consoles whose sockets are there and whose rings are not yet. */
  readonly #opening = new Set<number>();

  constructor(options: ConsoledOptions) {
    this.#options = options;
  }

  /**
   * Serve the console of a domain; its port is `remotePort`, or, when it is not a new domain, what xenstore says. Its
   * log is named after `name`.
   */
  async connect(domid: Domid, name: string, remotePort?: EvtchnPort): Promise<void> {
    const { vcpu, log } = this.#options;
    const stats = new ConsoleStats();
    const path = this.socketPath(domid);
    const type = (bytes: Uint8Array): number => this.#type(domid, bytes);
    // Who attaches sees what the guest has said before, also when it was another process that heard it.
    const past = remotePort === undefined ? endOf(runPaths(this.#options.runDir).consoleLog(name)) : NOTHING;
    // order: before its first byte, and before anybody can type. A new domain has none yet.
    const nodes = new FaultNodes(this.#options.xs, backendPathOf(domid), log);
    const planted = remotePort === undefined ? await nodes.read() : [];
    this.#opening.add(domid);
    let clients: ConsoleClients | undefined;
    let mapping: GrantMapping | undefined;
    try {
      const opening = ConsoleClients.open({ path, label: `console of dom${domid}`, log, stats, type, past });
      const known = remotePort ?? this.#portOf(domid);
      Promise.resolve(known).catch(() => {}); // heard of below, unless the socket failed first
      clients = await opening;
      const remote = await known;
      // Xen: the page is granted by the domain builder; nobody has to know its frame.
      [mapping] = vcpu.grants.map(domid, [GNTTAB_RESERVED_CONSOLE]);
      const port = vcpu.events.bindInterdomain(domid, remote);
      const terminal = this.#openTerminal(type);
      const parts = { stats, mapping: mapping!, port, remote, clients, terminal, nodes };
      const device = new ConsoleDevice(this.#options, domid, name, parts);
      device.plant(planted);
      this.#devices.set(domid, device);
      this.#opening.delete(domid);
      clients.resume(); // what was typed before there was a ring
      if (terminal !== undefined) this.#announce(domid, terminal.path);
    } catch (error) {
      this.#opening.delete(domid);
      if (mapping !== undefined) vcpu.grants.unmap([mapping]);
      await clients?.close();
      throw error;
    }
  }

  /** undefined where the host has none to give: the socket serves all the same. */
  #openTerminal(type: (bytes: Uint8Array) => number): ConsoleTerminal | undefined {
    try {
      return ConsoleTerminal.open({ type });
    } catch (error) {
      if (!this.#noTerminals) this.#options.log.warn(`consoles have no terminals here: ${(error as Error).message}`);
      this.#noTerminals = true;
      return undefined;
    }
  }
  #noTerminals = false;
  /** Xen: what xenconsole waits for, and opens. */
  #announce(domid: Domid, path: string): void {
    this.#options.xs.write(`/local/domain/${domid}/console/tty`, path).catch(error => {
      if (this.#devices.has(domid)) this.#options.log.error(`console of dom${domid}: ${error.message}`);
    });
  }

  async #portOf(domid: Domid): Promise<EvtchnPort> {
    const remotePort = parseDecimal(await readKey(this.#options.xs, `/local/domain/${domid}/console/port`));
    if (remotePort === undefined) throw new XenError('EINVAL', `console of dom${domid}: no port in xenstore`);
    return asPort(remotePort);
  }

  /** The last output is written out first. Nothing to do is no error. */
  async disconnect(domid: Domid): Promise<void> {
    const device = this.#devices.get(domid);
    if (device === undefined) return;
    this.#devices.delete(domid);
    await device.close();
  }

  /** Faults were planted at these, or taken away. */
  async befall(backends: readonly { readonly backend: string }[]): Promise<void> {
    const meant = [...this.#devices.values()].filter(device => backends.some(({ backend }) => backend === device.path));
    await Promise.all(meant.map(device => device.readFaults()));
  }

  /** The unix socket that carries the console's bytes. */
  socketPath(domid: Domid): string {
    return runPaths(this.#options.runDir).consoleSocket(domid);
  }
  /** Those of a process that has ended; nobody listens to them. */
  forgetSockets(): void {
    const folder = dirname(this.socketPath(asDomid(0)));
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { force: true });
  }
  has(domid: Domid): boolean {
    return this.#devices.has(domid);
  }
  /** Paths of those that are written. */
  logs(): string[] {
    return [...this.#devices.values()].map(({ logPath }) => logPath);
  }
  stats(domid: Domid): ConsoleStats | undefined {
    return this.#devices.get(domid)?.stats;
  }

  /** One turn over all consoles. */
  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    for (const device of this.#devices.values())
      if (!device.worker.broken && device.step() === 'progress') result = 'progress';
    return result;
  }
  deadline(): number | undefined {
    let first: number | undefined;
    for (const { worker } of this.#devices.values()) {
      const at = worker.deadline();
      if (at !== undefined && (first === undefined || at < first)) first = at;
    }
    return first;
  }
  async close(): Promise<void> {
    for (const domid of [...this.#devices.keys()]) await this.disconnect(asDomid(domid));
  }

  #type(domid: Domid, bytes: Uint8Array): number {
    const device = this.#devices.get(domid);
    if (device === undefined) return this.#opening.has(domid) ? 0 : bytes.length; // gone: nobody will ever read them
    const taken = device.worker.type(bytes);
    if (taken > 0) this.#options.wake();
    return taken;
  }
}
