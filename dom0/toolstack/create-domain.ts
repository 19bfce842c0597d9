// A domain from its config, phase by phase. Whatever fails, nothing is left: every phase adds its undo first.
import {
  Cleanup,
  type Clock,
  type DomainConfig,
  type Domid,
  type InitConfig,
  type ToolstackStep,
  XENOLITH_SERVICE_driver_domain,
  XenError,
} from '#pvbus';
import { addDevices, backendReady, listDevices, pathsOf, removeDevice } from './add-device.ts';
import { checkConfig, withSource } from './check-config.ts';
import { checkConfinement } from './check-confinement.ts';
import { endDomain, releaseDomain, waitUntilGone } from './destroy-domain.ts';
import { CONSOLE, type DeviceSpec, devicesOf } from './devices.ts';
import { checkImageFits, type DomainImage, type DomainRings, loadDomain, makeRings } from './domain-builder.ts';
import { MAXMEM_SLACK_KIB } from './domain-memory.ts';
import { domainNodes, NodeWriting, removeDomainNodes, ringNodes, writeNodes } from './domain-nodes.ts';
import { driverDomainServes, isOwnDriverDomain, servedByUs } from './driver-domains.ts';
import { lastSaid } from './host-log.ts';
import type { Place } from './order.ts';
import type { ToolstackParts } from './parts.ts';
import { claimPages } from './xc-memory.ts';
import { backendPath } from './xenstore-paths.ts';

/** One phase is over; how long it took. */
export type OnPhase = (phase: string, ms: number) => void;

export interface CreateOptions {
  readonly paused: boolean;
  readonly monitor: boolean;
  /** It lives as long as who asked for it, with `program` as the first of its root file system. */
  readonly run?: { readonly program: InitConfig };
}

interface CheckedParts {
  readonly image: DomainImage;
  readonly devices: DeviceSpec[];
}

const PAGES_PER_MIB = 256;
/** Of a domain whose process is a program of the host's. */
const NO_KERNEL = new Uint8Array(0);

/** Resolves with the domid when the domain is built, its devices are served and, unless `paused`, it runs. */
export async function createDomain(
  parts: ToolstackParts,
  config: DomainConfig,
  options: CreateOptions,
  onPhase: OnPhase,
): Promise<Domid> {
  const release = reserve(parts, config);
  const undo = new Cleanup();
  try {
    return await new Creation(parts, config, options, onPhase, undo).run();
  } catch (error) {
    await undo
      .run()
      .catch(failure =>
        parts.log.error(`creating '${config.name}' failed, and so did its undoing: ${failure.message}`),
      );
    throw withSource(config, error);
  } finally {
    release();
  }
}

/** The name, and the uuid with it: both are this creation's until it is over. */
function reserve({ records }: ToolstackParts, config: DomainConfig): () => void {
  try {
    const release = records.reserve(config);
    const holder = records.byUuid(config.uuid);
    if (holder === undefined) return release;
    release();
    throw new XenError(
      'EEXIST',
      `uuid: domain '${holder.config.name}' (domid ${holder.domid}) has ${config.uuid} already`,
    );
  } catch (error) {
    throw withSource(config, error);
  }
}

class Creation {
  readonly #parts: ToolstackParts;
  readonly #config: DomainConfig;
  readonly #options: CreateOptions;
  readonly #onPhase: OnPhase;
  readonly #undo: Cleanup;
  #introduced: Promise<void>[] = [];
  /** The host keeps memory for it until it has claimed that. */
  #memoryKept = (): void => {};

  constructor(parts: ToolstackParts, config: DomainConfig, options: CreateOptions, onPhase: OnPhase, undo: Cleanup) {
    this.#parts = parts;
    this.#config = config;
    this.#options = options;
    this.#onPhase = onPhase;
    this.#undo = undo;
  }

  async run(): Promise<Domid> {
    const place = this.#parts.order.take();
    try {
      const checked = await this.#phase('config', () => this.#check());
      await place.turn;
      return await this.#inTurn(checked, place);
    } finally {
      place.leave();
    }
  }

