// The ring loop of one interface: frames out, frames in. Every slot of either ring has a page of its own that stays
// granted, so nothing is allocated, granted or mapped for a frame.
import {
  FrontRing,
  NETIF_RSP_DROPPED,
  NETIF_RSP_ERROR,
  NETIF_RSP_OKAY,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_more_data,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_more_data,
  NetifRxRequest,
  NetifRxResponse,
  NetifTxRequest,
  NetifTxResponse,
  netif_rx_sring_entry,
  netif_tx_sring_entry,
  PAGE_SIZE,
  TRC_XENOLITH_NET,
  type VcpuTrace,
  XEN_NETIF_MAX_TX_SIZE,
  XEN_NETIF_NR_SLOTS_MIN,
} from '#pvbus';
import { FRAME_CHECKSUM_BLANK, FRAME_CHECKSUM_GOOD, type FrameHandler } from '../../net-device.ts';
import { type NetBuffers, RX_SLOTS, TX_SLOTS } from './buffers.ts';
import { NetfrontStats } from './stats.ts';

/** Frames taken before the kernel gets a turn. */
const RX_BUDGET = 64;
const LOST = -2;
/** Pages given back to the backend at a time while a burst is taken. */
const RX_REPLENISH = 32;

/** Whom the rings are shared with now. */
interface Link {
  readonly tx: FrontRing;
  readonly rx: FrontRing;
  readonly txRequest: InstanceType<typeof NetifTxRequest>;
  readonly rxRequest: InstanceType<typeof NetifRxRequest>;
  readonly txPages: readonly Uint8Array[];
  readonly rxPages: readonly Uint8Array[];
  readonly txRefs: Uint32Array;
  readonly rxRefs: Uint32Array;
  readonly notify: () => void;
}

export class NetfrontWorker {
  readonly stats = new NetfrontStats();
  /** The backend broke the protocol: what to do about it. */
  private readonly onBroken: (what: string) => void;
  private link: Link | undefined;
  private sending = false;
  private broken = false;
  private scatterGather = false;
  private maxFrame = 0;
  private handler: FrameHandler = () => {};
  private writable: (() => void)[] = [];

  /** Free tx slots' ids, the last used on top: its page is in the cache, here and there. */
  private readonly freeTx = new Uint16Array(TX_SLOTS);
  private nFreeTx = 0;
  private readonly out = new Uint8Array(TX_SLOTS);
  /** Frames the backend has answered, or dropped with its connection. */
  answered = 0;
  /** The id whose page txBuffer gave out; -1: none, LOST: one of a connection that has ended since. */
  private held = -1;
  /** Somebody found no room: the backend is to notify when it is done with a frame. Otherwise nobody asks it to. */
  private wantsRoom = false;

  // untrusted: responses, copied once.
  private readonly txSlot = new Int32Array(netif_tx_sring_entry.size / 4);
  private readonly txResponse = new NetifTxResponse(new DataView(this.txSlot.buffer));
  private readonly rxSlot = new Int32Array(netif_rx_sring_entry.size / 4);
  private readonly rxResponse = new NetifRxResponse(new DataView(this.rxSlot.buffer));

  /** A frame of several pages is put together here. */
  private gathered: Uint8Array | undefined;
  // A view costs more than the copy it is made for: the last one is kept.
  private lastFrame: Uint8Array | undefined;
  private lastView: Uint8Array | undefined;

  constructor(onBroken: (what: string) => void) {
    this.onBroken = onBroken;
  }

  // ---- the connection ----

