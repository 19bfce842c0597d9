// A net frontend without a driver: rings, granted pages, event channels, and a hand that writes into them whatever
// a test says.
import {
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
  XenNetifCtrlRequest,
  XenNetifCtrlResponse,
  XenNetifGref,
  xen_netif_ctrl_request,
  xen_netif_ctrl_sring_entry,
  xen_netif_gref,
} from '#pvbus';
import type { NetbackMessage, VifConnection } from '../../dom0/backends/netback/messages.ts';
import type { Guest } from './core-rig.ts';
import type { NetRig } from './net-rig.ts';

const REQ_PROD = sring.at.req_prod / 4;
const REQ_EVENT = sring.at.req_event / 4;
const RSP_PROD = sring.at.rsp_prod / 4;
const RSP_EVENT = sring.at.rsp_event / 4;
const TX = 0;
const RX = 1;
const CONTROL = 2;
const LIST = 3;
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

export class HostileNetfront {
  readonly rig: NetRig;
  readonly guest: Guest;
  readonly vcpu: Vcpu;
  readonly pages: SharedPages;
  readonly refs: Gref[] = [];
  readonly port: EvtchnPort;
  readonly tx: FrontRing;
  readonly rx: FrontRing;
  readonly control: FrontRing;
  private readonly from: number;

  /** `from`: the rings' first index. */
  constructor(rig: NetRig, guest: Guest = rig.core.guest({ pages: 256 }), from = 0) {
    this.rig = rig;
    this.guest = guest;
    this.vcpu = guest.kernel(0);
    this.from = from;
    const { grants, events } = this.vcpu;
    const dom0 = rig.vcpu.domid;
    this.pages = grants.allocShared(dom0, FIRST_DATA + DATA_PAGES);
    for (let i = 0; i < FIRST_DATA + DATA_PAGES; i++) this.refs.push(grants.grantAccess(dom0, this.pages.gfn + i));
    this.port = events.allocUnbound(dom0);
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

  get mac(): Uint8Array {
    return Uint8Array.from(this.rig.mac(this.guest.domid).split(':'), octet => Number.parseInt(octet, 16));
  }
  get name(): string {
    return `vif${this.guest.domid}.0`;
  }
  connection(changes: Partial<VifConnection> = {}): VifConnection {
    return {
      domid: this.guest.domid,
      handle: 0,
      bridge: 'xenbr0',
      mac: this.rig.mac(this.guest.domid),
      mtu: 1500,
      txRingRef: this.refs[TX]!,
      rxRingRef: this.refs[RX]!,
      txPort: this.port,
      rxPort: this.port,
      control: undefined,
      scatterGather: true,
      checksumOffload: true,
      multicastControl: false,
      ...changes,
    };
  }
  /** Past xenstore, straight to the worker. */
  connect(changes: Partial<VifConnection> = {}): this {
    this.rig.worker.handle({ op: 'connect', vif: this.connection(changes) } satisfies NetbackMessage);
    return this;
  }
  /** With a control ring, which has a port of its own. */
  connectWithControl(changes: Partial<VifConnection> = {}): this {
    const port = this.vcpu.events.allocUnbound(this.rig.vcpu.domid);
    return this.connect({ control: { ringRef: this.refs[CONTROL]!, port }, ...changes });
  }
  disconnect(): void {
    this.rig.worker.handle({ op: 'disconnect', domid: this.guest.domid, handle: 0 } satisfies NetbackMessage);
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
  /** Publish, let the backend run, and take its responses. */
  transmit(): RawTxResponse[] {
    this.tx.pushRequests();
    this.vcpu.events.notify(this.port);
    this.rig.settle(this.rig);
    return this.txResponses();
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

  // ---- control ----

  /** One request, and the answer to it. */
  ask(type: number, ...data: number[]): { status: number; data: number } {
    const { view } = this.pages.page(CONTROL);
    const request = new XenNetifCtrlRequest(view, this.control.requestOffset());
    request.id = 99;
    request.type = type;
    for (let i = 0; i < 3; i++)
      view.setUint32(request.base + xen_netif_ctrl_request.at.data + 4 * i, data[i] ?? 0, true);
    this.control.req_prod_pvt = (this.control.req_prod_pvt + 1) >>> 0;
    this.control.pushRequests();
    this.vcpu.events.notify(this.port);
    this.rig.settle(this.rig);
    if (this.control.unconsumedResponses() !== 1) throw new Error('no answer on the control ring');
    const response = new XenNetifCtrlResponse(view, this.control.responseOffset());
    if (response.id !== 99 || response.type !== type) throw new Error('the answer to another question');
    this.control.rsp_cons = (this.control.rsp_cons + 1) >>> 0;
    return { status: response.status, data: response.data };
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
}
