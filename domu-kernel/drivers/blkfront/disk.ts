// A disk as programs see it, on top of the ring: cuts transfers into requests, copies once, waits.
import {
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  ERRNO,
  errnoName,
  type Log,
  XenError,
} from '#pvbus';
import type { BlockDevice, Blocking, Piece } from '../../block-device.ts';
import { Gather } from './gather.ts';
import { SECTOR_SIZE } from './request.ts';
import type { BlkfrontWorker, SlotWaiter } from './worker.ts';

/** What a backend said of a disk, checked. */
export interface DiskProperties {
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly flush: boolean;
  /** Bytes; 0: the disk takes none. */
  readonly discardGranularity: number;
}

/** Requests one blocking call keeps in flight: enough to have the backend always busy. */
const PIPELINE = 8;
/** A slot whose answer is looked for, not heard. */
const polled: SlotWaiter = { settled: () => {} };
const isRead = (operation: number): boolean => operation === BLKIF_OP_READ;
const VERBS: Readonly<Record<number, string>> = {
  [BLKIF_OP_READ]: 'read',
  [BLKIF_OP_WRITE]: 'write',
  [BLKIF_OP_FLUSH_DISKCACHE]: 'flush',
  [BLKIF_OP_DISCARD]: 'discard',
};

/** A submitted transfer: `buffer` in pieces, each a request. Flush and discard are one piece without bytes. */
interface Transfer {
  readonly operation: number;
  readonly sector: number;
  readonly buffer: Uint8Array;
  /** For a discard: sectors. */
  readonly count: number;
  issued: number;
  left: number;
  error: XenError | undefined;
  resolve(): void;
  reject(error: XenError): void;
}
const NO_BYTES = new Uint8Array(0);

export class Disk implements BlockDevice {
  readonly name: string;
  readonly sectorSize = SECTOR_SIZE;
  readonly worker: BlkfrontWorker;
  readonly #log: Log;
  readonly #blocking: Blocking;
  #properties: DiskProperties = { sectors: 0, readOnly: true, flush: false, discardGranularity: 0 };
  #next: Int32Array;
  #lengths: Int32Array;
  #awaited = -1;
  readonly #awaitedIsDone = (): boolean => this.worker.done(this.#awaited);
  readonly #slotIsFree = (): boolean => this.worker.available();
  /** Submitted transfers that wait for slots. */
  readonly #transfers: Transfer[] = [];
  #issuing = false;

