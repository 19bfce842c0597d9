// One vbd: what the toolstack says of it, what the frontend says of itself, and the worker that serves it.
// Xen: io/blkif.h, "Feature and Parameter Negotiation".
import {
  type Domid,
  type Log,
  type Planted,
  VDISK_CDROM,
  VDISK_READONLY,
  VDISK_REMOVABLE,
  XEN_IO_PROTO_ABI_NATIVE,
  XEN_IO_PROTO_ABI_X86_64,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import { Backend, type BackendDevice, type BackendInstance, type Keys } from '../backend-device.ts';
import type { BackendThread } from '../backend-thread.ts';
import { hostImages, type ImageFiles } from './image-files.ts';
import { MAX_INDIRECT_SEGMENTS, SECTOR_SIZE } from './request.ts';
import type { VbdConnection } from './vbd.ts';
import type { BlkbackEvent, BlkbackMessage } from './worker.ts';

/** A thread that runs a BlkbackWorker. */
type BlkbackThread = Pick<BackendThread, 'call' | 'onEvent'>;

interface OpenImage {
  readonly path: string;
  readonly fd: number;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly granularity: number;
  readonly discard: boolean;
  readonly release: () => void;
}

/** Which images are in use, so that two domains do not write to one file unasked. */
class ImagesInUse {
  readonly #users = new Map<string, { label: string; writer: boolean; shared: boolean }[]>();

  /** Throws EBUSY. `shared`: the administrator said so, `w!`. Returns how to end the use. */
  claim(file: string, label: string, writer: boolean, shared: boolean): () => void {
    const users = this.#users.get(file) ?? [];
    const other = users.find(user => (user.writer || writer) && !user.shared && !shared);
    if (other) throw new XenError('EBUSY', `${label}: its image is in use by ${other.label}`);
    const user = { label, writer, shared };
    this.#users.set(file, [...users, user]);
    return () => {
      const left = (this.#users.get(file) ?? []).filter(u => u !== user);
      if (left.length > 0) this.#users.set(file, left);
      else this.#users.delete(file);
    };
  }
}

class VbdDevice implements BackendInstance {
  readonly #device: BackendDevice;
  readonly #thread: BlkbackThread;
  readonly #images: ImagesInUse;
  readonly #files: ImageFiles;
  #image: OpenImage | undefined;
  #info = 0;

  constructor(device: BackendDevice, thread: BlkbackThread, images: ImagesInUse, files: ImageFiles) {
    this.#device = device;
    this.#thread = thread;
    this.#images = images;
    this.#files = files;
  }

  async probe(): Promise<Keys> {
    const device = this.#device;
    const [params, scripts, mode, wantDiscard, removable, type] = await Promise.all([
      device.key('params'),
      scriptsPath(device),
      device.key('mode'),
      device.key('discard-enable'),
      device.key('removable'),
      device.key('device-type'),
    ]);
    this.#close();
    const cdrom = type === 'cdrom';
    this.#image = this.#open(scripts ?? params ?? '', mode ?? 'w', wantDiscard !== '0', cdrom);
    this.#info =
      (this.#image.readOnly ? VDISK_READONLY : 0) |
      (cdrom ? VDISK_CDROM : 0) |
      (removable === '1' || cdrom ? VDISK_REMOVABLE : 0);
    return {
      'feature-barrier': 0,
      'feature-flush-cache': 1,
      'feature-persistent': 1,
      'feature-max-indirect-segments': MAX_INDIRECT_SEGMENTS,
      'max-ring-page-order': 0,
      'multi-queue-max-queues': 1,
      ...(this.#image.discard
        ? {
            'feature-discard': 1,
            'discard-alignment': 0,
            'discard-granularity': this.#image.granularity,
            'discard-secure': 0,
          }
        : { 'feature-discard': 0 }),
      // Xen: what the hotplug script of a block device would write when it is done.
      'hotplug-status': 'connected',
      'physical-device-path': this.#image.path,
    };
  }

  async connect(): Promise<Keys> {
    const device = this.#device;
    const image = this.#image;
    if (!image) throw new XenError('ENODEV', `${device.label}: it was not probed`);
    // untrusted: from here to the call, every value is the frontend's.
    const [protocol, order, queues, persistent, ringRef, eventChannel] = await Promise.all([
      device.frontendKey('protocol'),
      device.frontendNumber('ring-page-order', 0, 0),
      device.frontendNumber('multi-queue-num-queues', 1, 1),
      device.frontendNumber('feature-persistent', 1, 0),
      device.frontendNumber('ring-ref'),
      device.frontendNumber('event-channel'),
    ]);
    if ((protocol ?? XEN_IO_PROTO_ABI_NATIVE) !== XEN_IO_PROTO_ABI_X86_64) {
      throw new XenError('EINVAL', `${device.label}: protocol ${JSON.stringify(protocol?.slice(0, 40))}`);
    }
    if (order !== 0 || queues !== 1) throw new XenError('EINVAL', `${device.label}: ${queues} rings of order ${order}`);
    const connection: VbdConnection = {
      key: device.path,
      label: device.label,
      frontendDomid: device.frontendDomid,
      ringRef,
      eventChannel,
      persistent: persistent === 1,
      fd: image.fd,
      sizeBytes: image.sizeBytes,
      readOnly: image.readOnly,
      discard: image.discard,
    };
    await this.#call({ op: 'connect', connection });
    return {
      sectors: Math.floor(image.sizeBytes / SECTOR_SIZE),
      'sector-size': SECTOR_SIZE,
      'physical-sector-size': SECTOR_SIZE,
      info: this.#info,
    };
  }

  async disconnect(): Promise<void> {
    await this.#call({ op: 'disconnect', key: this.#device.path });
  }

  async remove(): Promise<void> {
    this.#close();
  }
  async setFaults(planted: readonly Planted[]): Promise<void> {
    const { path: key, label } = this.#device;
    await this.#call({ op: 'faults', key, label, planted });
  }

  async #call(message: BlkbackMessage): Promise<void> {
    await this.#thread.call(message);
  }

  #open(params: string, mode: string, wantDiscard: boolean, cdrom: boolean): OpenImage {
    const { label } = this.#device;
    // Xen: 'params' of some toolstacks names the driver first, "aio:/path".
    const path = params.replace(/^(aio|raw|file|phy):/, '');
    if (path === '') throw new XenError('ENODEV', `${label}: it has no ${cdrom ? 'medium' : 'image'}`);
    if (!path.startsWith('/')) throw new XenError('EINVAL', `${label}: its image ${path} is not an absolute path`);
    if (!/^(r|w|w!|r!)$/.test(mode)) throw new XenError('EINVAL', `${label}: mode ${mode}, expected r or w`);
    const readOnly = !mode.startsWith('w') || cdrom;
    const files = this.#files;
    let file: ReturnType<ImageFiles['open']>;
    try {
      file = files.open(path, readOnly);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'EIO'; // a system call throws nothing else
      throw new XenError(code, `${label}: its image ${path}: ${(error as Error).message}`, error);
    }
    const { fd, sizeBytes, identity } = file;
    try {
      if (identity === undefined) throw new XenError('EINVAL', `${label}: its image ${path} is not a regular file`);
      if (sizeBytes < SECTOR_SIZE) throw new XenError('EINVAL', `${label}: its image ${path} has no whole sector`);
      const release = this.#images.claim(identity, label, !readOnly, mode.endsWith('!'));
      const granularity = readOnly || !wantDiscard ? 0 : files.discardGranularity(fd);
      return { path, fd, sizeBytes, readOnly, granularity, discard: granularity > 0, release };
    } catch (error) {
      files.close(fd);
      throw error;
    }
  }

  #close(): void {
    const image = this.#image;
    if (!image) return;
    this.#image = undefined;
    image.release();
    this.#files.close(image.fd);
  }
}

/** Xen: block-scripts. What a device's script has made of its params. */
async function scriptsPath(device: BackendDevice): Promise<string | undefined> {
  if ((await device.key('script')) === undefined) return undefined;
  return device.key('physical-device-path');
}

/** Every vbd whose backend is in this domain, served by `thread`. */
export function createBlkback(options: {
  readonly xs: XenstoreClient;
  readonly log: Log;
  readonly thread: BlkbackThread;
  readonly domid?: Domid;
  /** The host's, unless told. */
  readonly files?: ImageFiles;
}): Backend {
  const { xs, log, thread, files = hostImages } = options;
  const images = new ImagesInUse();
  const backend = new Backend({
    xs,
    log,
    type: 'vbd',
    ...(options.domid === undefined ? {} : { domid: options.domid }),
    create: device => new VbdDevice(device, thread, images, files),
  });
  thread.onEvent(event => {
    const news = event as BlkbackEvent; // our own worker's
    const device = backend.devices().find(d => d.path === news.key);
    if (news.op === 'injected') device?.injected(news.injected);
    else device?.fail(new XenError(news.code, news.message));
  });
  return backend;
}
