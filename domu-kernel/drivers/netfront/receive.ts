// Frames in, by one rx ring: a page of ours for every slot, each the backend's until it has put something there.
import {
  FrontRing,
  NETIF_RSP_DROPPED,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_more_data,
  NetifExtraInfo,
  NetifExtraInfoGso,
  NetifRxRequest,
  NetifRxResponse,
  netif_extra_info,
  netif_rx_sring_entry,
  PAGE_SIZE,
  TRC_XENOLITH_NET,
  type VcpuTrace,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
  XEN_NETIF_MAX_TX_SIZE,
} from '#pvbus';
import { FRAME_CHECKSUM_BLANK, FRAME_CHECKSUM_GOOD, type FrameHandler, withSegment } from '../../net-device.ts';
import { type NetBuffers, RX_SLOTS } from './buffers.ts';
import type { NetfrontStats } from './stats.ts';

/** Slots taken before the kernel gets a turn. */
const RX_BUDGET = 64;
/** Pages given back to the backend at a time while a burst is taken. */
const RX_REPLENISH = 32;

/** Whom the ring is shared with now. */
interface Link {
  readonly ring: FrontRing;
  readonly request: InstanceType<typeof NetifRxRequest>;
  readonly pages: readonly Uint8Array[];
  readonly refs: Uint32Array;
  readonly notify: () => void;
}

export class Receiver {
  private readonly stats: NetfrontStats;
  /** The backend broke the protocol: what to do about it. */
  private readonly onBroken: (what: string) => void;
  private link: Link | undefined;
  private broken = false;
  private handler: FrameHandler = () => {};

  // untrusted: a response or an extra info, copied once.
  private readonly slot = new Int32Array(netif_rx_sring_entry.size / 4);
  private readonly response = new NetifRxResponse(new DataView(this.slot.buffer));
  private readonly extra = new NetifExtraInfo(new DataView(this.slot.buffer));
  private readonly gso = new NetifExtraInfoGso(new DataView(this.slot.buffer), netif_extra_info.at.u);

  /** A frame of several pages is put together here. */
  private gathered: Uint8Array | undefined;

  constructor(stats: NetfrontStats, onBroken: (what: string) => void) {
    this.stats = stats;
    this.onBroken = onBroken;
  }

  /** A new ring, with every page posted. */
  attach(buffers: NetBuffers, notify: () => void, trace?: VcpuTrace): void {
    this.link = {
      ring: FrontRing.init(buffers.rxRing, netif_rx_sring_entry.size),
      request: new NetifRxRequest(buffers.rxRing.view),
      pages: Array.from({ length: RX_SLOTS }, (_, i) => buffers.rxPage(i)),
      refs: Uint32Array.from({ length: RX_SLOTS }, (_, i) => buffers.rxRef(i)),
      notify,
    };
    if (trace !== undefined) this.link.ring.trace = trace.ring(TRC_XENOLITH_NET, trace.domid, buffers.rxRingRef);
    for (let i = 0; i < RX_SLOTS; i++) this.post(this.link, i);
    this.link.ring.pushRequests(); // a backend that is not connected has nothing to be notified of
  }
  detach(): void {
    this.link = undefined;
  }
  /** The backend broke the protocol, on this ring or another one. */
  giveUp(): void {
    this.broken = true;
  }
  onFrame(handler: FrameHandler): void {
    this.handler = handler;
  }

  /** Take what has come. 'idle': nothing, and the backend was asked to notify of the next frame. */
  step(): 'progress' | 'idle' {
    const { link } = this;
    if (link === undefined || this.broken) return 'idle';
    const n = link.ring.finalCheckForResponses();
    if (n === 0) return 'idle';
    if (n < 0) this.onBroken('more rx responses than pages were posted');
    else this.receive(link, n);
    return 'progress';
  }

  private receive(link: Link, available: number): void {
    const { ring } = link;
    const budget = Math.min(available, RX_BUDGET);
    let unpushed = 0;
    for (let used = 0; used < budget; ) {
      const slots = this.receiveFrame(link, available - used);
      if (slots === 0) return;
      used += slots;
      unpushed += slots;
      if (unpushed >= RX_REPLENISH) {
        unpushed = 0;
        if (ring.pushRequests()) link.notify();
      }
    }
    if (unpushed > 0 && ring.pushRequests()) link.notify();
  }

