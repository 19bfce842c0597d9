// A net frontend without a driver: rings, granted pages, event channels, and a hand that writes into them whatever
// a test says. Nothing here needs a rig: a hostile kernel in a process of its own uses it as well.
import {
  type Domid,
  type EvtchnPort,
  FrontRing,
  type Gref,
  NetifRxRequest,
  NetifRxResponse,
  NetifTxRequest,
  NetifTxResponse,
  netif_rx_sring_entry,
  netif_tx_request,
  netif_tx_sring_entry,
  type Page,
  type SharedPages,
  sring,
  type Vcpu,
  XenNetifGref,
  xen_netif_ctrl_sring_entry,
  xen_netif_gref,
} from '#pvbus';

const REQ_PROD = sring.at.req_prod / 4;
const REQ_EVENT = sring.at.req_event / 4;
const RSP_PROD = sring.at.rsp_prod / 4;
const RSP_EVENT = sring.at.rsp_event / 4;
export const TX = 0;
export const RX = 1;
export const CONTROL = 2;
export const LIST = 3;
const FIRST_DATA = 4;
export const DATA_PAGES = 32;

export interface RawTx {
  readonly gref?: number;
  readonly offset?: number;
  readonly flags?: number;
  readonly id?: number;
  readonly size: number;
}
export interface RawTxResponse {
  readonly id: number;
  readonly status: number;
}
export interface RawRxResponse {
  readonly id: number;
  readonly offset: number;
  readonly flags: number;
  readonly status: number;
}

export class RawNetfront {
  readonly vcpu: Vcpu;
  readonly peer: Domid;
  readonly mac: Uint8Array;
  readonly pages: SharedPages;
  readonly refs: Gref[] = [];
  readonly port: EvtchnPort;
  readonly tx: FrontRing;
  readonly rx: FrontRing;
  readonly control: FrontRing;
  private readonly from: number;

  /** `from`: the rings' first index. */
  constructor(vcpu: Vcpu, peer: Domid, mac: Uint8Array, from = 0) {
    this.vcpu = vcpu;
    this.peer = peer;
    this.mac = mac;
    this.from = from;
    const { grants, events } = vcpu;
    this.pages = grants.allocShared(peer, FIRST_DATA + DATA_PAGES);
    for (let i = 0; i < FIRST_DATA + DATA_PAGES; i++) this.refs.push(grants.grantAccess(peer, this.pages.gfn + i));
    this.port = events.allocUnbound(peer);
    events.on(this.port, () => {});
    this.tx = this.init(TX, netif_tx_sring_entry.size);
    this.rx = this.init(RX, netif_rx_sring_entry.size);
    this.control = this.init(CONTROL, xen_netif_ctrl_sring_entry.size);
  }
  private init(page: number, size: number): FrontRing {
    const { words } = this.pages.page(page);
    FrontRing.init(this.pages.page(page), size);
    for (const index of [REQ_PROD, RSP_PROD]) words[index] = this.from | 0;
    for (const index of [REQ_EVENT, RSP_EVENT]) words[index] = (this.from + 1) | 0;
    return new FrontRing(this.pages.page(page), size, this.from);
  }

  page(i: number): Page {
    return this.pages.page(FIRST_DATA + i);
  }
  ref(i: number): Gref {
    return this.refs[FIRST_DATA + i]!;
  }
  words(ring: 'tx' | 'rx' | 'control'): Int32Array {
    return this.pages.page(ring === 'tx' ? TX : ring === 'rx' ? RX : CONTROL).words;
  }
  /** Overwrite a shared index. */
  set(ring: 'tx' | 'rx' | 'control', index: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event', value: number): void {
    Atomics.store(this.words(ring), sring.at[index] / 4, value | 0);
    this.vcpu.events.notify(this.port);
  }

  // ---- transmit ----

  putTx({ gref = this.ref(0), offset = 0, flags = 0, id = 0, size }: RawTx): this {
    const request = new NetifTxRequest(this.pages.page(TX).view, this.tx.requestOffset());
    Object.assign(request, { gref, offset, flags, id, size });
    this.tx.req_prod_pvt = (this.tx.req_prod_pvt + 1) >>> 0;
    return this;
  }
  putExtra(type: number, flags = 0, ...rest: number[]): this {
    const at = this.tx.requestOffset();
    this.pages.page(TX).bytes.fill(0, at, at + netif_tx_request.size);
    this.pages.page(TX).bytes.set([type, flags, ...rest], at);
    this.tx.req_prod_pvt = (this.tx.req_prod_pvt + 1) >>> 0;
    return this;
  }
  /** What was put on the tx ring is the backend's from here on. */
  publishTx(): void {
    this.tx.pushRequests();
    this.vcpu.events.notify(this.port);
  }
  txResponses(): RawTxResponse[] {
    const { view } = this.pages.page(TX);
    const got: RawTxResponse[] = [];
    for (let n = this.tx.unconsumedResponses(); n > 0; n--) {
      const { id, status } = new NetifTxResponse(view, this.tx.responseOffset());
      got.push({ id, status });
      this.tx.rsp_cons = (this.tx.rsp_cons + 1) >>> 0;
    }
    return got;
  }
  /** A frame into page `page`, ready to be sent. */
  write(page: number, destination: Uint8Array, length: number, source = this.mac): Uint8Array {
    const frame = Uint8Array.from({ length }, (_, i) => (i * 7 + page) & 255);
    frame.set(destination.subarray(0, length));
    frame.set(source, 6);
    frame.set([0x88, 0xb5], 12);
    this.page(page).bytes.set(frame.subarray(0, 4096));
    return frame;
  }

  // ---- receive ----

  putRx(id: number, gref: number = this.ref(id)): this {
    const request = new NetifRxRequest(this.pages.page(RX).view, this.rx.requestOffset());
    Object.assign(request, { id, pad: 0, gref });
    this.rx.req_prod_pvt = (this.rx.req_prod_pvt + 1) >>> 0;
    return this;
  }
  post(): this {
    this.rx.pushRequests();
    return this;
  }
  rxResponses(): RawRxResponse[] {
    const { view } = this.pages.page(RX);
    const got: RawRxResponse[] = [];
    for (let n = this.rx.unconsumedResponses(); n > 0; n--) {
      const { id, offset, flags, status } = new NetifRxResponse(view, this.rx.responseOffset());
      got.push({ id, offset, flags, status });
      this.rx.rsp_cons = (this.rx.rsp_cons + 1) >>> 0;
    }
    return got;
  }

  /** Write the list page: grefs, and flags of each. Returns its gref. */
  list(refs: readonly number[], flags = 0): Gref {
    const entry = new XenNetifGref(this.pages.page(LIST).view);
    for (const ref of refs.slice(0, 512)) {
      Object.assign(entry, { ref, flags, status: 0x5555 });
      entry.base += xen_netif_gref.size;
    }
    return this.refs[LIST]!;
  }
  listStatus(i: number): number {
    return new XenNetifGref(this.pages.page(LIST).view, i * xen_netif_gref.size).status;
  }
  /** Give everything back. Throws while the backend has something mapped. */
  release(): void {
    for (const ref of this.refs) this.vcpu.grants.endAccess(ref);
    this.pages.release();
    this.vcpu.events.close(this.port);
  }
}
