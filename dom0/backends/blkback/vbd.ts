// One vbd being served: requests out of its ring, image, responses into it.
import {
  BackRing,
  BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST,
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  BlkifResponse,
  blkif_sring_entry,
  type Clock,
  domid,
  type EvtchnPort,
  type GrantMapping,
  type Log,
  port,
  TRC_XENOLITH_BLK,
  type Vcpu,
  XenError,
} from '#pvbus';
import type { GrantMaps } from '../../faults/faulty-grants.ts';
import type { Notifier } from '../../faults/faulty-notifier.ts';
import { type Deferred, type DiskImage, Later, type LaterImage } from './disk-image.ts';
import { PersistentGrants } from './persistent-grants.ts';
import { BlkbackRequest, type DiskLimits, MAX_INDIRECT_SEGMENTS, SECTOR_SIZE } from './request.ts';
import { newVbdStats, type VbdStats } from './stats.ts';

/** What device.ts has negotiated. The frontend's numbers are numbers, and no more is known of them. */
export interface VbdConnection {
  /** The device's name between device and worker. */
  readonly key: string;
  /** How messages name it: `vbd 51712 of dom1`. */
  readonly label: string;
  readonly frontendDomid: number;
  readonly ringRef: number;
  readonly eventChannel: number;
  readonly persistent: boolean;
  /** The open image, -1 when it is no file. It stays open until the disconnect has been answered. */
  readonly fd: number;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly discard: boolean;
}

/** Requests served of one ring before the next ring has its turn. */
const BUDGET_REQUESTS = 32;
/** The same in bytes, so that large requests do not make small ones of others wait. */
const BUDGET_BYTES = 1 << 20;
/** Responses that have waited this long for others are published, which is looked at after every few requests. */
const PUSH_AFTER_NS = 100_000;
const PUSH_LOOK_MASK = 3;
/** Xen: Linux keeps as many. */
export const MAX_PERSISTENT_GRANTS = 1056;
/** Errors logged one by one; then only every power of two. */
const LOGGED_ERRORS = 4;

/** Of requests that an image answers later, together; one may always be there. */
const MAX_DEFERRED_PAGES = 512;
/** What #perform says of a request that is answered later. No BLKIF_RSP_ is positive. */
const DEFERRED = 1;

// invariant: the pages of one request, twice counted, fit beside those of requests that are answered later: none of them
// is evicted by another of them.
if (MAX_PERSISTENT_GRANTS < MAX_DEFERRED_PAGES + 2 * (MAX_INDIRECT_SEGMENTS + BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST)) {
  throw new Error('blkback: too few persistent grants');
}

/** What a vbd works with. Others may take their place between two turns. */
export interface VbdParts {
  readonly image: DiskImage | LaterImage;
  readonly grants: GrantMaps;
  readonly notifier: Notifier;
  readonly newRequest: (limits: DiskLimits) => BlkbackRequest;
  /** What is done about an event of the frontend, `heard` when nothing else is to be. */
  readonly onEvent: (heard: () => void) => () => void;
}

/** The plain ones. */
export const vbdParts = ({ grants, events }: Vcpu, image: DiskImage | LaterImage): VbdParts => ({
  ...{ image, grants, notifier: events },
  newRequest: limits => new BlkbackRequest(limits),
  onEvent: heard => heard,
});

/** A request that its image answers later, with all that it uses. */
class DeferredRequest implements Deferred {
  readonly request: BlkbackRequest;
  readonly mapped: (GrantMapping | undefined)[];
  readonly settle: (status: number, why?: string) => void;
  /** To be unmapped when it is answered. */
  readonly borrowed: GrantMapping[] = [];

  constructor(
    request: BlkbackRequest,
    mapped: (GrantMapping | undefined)[],
    settle: (deferred: DeferredRequest, status: number, why: string) => void,
  ) {
    this.request = request;
    this.mapped = mapped;
    this.settle = (status, why = '') => settle(this, status, why);
  }
}
const noMappings = (): (GrantMapping | undefined)[] => new Array(MAX_INDIRECT_SEGMENTS).fill(undefined);