  /** One frame. Returns how many slots it took; 0 when the backend broke the protocol. */
  private receiveFrame(link: Link, available: number): number {
    const { response, stats } = this;
    const slot = this.takeResponse(link);
    if (slot < 0) return 0;
    const { offset, flags, status } = response;
    if (flags & (NETRXF_more_data | NETRXF_extra_info)) return this.receiveLarge(link, available, slot);
    if (status > 0) {
      stats.rxFrames++;
      stats.rxBytes += status;
      this.handler(link.pages[slot]!, offset, status, frameFlags(flags));
    } else stats.rxErrors++;
    // order: the page is the backend's again only when the handler is done with it.
    this.post(link, slot);
    return 1;
  }

  /** The slot of the next response, its values checked and in `response`; -1 when the backend broke the protocol. */
  private takeResponse(link: Link): number {
    const slot = this.takeSlot(link);
    const { id, offset, status } = this.response;
    // Xen: a response is in the slot of its request, and every slot has its own page.
    if (id !== slot) return this.break(`a rx response to page ${id} in the slot of page ${slot}`);
    if (status < NETIF_RSP_DROPPED) return this.break(`a rx response of status ${status}`);
    if (status > 0 && offset + status > PAGE_SIZE) {
      return this.break(`a frame of ${status} bytes from offset ${offset} of a page`);
    }
    return slot;
  }
  private takeSlot(link: Link): number {
    const { ring } = link;
    const slot = ring.rsp_cons & (RX_SLOTS - 1);
    ring.copyResponse(this.slot);
    ring.rsp_cons = (ring.rsp_cons + 1) >>> 0;
    return slot;
  }

  /** One of several pages, or with extra infos. */
  private receiveLarge(link: Link, available: number, first: number): number {
    const { response, stats } = this;
    this.gathered ??= new Uint8Array(XEN_NETIF_MAX_TX_SIZE);
    let flags = frameFlags(response.flags);
    let length = 0;
    let slots = 0;
    let bad = false;
    for (let slot = first; ; ) {
      const { offset, status, flags: has } = response;
      slots++;
      if (status <= 0 || length + status > this.gathered.length) bad = true;
      else {
        this.gathered.set(link.pages[slot]!.subarray(offset, offset + status), length);
        length += status;
      }
      this.post(link, slot);
      if (has & NETRXF_extra_info) {
        if (slots > 1) return this.break('an extra info behind another slot than the first', 0);
        const extras = this.takeExtras(link, available - slots);
        if (extras === 0) return 0;
        slots += extras;
        // invariant: gso still says what the one extra info did; whoever cuts a packet leaves the checksum to us.
        flags = withSegment(FRAME_CHECKSUM_BLANK | FRAME_CHECKSUM_GOOD, this.gso.size);
      }
      if ((has & NETRXF_more_data) === 0) break;
      if (slots === available) return this.break('a frame whose last page announces another', 0);
      slot = this.takeResponse(link);
      if (slot < 0) return 0;
    }
    if (bad) stats.rxErrors++;
    else {
      stats.rxFrames++;
      stats.rxBytes += length;
      this.handler(this.gathered, 0, length, flags);
    }
    return slots;
  }

  /** Returns how many slots the extra infos took; 0 when the backend broke the protocol. */
  private takeExtras(link: Link, available: number): number {
    if (available === 0) return this.break('an extra info that never comes', 0);
    // Xen: it says of no page which one it is, but it is where the request for one was.
    this.post(link, this.takeSlot(link));
    const { extra, gso } = this;
    // Multicast groups are for backends to hear of; hashes have to be asked for.
    if (extra.type !== XEN_NETIF_EXTRA_TYPE_GSO) return this.break(`an extra info of type ${extra.type}`, 0);
    if (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE) return this.break('a second extra info', 0);
    if (gso.size === 0) return this.break('a GSO extra info without a segment size', 0);
    if (gso.type !== XEN_NETIF_GSO_TYPE_TCPV4 && gso.type !== XEN_NETIF_GSO_TYPE_TCPV6) {
      return this.break(`a GSO extra info of type ${gso.type}`, 0);
    }
    return 1;
  }

  /** Give the page of `slot` to the backend; it is the turn of just that slot. */
  private post(link: Link, slot: number): void {
    const { ring, request } = link;
    request.base = ring.requestOffset();
    request.id = slot;
    request.pad = 0;
    request.gref = link.refs[slot]!;
    ring.req_prod_pvt = (ring.req_prod_pvt + 1) >>> 0;
  }

  /** untrusted: the backend broke the protocol. Returns `result`, for the caller to return. */
  private break(what: string, result: 0 | -1 = -1): 0 | -1 {
    this.onBroken(what);
    return result;
  }
}

function frameFlags(flags: number): number {
  if (flags & NETRXF_csum_blank) return FRAME_CHECKSUM_BLANK | FRAME_CHECKSUM_GOOD;
  return flags & NETRXF_data_validated ? FRAME_CHECKSUM_GOOD : 0;
}
