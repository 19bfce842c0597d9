// A net backend without a driver: it negotiates as far as a test says, maps a frontend's rings and writes into them
// whatever a test says.
import {
  type EvtchnPort,
  type GrantMapping,
  NetifRxRequest,
  NetifRxResponse,
  NetifTxRequest,
  NetifTxResponse,
  netif_rx_sring_entry,
  netif_tx_sring_entry,
  port,
  sring,
  type Vcpu,
  XenbusState,
  XenNetifCtrlRequest,
  XenNetifCtrlResponse,
  xen_netif_ctrl_request,
  xen_netif_ctrl_sring_entry,
} from '#pvbus';
import { NetGuest, NetRig } from './net-rig.ts';

const REQ_PROD = sring.at.req_prod / 4;
const RSP_PROD = sring.at.rsp_prod / 4;
const RSP_EVENT = sring.at.rsp_event / 4;
const SLOTS = 256;

export const GOOD_FEATURES = {
  'feature-sg': 1,
  'feature-rx-copy': 1,
  'feature-ctrl-ring': 1,
} as const;

export interface SeenTx {
  readonly gref: number;
  readonly offset: number;
  readonly flags: number;
  readonly id: number;
  readonly size: number;
}

export class HostileNetback {
  readonly rig: NetRig;
  readonly guest: NetGuest;
  private readonly vcpu: Vcpu;
  private tx: GrantMapping | undefined;
  private rx: GrantMapping | undefined;
  private control: GrantMapping | undefined;
  private port: EvtchnPort | undefined;
  private controlPort: EvtchnPort | undefined;
  private txCons = 0;
  private txProd = 0;
  private rxCons = 0;
  private rxProd = 0;
  private controlCons = 0;

  constructor(rig: NetRig, guest: NetGuest) {
    this.rig = rig;
    this.guest = guest;
    this.vcpu = rig.vcpu;
  }
  /** A guest whose device has nobody behind it yet. Its netfront has been started. */
  static async plug(features: Readonly<Record<string, string | number>> = GOOD_FEATURES): Promise<HostileNetback> {
    const rig = new NetRig();
    const core = rig.core.guest({ pages: 1024 });
    const guest = new NetGuest(rig, core, await rig.plug(core));
    rig.guests.push(guest);
    const back = new HostileNetback(rig, guest);
    void guest.netfront.start();
    await back.offer(features);
    return back;
  }
  static async connect(features: Readonly<Record<string, string | number>> = GOOD_FEATURES): Promise<HostileNetback> {
    const back = await HostileNetback.plug(features);
    await back.attach();
    return back;
  }

  async write(key: string, value: string | number): Promise<void> {
    await this.rig.toolstack.xs.write(`${this.guest.nodes.backend}/${key}`, String(value));
  }
  async setState(state: XenbusState): Promise<void> {
    await this.write('state', state);
  }
  async offer(features: Readonly<Record<string, string | number>>): Promise<void> {
    for (const [key, value] of Object.entries(features)) await this.write(key, value);
    await this.setState(XenbusState.InitWait);
  }
  frontendState(): Promise<XenbusState> {
    return this.rig.state(this.guest.nodes.frontend);
  }
  /** Map what the frontend offers, and be Connected. */
  async attach(): Promise<void> {
    const { rig, vcpu } = this;
    const { frontend } = this.guest.nodes;
    await rig.until(async () => (await this.frontendState()) === XenbusState.Initialised);
    const number = async (key: string): Promise<number> => Number(await rig.toolstack.xs.read(`${frontend}/${key}`));
    const map = async (key: string): Promise<GrantMapping> => this.map(await number(key));
    const bind = async (key: string): Promise<EvtchnPort> => {
      const local = vcpu.events.bindInterdomain(this.guest.vcpu.domid, port(await number(key)));
      vcpu.events.on(local, () => {});
      return local;
    };
    this.tx = await map('tx-ring-ref');
    this.rx = await map('rx-ring-ref');
    this.port = await bind('event-channel');
    if (await rig.toolstack.xs.exists(`${frontend}/ctrl-ring-ref`)) {
      this.control = await map('ctrl-ring-ref');
      this.controlPort = await bind('event-channel-ctrl');
    }
    this.txCons = this.txProd = this.rxCons = this.rxProd = this.controlCons = 0;
    await this.setState(XenbusState.Connected);
    await rig.until(async () => (await this.frontendState()) === XenbusState.Connected);
    await rig.until(() => this.guest.vif.txBuffer() !== undefined);
  }
  map(ref: number): GrantMapping {
    return this.vcpu.grants.map(this.guest.vcpu.domid, [ref])[0]!;
  }
  /** Give up the mappings and ports, as a backend that dies does. */
  detach(): void {
    const { grants, events } = this.vcpu;
    grants.unmap([this.tx, this.rx, this.control].filter(m => m !== undefined));
    for (const p of [this.port, this.controlPort]) if (p !== undefined) events.close(p);
    this.tx = this.rx = this.control = this.port = this.controlPort = undefined;
  }

