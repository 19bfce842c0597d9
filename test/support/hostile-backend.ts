// A blk backend without a driver: it maps a frontend's ring and writes into it whatever a test says.
import {
  BlkifRequest,
  BlkifResponse,
  blkif_sring_entry,
  type Domid,
  type EvtchnPort,
  type GrantMapping,
  port,
  sring,
  type Vcpu,
} from '#pvbus';

const REQ_PROD = sring.at.req_prod / 4;
const RSP_PROD = sring.at.rsp_prod / 4;
const SLOTS = 32;

export interface SeenRequest {
  readonly index: number;
  readonly operation: number;
  readonly id_lo: number;
  readonly id_hi: number;
  /** Of a direct request. */
  readonly gref: number;
  readonly sector: number;
}

export class HostileBackend {
  readonly vcpu: Vcpu;
  readonly frontend: Domid;
  readonly ring: GrantMapping;
  readonly port: EvtchnPort;
  cons = 0;
  prod = 0;

  constructor(vcpu: Vcpu, frontend: Domid, ringRef: number, eventChannel: number) {
    this.vcpu = vcpu;
    this.frontend = frontend;
    this.ring = vcpu.grants.map(frontend, [ringRef])[0]!;
    this.port = vcpu.events.bindInterdomain(frontend, port(eventChannel));
    vcpu.events.on(this.port, () => {});
  }

  #slot(index: number): number {
    return sring.size + (index & (SLOTS - 1)) * blkif_sring_entry.size;
  }
  /** The requests that have come since the last call. */
  take(): SeenRequest[] {
    const { page } = this.ring;
    const seen: SeenRequest[] = [];
    for (; this.cons !== Atomics.load(page.words, REQ_PROD); this.cons++) {
      const request = new BlkifRequest(page.view, this.#slot(this.cons));
      seen.push({
        index: this.cons,
        operation: request.operation,
        id_lo: request.id_lo,
        id_hi: request.id_hi,
        gref: page.view.getUint32(request.base + 24, true),
        sector: request.sector_number_lo,
      });
    }
    return seen;
  }
  /** Write a response into the next slot and publish it. */
  answer(r: { id_lo: number; id_hi: number; operation: number; status?: number }): void {
    const response = new BlkifResponse(this.ring.page.view, this.#slot(this.prod));
    response.id_lo = r.id_lo;
    response.id_hi = r.id_hi;
    response.operation = r.operation;
    response.status = r.status ?? 0;
    this.setRspProd(++this.prod);
  }
  setRspProd(n: number): void {
    Atomics.store(this.ring.page.words, RSP_PROD, n | 0);
    this.vcpu.events.notify(this.port);
  }
}