  constructor(worker: BlkfrontWorker, name: string, log: Log, blocking: Blocking) {
    this.worker = worker;
    this.name = name;
    this.#log = log;
    this.#blocking = blocking;
    this.#next = new Int32Array(worker.slots);
    this.#lengths = new Int32Array(worker.slots);
    worker.onFree = () => {
      if (this.#transfers.length > 0) this.#issue();
    };
  }

  get sectors(): number {
    return this.#properties.sectors;
  }
  get readOnly(): boolean {
    return this.#properties.readOnly;
  }
  get discardGranularity(): number {
    return this.#properties.discardGranularity;
  }
  /** A backend has connected and said this of the disk. */
  setProperties(properties: DiskProperties): void {
    this.#properties = properties;
  }

  resize(sectors: number): void {
    this.#properties = { ...this.#properties, sectors };
  }

  // ---- blocking ----

  read(sector: number, into: Uint8Array): void {
    this.#check(BLKIF_OP_READ, sector, into.length / SECTOR_SIZE);
    this.#transfer(BLKIF_OP_READ, sector, into);
  }

  write(sector: number, from: Uint8Array): void {
    this.#check(BLKIF_OP_WRITE, sector, from.length / SECTOR_SIZE);
    this.#transfer(BLKIF_OP_WRITE, sector, from);
  }

  /** As many requests at a time as there are slots. */
  writeAll(pieces: readonly Piece[]): void {
    const { worker } = this;
    for (const { sector, bytes } of pieces) this.#check(BLKIF_OP_WRITE, sector, bytes.length / SECTOR_SIZE);
    const gather = new Gather(pieces);
    let inFlight = 0;
    let failure: XenError | undefined;
    const write = (slot: number): void => {
      const { sector } = gather;
      const length = gather.take(worker.buffer(slot), worker.capacity(slot));
      inFlight++;
      worker.queue(slot, BLKIF_OP_WRITE, sector, length, {
        settled: (_, status) => {
          if (status !== 0) failure ??= this.#failed(BLKIF_OP_WRITE, sector, length / SECTOR_SIZE, status);
          inFlight--;
          worker.release(slot);
        },
      });
    };
    const hasMore = (): boolean => failure === undefined && !gather.isEmpty;
    const canGoOn = (): boolean => worker.failed !== 0 || (hasMore() ? worker.available() : inFlight === 0);
    while (hasMore() || inFlight > 0) {
      while (hasMore() && worker.available()) write(worker.acquire(gather.length));
      worker.push();
      this.#blocking.waitUntil(canGoOn);
      // The disk went meanwhile, and its buffers with it.
      if (worker.failed !== 0) failure ??= this.#failed(BLKIF_OP_WRITE, 0, 0, -worker.failed);
    }
    if (failure !== undefined) throw failure;
  }

  flush(): void {
    this.#check(BLKIF_OP_FLUSH_DISKCACHE, 0, 0);
    if (!this.#properties.flush) return; // a backend without a cache to flush
    const status = this.#single(BLKIF_OP_FLUSH_DISKCACHE, 0, 0);
    // Xen: EOPNOTSUPP may come at any time; it says that there is no cache.
    if (status === -ERRNO.EOPNOTSUPP) this.#withoutFlush();
    else if (status !== 0) throw this.#failed(BLKIF_OP_FLUSH_DISKCACHE, 0, 0, status);
  }

  discard(sector: number, count: number): void {
    this.#check(BLKIF_OP_DISCARD, sector, count);
    const status = this.#single(BLKIF_OP_DISCARD, sector, count);
    if (status !== 0) throw this.#failed(BLKIF_OP_DISCARD, sector, count, status);
  }

  /** Requests are sent in order, up to PIPELINE at a time, and waited for in order. Allocates nothing. */
  #transfer(operation: number, sector: number, buffer: Uint8Array): void {
    const { worker } = this;
    const next = this.#next;
    const lengths = this.#lengths;
    const total = buffer.length;
    let issued = 0;
    let done = 0;
    let inFlight = 0;
    let head = -1;
    let tail = -1;
    let failure = 0;
    while (done < issued || (issued < total && failure === 0)) {
      // The disk went meanwhile, and its buffers with it.
      if (worker.failed !== 0) failure ||= -worker.failed;
      while (issued < total && inFlight < PIPELINE && failure === 0) {
        const slot = worker.acquire(total - issued);
        if (slot < 0) break;
        const length = Math.min(total - issued, worker.capacity(slot));
        if (operation === BLKIF_OP_WRITE) copy(buffer, issued, worker.buffer(slot), 0, length);
        worker.queue(slot, operation, sector + issued / SECTOR_SIZE, length, polled);
        lengths[slot] = length;
        if (head < 0) head = slot;
        else next[tail] = slot;
        tail = slot;
        issued += length;
        inFlight++;
      }
      worker.push();
      if (head < 0) {
        this.#blocking.waitUntil(this.#slotIsFree); // others have them all
        continue;
      }
      this.#await(head);
      const slot = head;
      const length = lengths[slot]!;
      head = slot === tail ? -1 : next[slot]!;
      const status = worker.status(slot);
      if (status !== 0) failure ||= status;
      else if (operation === BLKIF_OP_READ && failure === 0) copy(worker.buffer(slot), 0, buffer, done, length);
      worker.release(slot);
      done += length;
      inFlight--;
    }
    if (failure !== 0) throw this.#failed(operation, sector, total / SECTOR_SIZE, failure);
  }

  #single(operation: number, sector: number, count: number): number {
    const { worker } = this;
    let slot = worker.acquire(0);
    while (slot < 0) {
      this.#blocking.waitUntil(this.#slotIsFree);
      slot = worker.acquire(0);
    }
    worker.queue(slot, operation, sector, count, polled);
    worker.push();
    this.#await(slot);
    const status = worker.status(slot);
    worker.release(slot);
    return status;
  }