  /** Domids are in the order in which domains were asked for. */
  async #inTurn({ image, devices }: CheckedParts, place: Place): Promise<Domid> {
    this.#memoryKept = await this.#parts.memory.keep(this.#config.memory);
    const nodes = new NodeWriting(this.#parts.xs);
    try {
      await this.#turn(); // its transaction begins while the hypervisor makes the domain
      return await this.#make(image, devices, nodes, place);
    } catch (error) {
      // order: before anything is undone, so that no second attempt writes them again, and nothing is half done.
      await nodes.abandon(error);
      await Promise.allSettled(this.#introduced);
      throw error;
    } finally {
      this.#memoryKept();
    }
  }

  // xenstored and this thread work side by side: it has the nodes while the domain is built, then the introduction
  // while the images are written, and its replies are waited for last.
  async #make(image: DomainImage, devices: readonly DeviceSpec[], nodes: NodeWriting, place: Place): Promise<Domid> {
    const domid = await this.#phase('domain', () => this.#makeDomain(nodes, place));
    await this.#phase('memory', () => this.#build(domid, image, nodes));
    await this.#phase('xenstore', () => nodes.done);
    await this.#phase('introduce', () => allOf(this.#introduced));
    await this.#phase('devices', () => this.#addDevices(domid, devices));
    this.#record(domid);
    // Somebody else finishes it from here on, should we end.
    if (!this.#options.paused) await this.#phase('unpause', () => this.#unpause(domid));
    await this.#parts.faults.at('create', this.#config.name, 'created');
    this.#undo.disarm();
    return domid;
  }

  async #unpause(domid: Domid): Promise<void> {
    this.#parts.xc.unpauseDomain(domid);
    if (isOwnDriverDomain(this.#config)) await driverDomainServes(this.#parts, domid);
  }

  /** Between two steps that keep this thread: what has been answered is read, and what there is to ask goes out. */
  async #turn(): Promise<void> {
    this.#parts.xc.vcpu.events.poll();
    await new Promise(resolve => setImmediate(resolve));
  }

  async #phase<T>(name: ToolstackStep<'create'>, body: () => Promise<T> | T): Promise<T> {
    await this.#parts.faults.at('create', this.#config.name, name);
    const from = this.#parts.clock.now();
    const result = await body();
    this.#onPhase(name, (this.#parts.clock.now() - from) / 1e6);
    return result;
  }

