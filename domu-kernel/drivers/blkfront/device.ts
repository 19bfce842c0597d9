// One disk of this domain: negotiation with its backend, twin of dom0/backends/blkback/device.ts.
// Xen: io/blkif.h, "Feature and Parameter Negotiation".
import {
  all,
  blkif_sring_entry,
  type Clock,
  ERRNO,
  type EvtchnPort,
  type Log,
  PAGE_SIZE,
  parseDecimal,
  type Routine,
  ringEntries,
  type Vcpu,
  VDISK_READONLY,
  XEN_IO_PROTO_ABI_X86_64,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import type { Blocking } from '../../block-device.ts';
import { Frontend, type FrontendDevice, type FrontendInstance, findDevices, type Keys } from '../frontend-device.ts';
import { type BufferShape, DEFAULT_SHAPE, SharedBuffers } from './buffers.ts';
import { Disk } from './disk.ts';
import { SECTOR_SIZE } from './request.ts';
import { ONE_RING, type RingShape, SharedRings } from './rings.ts';
import { vdevName } from './vdev-name.ts';
import { BlkfrontWorker } from './worker.ts';

/** A disk of more sectors has a size in bytes that is no exact number. */
const MAX_SECTORS = Number.MAX_SAFE_INTEGER / SECTOR_SIZE;

/** Whatever a backend offers. Xen: Linux has rings of 16 pages at most. */
const MAX_QUEUES = 16;
const MAX_ORDER = 4;
const entriesOf = (order: number): number => ringEntries(blkif_sring_entry.size, PAGE_SIZE << order);
const isSame = (a: RingShape, b: RingShape): boolean => a.queues === b.queues && a.order === b.order;

export interface BlkfrontOptions {
  readonly xs: XenstoreClient;
  readonly vcpu: Vcpu;
  readonly log: Log;
  readonly clock?: Clock;
  readonly blocking: Blocking;
  readonly shape?: BufferShape;
  /** A disk is in use for the first time; for those plugged in later. */
  readonly onDisk?: (disk: Disk) => void;
}

/** untrusted: the backend's `sectors`. */
function sectorsOf(text: string | undefined): number | undefined {
  const n = text !== undefined && /^[0-9]{1,16}$/.test(text) ? Number(text) : 0;
  return n >= 1 && n <= MAX_SECTORS ? n : undefined;
}

class Vbd implements FrontendInstance {
  readonly disk: Disk;
  readonly worker: BlkfrontWorker;
  readonly #device: FrontendDevice;
  readonly #vcpu: Vcpu;
  readonly #log: Log;
  readonly #shape: BufferShape;
  #buffers: SharedBuffers | undefined;
  #rings: SharedRings | undefined;
  #ports: EvtchnPort[] = [];
  /** What the nodes say of its rings; nothing says that it is one. */
  #said: RingShape = ONE_RING;
  #answered = 0;
  readonly #gone: () => void;

  /** `gone`: nothing happens on its ring any more. */
  constructor(device: FrontendDevice, options: BlkfrontOptions, gone: () => void) {
    const { vcpu, log, shape = DEFAULT_SHAPE } = options;
    this.#device = device;
    this.#vcpu = vcpu;
    this.#log = log;
    this.#shape = shape;
    this.#gone = gone;
    const name = vdevName(device.devid);
    this.worker = new BlkfrontWorker(vcpu, log, name, device.devid, error => device.fail(error), shape);
    this.disk = new Disk(this.worker, name, log, options.blocking);
  }

  *setup(): Routine<Keys> {
    const device = this.#device;
    const { worker } = this;
    // untrusted: the backend's. What it does not say, or says wrongly, it cannot do.
    const [segments, maxQueues, maxOrder] = yield* all([
      device.backendKey('feature-max-indirect-segments'),
      device.backendKey('multi-queue-max-queues'),
      device.backendKey('max-ring-page-order'),
    ]);
    const ringShape = yield* this.#ringShape(parseDecimal(maxQueues) ?? 1, parseDecimal(maxOrder) ?? 0);
    this.#drain();
    const { events, grants } = this.#vcpu;
    this.#closePorts();
    const peer = device.backendDomid;
    const old = this.#buffers;
    const oldRings = this.#rings;
    const fit = oldRings?.peer === peer && isSame(oldRings.shape, ringShape);
    const rings = fit ? oldRings : new SharedRings(grants, peer, ringShape);
    let buffers: SharedBuffers;
    try {
      buffers = old?.peer === peer ? old : new SharedBuffers(grants, peer, this.#shape);
    } catch (error) {
      if (rings !== oldRings) rings.release();
      throw error;
    }
    this.#rings = rings;
    this.#buffers = buffers;
    for (let i = 0; i < ringShape.queues; i++) {
      const port = events.allocUnbound(peer);
      this.#ports.push(port);
      events.on(port, () => {}); // only to be woken: step looks at the rings itself
    }
    worker.attach(rings, buffers, this.#ports, parseDecimal(segments) ?? 0);
    if (old && old !== buffers) this.#quarantine(old.release());
    if (oldRings && oldRings !== rings) this.#quarantine(oldRings.release());
    return { ...this.#ringKeys(rings), protocol: XEN_IO_PROTO_ABI_X86_64, 'feature-persistent': 1 };
  }

  /** A ring for each vCPU that is to be up, as Linux has it, and pages enough for all requests of a page. */
  *#ringShape(maxQueues: number, maxOrder: number): Routine<RingShape> {
    const { small } = this.#shape;
    const vcpus = maxQueues > 1 ? yield* this.#device.vcpus(this.#vcpu.layout.maxVcpus) : 1;
    const queues = Math.max(1, Math.min(vcpus, maxQueues, MAX_QUEUES));
    let order = 0;
    const each = Math.ceil(small / queues);
    while (order < Math.min(maxOrder, MAX_ORDER) && entriesOf(order) < each) order++;
    return { queues, order };
  }
  /** Xen: io/blkif.h, with the notes on multi-page rings and on multi-queue. */
  #ringKeys({ rings, shape: { queues, order } }: SharedRings): Keys {
    const keys: Record<string, string | number> = {};
    // What was said to the backend before is still there.
    const said = this.#said;
    this.#said = { queues, order };
    if (order !== said.order) keys['ring-page-order'] = order;
    if (queues !== said.queues) keys['multi-queue-num-queues'] = queues;
    for (const [queue, { refs }] of rings.entries()) {
      const at = queues === 1 ? '' : `queue-${queue}/`;
      if (order === 0) keys[`${at}ring-ref`] = refs[0]!;
      else for (const [i, ref] of refs.entries()) keys[`${at}ring-ref${i}`] = ref;
      keys[`${at}event-channel`] = this.#ports[queue]!;
    }
    return keys;
  }

  *connected(): Routine<void> {
    const device = this.#device;
    const [sectors, sectorSize, info, flush, discard, granularity] = yield* all([
      device.backendKey('sectors'),
      device.backendNumber('sector-size', 0xffffffff, SECTOR_SIZE),
      device.backendNumber('info', 0xffffffff, 0),
      device.backendKey('feature-flush-cache'),
      device.backendKey('feature-discard'),
      // Xen: absent, it is the sector's size.
      device.backendNumber('discard-granularity', 0xffffffff, SECTOR_SIZE),
    ]);
    const n = sectorsOf(sectors);
    if (n === undefined) {
      const said = sectors === undefined ? undefined : `claims ${JSON.stringify(sectors.slice(0, 40))} sectors`;
      throw new XenError('EINVAL', `${device.label}: the backend ${said ?? 'does not say how many sectors it has'}`);
    }
    if (sectorSize !== SECTOR_SIZE) {
      // Xen: a backend may only use another size with frontends that announced 'feature-large-sector-size'.
      throw new XenError('EINVAL', `${device.label}: the backend has sectors of ${sectorSize} bytes, expected 512`);
    }
    this.disk.setProperties({
      sectors: n,
      readOnly: (info & VDISK_READONLY) !== 0,
      flush: flush === '1',
      discardGranularity: discard === '1' ? Math.max(granularity, SECTOR_SIZE) : 0,
    });
    this.worker.resume();
  }

  *refreshed(): Routine<void> {
    const sectors = sectorsOf(yield* this.#device.backendKey('sectors'));
    if (sectors === undefined || sectors === this.disk.sectors) return;
    this.#log.info(`${this.disk.name}: ${sectors} sectors, it had ${this.disk.sectors}`);
    this.disk.resize(sectors);
  }

  disconnect(): void {
    this.worker.suspend();
  }

  remove(reason: XenError): void {
    this.#drain();
    this.worker.fail(reason.code === 'ENODEV' ? ERRNO.ENODEV : ERRNO.EIO);
    this.#closePorts();
    this.worker.detach();
    this.#gone();
  }

  release(): void {
    if (this.#buffers) this.#quarantine(this.#buffers.release());
    if (this.#rings) this.#quarantine(this.#rings.release());
    this.#buffers = undefined;
    this.#rings = undefined;
  }
  #quarantine(pages: number): void {
    if (pages === 0) return;
    this.worker.stats.quarantined += pages;
    this.#log.warn(`${this.disk.name}: the backend keeps ${pages} shared pages mapped; they are not used again`);
  }

  get waits(): boolean {
    return this.worker.inFlight > 0;
  }
  /** Requests that are not answered: the notification may have been lost. */
  look(): void {
    this.worker.remind();
  }
  get unanswered(): number {
    return this.worker.inFlight;
  }
  get answered(): number {
    return this.worker.stats.responses;
  }

  /** The last answers of a backend that is leaving may have come after it said so. */
  #drain(): void {
    while (this.worker.step() === 'progress');
    const { responses } = this.worker.stats;
    if (responses > this.#answered) this.#device.healthy();
    this.#answered = responses;
  }

  #closePorts(): void {
    for (const port of this.#ports.splice(0)) this.#vcpu.events.close(port);
  }
}

/** Every disk of this domain. */
export class Blkfront {
  readonly #frontend: Frontend;
  readonly #find: () => Promise<void>;
  #workers: BlkfrontWorker[] = [];

  constructor(options: BlkfrontOptions) {
    const { xs, log, clock, vcpu, onDisk } = options;
    this.#frontend = new Frontend({
      xs,
      log,
      clock,
      type: 'vbd',
      domid: vcpu.domid,
      create: device => this.#create(device, options),
      onConnected: device => onDisk?.(vbdOf(device).disk),
    });
    this.#find = () => findDevices(xs, vcpu.domid, [this.#frontend]);
  }

  /** Find the disks of a domain that has no other devices, and wait for them. */
  async start(): Promise<void> {
    await this.#find();
    await this.ready();
  }
  /** Wait until each that was found is connected or has failed. */
  async ready(): Promise<void> {
    await Promise.allSettled(this.#frontend.devices().map(device => device.ready()));
  }
  get frontend(): Frontend {
    return this.#frontend;
  }
  #create(device: FrontendDevice, options: BlkfrontOptions): Vbd {
    const vbd = new Vbd(device, options, () => {
      this.#workers = this.#workers.filter(worker => worker !== vbd.worker);
    });
    this.#workers = [...this.#workers, vbd.worker];
    return vbd;
  }
  /** Those that have been connected, in the order of their numbers. */
  disks(): Disk[] {
    return this.#frontend
      .devices()
      .map(device => vbdOf(device).disk)
      .filter(disk => disk.sectors > 0);
  }
  step(): 'progress' | 'idle' {
    const workers = this.#workers;
    let progress = false;
    for (let i = 0; i < workers.length; i++) if (workers[i]!.step() === 'progress') progress = true;
    return progress ? 'progress' : 'idle';
  }
  /** Flush nothing, promise nothing: close every disk, before the domain ends. */
  close(): Promise<void> {
    return this.#frontend.close();
  }
}

const vbdOf = (device: FrontendDevice): Vbd => device.instance as Vbd; // made by create above
