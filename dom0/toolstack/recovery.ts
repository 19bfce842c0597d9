// A toolstack that takes the place of one that has ended: what that one left is compared with the domains that the
// hypervisor has and the nodes that xenstore has, and what was half done is brought to its end, or undone.
import { domid as asDomid, childrenOf, type Domid, readKey, XenbusState } from '#pvbus';
import { type DevicePaths, listDevices, removeDevice } from './add-device.ts';
import { destroyDomain } from './destroy-domain.ts';
import { devicesOf } from './devices.ts';
import { BACKEND_TYPES, removeDomainNodes } from './domain-nodes.ts';
import type { Coming, DomainRecord } from './domain-records.ts';
import { removePlugged } from './hotplug.ts';
import type { Monitor } from './monitor.ts';
import type { ToolstackParts } from './parts.ts';
import type { XcDomainInfo } from './xc.ts';
import { domainPath } from './xenstore-paths.ts';

export interface RecoveryActions {
  /** All that was left to do for it is done: it is told of. */
  finish(record: DomainRecord): void;
  destroy(domid: Domid): Promise<void>;
  readonly monitor: Pick<Monitor, 'goOn' | 'expect'>;
  /** Never rejects. */
  hasShutDown(record: DomainRecord, reason: number): Promise<void>;
}

export class Recovery {
  readonly #parts: ToolstackParts;
  readonly #actions: RecoveryActions;
  /** What is cleared away of a name; until then no domain can have it. */
  readonly #ends = new Map<string, Promise<unknown>>();

  constructor(parts: ToolstackParts, actions: RecoveryActions) {
    this.#parts = parts;
    this.#actions = actions;
  }

  /** Resolves when what there is is known and served; ends that were begun come to theirs later. */
  async run(): Promise<void> {
    const { xc, records, log, consoled } = this.#parts;
    const there = new Map(xc.domainInfoList().map(info => [info.domid, info]));
    log.info(`the toolstack goes on where another process of dom0 has ended: ${records.all().length} domains`);
    consoled.forgetSockets();
    this.#undoCreations([...there.values()]);
    await this.#removeLeftNodes(new Set(there.keys()));
    for (const record of records.all()) await this.#goOn(record, there.get(record.domid));
    for (const coming of records.comings.values()) this.#expect(coming);
  }
  /** It comes when nothing is left of who had its name: its predecessor, or half of itself. */
  #expect(coming: Coming): void {
    const { name } = coming.config;
    const comes = (): void => this.#actions.monitor.expect(coming);
    // What is still there is told of by who was to end it.
    (this.#ends.get(name) ?? Promise.resolve()).then(comes, () => this.#parts.records.comings.delete(name));
  }

  // ---- creations ----

