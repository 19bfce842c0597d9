// Frames out, by one tx ring. Every slot has a page of its own that stays granted, so nothing is allocated, granted or
// mapped for a frame. Xen: io/netif.h, "Guest transmit".
import {
  FrontRing,
  NETIF_RSP_DROPPED,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  NetifExtraInfo,
  NetifExtraInfoGso,
  NetifTxRequest,
  NetifTxResponse,
  netif_extra_info,
  netif_tx_sring_entry,
  PAGE_SIZE,
  TRC_XENOLITH_NET,
  type VcpuTrace,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
  XEN_NETIF_MAX_TX_SIZE,
  XEN_NETIF_NR_SLOTS_MIN,
} from '#pvbus';
import { FRAME_CHECKSUM_BLANK, segmentOf } from '../../net-device.ts';
import { type NetBuffers, TX_SLOTS } from './buffers.ts';
import type { NetfrontStats } from './stats.ts';

/** `held`: the page that was given out is one of a connection that has ended since. */
const LOST = -2;
/** Of a frame: the first byte of an Ethernet type, and IPv6's. */
const ETHERTYPE_AT = 12;
const ETHERTYPE_IPV6 = 0x86;

/** What the backend takes. */
export interface TxOffer {
  /** Bytes of the longest frame that is one packet. */
  readonly maxFrame: number;
  /** Frames of several pages. */
  readonly scatterGather: boolean;
  /** TCP packets that are to be cut into segments. */
  readonly gsoTcpv4: boolean;
  readonly gsoTcpv6: boolean;
}

/** Whom the ring is shared with now. */
interface Link {
  readonly ring: FrontRing;
  readonly request: InstanceType<typeof NetifTxRequest>;
  readonly extra: InstanceType<typeof NetifExtraInfo>;
  readonly gso: InstanceType<typeof NetifExtraInfoGso>;
  readonly pages: readonly Uint8Array[];
  readonly refs: Uint32Array;
  readonly notify: () => void;
}

const NOTHING: TxOffer = { maxFrame: 0, scatterGather: false, gsoTcpv4: false, gsoTcpv6: false };

export class Transmitter {
  private readonly stats: NetfrontStats;
  /** The backend broke the protocol: what to do about it. */
  private readonly onBroken: (what: string) => void;
  private link: Link | undefined;
  private sending = false;
  private broken = false;
  private offer = NOTHING;
  private writable: (() => void)[] = [];

  /** Free slots' ids, the last used on top: its page is in the cache, here and there. */
  private readonly free = new Uint16Array(TX_SLOTS);
  private nFree = 0;
  private readonly out = new Uint8Array(TX_SLOTS);
  /** Ids whose place in the ring extra infos have: their answers do not say which. */
  private readonly extras = new Uint16Array(TX_SLOTS);
  private nExtras = 0;
  /** Slots the backend has answered, or dropped with its connection. */
  answered = 0;
  /** The id whose page txBuffer gave out; -1: none; LOST. */
  private held = -1;
  /** Somebody found no room: the backend is to notify when it is done with a frame. Otherwise nobody asks it to. */
  private wantsRoom = false;
  /** Slots of the largest frame that found no room since those who wait were told: fewer are none. */
  private wanted = 1;

  // untrusted: responses, copied once.
  private readonly slot = new Int32Array(netif_tx_sring_entry.size / 4);
  private readonly response = new NetifTxResponse(new DataView(this.slot.buffer));

  // A view costs more than the copy it is made for: the last one is kept.
  private lastFrame: Uint8Array | undefined;
  private lastView: Uint8Array | undefined;

  constructor(stats: NetfrontStats, onBroken: (what: string) => void) {
    this.stats = stats;
    this.onBroken = onBroken;
  }

  // ---- the connection ----