  /** New rings, with every rx page posted. Nothing is sent before `resume`. `trace`: who hears of what is handed over. */
  attach(buffers: NetBuffers, notify: () => void, trace?: VcpuTrace): void {
    const txRefs = Uint32Array.from({ length: TX_SLOTS }, (_, i) => buffers.txRef(i));
    const rxRefs = Uint32Array.from({ length: RX_SLOTS }, (_, i) => buffers.rxRef(i));
    this.link = {
      tx: FrontRing.init(buffers.txRing, netif_tx_sring_entry.size),
      rx: FrontRing.init(buffers.rxRing, netif_rx_sring_entry.size),
      txRequest: new NetifTxRequest(buffers.txRing.view),
      rxRequest: new NetifRxRequest(buffers.rxRing.view),
      txPages: Array.from({ length: TX_SLOTS }, (_, i) => buffers.txPage(i)),
      rxPages: Array.from({ length: RX_SLOTS }, (_, i) => buffers.rxPage(i)),
      txRefs,
      rxRefs,
      notify,
    };
    if (trace !== undefined) {
      this.link.tx.trace = trace.ring(TRC_XENOLITH_NET, trace.domid, buffers.txRingRef);
      this.link.rx.trace = trace.ring(TRC_XENOLITH_NET, trace.domid, buffers.rxRingRef);
    }
    // What a lost backend has not answered is lost, as frames on a wire are.
    this.out.fill(0);
    this.nFreeTx = 0;
    if (this.held >= 0) this.held = LOST;
    for (let id = TX_SLOTS - 1; id >= 0; id--) this.freeTx[this.nFreeTx++] = id;
    for (let i = 0; i < RX_SLOTS; i++) this.post(this.link, i);
    this.link.rx.pushRequests(); // a backend that is not connected has nothing to be notified of
  }

  /** The backend serves the rings. `maxFrame`: bytes of the longest frame. */
  resume(maxFrame: number, scatterGather: boolean): void {
    this.maxFrame = maxFrame;
    this.scatterGather = scatterGather;
    this.sending = true;
    this.link?.notify();
    this.callWritable();
  }
  /** Notify a backend that did not ask for it. */
  remind(): void {
    this.link?.notify();
  }
  /** Send nothing more. What has come in may still be taken. */
  suspend(): void {
    this.sending = false;
  }
  detach(): void {
    this.sending = false;
    this.link = undefined;
  }

  get up(): boolean {
    return this.sending;
  }
  /** Frames that wait for the backend's answer. */
  get inFlight(): number {
    return this.link === undefined ? 0 : TX_SLOTS - this.nFreeTx - (this.held >= 0 ? 1 : 0);
  }

  onFrame(handler: FrameHandler): void {
    this.handler = handler;
  }

  // ---- transmit ----

