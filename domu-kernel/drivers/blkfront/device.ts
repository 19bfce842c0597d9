// One disk of this domain: negotiation with its backend, twin of dom0/backends/blkback/device.ts.
// Xen: io/blkif.h, "Feature and Parameter Negotiation".
import {
  all,
  type Clock,
  ERRNO,
  type EvtchnPort,
  type Log,
  parseDecimal,
  type Routine,
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
import { vdevName } from './vdev-name.ts';
import { BlkfrontWorker } from './worker.ts';

/** A disk of more sectors has a size in bytes that is no exact number. */
const MAX_SECTORS = Number.MAX_SAFE_INTEGER / SECTOR_SIZE;

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
  #port: EvtchnPort | undefined;
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
    const maxSegments = parseDecimal(yield* device.backendKey('feature-max-indirect-segments')) ?? 0;
    this.#drain();
    const { events, grants } = this.#vcpu;
    this.#closePort();
    const peer = device.backendDomid;
    const old = this.#buffers;
    if (old?.peer !== peer) this.#buffers = new SharedBuffers(grants, peer, this.#shape);
    const buffers = this.#buffers!;
    this.#port = events.allocUnbound(peer);
    events.on(this.#port, () => {}); // only to be woken: step looks at the ring itself
    worker.attach(buffers, this.#port, maxSegments);
    if (old && old !== buffers) worker.stats.quarantined += old.release();
    return {
      'ring-ref': buffers.ringRef,
      'event-channel': this.#port,
      protocol: XEN_IO_PROTO_ABI_X86_64,
      'feature-persistent': 1,
    };
  }

  *connected(): Routine<void> {
    const device = this.#device;
    const [sectors, sectorSize, info, flush, discard] = yield* all([
      device.backendKey('sectors'),
      device.backendNumber('sector-size', 0xffffffff, SECTOR_SIZE),
      device.backendNumber('info', 0xffffffff, 0),
      device.backendKey('feature-flush-cache'),
      device.backendKey('feature-discard'),
    ]);
    const n = sectorsOf(sectors);
    if (n === undefined) {
      throw new XenError(
        'EINVAL',
        `${device.label}: the backend claims ${JSON.stringify(sectors?.slice(0, 40))} sectors`,
      );
    }
    if (sectorSize !== SECTOR_SIZE) {
      // Xen: a backend may only use another size with frontends that announced 'feature-large-sector-size'.
      throw new XenError('EINVAL', `${device.label}: the backend has sectors of ${sectorSize} bytes, expected 512`);
    }
    this.disk.setProperties({
      sectors: n,
      readOnly: (info & VDISK_READONLY) !== 0,
      flush: flush === '1',
      discard: discard === '1',
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
    this.#closePort();
    this.worker.detach();
    this.#gone();
  }

  release(): void {
    if (this.#buffers) this.worker.stats.quarantined += this.#buffers.release();
    this.#buffers = undefined;
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

  #closePort(): void {
    if (this.#port !== undefined) this.#vcpu.events.close(this.#port);
    this.#port = undefined;
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