/** One connected vbd: its ring, its grants, its image. */
export class Vbd {
  connection: VbdConnection;
  readonly stats: VbdStats = newVbdStats();
  /** An event has come, or the last turn left requests behind. */
  pending = true;
  /** The worker's: turns that have kept others waiting. */
  slowTurns = 0;
  readonly #vcpu: Vcpu;
  readonly #log: Log;
  readonly #clock: Clock;
  #image: DiskImage | LaterImage;
  #newRequest: VbdParts['newRequest'];
  #grants: GrantMaps;
  #notifier: Notifier;
  readonly #page: GrantMapping;
  readonly #port: EvtchnPort;
  readonly #ring: BackRing;
  readonly #response: InstanceType<typeof BlkifResponse>;
  #request: BlkbackRequest;
  readonly #persistent: PersistentGrants | undefined;
  /** Where each segment of the request at hand is mapped. */
  #mapped = noMappings();
  /** Grants of requests that are done but not answered yet. */
  readonly #toUnmap: GrantMapping[] = [];
  /** From here on, those of the request at hand. */
  #borrowedFrom = 0;
  /** A flush has failed: Linux counts what it was to write as written, so that another one would say it is there. */
  #lost = false;
  #unpushed = 0;
  /** When the first of them was staged. */
  #unpushedSince = 0;
  /** Requests that the image answers later, and the pages of them all. */
  readonly #deferred = new Set<DeferredRequest>();
  #deferredPages = 0;
  /** One of them is a barrier: nothing overtakes it. */
  #barrier = false;
  readonly #spare: DeferredRequest[] = [];