  async #check(): Promise<CheckedParts> {
    const { records, images } = this.#parts;
    const config = this.#config;
    const { backendOf } = await checkConfig(config, records);
    checkConfinement(config, () => this.#parts.xc.confinement());
    const [kernel, ramdisk] = await Promise.all([
      isOwnDriverDomain(config) ? NO_KERNEL : images.load('kernel', config.kernel),
      config.ramdisk === null ? null : images.load('ramdisk', config.ramdisk, this.#options.run?.program),
    ]);
    const image = { kernel, ramdisk, cmdline: config.cmdline };
    checkImageFits(image, config.memory * PAGES_PER_MIB);
    return { image, devices: devicesOf(config, backendOf) };
  }

  async #makeDomain(nodes: NodeWriting, place: Place): Promise<Domid> {
    const { xc, scheduling } = this.#parts;
    // order: noted first. Who takes our place knows by its uuid that it is ours to undo.
    this.#parts.records.creations.set(this.#config.name, this.#config);
    this.#undo.add('creation', () => this.#parts.records.creations.delete(this.#config.name));
    const { uuid, maxvcpus, memory, maxmem, max_grant_frames, max_maptrack_frames, max_event_channels } = this.#config;
    const domid = xc.createDomain({
      uuid,
      maxVcpus: maxvcpus,
      maxGrantFrames: max_grant_frames,
      maxMaptrackFrames: max_maptrack_frames,
      maxEvtchnPort: max_event_channels,
    });
    place.leave();
    this.#undo.add(`dom${domid}`, async () => {
      endDomain(this.#parts, domid);
      await waitUntilGone(this.#parts, domid);
    });
    this.#addNodes(domid, nodes);
    await this.#turn();
    xc.maxVcpus(domid, maxvcpus);
    const offset = timeOffset(this.#config, this.#parts.clock);
    if (offset !== 0) xc.setTimeOffset(domid, offset);
    // order: before it has memory, with which its process comes.
    if (isOwnDriverDomain(this.#config)) xc.setService(domid, XENOLITH_SERVICE_driver_domain);
    // order: the first limit fixes where everything lies in the domain's memory; the second is what it may have now.
    withProcess(this.#parts, domid, () => xc.maxMem(domid, maxmem * 1024));
    xc.maxMem(domid, memory * 1024 + MAXMEM_SLACK_KIB);
    claimPages(xc, domid, memory * PAGES_PER_MIB);
    this.#memoryKept();
    await scheduling.place(domid, this.#config);
    return domid;
  }
  #addNodes(domid: Domid, nodes: NodeWriting): void {
    const { xs, clock } = this.#parts;
    const config = this.#config;
    this.#undo.add('xenstore nodes', async () => {
      const devices = await listDevices(xs, domid);
      await removeDomainNodes(
        xs,
        domid,
        config.uuid,
        devices.map(device => device.backend),
      );
    });
    nodes.add(domainNodes({ domid, config, startTime: clock.wallMs() }));
  }

  async #build(domid: Domid, image: DomainImage, nodes: NodeWriting): Promise<void> {
    const { xc } = this.#parts;
    const nrPages = this.#config.memory * PAGES_PER_MIB;
    xc.populatePhysmap(domid, nrPages);
    await this.#turn();
    const rings = makeRings(xc, domid, image);
    nodes.add(ringNodes(domid, rings));
    nodes.commit();
    this.#introduce(domid, rings);
    await this.#turn();
    // The threads of a program of ours are all there; a guest's kernel brings up what it wants.
    const vcpus = isOwnDriverDomain(this.#config) ? this.#config.maxvcpus : 1;
    loadDomain(xc, domid, nrPages, image, rings, vcpus);
    await this.#turn();
  }

  /** Begins it. It is sent after the nodes; should these have to be written again, nobody knows the domain yet. */
  #introduce(domid: Domid, rings: DomainRings): void {
    const { xs, consoled } = this.#parts;
    // order: before the devices. A backend takes a domain that is not introduced for a dead one.
    this.#undo.add('introduction', () => releaseDomain(this.#parts, domid));
    this.#undo.add('console', () => consoled.disconnect(domid));
    this.#introduced = [
      xs.introduce(domid, rings.storeGfn, rings.storePort),
      consoled.connect(domid, this.#config.name, rings.consolePort),
    ];
    for (const part of this.#introduced) part.catch(() => {}); // heard of in its phase
  }

  async #addDevices(domid: Domid, devices: readonly DeviceSpec[]): Promise<void> {
    const { faults } = this.#parts;
    this.#undo.add('faults', () => faults.domainGone(domid));
    await faults.domainMade(domid);
    await this.#befallConsole(domid);
    if (devices.length === 0) return;
    for (const device of devices) {
      this.#undo.add(`${device.type} ${device.devid}`, () => removeDevice(this.#parts, pathsOf(domid, device)));
    }
    await addDevices(this.#parts, domid, devices);
    // What our backends refuse is the config's fault.
    const own = devices.filter(device => servedByUs(this.#parts, device));
    await allOf(own.map(device => backendReady(this.#parts, domid, device)));
  }

  /** The faults there are for it; it is no device of the config's. */
  async #befallConsole(domid: Domid): Promise<void> {
    const { xs, faults, consoled } = this.#parts;
    const backend = backendPath(CONSOLE.backendDomid, CONSOLE.type, domid, CONSOLE.devid);
    await faults.making(domid, [CONSOLE], async nodes => {
      if (nodes.length === 0) return;
      await writeNodes(xs, nodes);
      await consoled.befall([{ backend }]);
    });
  }

  #record(domid: Domid): void {
    const { records, watch, clock } = this.#parts;
    this.#undo.add('record', () => {
      watch.remove(domid);
      records.remove(domid);
    });
    records.add({
      domid,
      config: this.#config,
      monitor: this.#options.monitor,
      startedAt: clock.now(),
      phase: 'built',
      paused: this.#options.paused,
      run: this.#options.run !== undefined,
      ended: false,
      acted: false,
    });
    // order: watched before it runs, so that no end is missed.
    watch.add(domid);
  }
}

/** Rejects with the first failure, but not before all have come to their end: nothing is undone while it is done. */
async function allOf(promises: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(promises)) if (result.status === 'rejected') throw result.reason;
}

/** Seconds by which a domain's wall clock differs from UTC. */
export function timeOffset(config: Pick<DomainConfig, 'rtc_timeoffset' | 'localtime'>, clock: Clock): number {
  const zone = config.localtime ? -60 * new Date(clock.wallMs()).getTimezoneOffset() : 0;
  return (config.rtc_timeoffset ?? 0) + zone;
}

/** With its memory a domain gets its process. */
function withProcess(parts: Pick<ToolstackParts, 'runDir' | 'startedMs'>, domid: Domid, call: () => void): void {
  try {
    call();
  } catch (error) {
    if (!(error instanceof XenError) || error.code !== 'ENOEXEC') throw error;
    const why = lastSaid(parts, `dom${domid} gets no process: `) ?? 'their processes end before they are theirs';
    throw new XenError('ENOEXEC', `no process for a domain: ${why} (xl doctor says more)`, error);
  }
}
