// One ring of a vbd: requests out of it, responses into it. Xen: a queue.
import {
  BackRing,
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  BlkifResponse,
  blkif_response,
  blkif_sring_entry,
  type Clock,
  type domid,
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
import type { VbdRingPlace } from './connection.ts';
import type { DeferredRequests } from './deferred-requests.ts';
import { Later, type LaterImage } from './disk-image.ts';
import type { ImageRequests } from './image-requests.ts';
import { type BlkbackRequest, SECTOR_SIZE } from './request.ts';
import { type Mapped, noMappings, type RequestPages } from './request-pages.ts';
import type { VbdStats } from './stats.ts';

/** What one turn of a vbd may still do, over all of its rings. */
export interface Budget {
  requests: number;
  bytes: number;
}

/** Responses that have waited this long for others are published, which is looked at after every few requests. */
const PUSH_AFTER_NS = 100_000;
const PUSH_LOOK_MASK = 3;
/** Errors logged one by one; then only every power of two. */
const LOGGED_ERRORS = 4;
/** What #perform says of a request that is answered later. No BLKIF_RSP_ is positive. */
const DEFERRED = 1;

/** What the rings of a vbd have in common. Some of it may be replaced between two turns. */
export interface SharedByRings {
  readonly vcpu: Vcpu;
  readonly log: Log;
  readonly clock: Clock;
  readonly label: string;
  readonly granter: ReturnType<typeof domid>;
  readonly stats: VbdStats;
  readonly pages: RequestPages;
  /** How its requests are done: at once, or by an image that answers later. */
  image: ImageRequests | LaterImage;
  readonly deferred: DeferredRequests;
  notifier: Notifier;
  newRequest: () => BlkbackRequest;
  /** What is done about an event of the frontend, `heard` when nothing else is to be. */
  onEvent: (heard: () => void, port: EvtchnPort, remote: number) => () => void;
  /** The vbd's turn is due. */
  readonly wake: () => void;
}

export class VbdRing {
  /** An event has come, or the last turn left requests behind. */
  pending = true;
  readonly #shared: SharedByRings;
  readonly #pages: GrantMapping[];
  readonly #port: EvtchnPort;
  /** The frontend's number of it. */
  readonly #remote: number;
  readonly #ring: BackRing;
  /** A response is made here and copied: a slot of a ring of several pages may lie in two of them. */
  readonly #words = new Int32Array(blkif_response.size / 4);
  readonly #response = new BlkifResponse(new DataView(this.#words.buffer));
  #request: BlkbackRequest;
  #mapped: Mapped = noMappings();
  /** Grants of requests that are done but not answered yet. */
  readonly #toUnmap: GrantMapping[] = [];
  /** From here on, those of the request at hand. */
  #borrowedFrom = 0;
  #unpushed = 0;
  /** When the first of them was staged. */
  #unpushedSince = 0;

  /** Throws when the frontend's ring cannot be mapped or its port not be bound; nothing is left then. */
  constructor(shared: SharedByRings, grants: GrantMaps, { ringRefs, eventChannel }: VbdRingPlace) {
    const { vcpu, granter } = shared;
    this.#shared = shared;
    this.#remote = eventChannel;
    this.#pages = grants.map(granter, ringRefs);
    try {
      this.#port = vcpu.events.bindInterdomain(granter, port(eventChannel));
    } catch (error) {
      grants.unmap(this.#pages);
      throw error;
    }
    const pages = this.#pages.map(({ page }) => page);
    this.#ring = new BackRing(pages, blkif_sring_entry.size, BackRing.attachIndex(pages[0]!));
    this.#ring.trace = vcpu.trace.ring(TRC_XENOLITH_BLK, granter, ringRefs[0]!);
    this.#request = shared.newRequest();
    this.listen();
  }
  listen(): void {
    const { vcpu, onEvent, wake } = this.#shared;
    const heard = onEvent(
      () => {
        this.pending = true;
        wake();
      },
      this.#port,
      this.#remote,
    );
    vcpu.events.on(this.#port, heard);
  }
  /** What is shared has been replaced: so from the next request on. */
  renew(): void {
    this.#request = this.#shared.newRequest();
    this.listen();
  }

  /**
   * Serve what is there, as far as the budget goes: `pending` afterwards says whether there may be more. Throws a XenError
   * when the ring's indices cannot be, Later when the image says so.
   */
  serve(budget: Budget): void {
    const ring = this.#ring;
    while (budget.requests > 0 && budget.bytes > 0) {
      let n = ring.unconsumedRequests();
      if (n === 0) {
        this.push();
        n = ring.finalCheckForRequests();
        if (n === 0) {
          this.pending = false;
          return;
        }
      }
      if (n < 0) throw new XenError('EINVAL', `${this.#shared.label}: its ring claims more requests than it holds`);
      budget.requests--;
      budget.bytes -= this.#serveOne();
    }
    this.push();
    if (ring.unconsumedRequests() !== 0) this.#shared.stats.oo_req++;
  }

  /** Take one request, do it, stage its response: exactly one, whatever happens. Returns the bytes moved. */
  #serveOne(): number {
    const request = this.#request;
    request.take(this.#ring);
    const status = this.#perform();
    if (status === DEFERRED) return request.sectors * SECTOR_SIZE;
    this.#stage(request, status);
    if (this.#isTimeToPush(this.#unpushed)) this.push();
    return request.sectors * SECTOR_SIZE;
  }

  #stage(request: BlkbackRequest, status: number): void {
    const response = this.#response;
    if (status !== BLKIF_RSP_OKAY) this.#refused(request);
    response.id_lo = request.id_lo;
    response.id_hi = request.id_hi;
    response.operation = request.operation;
    response.status = status;
    this.#ring.putResponse(this.#words);
    this.#unpushed++;
  }

  /**
   * A wake-up of the frontend costs more than a request. Half of what is in the ring is answered with one:
   * the frontend deals with it while the other half is done.
   */
  #isTimeToPush(unpushed: number): boolean {
    if (unpushed >= this.#ring.unconsumedRequests()) return true; // also when that is -1
    const { clock } = this.#shared;
    if (unpushed === 1) this.#unpushedSince = clock.now();
    else if ((unpushed & PUSH_LOOK_MASK) === 0) return clock.now() - this.#unpushedSince > PUSH_AFTER_NS;
    return false;
  }

  /** What is answered becomes visible. */
  push(): void {
    if (this.#unpushed === 0) return;
    this.#unpushed = 0;
    const { pages, stats, notifier } = this.#shared;
    // order: the frontend may reuse its pages the moment it sees rsp_prod, so unmap first.
    if (this.#toUnmap.length > 0) pages.unmap(this.#toUnmap.splice(0));
    if (!this.#ring.pushResponses()) return;
    stats.notified++;
    notifier.notify(this.#port);
  }

  #perform(): number {
    const { pages, image } = this.#shared;
    const request = this.#request;
    this.#borrowedFrom = this.#toUnmap.length;
    pages.begin();
    let status = request.decode();
    if (status === BLKIF_RSP_OKAY && request.nrIndirectPages > 0) status = this.#readIndirectPages();
    if (status !== BLKIF_RSP_OKAY) return status;
    this.#count(1);
    const { operation } = request;
    const later = 'submit' in image;
    if (later && this.#mustWait(image)) this.#putBack();
    // What is done need not wait for the medium.
    if (!later && (operation === BLKIF_OP_FLUSH_DISKCACHE || operation === BLKIF_OP_WRITE_BARRIER)) this.push();
    if (request.nr_segments > 0 && !pages.map(request, false, this.#mapped, this.#toUnmap)) return BLKIF_RSP_ERROR;
    if (later) return this.#defer(image);
    try {
      return image.perform(request, this.#mapped);
    } catch (error) {
      if (error instanceof Later) this.#putBack(error);
      throw error;
    }
  }

  #readIndirectPages(): number {
    const request = this.#request;
    let status: number = BLKIF_RSP_OKAY;
    if (!this.#shared.pages.map(request, true, this.#mapped, this.#toUnmap)) return BLKIF_RSP_ERROR;
    for (let i = 0; i < request.nrIndirectPages && status === BLKIF_RSP_OKAY; i++) {
      status = request.addSegments(this.#mapped[i]!.page.words);
    }
    return status;
  }

  /** The request at hand is taken again another time. */
  #putBack(later = new Later(Number.POSITIVE_INFINITY)): never {
    this.push();
    this.#shared.pages.unmap(this.#toUnmap.splice(0));
    this.#count(-1);
    this.#ring.req_cons = (this.#ring.req_cons - 1) >>> 0;
    throw later;
  }

  /** The request at hand in the statistics, or out of them when it is begun anew another time. */
  #count(by: 1 | -1): void {
    const { stats } = this.#shared;
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

  #mustWait(image: LaterImage): boolean {
    const { operation, nr_segments } = this.#request;
    return this.#shared.deferred.holdUp(operation, nr_segments) || !image.accepts(operation);
  }

  /** Hand the request at hand to the image. */
  #defer(image: LaterImage): number {
    const { deferred, newRequest } = this.#shared;
    const request = this.#request;
    const mapped = this.#mapped;
    const spare = deferred.spare();
    this.#request = spare?.request ?? newRequest();
    this.#mapped = spare?.mapped ?? noMappings();
    const borrowed = this.#toUnmap.splice(this.#borrowedFrom);
    image.submit(deferred.add(request, mapped, borrowed, this.#settled));
    return DEFERRED;
  }

  readonly #settled = (request: BlkbackRequest, borrowed: readonly GrantMapping[], status: number): void => {
    this.#toUnmap.push(...borrowed);
    this.#stage(request, status);
    this.pending = true; // what was put back may go on, and the answer out
    this.#shared.wake();
  };

  #refused({ operation, why }: BlkbackRequest): void {
    const { stats, log, label } = this.#shared;
    const n = ++stats.errors;
    if (n > LOGGED_ERRORS && (n & (n - 1)) !== 0) return;
    log.error(`${label}: request ${n > 1 ? `(error ${n}) ` : ''}op ${operation} failed: ${why}`);
  }

  /** Nothing of the frontend's is mapped or bound by it afterwards. */
  close(): void {
    const { vcpu, pages } = this.#shared;
    vcpu.events.close(this.#port);
    pages.unmap(this.#toUnmap.splice(0));
    pages.unmap(this.#pages);
  }
}