  private slot(index: number, size: number): number {
    return sring.size + (index & (SLOTS - 1)) * size;
  }
  private publish(ring: GrantMapping, value: number): void {
    Atomics.store(ring.page.words, RSP_PROD, value | 0);
    this.vcpu.events.notify(this.port!);
  }
  /** Let the guest look. */
  go(): void {
    this.rig.settle(this.guest);
  }

  /** Tx requests that have come since the last call. */
  sent(): SeenTx[] {
    const { page } = this.tx!;
    const seen: SeenTx[] = [];
    for (; this.txCons !== Atomics.load(page.words, REQ_PROD) >>> 0; this.txCons++) {
      const r = new NetifTxRequest(page.view, this.slot(this.txCons, netif_tx_sring_entry.size));
      seen.push({ gref: r.gref, offset: r.offset, flags: r.flags, id: r.id, size: r.size });
    }
    return seen;
  }
  /** The bytes of slot `i` of those that `sent` has not said yet. */
  txBytes(i: number): Uint8Array {
    const at = this.slot(this.txCons + i, netif_tx_sring_entry.size);
    return this.tx!.page.bytes.slice(at, at + netif_tx_sring_entry.size);
  }
  answerTx(id: number, status = 0): this {
    const r = new NetifTxResponse(this.tx!.page.view, this.slot(this.txProd++, netif_tx_sring_entry.size));
    r.id = id;
    r.status = status;
    this.publish(this.tx!, this.txProd);
    return this;
  }
  /** The guest wants to be notified of the next tx response. */
  wantsTxEvent(): boolean {
    return Atomics.load(this.tx!.page.words, RSP_EVENT) === this.txProd + 1;
  }
  setTxProd(value: number): void {
    this.publish(this.tx!, value);
  }

  /** The next page the guest has posted. */
  posted(): { id: number; gref: number } {
    const r = new NetifRxRequest(this.rx!.page.view, this.slot(this.rxCons++, netif_rx_sring_entry.size));
    return { id: r.id, gref: r.gref };
  }
  postedCount(): number {
    return ((Atomics.load(this.rx!.page.words, REQ_PROD) >>> 0) - this.rxCons) >>> 0;
  }
  answerRx(r: { id: number; offset?: number; flags?: number; status: number }): this {
    const response = new NetifRxResponse(this.rx!.page.view, this.slot(this.rxProd++, netif_rx_sring_entry.size));
    Object.assign(response, { offset: 0, flags: 0, ...r });
    this.publish(this.rx!, this.rxProd);
    return this;
  }
  /** An extra info in the place of the next rx response, for `publishRx` or the next response to publish. */
  putRxExtra(bytes: readonly number[]): this {
    const at = this.slot(this.rxProd++, netif_rx_sring_entry.size);
    this.rx!.page.bytes.fill(0, at, at + netif_rx_sring_entry.size).set(bytes, at);
    return this;
  }
  publishRx(): void {
    this.publish(this.rx!, this.rxProd);
  }
  setRxProd(value: number): void {
    this.publish(this.rx!, value);
  }
  /** Any word of the tx, rx or control ring, and a notification. */
  scribble(ring: number, word: number, value: number): void {
    [this.tx, this.rx, this.control][ring]!.page.words[word] = value;
    this.vcpu.events.notify(this.port!);
  }
  /** A well-formed frame in the next page. */
  deliver(frame: Uint8Array, flags = 0): void {
    const { id, gref } = this.posted();
    const mapping = this.map(gref);
    mapping.page.bytes.set(frame);
    this.vcpu.grants.unmap([mapping]);
    this.answerRx({ id, flags, status: frame.length });
  }

  /** Control requests that have come since the last call. */
  asked(): { id: number; type: number; data: number[] }[] {
    const { page } = this.control!;
    const seen: { id: number; type: number; data: number[] }[] = [];
    for (; this.controlCons !== Atomics.load(page.words, REQ_PROD) >>> 0; this.controlCons++) {
      const r = new XenNetifCtrlRequest(page.view, this.slot(this.controlCons, xen_netif_ctrl_sring_entry.size));
      const at = r.base + xen_netif_ctrl_request.at.data;
      seen.push({ id: r.id, type: r.type, data: [0, 4, 8].map(o => page.view.getUint32(at + o, true)) });
    }
    return seen;
  }
  answerControl(index: number, r: { id: number; type: number; status: number; data: number }): void {
    const { page } = this.control!;
    Object.assign(new XenNetifCtrlResponse(page.view, this.slot(index, xen_netif_ctrl_sring_entry.size)), r);
    Atomics.store(page.words, RSP_PROD, index + 1);
    this.vcpu.events.notify(this.controlPort!);
  }
}