  attach(buffers: NetBuffers, notify: () => void, trace?: VcpuTrace): void {
    const { view } = buffers.txRing;
    this.link = {
      ring: FrontRing.init(buffers.txRing, netif_tx_sring_entry.size),
      request: new NetifTxRequest(view),
      extra: new NetifExtraInfo(view),
      gso: new NetifExtraInfoGso(view),
      pages: Array.from({ length: TX_SLOTS }, (_, i) => buffers.txPage(i)),
      refs: Uint32Array.from({ length: TX_SLOTS }, (_, i) => buffers.txRef(i)),
      notify,
    };
    if (trace !== undefined) this.link.ring.trace = trace.ring(TRC_XENOLITH_NET, trace.domid, buffers.txRingRef);
    // What a lost backend has not answered is lost, as frames on a wire are.
    this.out.fill(0);
    this.nExtras = 0;
    this.nFree = 0;
    if (this.held >= 0) this.held = LOST;
    for (let id = TX_SLOTS - 1; id >= 0; id--) this.free[this.nFree++] = id;
  }
  resume(offer: TxOffer): void {
    this.offer = offer;
    this.sending = true;
    this.link?.notify();
    this.callWritable();
  }
  /** Send nothing more. */
  suspend(): void {
    this.sending = false;
  }
  detach(): void {
    this.sending = false;
    this.link = undefined;
  }
  /** The backend broke the protocol, on this ring or another one. */
  giveUp(): void {
    this.broken = true;
    this.sending = false;
  }

  get up(): boolean {
    return this.sending;
  }
  /** TCP packets that are longer than a frame are taken, to be cut. */
  get takesTcpv4(): boolean {
    return this.sending && this.offer.gsoTcpv4;
  }
  get takesTcpv6(): boolean {
    return this.sending && this.offer.gsoTcpv6;
  }
  /** Slots that wait for the backend's answer. */
  get inFlight(): number {
    return this.link === undefined ? 0 : TX_SLOTS - this.nFree - (this.held >= 0 ? 1 : 0);
  }

  // ---- frames ----

  send(frame: Uint8Array, length: number, flags = 0): boolean {
    const segment = segmentOf(flags);
    if (segment > 0 || length > PAGE_SIZE) return this.sendLarge(frame, length, flags, segment);
    if (this.sending && length > this.offer.maxFrame) return this.lose();
    const page = this.txBuffer();
    if (page === undefined) return false;
    if (length === frame.length) page.set(frame);
    else page.set(this.viewOf(frame, length));
    this.txCommit(length, flags);
    return true;
  }

  txBuffer(): Uint8Array | undefined {
    const { link } = this;
    if (!this.sending || link === undefined) return undefined;
    if (this.held < 0) {
      if (this.nFree === 0) this.takeResponses();
      if (this.nFree === 0) {
        this.foundFull(1);
        return undefined;
      }
      this.held = this.free[--this.nFree]!;
    }
    return link.pages[this.held]!;
  }

  txCommit(length: number, flags = 0): void {
    const { link, held } = this;
    if (held === LOST) {
      this.held = -1;
      this.stats.txErrors++;
      return;
    }
    if (held < 0 || link === undefined) throw new Error('txCommit without txBuffer');
    if (length < 1 || length > PAGE_SIZE) throw new Error(`a frame of ${length} bytes in one page`);
    this.held = -1;
    this.stage(link, held, length, txFlags(flags));
    this.push(link, length);
  }

  /** `ready` is called once, when there is room to send. */
  whenWritable(ready: () => void): void {
    this.writable.push(ready);
    this.wantsRoom = true;
    this.callWritable();
  }
  /** Tell those who wait for room. */
  callWritable(): void {
    if (this.writable.length === 0 || !this.sending || this.nFree < this.wanted) return;
    this.wanted = 1;
    for (const ready of this.writable.splice(0)) ready();
  }
  /** Those who wait, for another queue. */
  takeWaiting(): (() => void)[] {
    return this.writable.splice(0);
  }
  private foundFull(slots: number): void {
    this.stats.txFull++;
    this.wantsRoom = true;
    this.wanted = Math.max(this.wanted, slots);
  }

  /** This backend takes none like it: as on a wire. Who waited for room for it could wait for ever. */
  private lose(): true {
    this.stats.txErrors++;
    return true;
  }

