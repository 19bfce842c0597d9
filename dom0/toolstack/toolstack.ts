// The toolstack's service: what tools ask of it, as functions. Works through hypercalls and xenstore only.
import { isAbsolute } from 'node:path';
import {
  domid as asDomid,
  type BridgeInfo,
  type Clock,
  type DeviceCounters,
  type DiskConfig,
  type DomainConfig,
  type DomainEnd,
  type DomainEvent,
  type DomainInfo,
  type Domid,
  type HostEvent,
  type HostInfo,
  type InitConfig,
  type Log,
  parseBridgePort,
  parseDecimal,
  type RunEnd,
  readKey,
  runPaths,
  SHUTDOWN_crash,
  type ToolstackArgs,
  type ToolstackResult,
  TopologyNotes,
  type VifConfig,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import type { ImagesInUse } from '../backends/blkback/images-in-use.ts';
import type { Consoled } from '../backends/consoled/device.ts';
import type { Bridges } from '../backends/netback/bridges.ts';
import { DomainWatch } from '../domain-watch.ts';
import { listDevices, removeDevice, unplug } from './add-device.ts';
import { ImageLoader } from './bundle-program.ts';
import { Captures } from './captures.ts';
import { crashMessage } from './crash-record.ts';
import { type CreateOptions, createDomain, type OnPhase } from './create-domain.ts';
import { destroyDomain } from './destroy-domain.ts';
import { DiskExports } from './disk-exports.ts';
import { rememberTarget, setMaxMemory, setMemoryTarget } from './domain-memory.ts';
import { writeNodes } from './domain-nodes.ts';
import { type Coming, DOM0_NAME, type DomainRecord, DomainRecords } from './domain-records.ts';
import { setVcpus } from './domain-vcpus.ts';
import { driverDomainCounters, driverDomainsSettled, isOwnDriverDomain, mergedCounters } from './driver-domains.ts';
import { dumpCore, dumpCoreTo } from './dump-core.ts';
import { EventFile } from './event-file.ts';
import { EventHistory } from './event-history.ts';
import { FaultLog } from './faults/fault-log.ts';
import { FaultPlans } from './faults/fault-plans.ts';
import { strikesOf } from './faults/strikes.ts';
import { FreeMemory } from './free-memory.ts';
import { hostInfo } from './host-info.ts';
import { freeVifNumber, type PluggableType, plug, recordOf, unplugDevice } from './hotplug.ts';
import type { Ledger, Table } from './ledger.ts';
import { Locks } from './locks.ts';
import { Monitor, type MonitorNotes } from './monitor.ts';
import { OldLogs } from './old-logs.ts';
import { Order } from './order.ts';
import type { ToolstackParts } from './parts.ts';
import { Reactions } from './reactions.ts';
import { Recovery } from './recovery.ts';
import { rehearseCreation } from './rehearsal.ts';
import { Scheduling } from './scheduling.ts';
import { requestShutdown } from './shutdown-domain.ts';
import { Tracing } from './trace.ts';
import { Waits } from './waits.ts';
import type { Xc, XcDomainInfo } from './xc.ts';
import { XcFaults } from './xc-faults.ts';
import { XcReplacements } from './xc-replacements.ts';
import { XcTrace } from './xc-trace.ts';
import { domainPath, namePath, readableBy, vmPath } from './xenstore-paths.ts';

/** The ledger's table of bridges: their MTU, by name. */
export const BRIDGES = 'bridges';
/** And of their ports of the host, by name. */
export const BRIDGE_PORTS = 'bridge ports';

export interface ToolstackOptions {
  readonly xc: Xc;
  readonly xs: XenstoreClient;
  readonly log: Log;
  readonly clock: Clock;
  readonly runDir: string;
  readonly consoled: Consoled;
  /** What it must not forget. */
  readonly ledger: Ledger;
  /** dom0's, which netback has. */
  readonly bridges: Bridges;
  /** Of blkback's disks. */
  readonly images: ImagesInUse;
  /** Resolves when dom0's backends have acted on every change of xenstore up to now. */
  readonly backendsSettled: () => Promise<void>;
  /** What they have counted, by domain in order of domid. */
  readonly counters: () => Promise<DeviceCounters[]>;
}

const DOM0 = asDomid(0);
const KIB_PER_PAGE = 4;

const GONE: DomainEnd = { what: 'destroyed', reason: null, exitCode: null };

export class Toolstack {
  readonly #parts: ToolstackParts;
  readonly #bridges: Bridges;
  readonly #counters: () => Promise<DeviceCounters[]>;
  /** Processors: who runs where, and for how long. */
  readonly scheduling: Scheduling;
  readonly tracing: Tracing;
  readonly captures: Captures;
  readonly #exports: DiskExports;
  readonly #monitor: Monitor;
  readonly #locks = new Locks();
  readonly #waits = new Waits();
  readonly #listeners = new Set<(event: HostEvent) => void>();
  readonly #history: EventHistory;
  readonly #eventFile: EventFile;
  readonly #oldLogs: OldLogs;
  /** What is to go wrong on purpose. */
  readonly faults: FaultPlans;
  readonly #reactions: Reactions;
  /** What `xl up` wants remembered. */
  readonly topologies: TopologyNotes;
  /** How often in a row the domain of a name was restarted, by whom that happened to. */
  readonly #restarts: Table<number>;
  readonly #bridgeTable: Table<number>;
  readonly #portTable: Table<readonly string[]>;
  #down = false;

  constructor(options: ToolstackOptions) {
    const { xc, xs, log, clock, runDir, ledger } = options;
    const paths = runPaths(runDir);
    const watch = new DomainWatch(xc, xs, log, {
      shutdown: info => void this.#hasShutDown(info), // never rejects
      gone: domid => this.#hasGone(domid),
    });
    const records = new DomainRecords(ledger);
    this.#history = new EventHistory(ledger);
    this.#eventFile = new EventFile(paths.eventLog, log);
    this.#oldLogs = new OldLogs(runDir, () => options.consoled.logs(), log);
    this.topologies = new TopologyNotes(ledger.table('topologies'));
    this.#restarts = ledger.table('restarts');
    this.#bridgeTable = ledger.table(BRIDGES);
    this.#portTable = ledger.table(BRIDGE_PORTS);
    const memory = new FreeMemory({ xc, xs, records, log });
    this.scheduling = new Scheduling({ xc, xs, log }, domid => this.#nameOf(domid));
    const order = new Order();
    const settled = async (backends: readonly { readonly backend: string }[]): Promise<void> => {
      await options.consoled.befall(backends);
      await options.backendsSettled();
      // One that is away hears of it when it is back.
      await driverDomainsSettled(this.#parts, backends).catch(() => {});
    };
    const tell = (event: HostEvent): void => this.#tellAll(event);
    const faults = new FaultPlans({
      ...{ xs, clock, log, strikes: strikesOf(xc, clock), tell, settled },
      hypercalls: new XcFaults(xc),
      answered: ledger.table('answered kills'),
      domids: () => xc.domainInfoList().flatMap(({ domid }) => (domid === DOM0 ? [] : [domid])),
      domidOf: name => this.domid(name),
    });
    this.faults = faults;
    this.#reactions = new Reactions({
      ...{ xs, clock, log, records, ledger, settled },
      replacements: new XcReplacements(xc),
      told: new FaultLog(clock, tell),
      faults,
      logPath: paths.hostLog,
    });
    this.#parts = {
      ...options,
      startedMs: clock.wallMs(),
      scheduling: this.scheduling,
      images: new ImageLoader(),
      records,
      memory,
      order,
      watch,
      faults,
    };
    this.#bridges = options.bridges;
    this.captures = new Captures(options.bridges);
    this.#exports = new DiskExports(options.images);
    this.#counters = options.counters;
    this.tracing = new Tracing(xc, clock);
    this.#monitor = new Monitor(
      {
        crashMessage: record => crashMessage(xc, record.domid),
        destroy: record => this.#destroy(record.domid),
        create: (config, ended) => this.#restart(config, ended),
        preserveAs: (record, name, uuid, coming) => this.#preserveAs(record, name, uuid, coming),
        dumpCore: async record => {
          const path = paths.coreDump(record.config.name);
          await dumpCoreTo(xc, record.domid, path);
        },
      },
      { log, clock, paths, notes: this.#monitorNotes() },
    );
  }
  #monitorNotes(): MonitorNotes {
    const { records, ledger } = this.#parts;
    return {
      acted: ({ domid }) => records.note(domid, { acted: true }),
      comes: ({ domid, config }, coming) =>
        records.together(() => {
          records.note(domid, { phase: 'going' });
          records.comings.note(config.name, coming);
        }),
      gaveUp: name => records.comings.delete(name),
      shortLives: ledger.table('shortLives'),
    };
  }

  async start(): Promise<void> {
    await this.#parts.watch.start();
    await this.faults.start();
    await this.#reactions.start();
  }
  /** Before the backends look: the devices of domains that have ended, or are to, are taken down and not served again. */
  async letGoOfTheDead(): Promise<void> {
    const { xc, xs, records } = this.#parts;
    for (const { domid, shutdown, dying } of xc.domainInfoList()) {
      if (!shutdown && !dying && records.get(domid)?.phase !== 'going') continue;
      for (const device of await listDevices(xs, domid)) await unplug(xs, device);
    }
  }
  /** Instead of `start`, when another one has ended. Resolves when everything is as it should be, or will be soon. */
  async goOn(): Promise<void> {
    const { xc } = this.#parts;
    const recovery = new Recovery(this.#parts, {
      finish: record => this.#created(record),
      destroy: domid => this.#destroy(domid),
      monitor: this.#monitor,
      hasShutDown: (record, reason) => this.#monitor.shutdown(record, reason),
    });
    new XcTrace(xc).disable(); // whoever read the trace has lost us
    await recovery.run();
    await this.start();
  }

  /** Nobody waits for anything: get ready for the next domain. */
  async prepare(): Promise<void> {
    await rehearseCreation();
    await this.#parts.images.prepare();
  }

  // ---- life ----

  async create(config: DomainConfig, options: CreateOptions, onPhase: OnPhase = () => {}): Promise<Domid> {
    if (this.#down) throw new XenError('ECANCELED', 'the host is going down');
    const domid = await createDomain(this.#parts, config, options, onPhase);
    this.#monitor.watch(domid, config, options.monitor);
    this.#created(this.#parts.records.get(domid)!);
    return domid;
  }
  /** A domain that lives as long as who asked for it. Paused, so that they can get ready for what it says. */
  async run(config: DomainConfig, program: InitConfig, onPhase: OnPhase, gone: AbortSignal): Promise<Domid> {
    const domid = await this.create(config, { paused: true, monitor: false, run: { program } }, onPhase);
    const end = (): void => {
      this.#parts.log.info(`dom${domid}, '${config.name}': who ran it has gone`);
      this.#destroy(domid).catch(error => this.#parts.log.error(`ending dom${domid}: ${error.message}`));
    };
    if (gone.aborted) end();
    else gone.addEventListener('abort', end, { once: true });
    this.#forgetRun.set(domid, () => gone.removeEventListener('abort', end));
    return domid;
  }
  /** By domid: nobody's end is its end any more. */
  readonly #forgetRun = new Map<Domid, () => void>();
  /** Resolves when it is gone. */
  async runEnd(domid: Domid, gone: AbortSignal): Promise<RunEnd> {
    if (this.#parts.records.get(domid)?.run !== true) throw new XenError('EINVAL', `dom${domid} was not made by 'run'`);
    const { reason, exitCode } = await this.wait(domid, 'shutdown', gone);
    const why = reason === SHUTDOWN_crash ? this.#whyCrashed(domid) : null;
    await this.#destroy(domid);
    return { reason, exitCode, why };
  }
  #whyCrashed(domid: Domid): string | null {
    try {
      return crashMessage(this.#parts.xc, domid) ?? null;
    } catch (error) {
      // It is gone, by somebody else's doing.
      if (error instanceof XenError) return null;
      throw error;
    }
  }
  #created({ domid, config }: DomainRecord): void {
    const { records, ledger } = this.#parts;
    ledger.together(() => {
      records.note(domid, { phase: 'there' });
      this.#restarts.delete(config.name);
      this.#tell({ what: 'created', domid, name: config.name });
    });
    this.#reactions.created({ domid, config });
  }

  /** Resolves when the domain is gone. */
  async destroy(domid: Domid): Promise<void> {
    this.#guest(domid, 'destroyed');
    const name = this.#parts.records.get(domid)?.config.name;
    await this.#destroy(domid);
    if (name !== undefined) this.#restarts.delete(name);
  }

  pause(domid: Domid): void {
    this.#guest(domid, 'paused');
    this.#parts.xc.pauseDomain(domid);
  }
  unpause(domid: Domid): void {
    this.#guest(domid, 'unpaused');
    this.#parts.xc.unpauseDomain(domid);
  }

  /** Resolves when the guest took note. */
  async shutdown(domid: Domid, how: 'poweroff' | 'reboot'): Promise<void> {
    const info = this.#guest(domid, 'shut down');
    if (info.shutdown) throw new XenError('EINVAL', `dom${domid} has shut down already`);
    if (info.dying) throw new XenError('EINVAL', `dom${domid} is dying`);
    await requestShutdown(this.#parts.xs, domid, how);
  }

  // ---- memory ----

  /** What the domain is to have, KiB. */
  async setMemoryTarget(domid: Domid, kib: number): Promise<void> {
    await setMemoryTarget(this.#parts, domid, kib);
    rememberTarget(this.#parts, domid, kib);
  }
  /** What it may have at most. */
  setMaxMemory(domid: Domid, kib: number): Promise<void> {
    return setMaxMemory(this.#parts, domid, kib);
  }

  // ---- processors ----

  /** How many of its vCPUs the guest is to use. */
  async setVcpus(domid: Domid, count: number): Promise<void> {
    this.#guest(domid, 'given or denied vCPUs');
    await setVcpus(this.#parts, domid, count);
  }

  // ---- what there is ----

  async list(domid: Domid | null): Promise<DomainInfo[]> {
    const { xc } = this.#parts;
    const one = domid === null ? undefined : xc.domainInfo(domid);
    if (domid !== null && one === undefined) throw new XenError('ESRCH', `there is no dom${domid}`);
    const infos = one === undefined ? xc.domainInfoList() : [one];
    const ids = new Set(infos.map(({ cpupool }) => cpupool));
    const pools = new Map([...ids].map(id => [id, this.scheduling.poolName(id)]));
    return Promise.all(infos.map(async info => this.#describe(info, await pools.get(info.cpupool)!)));
  }
  /** null for a domain the toolstack did not make. */
  config(domid: Domid): DomainConfig | null {
    if (this.#parts.xc.domainInfo(domid) === undefined) throw new XenError('ESRCH', `there is no dom${domid}`);
    return this.#parts.records.get(domid)?.config ?? null;
  }
  /** Of the devices that our backends serve, in dom0 and in driver domains. */
  async counters(): Promise<DeviceCounters[]> {
    return mergedCounters((await Promise.all([this.#counters(), driverDomainCounters(this.#parts)])).flat());
  }
  info(): HostInfo {
    return hostInfo(this.#parts.xc);
  }
  dmesg(clear: boolean): string {
    return this.#parts.xc.readConsole(clear);
  }
  debugKeys(keys: string): void {
    this.#parts.xc.debugKeys(keys);
  }
  async domid(name: string): Promise<Domid> {
    for (const { domid } of this.#parts.xc.domainInfoList()) {
      if ((await this.#nameOf(domid)) === name) return domid;
    }
    throw new XenError('ENOENT', `there is no domain '${name}'`);
  }
  async domname(domid: Domid): Promise<string> {
    const name = await this.#nameOf(domid);
    if (name === null) throw new XenError('ESRCH', `there is no dom${domid}, or it has no name`);
    return name;
  }
  /** The new name is the domain's in xenstore, in `/vm`, and for whatever is done with its config later. */
  async rename(domid: Domid, name: string): Promise<void> {
    this.#guest(domid, 'renamed');
    const { xs, records } = this.#parts;
    const record = recordOf(this.#parts, domid);
    if (record.config.name === name) return;
    const config = { ...record.config, name };
    const free = records.reserve(config);
    try {
      await writeNodes(xs, [
        { path: namePath(domid), value: name },
        { path: `${vmPath(config.uuid)}/name`, value: name },
      ]);
      records.change(domid, { config });
    } finally {
      free();
    }
    this.#parts.log.info(`dom${domid} is called '${name}' now`);
  }
  /** Its memory and its vCPUs' state, into a file. */
  async dumpCore(domid: Domid, path: string): Promise<void> {
    this.#guest(domid, 'dumped');
    if (!path.startsWith('/')) throw new XenError('EINVAL', `core of dom${domid}: '${path}' is no absolute path`);
    await dumpCore(this.#parts.xc, domid, path);
  }
  /** What it is made of when it comes again; who it is stays. */
  async updateConfig(domid: Domid, config: DomainConfig): Promise<void> {
    this.#guest(domid, 'given another configuration');
    const record = recordOf(this.#parts, domid);
    const { name, uuid } = record.config;
    if (isOwnDriverDomain(config) !== isOwnDriverDomain(record.config))
      throw new XenError('EINVAL', `dom${domid}: driver_domain: a domain with a kernel does not become one without`);
    // Its devices are those that it has: another one comes by attaching it.
    const { disks, vifs, pvcalls, p9 } = record.config;
    this.#parts.records.change(domid, { config: { ...config, name, uuid, disks, vifs, pvcalls, p9 } });
  }
  /** The unix socket of a domain's console. */
  console(domid: Domid): string {
    this.#guest(domid, 'attached to');
    const { consoled } = this.#parts;
    if (!consoled.has(domid)) throw new XenError('ENOENT', `dom${domid} has no console`);
    return consoled.socketPath(domid);
  }

  // ---- devices ----

  /** Resolves when a backend serves the disk. */
  async attachDisk(domid: Domid, disk: DiskConfig): Promise<void> {
    this.#guest(domid, 'given a disk');
    await this.#locks.run(domid, () => plug(this.#parts, recordOf(this.#parts, domid), { disk, vif: null }));
  }
  /** The number it got: the one that it asks for, or the lowest that is free. */
  async attachVif(domid: Domid, config: VifConfig, anyDevid: boolean): Promise<number> {
    this.#guest(domid, 'given a vif');
    return this.#locks.run(domid, async () => {
      const record = recordOf(this.#parts, domid);
      const vif = anyDevid ? { ...config, devid: freeVifNumber(record.config) } : config;
      await plug(this.#parts, record, { disk: null, vif });
      return vif.devid;
    });
  }
  async detach(domid: Domid, type: PluggableType, devid: number, force: boolean): Promise<void> {
    this.#guest(domid, 'rid of a device');
    await this.#locks.run(domid, () => unplugDevice(this.#parts, recordOf(this.#parts, domid), type, devid, force));
  }

  /** A tool serves the disk to others, until `stop`. */
  exportDisk(args: ToolstackArgs<'exportDisk'>): { result: ToolstackResult<'exportDisk'>; stop: () => void } {
    const domid = asDomid(args.domid);
    this.#guest(domid, 'asked for a disk');
    return this.#exports.begin(recordOf(this.#parts, domid).config.disks, args);
  }

  // ---- waiting ----

  /** `abandoned` aborts when whoever asked is gone. */
  async wait(domid: Domid, until: 'shutdown' | 'destroyed', abandoned: AbortSignal): Promise<DomainEnd> {
    const info = this.#parts.xc.domainInfo(domid);
    if (info === undefined) return GONE;
    if (domid === DOM0) throw new XenError('EINVAL', 'domain 0 ends with the host');
    if (until === 'shutdown' && info.shutdown)
      return { what: 'shutdown', reason: info.shutdownReason, exitCode: await this.#exitCode(domid) };
    return this.#waits.wait(domid, until, abandoned);
  }
  subscribe(listener: (event: HostEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What was told to who subscribed, oldest first. */
  async history(from: number): Promise<ToolstackResult<'history'>> {
    await this.#reactions.heard();
    return this.#history.page(from);
  }
  restarts(): { domid: Domid; restarts: number }[] {
    const all = this.#parts.records.all();
    return all.map(({ domid, config }) => ({ domid, restarts: this.#restarts.get(config.name) ?? 0 }));
  }

  // ---- bridges ----

  async createBridge(name: string, mtu: number): Promise<void> {
    const wasThere = (await this.#bridges.list()).some(bridge => bridge.name === name);
    await this.#bridges.create(name, mtu);
    await keptOr(
      () => this.#bridgeTable.set(name, mtu),
      async () => void (!wasThere && (await this.#bridges.delete(name))),
    );
  }
  async deleteBridge(name: string): Promise<void> {
    await this.#bridges.delete(name);
    this.#bridgeTable.delete(name);
    this.#portTable.delete(name);
  }
  bridges(): Promise<BridgeInfo[]> {
    return this.#bridges.list();
  }
  async addBridgePort(bridge: string, port: string): Promise<void> {
    const { kind, where } = parseBridgePort(port);
    if (kind !== 'tap' && !isAbsolute(where)) throw new XenError('EINVAL', `bridge port ${port}: no absolute path`);
    await this.#bridges.addPort(bridge, port);
    const known = this.#portTable.get(bridge) ?? [];
    if (known.includes(port)) return;
    await keptOr(
      () => this.#portTable.set(bridge, [...known, port]),
      () => this.#bridges.removePort(bridge, port),
    );
  }
  async removeBridgePort(bridge: string, port: string): Promise<void> {
    await this.#bridges.removePort(bridge, port);
    const left = (this.#portTable.get(bridge) ?? []).filter(one => one !== port);
    if (left.length > 0) this.#portTable.note(bridge, left);
    else this.#portTable.delete(bridge);
  }

  // ---- the host ----

  /** No domain but dom0 is left, and none is made any more. */
  async destroyAll(): Promise<void> {
    this.#down = true;
    this.faults.stop();
    this.#monitor.stop();
    const domids = this.#parts.xc.domainInfoList().map(info => info.domid);
    const guests = domids.filter(domid => domid !== DOM0);
    const ends = await Promise.allSettled(guests.map(domid => this.#destroy(domid)));
    for (const end of ends)
      if (end.status === 'rejected') this.#parts.log.error(`host shutdown: ${end.reason.message}`);
    await this.#parts.images.close();
    await this.#reactions.heard();
    this.#reactions.stop();
    this.#eventFile.close();
  }

  // ---- inside ----

  async #restart(config: DomainConfig, ended: Domid): Promise<void> {
    const before = this.#restarts.get(config.name) ?? 0;
    const domid = await this.create(config, { paused: false, monitor: true });
    this.#restarts.note(config.name, before + 1);
    this.#reactions.restarted(ended, domid, config.name, before + 1);
  }

  /** Throws ESRCH when there is no such domain, EINVAL for domain 0. */
  #guest(domid: Domid, verb: string): XcDomainInfo {
    if (domid === DOM0) throw new XenError('EINVAL', `domain 0 cannot be ${verb}`);
    const info = this.#parts.xc.domainInfo(domid);
    if (info === undefined) throw new XenError('ESRCH', `there is no dom${domid}`);
    return info;
  }

  /** One at a time for each domain: a second one waits for the first and then has nothing to do. */
  #destroy(domid: Domid): Promise<void> {
    return this.#locks.run(domid, async () => {
      const { xc, records, ledger, watch } = this.#parts;
      const info = xc.domainInfo(domid);
      const record = records.get(domid);
      if (info === undefined && record === undefined) return;
      const uuid = record?.config.uuid ?? info!.uuid;
      const name = record?.config.name ?? null;
      await destroyDomain(this.#parts, domid, uuid).finally(() => watch.remove(domid));
      ledger.together(() => {
        records.remove(domid);
        this.#tell({ what: 'destroyed', domid, name });
      });
      this.#monitor.destroyed(domid);
      this.#reactions.destroyed(domid);
      this.#waits.end(domid, GONE);
      this.#forgetRun.get(domid)?.();
      this.#forgetRun.delete(domid);
      this.#oldLogs.domainGone();
    });
  }

  async #hasShutDown({ domid, shutdownReason: reason }: XcDomainInfo): Promise<void> {
    const exitCode = await this.#exitCode(domid);
    const record = this.#parts.records.get(domid);
    if (record === undefined || record.ended) return;
    this.#parts.ledger.together(() => {
      this.#parts.records.note(domid, { ended: true });
      this.#tell({ what: 'shutdown', domid, name: record.config.name, reason, exitCode });
    });
    this.#waits.end(domid, { what: 'shutdown', reason, exitCode });
    void this.#monitor.shutdown(record, reason); // never rejects
  }
  /** untrusted: what the guest has written. null also where nobody can tell any more. */
  async #exitCode(domid: Domid): Promise<number | null> {
    const code = await readKey(this.#parts.xs, `${domainPath(domid)}/data/exit-code`).catch(() => undefined);
    return parseDecimal(code, 255) ?? null;
  }
  /** Gone without our doing: clear away what is left of it. */
  #hasGone(domid: Domid): void {
    this.#destroy(domid).catch(error => this.#parts.log.error(`clearing away dom${domid}: ${error.message}`));
  }

  async #preserveAs(record: DomainRecord, name: string, uuid: string, coming: Coming): Promise<void> {
    const { xc, xs, records, clock } = this.#parts;
    const { domid, config } = record;
    // Its disks and vifs are for the domain that takes its place.
    for (const device of await listDevices(xs, domid)) {
      await unplug(xs, device);
      await removeDevice(this.#parts, device);
    }
    xc.setHandle(domid, uuid);
    await xs.rm(vmPath(config.uuid));
    await writeNodes(xs, [
      { path: vmPath(uuid), value: '', perms: readableBy(domid) },
      { path: `${vmPath(uuid)}/name`, value: name },
      { path: `${vmPath(uuid)}/uuid`, value: uuid },
      { path: `${domainPath(domid)}/vm`, value: vmPath(uuid) },
      { path: namePath(domid), value: name },
    ]);
    const preserved: DomainConfig = { ...config, name, uuid, disks: [], vifs: [], pvcalls: [], p9: [] };
    records.together(() => {
      records.note(domid, { config: preserved, startedAt: clock.now(), acted: true });
      records.comings.note(coming.config.name, coming);
    });
  }

  async #describe(info: XcDomainInfo, cpupool: string): Promise<DomainInfo> {
    return {
      domid: info.domid,
      name: await this.#nameOf(info.domid),
      uuid: info.uuid,
      current_kb: (info.totPages + info.outstandingPages) * KIB_PER_PAGE,
      outstanding_kb: info.outstandingPages * KIB_PER_PAGE,
      max_kb: info.maxPages * KIB_PER_PAGE,
      vcpu_online: info.onlineVcpus,
      vcpu_max_id: info.maxVcpuId,
      cpu_time: info.cpuTime,
      running: info.running,
      blocked: info.blocked,
      paused: info.paused,
      shutdown: info.shutdown,
      dying: info.dying,
      shutdown_reason: info.shutdown ? info.shutdownReason : null,
      cpupool,
      ssid_label: this.#parts.records.get(info.domid)?.config.seclabel ?? null,
    };
  }
  async #nameOf(domid: Domid): Promise<string | null> {
    const name = await readKey(this.#parts.xs, namePath(domid));
    return name ?? (domid === DOM0 ? DOM0_NAME : null);
  }
  #tell(happened: Pick<DomainEvent, 'what' | 'domid' | 'name'> & Partial<DomainEvent>): void {
    const at = Math.floor(this.#parts.clock.wallMs());
    this.#tellAll({ event: 'domain', at, reason: null, exitCode: null, ...happened });
  }
  #tellAll(event: HostEvent): void {
    this.#history.add(event);
    this.#eventFile.add(event);
    for (const listener of this.#listeners) listener(event);
  }
}

/** What cannot be kept is undone, and has not happened. */
async function keptOr(keep: () => void, undo: () => Promise<void>): Promise<void> {
  try {
    keep();
  } catch (error) {
    await undo();
    throw error;
  }
}