  #await(slot: number): void {
    if (this.worker.done(slot)) return;
    // While this waits, an event handler may make a blocking call of its own: it ends before this one.
    const outer = this.#awaited;
    this.#awaited = slot;
    try {
      this.#blocking.waitUntil(this.#awaitedIsDone);
    } finally {
      this.#awaited = outer;
    }
  }

  // ---- submitted ----

  submitRead(sector: number, into: Uint8Array): Promise<void> {
    return this.#submit(BLKIF_OP_READ, sector, into, into.length / SECTOR_SIZE);
  }
  submitWrite(sector: number, from: Uint8Array): Promise<void> {
    return this.#submit(BLKIF_OP_WRITE, sector, from, from.length / SECTOR_SIZE);
  }
  async submitFlush(): Promise<void> {
    this.#check(BLKIF_OP_FLUSH_DISKCACHE, 0, 0);
    if (this.#properties.flush) await this.#submit(BLKIF_OP_FLUSH_DISKCACHE, 0, NO_BYTES, 0);
  }
  submitDiscard(sector: number, count: number): Promise<void> {
    return this.#submit(BLKIF_OP_DISCARD, sector, NO_BYTES, count);
  }

  async #submit(operation: number, sector: number, buffer: Uint8Array, count: number): Promise<void> {
    this.#check(operation, sector, count);
    const bytes = operation === BLKIF_OP_READ || operation === BLKIF_OP_WRITE;
    if (bytes && count === 0) return;
    await new Promise<void>((resolve, reject) => {
      const left = bytes ? buffer.length : 1;
      this.#transfers.push({ operation, sector, buffer, count, issued: 0, left, error: undefined, resolve, reject });
      this.#issue();
    });
  }

  #issue(): void {
    if (this.#issuing) return; // a request that failed at once freed its slot
    this.#issuing = true;
    try {
      this.#issueAll();
    } finally {
      this.#issuing = false;
    }
  }
  #issueAll(): void {
    const { worker } = this;
    for (let t = this.#transfers[0]; t !== undefined; t = this.#transfers[0]) {
      const { operation, buffer } = t;
      const slot = worker.acquire(buffer.length - t.issued);
      if (slot < 0) break;
      if (buffer.length === 0) {
        this.#transfers.shift();
        worker.queue(slot, operation, t.sector, t.count, { settled: (s, status) => this.#settled(t, s, 0, 1, status) });
        continue;
      }
      const from = t.issued;
      const length = Math.min(buffer.length - from, worker.capacity(slot));
      t.issued += length;
      if (t.issued === buffer.length) this.#transfers.shift();
      if (operation === BLKIF_OP_WRITE) copy(buffer, from, worker.buffer(slot), 0, length);
      worker.queue(slot, operation, t.sector + from / SECTOR_SIZE, length, {
        settled: (s, status) => this.#settled(t, s, from, length, status),
      });
    }
    worker.push();
  }

  #settled(t: Transfer, slot: number, from: number, length: number, status: number): void {
    const { worker } = this;
    if (status === 0 && isRead(t.operation)) copy(worker.buffer(slot), 0, t.buffer, from, length);
    if (status === -ERRNO.EOPNOTSUPP && t.operation === BLKIF_OP_FLUSH_DISKCACHE) this.#withoutFlush();
    else if (status !== 0) t.error ??= this.#failed(t.operation, t.sector, t.count, status);
    t.left -= length;
    if (t.left === 0) {
      if (t.error) t.reject(t.error);
      else t.resolve();
    }
    worker.release(slot);
  }

  // ---- ----

  #check(operation: number, sector: number, count: number): void {
    const { sectors, readOnly, discardGranularity } = this.#properties;
    const { failed } = this.worker;
    if (failed !== 0) throw this.#error(errnoName(failed), operation, sector, count, 'the disk is gone');
    if (!Number.isInteger(count) || count < 0) {
      throw this.#error('EINVAL', operation, sector, count, 'these are no whole sectors');
    }
    if (!Number.isSafeInteger(sector) || sector < 0 || sector + count > sectors) {
      throw this.#error('EINVAL', operation, sector, count, `the disk has ${sectors}`);
    }
    if (readOnly && (operation === BLKIF_OP_WRITE || operation === BLKIF_OP_DISCARD)) {
      throw this.#error('EROFS', operation, sector, count, 'the disk is read-only');
    }
    if (operation === BLKIF_OP_DISCARD && discardGranularity === 0) {
      throw this.#error('EOPNOTSUPP', operation, sector, count, 'the backend does not offer it');
    }
  }

  #withoutFlush(): void {
    if (!this.#properties.flush) return;
    this.#properties = { ...this.#properties, flush: false };
    this.#log.warn(`${this.name}: the backend does not know flush after all`);
  }

  #failed(operation: number, sector: number, count: number, status: number): XenError {
    return this.#error(errnoName(status), operation, sector, count, errnoName(status));
  }
  #error(code: string, operation: number, sector: number, count: number, why: string): XenError {
    const range = operation === BLKIF_OP_FLUSH_DISKCACHE ? '' : ` of ${count} sectors at ${sector}`;
    return new XenError(code, `${this.name}: ${VERBS[operation]}${range}: ${why}`);
  }
}

/** A whole buffer is copied without making a view of it. */
function copy(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number, length: number): void {
  if (fromAt === 0 && length === from.length) to.set(from, toAt);
  else to.set(from.subarray(fromAt, fromAt + length), toAt);
}