  /** `segment`, when not 0: it is a TCP packet that is to be cut into segments with so much payload. */
  private sendLarge(frame: Uint8Array, length: number, flags: number, segment: number): boolean {
    const { link, offer } = this;
    const pages = Math.ceil(length / PAGE_SIZE);
    const slots = segment > 0 ? pages + 1 : pages;
    if (!this.sending || link === undefined) return false;
    if ((pages > 1 && !offer.scatterGather) || pages > XEN_NETIF_NR_SLOTS_MIN) return this.lose();
    if (segment > 0) {
      const taken = frame[ETHERTYPE_AT] === ETHERTYPE_IPV6 ? offer.gsoTcpv6 : offer.gsoTcpv4;
      if (!taken || length > XEN_NETIF_MAX_TX_SIZE) return this.lose();
    } else if (length > offer.maxFrame) return this.lose();
    if (this.nFree < slots) this.takeResponses();
    if (this.nFree < slots) {
      this.foundFull(slots);
      return false;
    }
    for (let i = 0; i < pages; i++) {
      const id = this.free[--this.nFree]!;
      const part = frame.subarray(i * PAGE_SIZE, Math.min(length, (i + 1) * PAGE_SIZE));
      link.pages[id]!.set(part);
      const more = i === pages - 1 ? 0 : NETTXF_more_data;
      if (i > 0) this.stage(link, id, part.length, more);
      else {
        // Xen: the first slot's size is the whole packet's, and what there is to say of it comes behind that.
        this.stage(link, id, length, txFlags(flags) | more | (segment > 0 ? NETTXF_extra_info : 0));
        if (segment > 0) this.stageGso(link, segment, frame[ETHERTYPE_AT] === ETHERTYPE_IPV6);
      }
    }
    this.push(link, length);
    return true;
  }

  private stage(link: Link, id: number, size: number, flags: number): void {
    const { ring, request } = link;
    this.out[id] = 1;
    request.base = ring.requestOffset();
    request.gref = link.refs[id]!;
    request.offset = 0;
    request.flags = flags;
    request.id = id;
    request.size = size;
    ring.req_prod_pvt = (ring.req_prod_pvt + 1) >>> 0;
  }
  private stageGso(link: Link, segment: number, ipv6: boolean): void {
    const { ring, request, extra, gso } = link;
    this.extras[this.nExtras++] = this.free[--this.nFree]!;
    const at = ring.requestOffset();
    request.base = at;
    request.size = 0; // what is behind an extra info is padding
    request.id = 0;
    extra.base = at;
    extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    extra.flags = 0;
    gso.base = at + netif_extra_info.at.u;
    gso.size = segment;
    gso.type = ipv6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4;
    gso.pad = 0;
    gso.features = 0;
    ring.req_prod_pvt = (ring.req_prod_pvt + 1) >>> 0;
  }

  private push(link: Link, length: number): void {
    this.stats.txFrames++;
    this.stats.txBytes += length;
    if (!link.ring.pushRequests()) return;
    this.stats.notified++;
    link.notify();
  }

  /** Get the pages back that the backend is done with. True when there were any. */
  takeResponses(): boolean {
    if (this.link === undefined || this.broken) return false;
    const { ring } = this.link;
    const { response } = this;
    const n = this.wantsRoom ? ring.finalCheckForResponses() : ring.unconsumedResponses();
    if (n < 0) return this.break('more tx responses than there were requests');
    for (let i = 0; i < n; i++) {
      ring.copyResponse(this.slot);
      ring.rsp_cons = (ring.rsp_cons + 1) >>> 0;
      const { id, status } = response;
      if (status === NETIF_RSP_NULL) {
        // Xen: an extra info has no room for an id, so nothing is known of that of its answer.
        if (this.nExtras === 0) return this.break('a tx response to an extra info that was not sent');
        this.free[this.nFree++] = this.extras[--this.nExtras]!;
        this.answered++;
        continue;
      }
      if (id >= TX_SLOTS || this.out[id] === 0) {
        return this.break(`a tx response to request ${id}, which is not in flight`);
      }
      if (status !== NETIF_RSP_OKAY) {
        if (status !== NETIF_RSP_ERROR && status !== NETIF_RSP_DROPPED) {
          return this.break(`a tx response of status ${status}`);
        }
        this.stats.txErrors++;
      }
      this.out[id] = 0;
      this.answered++;
      this.free[this.nFree++] = id;
    }
    if (this.nFree >= this.wanted) this.wantsRoom = false;
    return n > 0;
  }

  private viewOf(frame: Uint8Array, length: number): Uint8Array {
    if (this.lastFrame !== frame || this.lastView?.length !== length) {
      this.lastFrame = frame;
      this.lastView = frame.subarray(0, length);
    }
    return this.lastView!;
  }

  private break(what: string): false {
    this.onBroken(what);
    return false;
  }
}

const txFlags = (flags: number): number =>
  flags & FRAME_CHECKSUM_BLANK ? NETTXF_csum_blank | NETTXF_data_validated : 0;
