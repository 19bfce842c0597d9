// One vbd: what the toolstack says of it, what the frontend says of itself, and the worker that serves it.
// Xen: io/blkif.h, "Feature and Parameter Negotiation".
import {
  type Domid,
  isNbdTarget,
  type Log,
  messageOf,
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
import { checkBlocks, formatOf, type NbdImage, type NbdImages } from '../nbd/nbd-images.ts';
import { MAX_QUEUES, MAX_RING_ORDER, readRings, type VbdConnection } from './connection.ts';
import { hostImages, type ImageFiles } from './image-files.ts';
import { ImagesInUse } from './images-in-use.ts';
import { MAX_INDIRECT_SEGMENTS, SECTOR_SIZE } from './request.ts';
import type { BlkbackEvent, BlkbackMessage } from './worker.ts';

/** A thread that runs a BlkbackWorker. */
type BlkbackThread = Pick<BackendThread, 'call' | 'onEvent'>;

interface OpenImage {
  readonly path: string;
  readonly fd: number;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly granularity: number;
  /** Of the medium: parts of it cost more. */
  readonly blockSize: number;
  readonly discard: boolean;
  readonly flush: boolean;
  /** Whose rings it is behind. */
  readonly thread: BlkbackThread;
  readonly close: () => Promise<void> | void;
  /** Of what an NBD server has. */
  readonly grow?: NbdImage['grow'];
}

interface VbdDeviceParts {
  readonly thread: BlkbackThread;
  readonly images: ImagesInUse;
  readonly files: ImageFiles;
  readonly nbd: NbdImages | undefined;
  readonly forget: () => void;
  readonly slow: (() => BlkbackThread) | undefined;
  readonly log: Log;
}

class VbdDevice implements BackendInstance {
  readonly #device: BackendDevice;
  readonly #thread: BlkbackThread;
  readonly #images: ImagesInUse;
  readonly #files: ImageFiles;
  readonly #nbd: NbdImages | undefined;
  readonly #forget: () => void;
  readonly #slow: (() => BlkbackThread) | undefined;
  readonly #log: Log;
  #image: OpenImage | undefined;
  #connection: VbdConnection | undefined;
  #planted: readonly Planted[] = [];
  #isSlow = false;
  /** Its server cannot be reached; and what the frontend has been told. */
  #isAway = false;
  #saidAway = false;
  /** Its server has a larger disk than its frontend knows of. */
  #hasGrown = false;
  #growing: Promise<void> = Promise.resolve();
  #openedAs: readonly unknown[] = [];
  #info = 0;

  constructor(device: BackendDevice, { thread, images, files, nbd, forget, slow, log }: VbdDeviceParts) {
    this.#slow = slow;
    this.#log = log;
    this.#forget = forget;
    this.#device = device;
    this.#thread = thread;
    this.#images = images;
    this.#files = files;
    this.#nbd = nbd;
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
    const cdrom = type === 'cdrom';
    const wanted = [scripts ?? params ?? '', mode ?? 'w', wantDiscard !== '0', cdrom] as const;
    // A server may be away while its frontend connects anew, and what it has not flushed is remembered with the disk.
    const isOpen = (this.#image?.fd ?? 0) < 0 && wanted.every((value, i) => value === this.#openedAs[i]);
    if (!isOpen) {
      await this.#close();
      this.#isAway = false;
      this.#image = await this.#open(...wanted);
      this.#openedAs = wanted;
    }
    const image = this.#image!; // it was open, or is
    this.#info =
      (image.readOnly ? VDISK_READONLY : 0) |
      (cdrom ? VDISK_CDROM : 0) |
      (removable === '1' || cdrom ? VDISK_REMOVABLE : 0);
    return {
      'feature-barrier': 1,
      'feature-flush-cache': image.flush ? 1 : 0,
      'feature-persistent': 1,
      'feature-max-indirect-segments': MAX_INDIRECT_SEGMENTS,
      'max-ring-page-order': MAX_RING_ORDER,
      'max-ring-pages': 1 << MAX_RING_ORDER,
      'multi-queue-max-queues': MAX_QUEUES,
      ...(image.discard
        ? {
            'feature-discard': 1,
            'discard-alignment': 0,
            'discard-granularity': image.granularity,
            'discard-secure': 0,
          }
        : { 'feature-discard': 0 }),
      ...(image.fd < 0 ? this.#sayAway() : {}),
      // Xen: what the hotplug script of a block device would write when it is done.
      'hotplug-status': 'connected',
      'physical-device-path': image.path,
    };
  }

  async connect(): Promise<Keys> {
    const device = this.#device;
    const image = this.#image;
    if (!image) throw new XenError('ENODEV', `${device.label}: it was not probed`);
    // untrusted: from here to the call, every value is the frontend's.
    const [protocol, persistent, rings] = await Promise.all([
      device.frontendKey('protocol'),
      device.frontendNumber('feature-persistent', 1, 0),
      readRings(device),
    ]);
    if ((protocol ?? XEN_IO_PROTO_ABI_NATIVE) !== XEN_IO_PROTO_ABI_X86_64) {
      throw new XenError('EINVAL', `${device.label}: protocol ${JSON.stringify(protocol?.slice(0, 40))}`);
    }
    const connection: VbdConnection = {
      key: device.path,
      label: device.label,
      frontendDomid: device.frontendDomid,
      rings,
      persistent: persistent === 1,
      fd: image.fd,
      sizeBytes: image.sizeBytes,
      readOnly: image.readOnly,
      discard: image.discard,
    };
    this.#connection = connection;
    await this.#call({ op: 'connect', connection });
    return {
      sectors: Math.floor(image.sizeBytes / SECTOR_SIZE),
      'sector-size': SECTOR_SIZE,
      'physical-sector-size': image.blockSize,
      info: this.#info,
      ...(this.#isAway === this.#saidAway ? {} : this.#sayAway()),
    };
  }

  /** Its worker has found it slow. */
  wasSlow(): void {
    this.#isSlow = true;
    this.#device.reconsider();
  }

  /** Its worker has lost its server, or has it again. */
  wasAway(away: boolean): void {
    this.#isAway = away;
    this.#device.reconsider();
  }

  /** Its server has a larger disk now. */
  wasGrown(sizeBytes: number): void {
    this.#grownTo(sizeBytes);
    this.#hasGrown = true;
    this.#device.reconsider();
  }
  #grownTo(sizeBytes: number): void {
    if (this.#image !== undefined) this.#image = { ...this.#image, sizeBytes };
    if (this.#connection !== undefined) this.#connection = { ...this.#connection, sizeBytes };
  }

  async reconsider(asked: boolean): Promise<Keys | undefined> {
    const image = this.#image;
    if (image === undefined) return undefined;
    if (image.fd < 0) return this.#reconsiderServed(image, asked);
    if (this.#isSlow) await this.#move(image);
    return this.#resize(this.#image ?? image);
  }

  async #reconsiderServed({ grow }: OpenImage, asked: boolean): Promise<Keys | undefined> {
    const size = asked ? await this.#device.key('resize') : undefined;
    if (size !== undefined && grow !== undefined) {
      // Not waited for: it takes as long as its server does, in which the device may go.
      this.#growing = this.#growing
        .then(() => grow(size))
        .catch(error => this.#log.error(`${this.#device.label}: resize: ${messageOf(error)}`));
    }
    const image = this.#image; // it may have grown meanwhile
    if (image === undefined || (!this.#hasGrown && this.#isAway === this.#saidAway)) return undefined;
    this.#hasGrown = false;
    return { ...this.#sayAway(), sectors: Math.floor(image.sizeBytes / SECTOR_SIZE) };
  }

  /** To the thread of those that are slow: the ring is gone on with where the other thread has left it. */
  async #move(image: OpenImage): Promise<void> {
    const thread = this.#slow?.();
    const connection = this.#connection;
    this.#isSlow = false;
    if (thread === undefined || connection === undefined || image.thread === thread) return;
    const { path: key, label } = this.#device;
    await image.thread.call({ op: 'disconnect', key });
    if (this.#planted.length > 0) {
      await image.thread.call({ op: 'faults', key, label, planted: [] });
      await thread.call({ op: 'faults', key, label, planted: this.#planted });
    }
    this.#image = { ...image, thread };
    await thread.call({ op: 'connect', connection });
    this.#log.info(`${label}: its image is slow: it has another thread than those that are not`);
  }

  /** Ours: a frontend that sees this waits for as long as it takes. */
  #sayAway(): Keys {
    this.#saidAway = this.#isAway;
    return { reconnecting: this.#isAway ? 1 : 0 };
  }

  async #resize(image: OpenImage): Promise<Keys | undefined> {
    const sizeBytes = this.#files.sizeOf(image.fd);
    // Smaller: what is missing fails when it is asked for, as before.
    if (sizeBytes <= image.sizeBytes) return undefined;
    this.#grownTo(sizeBytes);
    await this.#call({ op: 'resize', key: this.#device.path, sizeBytes });
    return { sectors: Math.floor(sizeBytes / SECTOR_SIZE) };
  }

  async disconnect(): Promise<void> {
    this.#connection = undefined;
    await this.#call({ op: 'disconnect', key: this.#device.path });
  }

  /** What it has open is of no use any more. */
  lost(): void {
    this.#openedAs = [];
  }

  async remove(): Promise<void> {
    this.#forget();
    await this.#close();
  }
  async setFaults(planted: readonly Planted[]): Promise<void> {
    const { path: key, label } = this.#device;
    this.#planted = planted;
    await this.#call({ op: 'faults', key, label, planted });
  }

  async #call(message: BlkbackMessage): Promise<void> {
    await (this.#image?.thread ?? this.#thread).call(message);
  }

  #open(params: string, mode: string, wantDiscard: boolean, cdrom: boolean): OpenImage | Promise<OpenImage> {
    if (!/^(r|w|w!|r!)$/.test(mode))
      throw new XenError('EINVAL', `${this.#device.label}: mode ${mode}, expected r or w`);
    const readOnly = !mode.startsWith('w') || cdrom;
    if (isNbdTarget(params) || formatOf(params) !== undefined)
      return this.#openNbd(params, readOnly, mode.endsWith('!'), wantDiscard && !readOnly);
    return this.#openFile(params, readOnly, mode.endsWith('!'), wantDiscard, cdrom);
  }

  async #openNbd(params: string, readOnly: boolean, shared: boolean, discard: boolean): Promise<OpenImage> {
    const { label, path: key } = this.#device;
    const nbd = this.#nbd;
    if (nbd === undefined) throw new XenError('EOPNOTSUPP', `${label}: raw files are served here, domain 0 has others`);
    const file = formatOf(params);
    const release = this.#images.claim(this.#identityOf(params, file?.path), label, !readOnly, shared);
    let image: NbdImage | undefined;
    try {
      image =
        file === undefined
          ? await nbd.openTarget(key, label, params)
          : await nbd.openFormat(key, label, file, readOnly, discard);
      const { found } = image;
      checkBlocks(label, found, SECTOR_SIZE);
      if (found.readOnly && !readOnly) throw new XenError('EROFS', `${label}: the server has it for reading only`);
      const { close } = image;
      const blockSize = Math.max(SECTOR_SIZE, found.minBlock);
      return {
        ...{ path: file?.path ?? params, fd: -1, sizeBytes: found.sizeBytes, readOnly, flush: found.flush },
        ...{ blockSize, granularity: blockSize, discard: discard && found.trim, thread: nbd.thread },
        grow: image.grow,
        close: async () => {
          await close();
          release();
        },
      };
    } catch (error) {
      await image?.close();
      release();
      if (error instanceof XenError && !error.message.startsWith(label))
        throw new XenError(error.code, `${label}: ${error.message}`, error);
      throw error;
    }
  }
  /** Two paths of one image are one, two spellings of one export are not. */
  #identityOf(params: string, path: string | undefined): string {
    if (path === undefined) return params;
    const { fd, identity } = this.#openHostFile(path, true);
    this.#files.close(fd);
    if (identity === undefined)
      throw new XenError('EINVAL', `${this.#device.label}: its image ${path} is not a regular file`);
    return identity;
  }

  #openFile(params: string, readOnly: boolean, shared: boolean, wantDiscard: boolean, cdrom: boolean): OpenImage {
    const { label } = this.#device;
    // Xen: 'params' of some toolstacks names the driver first, "aio:/path".
    const path = params.replace(/^(aio|raw|file|phy):/, '');
    if (path === '') throw new XenError('ENODEV', `${label}: it has no ${cdrom ? 'medium' : 'image'}`);
    if (!path.startsWith('/')) throw new XenError('EINVAL', `${label}: its image ${path} is not an absolute path`);
    const files = this.#files;
    const { fd, sizeBytes, identity } = this.#openHostFile(path, readOnly);
    try {
      if (identity === undefined) throw new XenError('EINVAL', `${label}: its image ${path} is not a regular file`);
      if (sizeBytes < SECTOR_SIZE) throw new XenError('EINVAL', `${label}: its image ${path} has no whole sector`);
      const release = this.#images.claim(identity, label, !readOnly, shared);
      const granularity = readOnly || !wantDiscard ? 0 : files.discardGranularity(fd);
      const close = (): void => {
        release();
        files.close(fd);
      };
      const thread = this.#thread;
      const discard = granularity > 0;
      const blockSize = SECTOR_SIZE;
      return { path, fd, sizeBytes, readOnly, granularity, blockSize, discard, flush: true, thread, close };
    } catch (error) {
      files.close(fd);
      throw error;
    }
  }
  #openHostFile(path: string, readOnly: boolean): ReturnType<ImageFiles['open']> {
    try {
      return this.#files.open(path, readOnly);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'EIO'; // a system call throws nothing else
      throw new XenError(code, `${this.#device.label}: its image ${path}: ${(error as Error).message}`, error);
    }
  }

  async #close(): Promise<void> {
    const image = this.#image;
    this.#image = undefined;
    await image?.close();
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
  /** For who else claims images. */
  readonly images?: ImagesInUse;
  /** For disks that are no raw files; where there is none, they are not served. */
  readonly nbd?: NbdImages;
  /** Starts the thread of images that are slow, so that they keep only one another waiting. */
  readonly startSlow?: () => BlkbackThread;
}): Backend {
  const { xs, log, thread, files = hostImages, images = new ImagesInUse(), nbd, startSlow } = options;
  let slowThread: BlkbackThread | undefined;
  const slow =
    startSlow &&
    ((): BlkbackThread => {
      if (slowThread === undefined) {
        slowThread = startSlow();
        slowThread.onEvent(hear);
      }
      return slowThread;
    });
  const instances = new Map<string, VbdDevice>();
  const backend = new Backend({
    xs,
    log,
    type: 'vbd',
    ...(options.domid === undefined ? {} : { domid: options.domid }),
    create: device => {
      const { path } = device;
      const forget = (): void => {
        if (instances.get(path) === instance) instances.delete(path);
      };
      const instance = new VbdDevice(device, { thread, images, files, nbd, forget, slow, log });
      instances.set(path, instance);
      return instance;
    },
  });
  const hear = (event: unknown): void => {
    const news = event as BlkbackEvent; // our own workers'
    const device = backend.devices().find(d => d.path === news.key);
    if (news.op === 'injected') device?.injected(news.injected);
    else if (news.op === 'slow') instances.get(news.key)?.wasSlow();
    else if (news.op === 'grown') instances.get(news.key)?.wasGrown(news.sizeBytes);
    else if (news.op === 'away') instances.get(news.key)?.wasAway(news.away);
    else {
      instances.get(news.key)?.lost();
      device?.fail(new XenError(news.code, news.message));
    }
  };
  thread.onEvent(hear);
  nbd?.onEvent(hear);
  return backend;
}
