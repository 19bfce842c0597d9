// blkback's worker and guests with blkfront, in one thread on the real hypervisor core: real rings, real
// grants, real event channels, real image files. Nothing moves but in `step`s.
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { domid, type Vcpu, type XenError } from '#pvbus';
import type { VbdConnection, VbdRingPlace } from '../../dom0/backends/blkback/connection.ts';
import { type DiskImage, RawFile } from '../../dom0/backends/blkback/disk-image.ts';
import type { VbdStats } from '../../dom0/backends/blkback/stats.ts';
import { BlkbackWorker, type VbdFailure } from '../../dom0/backends/blkback/worker.ts';
import type { Blocking } from '../../domu-kernel/block-device.ts';
import { type BufferShape, SharedBuffers } from '../../domu-kernel/drivers/blkfront/buffers.ts';
import { Disk } from '../../domu-kernel/drivers/blkfront/disk.ts';
import { ONE_RING, type RingShape, SharedRings } from '../../domu-kernel/drivers/blkfront/rings.ts';
import { BlkfrontWorker } from '../../domu-kernel/drivers/blkfront/worker.ts';
import { CoreRig, type Guest, LineLog } from './core-rig.ts';

/** The vCPU of dom0 that blkback runs on. */
const BLKBACK_VCPU = 2;
/** Pages of a guest: its rings and buffers, and something for a test. */
const GUEST_PAGES = 1024;

/** A temporary image file, gone with `remove`. */
export class ImageFile {
  readonly path: string;
  readonly fd: number;
  readonly sizeBytes: number;
  readonly #dir: string;

  constructor(content: Uint8Array | number) {
    const bytes = typeof content === 'number' ? new Uint8Array(content) : content;
    this.#dir = mkdtempSync(join(tmpdir(), 'blk-rig-'));
    this.path = join(this.#dir, 'image');
    writeFileSync(this.path, bytes);
    this.fd = openSync(this.path, 'r+');
    this.sizeBytes = bytes.length;
  }
  remove(): void {
    closeSync(this.fd);
    rmSync(this.#dir, { recursive: true });
  }
}

export interface RingEnd {
  readonly domid: number;
  readonly rings: readonly VbdRingPlace[];
}
export type ConnectOptions = Partial<Pick<VbdConnection, 'persistent' | 'readOnly' | 'discard' | 'key' | 'sizeBytes'>>;

export class BlkRig {
  readonly core: CoreRig;
  readonly log = new LineLog();
  readonly failures: VbdFailure[] = [];
  readonly vcpu: Vcpu;
  readonly worker: BlkbackWorker;
  /** Replace it to have the next connections on a disk that fails. */
  openImage: (connection: VbdConnection) => DiskImage = c => new RawFile(c.fd, c.sizeBytes);

  constructor() {
    this.core = new CoreRig();
    this.vcpu = this.core.dom0.kernel(BLKBACK_VCPU);
    this.worker = new BlkbackWorker(
      {
        vcpu: this.vcpu,
        log: this.log,
        clock: this.core.clock,
        tell: event => this.failures.push(event as VbdFailure),
        wake: () => {},
      },
      connection => this.openImage(connection),
    );
  }

  /** What device.ts does once a frontend has published its ring. Returns the connection's key. */
  connect(ring: RingEnd, image: ImageFile, options: ConnectOptions = {}): string {
    const connection: VbdConnection = {
      key: `dom${ring.domid}`,
      label: `vbd 51712 of dom${ring.domid}`,
      frontendDomid: ring.domid,
      rings: ring.rings,
      persistent: true,
      fd: image.fd,
      sizeBytes: image.sizeBytes,
      readOnly: false,
      discard: true,
      ...options,
    };
    this.worker.handle({ op: 'connect', connection });
    return connection.key;
  }
  disconnect(key: string): void {
    this.worker.handle({ op: 'disconnect', key });
  }
  stats(key: string): VbdStats | undefined {
    return (this.worker.handle({ op: 'stats' }) as Record<string, VbdStats>)[key];
  }

  /** One turn of the backend's thread. */
  step(): 'progress' | 'idle' {
    const polled = this.vcpu.events.poll();
    return this.worker.step() === 'progress' || polled ? 'progress' : 'idle';
  }
  run(): void {
    while (this.step() === 'progress');
  }

  guest(shape?: BufferShape): BlkGuest {
    return new BlkGuest(this, shape);
  }
}

/** A guest with one disk. */
export class BlkGuest {
  readonly rig: BlkRig;
  readonly guest: Guest;
  readonly vcpu: Vcpu;
  readonly log = new LineLog();
  readonly broken: XenError[] = [];
  readonly worker: BlkfrontWorker;
  readonly disk: Disk;
  buffers: SharedBuffers | undefined;
  rings: SharedRings | undefined;
  ring: RingEnd | undefined;
  key: string | undefined;
  /** What its kernel's waitUntil runs besides its own steps. */
  readonly blocking: Blocking;

  constructor(rig: BlkRig, shape?: BufferShape) {
    this.rig = rig;
    this.guest = rig.core.guest({ pages: GUEST_PAGES });
    this.vcpu = this.guest.kernel();
    const onBroken = (error: XenError): void => void this.broken.push(error);
    this.worker = new BlkfrontWorker(this.vcpu, this.log, 'xvda', 51712, onBroken, shape);
    this.blocking = {
      waitUntil: condition => {
        for (let idle = 0; !condition(); ) {
          const moved = this.step() === 'progress' || rig.step() === 'progress';
          idle = moved ? 0 : idle + 1;
          if (idle > 10) throw new Error('deadlock: both ends are idle and the answer is not there');
        }
      },
    };
    this.disk = new Disk(this.worker, 'xvda', this.log, this.blocking);
  }

  /** A ring to publish, as the driver's setup makes it. */
  setup(maxSegments = 256, ringShape = ONE_RING): RingEnd {
    const peer = domid(0);
    this.buffers ??= new SharedBuffers(this.vcpu.grants, peer, this.worker.shape);
    if (this.rings?.shape !== ringShape) this.rings = new SharedRings(this.vcpu.grants, peer, ringShape);
    const { rings } = this.rings;
    const ports = rings.map(() => this.vcpu.events.allocUnbound(peer));
    for (const port of ports) this.vcpu.events.on(port, () => {});
    this.worker.attach(this.rings, this.buffers, ports, maxSegments);
    const places = rings.map(({ refs }, i) => ({ ringRefs: refs, eventChannel: ports[i]! }));
    this.ring = { domid: this.guest.domid, rings: places };
    return this.ring;
  }
  /** Both ends connected, the disk usable. */
  connect(image: ImageFile, options: ConnectOptions & { maxSegments?: number; ringShape?: RingShape } = {}): this {
    this.key = this.rig.connect(this.setup(options.maxSegments, options.ringShape), image, options);
    this.disk.setProperties({
      sectors: Math.floor(image.sizeBytes / 512),
      readOnly: options.readOnly ?? false,
      flush: true,
      discardGranularity: (options.discard ?? true) ? 512 : 0,
    });
    this.worker.resume();
    return this;
  }

  /** One turn of the guest's kernel. */
  step(): 'progress' | 'idle' {
    const polled = this.vcpu.events.poll();
    return this.worker.step() === 'progress' || polled ? 'progress' : 'idle';
  }
}
