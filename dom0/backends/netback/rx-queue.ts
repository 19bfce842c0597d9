// What a guest receives by one of its queues: frames go into the pages it has posted on the rx ring.
import {
  type BackRing,
  type Domid,
  NETIF_RSP_ERROR,
  NETRXF_extra_info,
  NETRXF_more_data,
  NetifExtraInfo,
  NetifExtraInfoGso,
  NetifRxRequest,
  NetifRxResponse,
  netif_extra_info,
  PAGE_SIZE,
  XEN_NETIF_EXTRA_TYPE_GSO,
} from '#pvbus';
import type { Copies } from './copies.ts';
import { type Frame, pagesOf } from './frame.ts';
import type { StaticGrants } from './static-grants.ts';
import type { VifStats } from './stats.ts';

/** A frame that is cut for its receiver is so many packets; one that is not takes fewer slots. */
const MOST_SLOTS = 48;
/**
 * What is for others may have to wait where frames wait for room here: as long as this for each slot that was taken, and so long at
 * most at once, which is a guest's turn on a processor that it shares.
 */
const PATIENCE_PER_SLOT_NS = 40e3;
const MOST_PATIENCE_NS = 20e6;

/** What all queues of a thread receive with. */
export interface RxTurn {
  readonly copies: Copies;
  /** One whose room is about to end, or has ended: of those that a frame has come to. */
  full: RxQueue | undefined;
  /** Queues that frames were put into in this turn. */
  readonly delivered: RxQueue[];
}

/** Whose queue it is. */
export interface Recipient {
  readonly domid: Domid;
  readonly stats: VifStats;
  readonly broken: string | undefined;
  /** The frontend has broken the protocol. */
  fail(reason: string): void;
}

export class RxQueue {
  private readonly ring: BackRing;
  private readonly request: InstanceType<typeof NetifRxRequest>;
  private readonly response: InstanceType<typeof NetifRxResponse>;
  private readonly extra: InstanceType<typeof NetifExtraInfo>;
  private readonly gso: InstanceType<typeof NetifExtraInfoGso>;
  private readonly view: DataView;
  private readonly grants: StaticGrants;
  private readonly recipient: Recipient;
  private readonly shared: RxTurn;
  private readonly notify: () => void;
  private isDelivered = false;
  /** Posted pages that are room enough again. */
  private readonly enough: number;
  /** How long it may be waited for (ns). */
  private patience = 0;
  private ended = false;

  /** `view`: of the ring's page. `notify`: the frontend, of frames. */
  constructor(
    ring: BackRing,
    view: DataView,
    grants: StaticGrants,
    recipient: Recipient,
    shared: RxTurn,
    notify: () => void,
  ) {
    this.ring = ring;
    this.enough = ring.nr_ents / 2;
    this.view = view;
    this.request = new NetifRxRequest(view);
    this.response = new NetifRxResponse(view);
    this.extra = new NetifExtraInfo(view);
    this.gso = new NetifExtraInfoGso(view);
    this.grants = grants;
    this.recipient = recipient;
    this.shared = shared;
    this.notify = notify;
  }

  /** Does the guest have room for it? Counted when not. */
  hasRoom(frame: Frame): boolean {
    const posted = this.ring.unconsumedRequests();
    const slots = pagesOf(frame.length) + (frame.gsoSize > 0 ? 1 : 0);
    const hasRoom = posted >= slots;
    if (hasRoom) this.patience = Math.min(MOST_PATIENCE_NS, this.patience + slots * PATIENCE_PER_SLOT_NS);
    if (posted - slots < MOST_SLOTS && this.patience > 0) this.shared.full = this;
    if (hasRoom) return true;
    // Xen: XSA-392. A guest that takes no frames loses them; nothing is kept for it, and it is not waited for again.
    if (posted < 0) this.recipient.fail('its rx ring claims more requests than it can hold');
    else this.recipient.stats.rxDropped++;
    return false;
  }
  /** How long who can leave frames where they are is to wait for room, which wakes this thread; 0: there is room. */
  awaitRoom(): number {
    return this.isOver || this.ring.awaitRequests(this.enough) ? 0 : this.patience;
  }
  /** Has that room come, or will it never? */
  get isReady(): boolean {
    if (this.isOver) return true;
    const posted = this.ring.unconsumedRequests();
    return posted < 0 || posted >= this.enough;
  }
  waited(ns: number): void {
    this.patience = Math.max(0, this.patience - ns);
  }
  /** The ring is not there any more. */
  end(): void {
    this.ended = true;
  }
  private get isOver(): boolean {
    return this.ended || this.recipient.broken !== undefined;
  }
  /** Take a copy of a frame there is room for. */
  put(frame: Frame): void {
    const pages = pagesOf(frame.length);
    for (let page = 0; page < pages; page++) {
      this.fill(frame, page * PAGE_SIZE, page === pages - 1);
      // Xen: right behind the packet's first slot.
      if (page === 0 && frame.gsoSize > 0) this.putGso(frame);
    }
    const { stats } = this.recipient;
    stats.rxFrames++;
    stats.rxBytes += frame.length;
    if (this.isDelivered) return;
    this.isDelivered = true;
    this.shared.delivered.push(this);
  }
  /** Publish what was put there; the copies into its pages are done. */
  publish(): void {
    this.isDelivered = false;
    if (this.recipient.broken === undefined && this.ring.pushResponses()) this.notify();
  }

  /** One page of a frame into the next page the guest has posted. */
  private fill(frame: Frame, from: number, last: boolean): void {
    const { ring, request, response } = this;
    request.base = ring.requestOffset();
    const { id, gref } = request; // untrusted: each read once
    ring.req_cons = (ring.req_cons + 1) >>> 0;
    const length = Math.min(frame.length - from, PAGE_SIZE);
    // Xen: a response is in the slot of its request; frontends rely on that.
    const responseAt = ring.responseOffset();
    response.base = responseAt;
    response.id = id;
    response.offset = 0;
    const first = frame.gsoSize > 0 ? frame.flags | NETRXF_extra_info : frame.flags;
    response.flags = (from === 0 ? first : 0) | (last ? 0 : NETRXF_more_data);
    response.status = length;
    ring.rsp_prod_pvt = (ring.rsp_prod_pvt + 1) >>> 0;
    const { stats, domid } = this.recipient;
    const grant = this.grants.find(gref);
    if (grant !== undefined && !grant.readonly) {
      frame.copy(from, length, grant.source.bytes, 0);
    } else if (grant !== undefined || this.grants.refusesCopy(gref)) {
      response.status = NETIF_RSP_ERROR;
      stats.rxErrors++;
    } else {
      stats.rxCopied++;
      const failed = (): void => {
        stats.rxErrors++;
      };
      const staging = this.shared.copies.planOut(domid, gref, length, { ring: this.view, responseAt, failed });
      frame.copy(from, length, staging, 0);
    }
  }

  /** The page that was posted there comes back empty-handed, as Xen has it: the frontend posts it again. */
  private putGso({ gsoSize, gsoType }: Frame): void {
    const { ring, extra, gso } = this;
    ring.req_cons = (ring.req_cons + 1) >>> 0;
    extra.base = ring.responseOffset();
    extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    extra.flags = 0;
    gso.base = extra.base + netif_extra_info.at.u;
    gso.size = gsoSize;
    gso.type = gsoType;
    gso.pad = 0;
    gso.features = 0;
    ring.rsp_prod_pvt = (ring.rsp_prod_pvt + 1) >>> 0;
  }
}
