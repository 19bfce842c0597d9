// A net backend without a driver, over any vCPU: it negotiates as far as it is told, maps a frontend's rings and writes into
// them whatever somebody says.
import {
  type Domid,
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
  type XenstoreClient,
  xen_netif_ctrl_request,
  xen_netif_ctrl_sring_entry,
} from '#pvbus';

const REQ_PROD = sring.at.req_prod / 4;
const RSP_PROD = sring.at.rsp_prod / 4;
const RSP_EVENT = sring.at.rsp_event / 4;
const SLOTS = 256;

export interface SeenTx {
  readonly gref: number;
  readonly offset: number;
  readonly flags: number;
  readonly id: number;
  readonly size: number;
}

/** Whose backend it is, and what it has. */
export interface NetbackParts {
  readonly vcpu: Vcpu;
  readonly xs: XenstoreClient;
  readonly frontendDomid: Domid;
  /** The directories of both ends. */
  readonly nodes: { readonly frontend: string; readonly backend: string };
  readonly until: (condition: () => boolean | Promise<boolean>) => Promise<void>;
}

export class RawNetback {
  readonly #parts: NetbackParts;
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

  constructor(parts: NetbackParts) {
    this.#parts = parts;
    this.vcpu = parts.vcpu;
  }

  async write(key: string, value: string | number): Promise<void> {
    await this.#parts.xs.write(`${this.#parts.nodes.backend}/${key}`, String(value));
  }
  async setState(state: XenbusState): Promise<void> {
    await this.write('state', state);
  }
  async offer(features: Readonly<Record<string, string | number>>): Promise<void> {
    for (const [key, value] of Object.entries(features)) await this.write(key, value);
    await this.setState(XenbusState.InitWait);
  }
  async frontendState(): Promise<XenbusState> {
    return Number(await this.#parts.xs.read(`${this.#parts.nodes.frontend}/state`)) as XenbusState;
  }
  /** Map what the frontend offers, and be Connected. */
  async attach(): Promise<void> {
    const { vcpu, xs, until, frontendDomid, nodes } = this.#parts;
    const { frontend } = nodes;
    await until(async () => (await this.frontendState()) === XenbusState.Initialised);
    const number = async (key: string): Promise<number> => Number(await xs.read(`${frontend}/${key}`));
    const map = async (key: string): Promise<GrantMapping> => this.map(await number(key));
    const bind = async (key: string): Promise<EvtchnPort> => {
      const local = vcpu.events.bindInterdomain(frontendDomid, port(await number(key)));
      vcpu.events.on(local, () => {});
      return local;
    };
    this.tx = await map('tx-ring-ref');
    this.rx = await map('rx-ring-ref');
    this.port = await bind('event-channel');
    if (await xs.exists(`${frontend}/ctrl-ring-ref`)) {
      this.control = await map('ctrl-ring-ref');
      this.controlPort = await bind('event-channel-ctrl');
    }
    this.txCons = this.txProd = this.rxCons = this.rxProd = this.controlCons = 0;
    await this.setState(XenbusState.Connected);
    await until(async () => (await this.frontendState()) === XenbusState.Connected);
  }
  map(ref: number): GrantMapping {
    return this.vcpu.grants.map(this.#parts.frontendDomid, [ref])[0]!;
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