  /** Those that had no record yet. Their names stay taken until nothing is left of them. */
  #undoCreations(infos: readonly XcDomainInfo[]): void {
    const { records, log } = this.#parts;
    for (const [name, config] of records.creations.entries()) {
      const known = infos.find(({ uuid, domid }) => uuid === config.uuid && records.get(domid) === undefined);
      if (known === undefined) {
        records.creations.delete(name);
        continue;
      }
      const { domid, uuid } = known;
      const release = records.claim(config);
      log.warn(`dom${domid}, '${name}', was being created when dom0's process ended: undone`);
      this.#end(String(name), `undoing dom${domid}`, async () => {
        try {
          await destroyDomain(this.#parts, domid, uuid);
          records.creations.delete(String(name));
        } finally {
          release();
        }
      });
    }
  }

  // ---- domains that are known ----

  async #goOn(record: DomainRecord, info: XcDomainInfo | undefined): Promise<void> {
    const { domid, config } = record;
    const { xc, watch, log } = this.#parts;
    if (info === undefined || info.dying || record.phase === 'going' || record.run) {
      const why = record.run ? 'ran for somebody whom we have lost' : 'was being destroyed, or ended meanwhile';
      log.warn(`dom${domid}, '${config.name}', ${why}: cleared away`);
      this.#end(config.name, `the end of dom${domid}`, () => this.#actions.destroy(domid));
      return;
    }
    await this.#serveConsole(record);
    this.#actions.monitor.goOn(record);
    if (record.phase === 'built') {
      if (!record.paused && info.paused) xc.unpauseDomain(domid);
      log.info(`dom${domid}, '${config.name}', was all but created when dom0's process ended: finished`);
      this.#actions.finish(record);
    }
    await this.#settleDevices(record);
    if (record.ended && !record.acted && info.shutdown) void this.#actions.hasShutDown(record, info.shutdownReason);
    else watch.add(domid);
  }
  async #serveConsole({ domid, config }: DomainRecord): Promise<void> {
    const { consoled, log } = this.#parts;
    await consoled
      .connect(domid, config.name)
      .catch(error => log.error(`console of dom${domid}: ${error instanceof Error ? error.message : error}`));
  }

  /** What was being plugged in goes; what was being unplugged has gone. */
  async #settleDevices(record: DomainRecord): Promise<void> {
    const { xs, log, records } = this.#parts;
    const { domid, config } = record;
    const wanted = new Set(devicesOf(config, () => asDomid(0)).map(({ type, devid }) => `${type} ${devid}`));
    const there = new Set<string>();
    const devices = await listDevices(xs, domid);
    const nodes = new Set(devices.map(({ type, devid }) => `${type} ${devid}`));
    for (const name of wanted)
      if (!nodes.has(name)) log.warn(`dom${domid}: ${name} was being detached when dom0's process ended: it has gone`);
    for (const device of devices) {
      const name = `${device.type} ${device.devid}`;
      if (wanted.has(name) && (await this.#isWhole(device))) {
        there.add(name);
        continue;
      }
      log.warn(`dom${domid}: ${name} was being attached or detached when dom0's process ended: taken away`);
      await removePlugged(this.#parts, device);
    }
    const left = <T extends { devid: number }>(type: string, devices: readonly T[]): T[] =>
      devices.filter(({ devid }) => there.has(`${type} ${devid}`));
    const [disks, vifs] = [left('vbd', config.disks), left('vif', config.vifs)];
    if (disks.length < config.disks.length || vifs.length < config.vifs.length)
      records.note(domid, { config: { ...config, disks, vifs } });
  }
  /** Its nodes are there, at both ends, and it is meant to stay. */
  async #isWhole({ backend, frontend }: DevicePaths): Promise<boolean> {
    const { xs } = this.#parts;
    const [online, state, frontendState] = await Promise.all(
      [`${backend}/online`, `${backend}/state`, `${frontend}/state`].map(path => readKey(xs, path)),
    );
    const closing = online === '0' && (state === String(XenbusState.Closing) || state === String(XenbusState.Closed));
    return state !== undefined && frontendState !== undefined && !closing;
  }

  // ---- nodes of domains that are gone ----

  async #removeLeftNodes(there: ReadonlySet<Domid>): Promise<void> {
    const { xs, log, records } = this.#parts;
    const left = new Set<number>();
    const look = async (path: string): Promise<void> => {
      for (const name of await childrenOf(xs, path)) {
        const id = Number(name);
        if (Number.isInteger(id) && !there.has(asDomid(id)) && records.get(asDomid(id)) === undefined) left.add(id);
      }
    };
    await Promise.all(
      ['/local/domain', '/libxl', ...BACKEND_TYPES.map(type => `${domainPath(0)}/backend/${type}`)].map(look),
    );
    for (const id of left) {
      const domid = asDomid(id);
      const vm = await readKey(xs, `${domainPath(id)}/vm`);
      const devices = await listDevices(xs, domid);
      for (const device of devices) await removeDevice(this.#parts, device);
      await removeDomainNodes(
        xs,
        domid,
        vm?.replace('/vm/', '') ?? 'none',
        devices.map(({ backend }) => backend),
      );
      log.warn(`xenstore had nodes of dom${id}, which is gone: removed`);
    }
  }
  /** Goes on by itself. */
  #end(name: string, what: string, body: () => Promise<void>): void {
    const { log } = this.#parts;
    const end = Promise.all([this.#ends.get(name), body()]);
    this.#ends.set(name, end);
    end.catch(error => log.error(`${what}: ${error instanceof Error ? error.message : error}`));
  }
}
