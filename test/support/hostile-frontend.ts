// A blk frontend without a driver: a ring, some granted pages, an event channel, and a hand that writes into
// them whatever a test says.
import {
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BlkifRequest,
  BlkifRequestDiscard,
  BlkifRequestIndirect,
  BlkifRequestSegment,
  BlkifResponse,
  blkif_request,
  blkif_request_indirect,
  blkif_request_segment,
  blkif_sring_entry,
  type Domid,
  type EvtchnPort,
  FrontRing,
  type Gref,
  type Page,
  type SharedPages,
  sring,
  type Vcpu,
} from '#pvbus';

const REQ_PROD = sring.at.req_prod / 4;
const RSP_PROD = sring.at.rsp_prod / 4;
const SLOTS = 32;

export interface RawSegment {
  readonly gref: number;
  readonly first_sect?: number;
  readonly last_sect?: number;
}
export interface RawRequest {
  readonly operation?: number;
  readonly nr_segments?: number;
  readonly id?: number;
  readonly sector_lo?: number;
  readonly sector_hi?: number;
  readonly segments?: readonly RawSegment[];
}
export interface RawResponse {
  readonly id: number;
  readonly operation: number;
  readonly status: number;
}

export class HostileFrontend {
  readonly vcpu: Vcpu;
  readonly peer: Domid;
  readonly shared: SharedPages;
  /** Page 0 is the ring's. */
  readonly refs: Gref[] = [];
  readonly port: EvtchnPort;
  /** Events the backend has sent. */
  events = 0;
  /** Where the next honest request goes, and the next response is read. */
  prod = 0;
  cons = 0;

  constructor(vcpu: Vcpu, peer: Domid, dataPages = 16) {
    this.vcpu = vcpu;
    this.peer = peer;
    this.shared = vcpu.grants.allocShared(peer, 1 + dataPages);
    for (let i = 0; i <= dataPages; i++) this.refs.push(vcpu.grants.grantAccess(peer, this.shared.gfn + i));
    this.port = vcpu.events.allocUnbound(peer);
    vcpu.events.on(this.port, () => {
      this.events++;
    });
    FrontRing.init(this.ring, blkif_sring_entry.size);
  }

  get ring(): Page {
    return this.shared.page(0);
  }
  /** The i-th data page, from 1. */
  page(i: number): Page {
    return this.shared.page(i);
  }
  slot(index: number): number {
    return sring.size + (index & (SLOTS - 1)) * blkif_sring_entry.size;
  }

  /** Write a request into the slot of `index`, without publishing it. */
  write(index: number, request: RawRequest): void {
    const at = this.slot(index);
    const rw = new BlkifRequest(this.ring.view, at);
    const segments = request.segments ?? [];
    rw.operation = request.operation ?? BLKIF_OP_READ;
    rw.nr_segments = request.nr_segments ?? segments.length;
    rw.handle = 0;
    rw.id_lo = request.id ?? index;
    rw.id_hi = 0;
    rw.sector_number_lo = request.sector_lo ?? 0;
    rw.sector_number_hi = request.sector_hi ?? 0;
    segments.slice(0, 11).forEach((s, i) => {
      this.writeSegment(this.ring, at + blkif_request.at.seg + i * blkif_request_segment.size, s);
    });
  }
  writeSegment(page: Page, at: number, s: RawSegment): void {
    const segment = new BlkifRequestSegment(page.view, at);
    segment.gref = s.gref;
    segment.first_sect = s.first_sect ?? 0;
    segment.last_sect = s.last_sect ?? 7;
  }
  writeIndirect(
    index: number,
    r: { op: number; nr_segments: number; sector?: number; id?: number; refs: readonly number[] },
  ): void {
    const at = this.slot(index);
    const indirect = new BlkifRequestIndirect(this.ring.view, at);
    indirect.operation = BLKIF_OP_INDIRECT;
    indirect.indirect_op = r.op;
    indirect.nr_segments = r.nr_segments;
    indirect.id_lo = r.id ?? index;
    indirect.id_hi = 0;
    indirect.sector_number_lo = r.sector ?? 0;
    indirect.sector_number_hi = 0;
    r.refs.forEach((ref, i) => {
      this.ring.view.setUint32(at + blkif_request_indirect.at.indirect_grefs + 4 * i, ref, true);
    });
  }
  writeDiscard(index: number, r: { lo: number; hi: number; countLo: number; countHi: number; flag?: number }): void {
    this.write(index, { operation: 5, segments: [] });
    const discard = new BlkifRequestDiscard(this.ring.view, this.slot(index));
    discard.flag = r.flag ?? 0;
    discard.sector_number_lo = r.lo;
    discard.sector_number_hi = r.hi;
    discard.nr_sectors_lo = r.countLo;
    discard.nr_sectors_hi = r.countHi;
  }

  /** Have both indices begin there; before the backend has seen the ring. */
  startAt(index: number): void {
    for (const field of ['req_prod', 'rsp_prod'] as const)
      Atomics.store(this.ring.words, sring.at[field] / 4, index | 0);
    Atomics.store(this.ring.words, sring.at.req_event / 4, (index + 1) | 0);
    this.prod = index;
    this.cons = index;
  }
  setReqProd(n: number): void {
    Atomics.store(this.ring.words, REQ_PROD, n | 0);
  }
  rspProd(): number {
    return Atomics.load(this.ring.words, RSP_PROD) >>> 0;
  }
  notify(): void {
    this.vcpu.events.notify(this.port);
  }

  /** Send what `fill` writes into the next slot as an honest frontend would. */
  send(fill: (index: number) => void): void {
    fill(this.prod);
    this.prod = (this.prod + 1) >>> 0;
    this.setReqProd(this.prod);
    this.notify();
  }
  /** Give everything back. Throws while the backend has something mapped. */
  release(): void {
    for (const ref of this.refs) this.vcpu.grants.endAccess(ref);
    this.shared.release();
    this.vcpu.events.close(this.port);
  }
  /** The next response, if there is one. */
  response(): RawResponse | undefined {
    if (this.rspProd() === this.cons) return undefined;
    const response = new BlkifResponse(this.ring.view, this.slot(this.cons));
    this.cons = (this.cons + 1) >>> 0;
    return { id: response.id_lo, operation: response.operation, status: response.status };
  }
}