  send(frame: Uint8Array, length: number, flags = 0): boolean {
    if (length > PAGE_SIZE) return this.sendLarge(frame, length, flags);
    if (length > this.maxFrame) return false;
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
      if (this.nFreeTx === 0) this.takeTxResponses(link);
      if (this.nFreeTx === 0) {
        this.foundFull();
        return undefined;
      }
      this.held = this.freeTx[--this.nFreeTx]!;
    }
    return link.txPages[this.held]!;
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
    this.pushTx(link);
    this.stats.txFrames++;
    this.stats.txBytes += length;
  }

  /** `ready` is called once, when there is room to send. */
  whenWritable(ready: () => void): void {
    this.writable.push(ready);
    this.wantsRoom = true;
    this.callWritable();
  }

  private foundFull(): void {
    this.stats.txFull++;
    this.wantsRoom = true;
  }

  private sendLarge(frame: Uint8Array, length: number, flags: number): boolean {
    const { link } = this;
    const slots = Math.ceil(length / PAGE_SIZE);
    if (!this.sending || link === undefined || length > this.maxFrame) return false;
    if (!this.scatterGather || slots > XEN_NETIF_NR_SLOTS_MIN) return false;
    if (this.nFreeTx < slots) this.takeTxResponses(link);
    if (this.nFreeTx < slots) {
      this.foundFull();
      return false;
    }
    for (let i = 0; i < slots; i++) {
      const id = this.freeTx[--this.nFreeTx]!;
      const part = frame.subarray(i * PAGE_SIZE, Math.min(length, (i + 1) * PAGE_SIZE));
      link.txPages[id]!.set(part);
      const more = i === slots - 1 ? 0 : NETTXF_more_data;
      // Xen: the first slot's size is the whole packet's.
      this.stage(link, id, i === 0 ? length : part.length, (i === 0 ? txFlags(flags) : 0) | more);
    }
    this.pushTx(link);
    this.stats.txFrames++;
    this.stats.txBytes += length;
    return true;
  }

  private stage(link: Link, id: number, size: number, flags: number): void {
    const { tx, txRequest } = link;
    this.out[id] = 1;
    txRequest.base = tx.requestOffset();
    txRequest.gref = link.txRefs[id]!;
    txRequest.offset = 0;
    txRequest.flags = flags;
    txRequest.id = id;
    txRequest.size = size;
    tx.req_prod_pvt = (tx.req_prod_pvt + 1) >>> 0;
  }

  private pushTx(link: Link): void {
    if (!link.tx.pushRequests()) return;
    this.stats.notified++;
    link.notify();
  }

  /** Get the pages back that the backend is done with. True when there were any. */
  private takeTxResponses(link: Link): boolean {
    const { tx } = link;
    const { txResponse } = this;
    const n = this.wantsRoom ? tx.finalCheckForResponses() : tx.unconsumedResponses();
    if (n < 0) {
      this.break('more tx responses than there were requests');
      return false;
    }
    for (let i = 0; i < n; i++) {
      tx.copyResponse(this.txSlot);
      tx.rsp_cons = (tx.rsp_cons + 1) >>> 0;
      const { id, status } = txResponse;
      if (id >= TX_SLOTS || this.out[id] === 0) {
        this.break(`a tx response to request ${id}, which is not in flight`);
        return false;
      }
      if (status !== NETIF_RSP_OKAY) {
        if (status !== NETIF_RSP_ERROR && status !== NETIF_RSP_DROPPED) {
          this.break(`a tx response of status ${status}`);
          return false;
        }
        this.stats.txErrors++;
      }
      this.out[id] = 0;
      this.answered++;
      this.freeTx[this.nFreeTx++] = id;
    }
    if (n > 0) this.wantsRoom = false;
    return n > 0;
  }

  /** Tell those who wait for room. */
  private callWritable(): void {
    if (this.writable.length === 0 || !this.sending || this.nFreeTx === 0) return;
    for (const ready of this.writable.splice(0)) ready();
  }

  // ---- receive ----

  /** Take what has come. 'idle': nothing, and the backend was asked to notify of the next frame. */
  step(): 'progress' | 'idle' {
    const { link } = this;
    if (link === undefined || this.broken) return 'idle';
    const taken = this.takeTxResponses(link);
    if (this.broken) return 'progress';
    this.callWritable();
    const n = link.rx.finalCheckForResponses();
    if (n === 0) return taken ? 'progress' : 'idle';
    if (n < 0) this.break('more rx responses than pages were posted');
    else this.receive(link, n);
    return 'progress';
  }

  private receive(link: Link, available: number): void {
    const { rx } = link;
    const budget = Math.min(available, RX_BUDGET);
    let unpushed = 0;
    for (let used = 0; used < budget; ) {
      const parts = this.receiveFrame(link, available - used);
      if (parts === 0) return;
      used += parts;
      unpushed += parts;
      if (unpushed >= RX_REPLENISH) {
        unpushed = 0;
        if (rx.pushRequests()) link.notify();
      }
    }
    if (unpushed > 0 && rx.pushRequests()) link.notify();
  }

  /** One frame. Returns how many slots it took; 0 when the backend broke the protocol. */
  private receiveFrame(link: Link, available: number): number {
    const { rxResponse, stats } = this;
    const slot = this.takeRxResponse(link);
    if (slot < 0) return 0;
    const { offset, flags, status } = rxResponse;
    if (flags & NETRXF_more_data) return this.receiveLarge(link, available, slot);
    if (status > 0) {
      stats.rxFrames++;
      stats.rxBytes += status;
      this.handler(link.rxPages[slot]!, offset, status, frameFlags(flags));
    } else stats.rxErrors++;
    // order: the page is the backend's again only when the handler is done with it.
    this.post(link, slot);
    return 1;
  }

  /** The slot of the next response, its values checked and in rxResponse; -1 when the backend broke the protocol. */
  private takeRxResponse(link: Link): number {
    const { rx } = link;
    const slot = rx.rsp_cons & (RX_SLOTS - 1);
    rx.copyResponse(this.rxSlot);
    rx.rsp_cons = (rx.rsp_cons + 1) >>> 0;
    const { id, offset, flags, status } = this.rxResponse;
    // Xen: a response is in the slot of its request, and every slot has its own page.
    if (id !== slot) return this.break(`a rx response to page ${id} in the slot of page ${slot}`);
    if (flags & NETRXF_extra_info) return this.break('an extra info that was never negotiated');
    if (status < NETIF_RSP_DROPPED) return this.break(`a rx response of status ${status}`);
    if (status > 0 && offset + status > PAGE_SIZE) {
      return this.break(`a frame of ${status} bytes from offset ${offset} of a page`);
    }
    return slot;
  }

  private receiveLarge(link: Link, available: number, first: number): number {
    const { rxResponse, stats } = this;
    this.gathered ??= new Uint8Array(XEN_NETIF_MAX_TX_SIZE);
    const flags = frameFlags(rxResponse.flags);
    let length = 0;
    let parts = 0;
    let bad = false;
    for (let slot = first; ; ) {
      const { offset, status } = rxResponse;
      const more = (rxResponse.flags & NETRXF_more_data) !== 0;
      parts++;
      if (status <= 0 || length + status > this.gathered.length) bad = true;
      else {
        this.gathered.set(link.rxPages[slot]!.subarray(offset, offset + status), length);
        length += status;
      }
      this.post(link, slot);
      if (!more) break;
      if (parts === available) {
        this.break('a frame whose last page announces another');
        return 0;
      }
      slot = this.takeRxResponse(link);
      if (slot < 0) return 0;
    }
    if (bad) stats.rxErrors++;
    else {
      stats.rxFrames++;
      stats.rxBytes += length;
      this.handler(this.gathered, 0, length, flags);
    }
    return parts;
  }

  /** Give the page of `slot` to the backend; it is the turn of just that slot. */
  private post(link: Link, slot: number): void {
    const { rx, rxRequest } = link;
    rxRequest.base = rx.requestOffset();
    rxRequest.id = slot;
    rxRequest.pad = 0;
    rxRequest.gref = link.rxRefs[slot]!;
    rx.req_prod_pvt = (rx.req_prod_pvt + 1) >>> 0;
  }

  private viewOf(frame: Uint8Array, length: number): Uint8Array {
    if (this.lastFrame !== frame || this.lastView?.length !== length) {
      this.lastFrame = frame;
      this.lastView = frame.subarray(0, length);
    }
    return this.lastView!;
  }

  /** untrusted: the backend broke the protocol. Returns -1, for the caller to return. */
  private break(what: string): -1 {
    this.broken = true;
    this.sending = false;
    this.onBroken(what);
    return -1;
  }
}

const txFlags = (flags: number): number =>
  flags & FRAME_CHECKSUM_BLANK ? NETTXF_csum_blank | NETTXF_data_validated : 0;

function frameFlags(flags: number): number {
  if (flags & NETRXF_csum_blank) return FRAME_CHECKSUM_BLANK | FRAME_CHECKSUM_GOOD;
  return flags & NETRXF_data_validated ? FRAME_CHECKSUM_GOOD : 0;
}