  /** Throws when the frontend's ring cannot be mapped or its port not be bound; nothing is left then. */
  constructor(vcpu: Vcpu, log: Log, clock: Clock, connection: VbdConnection, parts: VbdParts) {
    const { events } = vcpu;
    const { image, grants } = parts;
    const granter = domid(connection.frontendDomid);
    this.#vcpu = vcpu;
    this.#log = log;
    this.#clock = clock;
    this.#image = image;
    this.#newRequest = parts.newRequest;
    this.#grants = grants;
    this.#notifier = parts.notifier;
    this.connection = connection;
    this.#page = grants.map(granter, [connection.ringRef])[0]!;
    try {
      this.#port = events.bindInterdomain(granter, port(connection.eventChannel));
    } catch (error) {
      grants.unmap([this.#page]);
      throw error;
    }
    const { page } = this.#page;
    this.#ring = new BackRing(page, blkif_sring_entry.size, BackRing.attachIndex(page));
    this.#ring.trace = vcpu.trace.ring(TRC_XENOLITH_BLK, connection.frontendDomid, connection.ringRef);
    this.#response = new BlkifResponse(page.view);
    this.#request = parts.newRequest(this.#limits());
    if (connection.persistent) {
      this.#persistent = new PersistentGrants(() => this.#grants, granter, MAX_PERSISTENT_GRANTS);
    }
    this.#listen(parts);
  }
  #limits(): DiskLimits {
    const { readOnly, discard } = this.connection;
    return { sectors: Math.floor(this.#image.sizeBytes / SECTOR_SIZE), readOnly, discard };
  }
  #listen({ onEvent }: VbdParts): void {
    const heard = onEvent(() => {
      this.pending = true;
    });
    this.#vcpu.events.on(this.#port, heard);
  }

  /** These in place of those that it had, from the next request on. */
  use(parts: VbdParts): void {
    this.#image = parts.image;
    this.#newRequest = parts.newRequest;
    this.#grants = parts.grants;
    this.#notifier = parts.notifier;
    this.#request = parts.newRequest(this.#limits());
    this.#listen(parts);
    this.pending = true;
  }

  /** Serve a budget's worth. Throws a XenError when the ring's indices cannot be, Later when the image says so. */
  turn(): void {
    const ring = this.#ring;
    let bytes = 0;
    for (let served = 0; served < BUDGET_REQUESTS && bytes < BUDGET_BYTES; served++) {
      let n = ring.unconsumedRequests();
      if (n === 0) {
        this.#push();
        n = ring.finalCheckForRequests();
        if (n === 0) {
          this.pending = false;
          return;
        }
      }
      if (n < 0) throw new XenError('EINVAL', `${this.connection.label}: its ring claims more requests than it holds`);
      bytes += this.#serveOne();
    }
    this.#push();
    if (ring.unconsumedRequests() !== 0) this.stats.oo_req++;
  }

  /** Take one request, do it, stage its response: exactly one, whatever happens. Returns the bytes moved. */
  #serveOne(): number {
    const request = this.#request;
    request.take(this.#ring);
    const status = this.#perform();
    if (status === DEFERRED) return request.sectors * SECTOR_SIZE;
    this.#stage(request, status);
    if (this.#isTimeToPush(this.#unpushed)) this.#push();
    return request.sectors * SECTOR_SIZE;
  }

  #stage(request: BlkbackRequest, status: number): void {
    const ring = this.#ring;
    const response = this.#response;
    if (status !== BLKIF_RSP_OKAY) this.#refused(request);
    response.base = ring.responseOffset();
    response.id_lo = request.id_lo;
    response.id_hi = request.id_hi;
    response.operation = request.operation;
    response.status = status;
    ring.rsp_prod_pvt = (ring.rsp_prod_pvt + 1) >>> 0;
    this.#unpushed++;
  }

  /**
   * A wake-up of the frontend costs more than a request. Half of what is in the ring is answered with one:
   * the frontend deals with it while the other half is done.
   */
  #isTimeToPush(unpushed: number): boolean {
    if (unpushed >= this.#ring.unconsumedRequests()) return true; // also when that is -1
    if (unpushed === 1) this.#unpushedSince = this.#clock.now();
    else if ((unpushed & PUSH_LOOK_MASK) === 0) return this.#clock.now() - this.#unpushedSince > PUSH_AFTER_NS;
    return false;
  }

  #push(): void {
    if (this.#unpushed === 0) return;
    this.#unpushed = 0;
    // order: the frontend may reuse its pages the moment it sees rsp_prod, so unmap first.
    if (this.#toUnmap.length > 0) this.#grants.unmap(this.#toUnmap.splice(0));
    if (!this.#ring.pushResponses()) return;
    this.stats.notified++;
    this.#notifier.notify(this.#port);
  }

  /** The request at hand is taken again another time. */
  #putBack(): void {
    this.#push();
    this.#grants.unmap(this.#toUnmap.splice(0));
    this.#count(-1);
    this.#ring.req_cons = (this.#ring.req_cons - 1) >>> 0;
    this.pending = false;
  }

  #perform(): number {
    const request = this.#request;
    this.#borrowedFrom = this.#toUnmap.length;
    this.#persistent?.begin();
    let status = request.decode();
    if (status === BLKIF_RSP_OKAY && request.nrIndirectPages > 0) status = this.#readIndirectPages();
    if (status !== BLKIF_RSP_OKAY) return status;
    this.#count(1);
    if ('submit' in this.#image) return this.#defer(this.#image);
    switch (request.operation) {
      case BLKIF_OP_READ:
        return this.#transfer(this.#image, false);
      case BLKIF_OP_WRITE:
        return this.#transfer(this.#image, true);
      case BLKIF_OP_FLUSH_DISKCACHE:
        this.#push(); // what is done need not wait for the medium
        status = this.#flush(this.#image);
        // Xen: a flush may carry data, written after what came before it is safe.
        return status === BLKIF_RSP_OKAY && request.nr_segments > 0 ? this.#transfer(this.#image, true) : status;
      case BLKIF_OP_WRITE_BARRIER:
        return this.#writeBarrier(this.#image);
      case BLKIF_OP_DISCARD:
        return this.#discard(this.#image);
      default:
        throw new Error(`${this.connection.label}: operation ${request.operation} was decoded but is not served`);
    }
  }

  /** The request at hand in the statistics, or out of them when it is begun anew another time. */
  #count(by: 1 | -1): void {
    const { stats } = this;
    const { operation, sectors } = this.#request;
    switch (operation) {
      case BLKIF_OP_READ:
        stats.rd_req += by;
        stats.rd_sect += by * sectors;
        return;
      case BLKIF_OP_DISCARD:
        stats.ds_req += by;
        return;
      case BLKIF_OP_FLUSH_DISKCACHE:
        stats.f_req += by;
        return;
      default:
        stats.wr_req += by;
        stats.wr_sect += by * sectors;
    }
  }

  // ---- an image that answers later ----

  /** Hand the request at hand to the image, or put it back until others are done. */
  #defer(image: LaterImage): number {
    const request = this.#request;
    const { operation, nr_segments: pages } = request;
    const orders = operation === BLKIF_OP_FLUSH_DISKCACHE || operation === BLKIF_OP_WRITE_BARRIER;
    // order: a flush comes after all that was asked before it, nothing comes before a barrier that was asked after it.
    const mustWait =
      this.#barrier ||
      (orders && this.#deferred.size > 0) ||
      (this.#deferred.size > 0 && this.#deferredPages + pages > MAX_DEFERRED_PAGES) ||
      !image.accepts(operation);
    if (mustWait) {
      this.#putBack();
      throw new Later(Number.POSITIVE_INFINITY);
    }
    if (pages > 0 && !this.#map(pages, false)) return BLKIF_RSP_ERROR;
    const deferred = new DeferredRequest(request, this.#mapped, this.#settled);
    const next = this.#spare.pop();
    this.#request = next?.request ?? this.#newRequest(this.#limits());
    this.#mapped = next?.mapped ?? noMappings();
    deferred.borrowed.push(...this.#toUnmap.splice(this.#borrowedFrom));
    if (this.#persistent) for (let i = 0; i < pages; i++) this.#persistent.pin(request.grefs[i]!);
    this.#deferred.add(deferred);
    this.#deferredPages += pages;
    this.#barrier = operation === BLKIF_OP_WRITE_BARRIER;
    image.submit(deferred);
    return DEFERRED;
  }

  readonly #settled = (deferred: DeferredRequest, status: number, why: string): void => {
    if (!this.#deferred.delete(deferred)) return; // the frontend has gone
    const { request, borrowed } = deferred;
    const pages = request.nr_segments;
    this.#deferredPages -= pages;
    if (request.operation === BLKIF_OP_WRITE_BARRIER) this.#barrier = false;
    if (this.#persistent) for (let i = 0; i < pages; i++) this.#persistent.unpin(request.grefs[i]!);
    this.#toUnmap.push(...borrowed);
    request.why = why;
    this.#stage(request, status);
    this.#spare.push(deferred);
    this.pending = true; // what was put back may go on, and the answer out
  };

  /** Requests that the image has and has not answered. */
  get deferred(): number {
    return this.#deferred.size;
  }

  #readIndirectPages(): number {
    const request = this.#request;
    let status: number = BLKIF_RSP_OKAY;
    if (!this.#map(request.nrIndirectPages, true)) return BLKIF_RSP_ERROR;
    for (let i = 0; i < request.nrIndirectPages && status === BLKIF_RSP_OKAY; i++) {
      status = request.addSegments(this.#mapped[i]!.page.words);
    }
    return status;
  }

  /** Move the request's bytes; parts that lie side by side in memory go in one system call. */
  #transfer(image: DiskImage, write: boolean): number {
    const request = this.#request;
    if (!this.#map(request.nr_segments, false)) return BLKIF_RSP_ERROR;
    const { offsets, lengths } = request;
    const mapped = this.#mapped;
    let at = request.sector * SECTOR_SIZE;
    try {
      for (let i = 0; i < request.nr_segments; ) {
        const { pool, offset } = mapped[i]!;
        const start = offset + offsets[i]!;
        let length = lengths[i]!;
        for (i++; i < request.nr_segments; i++) {
          const next = mapped[i]!;
          if (next.pool !== pool || next.offset + offsets[i]! !== start + length) break;
          length += lengths[i]!;
        }
        if (write) image.write(pool, start, length, at);
        else image.read(pool, start, length, at);
        at += length;
      }
      return BLKIF_RSP_OKAY;
    } catch (error) {
      return this.#imageFailed(error);
    }
  }

  /** Xen: what came before it is safe before it, and it is before what comes after it. */
  #writeBarrier(image: DiskImage): number {
    this.#push(); // as for a flush
    const status = this.#flush(image);
    if (status !== BLKIF_RSP_OKAY || this.#request.nr_segments === 0) return status;
    const written = this.#transfer(image, true);
    return written === BLKIF_RSP_OKAY ? this.#flush(image) : written;
  }

  #flush(image: DiskImage): number {
    if (this.#lost) {
      this.#request.why = 'an earlier flush has failed';
      return BLKIF_RSP_ERROR;
    }
    try {
      image.flush();
      return BLKIF_RSP_OKAY;
    } catch (error) {
      if (!(error instanceof Later)) this.#lost = true;
      return this.#imageFailed(error);
    }
  }

  #discard(image: DiskImage): number {
    const { sector, sectors } = this.#request;
    if (sectors === 0) return BLKIF_RSP_OKAY;
    try {
      image.discard(sector * SECTOR_SIZE, sectors * SECTOR_SIZE);
      return BLKIF_RSP_OKAY;
    } catch (error) {
      return this.#imageFailed(error);
    }
  }

  /** Fill `#mapped` for the request's segments or its indirect pages. False when a grant cannot be mapped. */
  #map(count: number, indirect: boolean): boolean {
    const request = this.#request;
    const mapped = this.#mapped;
    const cache = this.#persistent;
    if (!cache) return this.#mapForOnce(count, indirect);
    for (let i = 0; i < count; i++) {
      const mapping = cache.find(indirect ? request.indirectGref(i) : request.grefs[i]!);
      if (mapping === undefined) return this.#mapForGood(cache, count, indirect);
      mapped[i] = mapping;
    }
    return true;
  }

  #mapForGood(cache: PersistentGrants, count: number, indirect: boolean): boolean {
    const request = this.#request;
    const missing = new Set<number>();
    for (let i = 0; i < count; i++) {
      const ref = indirect ? request.indirectGref(i) : request.grefs[i]!;
      if (!cache.find(ref)) missing.add(ref);
    }
    try {
      cache.map(missing);
    } catch (error) {
      return this.#mapFailed(error);
    }
    for (let i = 0; i < count; i++) {
      const mapping = cache.find(indirect ? request.indirectGref(i) : request.grefs[i]!);
      if (!mapping) throw new Error(`${this.connection.label}: a grant was evicted under its request`);
      this.#mapped[i] = mapping;
    }
    this.stats.persistent = cache.size;
    this.stats.evicted = cache.evicted;
    return true;
  }

  #mapForOnce(count: number, indirect: boolean): boolean {
    const request = this.#request;
    const refs: number[] = [];
    for (let i = 0; i < count; i++) refs.push(indirect ? request.indirectGref(i) : request.grefs[i]!);
    // What the image is read into must be writable: a page granted for reading only is refused by the map.
    const readonly = indirect || request.operation !== BLKIF_OP_READ;
    try {
      const mappings = this.#grants.map(domid(this.connection.frontendDomid), refs, readonly);
      for (let i = 0; i < count; i++) {
        this.#mapped[i] = mappings[i];
        this.#toUnmap.push(mappings[i]!);
      }
      return true;
    } catch (error) {
      return this.#mapFailed(error);
    }
  }

  #mapFailed(error: unknown): false {
    if (!(error instanceof XenError)) throw error;
    this.#request.why = error.message;
    return false;
  }

  #imageFailed(error: unknown): number {
    if (error instanceof Later) {
      this.#putBack();
      throw error;
    }
    const { sector, sectors } = this.#request;
    this.#request.why = `image, ${sectors} sectors at ${sector}: ${error instanceof Error ? error.message : error}`;
    return BLKIF_RSP_ERROR;
  }

  #refused({ operation, why }: BlkbackRequest): void {
    const n = ++this.stats.errors;
    if (n > LOGGED_ERRORS && (n & (n - 1)) !== 0) return;
    this.#log.error(`${this.connection.label}: request ${n > 1 ? `(error ${n}) ` : ''}op ${operation} failed: ${why}`);
  }

  /**
   * Answer what the frontend has asked before it went, then let go of everything of it. An image that answers later must
   * have forgotten what it has not answered.
   */
  close(finish: boolean): void {
    const { events } = this.#vcpu;
    const grants = this.#grants;
    if (finish) {
      try {
        this.turn();
      } catch (error) {
        // A ring in disorder ends unanswered, and so does what the image puts off.
        if (!(error instanceof XenError || error instanceof Later)) throw error;
      }
    }
    events.close(this.#port);
    for (const { borrowed } of this.#deferred) grants.unmap(borrowed);
    this.#deferred.clear();
    grants.unmap(this.#toUnmap.splice(0));
    this.#persistent?.release();
    grants.unmap([this.#page]);
  }
}
