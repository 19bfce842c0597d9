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

/** What all queues of a thread receive with. */
export interface RxTurn {
  readonly copies: Copies;
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
    if (posted >= pagesOf(frame.length) + (frame.gsoSize > 0 ? 1 : 0)) return true;
    // Xen: XSA-392. A guest that takes no frames loses them; nobody waits for it, nothing is kept for it.
    if (posted < 0) this.recipient.fail('its rx ring claims more requests than it can hold');
    else this.recipient.stats.rxDropped++;
    return false;
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
