// Pages that are in no static mapping are reached by GNTTABOP_copy, through pages of our own, a batch per call.
import {
  type Arena,
  type Cursor,
  type Domid,
  type Gfn,
  GNTST_okay,
  type Gref,
  gref as grefOf,
  NETIF_RSP_ERROR,
  NetifRxResponse,
  type netif_rx_response,
  type Vcpu,
} from '#pvbus';
import { SourcePage } from './frame.ts';

/** Our own pages for one direction, and so the longest batch: at least the slots of one turn and one packet more. */
export const STAGING_PAGES = 96;

type CopyOp = Parameters<Vcpu['grants']['copy']>[0][number];

/** A response already staged in a rx ring, whose page is still to be written. */
interface RxCopy {
  readonly ring: DataView;
  readonly responseAt: number;
  failed(): void;
}

/** Copies out of guests' pages, then copies into guests' pages: each kind has pages and a batch of its own. */
export class Copies {
  private readonly vcpu: Vcpu;
  private readonly inward: StagingPages;
  private readonly outward: StagingPages;
  private inOps: CopyOp[] = [];
  private outOps: CopyOp[] = [];
  private rxCopies: RxCopy[] = [];

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
    this.inward = new StagingPages(vcpu);
    this.outward = new StagingPages(vcpu);
  }

  /**
   * Plan to copy a guest's bytes in. They are in the returned page, at the same offset, after `runIn`, which must
   * run before STAGING_PAGES more are planned.
   */
  planIn(domid: Domid, ref: number, offset: number, length: number): SourcePage {
    const i = this.inOps.length;
    const page = this.inward.page(i);
    const source = { domid, ref: grefOf(ref), offset };
    this.inOps.push({ source, dest: { gfn: this.inward.gfn(i), offset }, length });
    return page;
  }
  /** Run what was planned: the GNTST_ of each, in the order of the plans. */
  runIn(): number[] {
    if (this.inOps.length === 0) return [];
    const ops = this.inOps;
    this.inOps = [];
    return this.vcpu.grants.copy(ops);
  }

  /** The page to put bytes for a guest's rx page in; they are copied by `runOut`. */
  planOut(domid: Domid, ref: Gref | number, length: number, rx: RxCopy): Uint8Array {
    if (this.outOps.length === STAGING_PAGES) this.runOut();
    const i = this.outOps.length;
    const dest = { domid, ref: grefOf(ref), offset: 0 };
    this.outOps.push({ source: { gfn: this.outward.gfn(i), offset: 0 }, dest, length });
    this.rxCopies.push(rx);
    return this.outward.page(i).bytes;
  }
  /** Copy to the guests, and turn the responses of what could not be copied into errors. */
  runOut(): void {
    if (this.outOps.length === 0) return;
    const ops = this.outOps;
    const rxCopies = this.rxCopies;
    this.outOps = [];
    this.rxCopies = [];
    const statuses = this.vcpu.grants.copy(ops);
    for (const [i, rx] of rxCopies.entries()) {
      if (statuses[i] === GNTST_okay) continue;
      const response: Cursor<typeof netif_rx_response.fields> = new NetifRxResponse(rx.ring, rx.responseAt);
      response.status = NETIF_RSP_ERROR;
      rx.failed();
    }
  }

  /** One page of a guest, as it is now; undefined when it cannot be read. */
  readPage(domid: Domid, ref: number, length: number): Uint8Array | undefined {
    const dest = { gfn: this.inward.gfn(0), offset: 0 };
    const source = { domid, ref: grefOf(ref), offset: 0 };
    const [status] = this.vcpu.grants.copy([{ source, dest, length }]);
    return status === GNTST_okay ? this.inward.page(0).bytes.slice(0, length) : undefined;
  }
  writePage(domid: Domid, ref: number, bytes: Uint8Array): boolean {
    this.inward.page(0).bytes.set(bytes);
    const source = { gfn: this.inward.gfn(0), offset: 0 };
    const dest = { domid, ref: grefOf(ref), offset: 0 };
    const [status] = this.vcpu.grants.copy([{ source, dest, length: bytes.length }]);
    return status === GNTST_okay;
  }

  release(): void {
    this.inward.release();
    this.outward.release();
  }
}

/** Frames of our domain, taken when first needed: frontends with static grants never do. */
class StagingPages {
  private readonly vcpu: Vcpu;
  private first: Gfn | undefined;
  private readonly pages: SourcePage[] = [];

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }
  gfn(i: number): number {
    this.first ??= this.vcpu.frames.alloc(STAGING_PAGES);
    return this.first + i;
  }
  page(i: number): SourcePage {
    const memory: Arena = this.vcpu.memory;
    this.pages[i] ??= new SourcePage(memory.page(this.gfn(i)).bytes);
    return this.pages[i];
  }
  release(): void {
    if (this.first !== undefined) this.vcpu.frames.free(this.first, STAGING_PAGES);
    this.first = undefined;
    this.pages.length = 0;
  }
}
