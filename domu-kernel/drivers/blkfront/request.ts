// Requests into the ring, responses out of it. Nothing here allocates.
import {
  BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST,
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_DISCARD,
  BLKIF_OP_INDIRECT,
  BlkifRequest,
  BlkifRequestDiscard,
  BlkifRequestIndirect,
  BlkifRequestSegment,
  BlkifResponse,
  blkif_request,
  blkif_request_indirect,
  blkif_request_segment,
  type FrontRing,
  PAGE_SIZE,
  type Page,
} from '#pvbus';
import type { SharedBuffers } from './buffers.ts';

export const SECTOR_SIZE = 512;
const LAST_SECTOR = PAGE_SIZE / SECTOR_SIZE - 1;
const SEGMENTS_PER_PAGE = PAGE_SIZE / blkif_request_segment.size;
/** What the segments of one indirect page of ours can hold; our slots are smaller. */
export const MAX_SEGMENTS = Math.min(SEGMENTS_PER_PAGE, BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST * SEGMENTS_PER_PAGE);

/** Writes requests into the slots of one ring. */
export class RequestWriter {
  readonly #buffers: SharedBuffers;
  readonly #view: DataView;
  readonly #handle: number;
  readonly #rw: InstanceType<typeof BlkifRequest>;
  readonly #segment: InstanceType<typeof BlkifRequestSegment>;
  readonly #indirect: InstanceType<typeof BlkifRequestIndirect>;
  readonly #indirectSegment: InstanceType<typeof BlkifRequestSegment>;
  readonly #discard: InstanceType<typeof BlkifRequestDiscard>;
  /** The length each slot's indirect page describes; 0 for none. */
  readonly #described: Int32Array;

  constructor(buffers: SharedBuffers, ringPage: Page, vdev: number) {
    const { view } = ringPage;
    this.#buffers = buffers;
    this.#view = view;
    this.#handle = vdev & 0xffff;
    this.#rw = new BlkifRequest(view);
    this.#segment = new BlkifRequestSegment(view);
    this.#indirect = new BlkifRequestIndirect(view);
    this.#indirectSegment = new BlkifRequestSegment(view);
    this.#discard = new BlkifRequestDiscard(view);
    this.#described = new Int32Array(buffers.slots);
  }

  /** Stage: `length` bytes of the slot's buffer, or `length` sectors to discard. `id` is (slot, stamp). */
  stage(ring: FrontRing, slot: number, stamp: number, operation: number, sector: number, length: number): void {
    const at = ring.requestOffset();
    const hi = Math.floor(sector / 2 ** 32);
    if (operation === BLKIF_OP_DISCARD) this.#stageDiscard(at, slot, stamp, sector, hi, length);
    else if (length > BLKIF_MAX_SEGMENTS_PER_REQUEST * PAGE_SIZE) {
      this.#stageIndirect(at, slot, stamp, operation, sector, hi, length);
    } else this.#stageDirect(at, slot, stamp, operation, sector, hi, length);
    ring.req_prod_pvt = (ring.req_prod_pvt + 1) >>> 0;
  }

  #stageDirect(at: number, slot: number, stamp: number, op: number, sector: number, hi: number, length: number): void {
    const count = (length + PAGE_SIZE - 1) >>> 12;
    const rw = this.#rw;
    rw.base = at;
    rw.operation = op;
    rw.nr_segments = count;
    rw.handle = this.#handle;
    rw.id_lo = slot;
    rw.id_hi = stamp;
    rw.sector_number_lo = sector >>> 0;
    rw.sector_number_hi = hi;
    this.#describe(this.#segment, at + blkif_request.at.seg, slot, count, length);
  }

  #stageIndirect(
    at: number,
    slot: number,
    stamp: number,
    op: number,
    sector: number,
    hi: number,
    length: number,
  ): void {
    const buffers = this.#buffers;
    const count = (length + PAGE_SIZE - 1) >>> 12;
    const indirect = this.#indirect;
    indirect.base = at;
    indirect.operation = BLKIF_OP_INDIRECT;
    indirect.indirect_op = op;
    indirect.nr_segments = count;
    indirect.id_lo = slot;
    indirect.id_hi = stamp;
    indirect.sector_number_lo = sector >>> 0;
    indirect.sector_number_hi = hi;
    indirect.handle = this.#handle;
    this.#view.setUint32(at + blkif_request_indirect.at.indirect_grefs, buffers.indirectRef(slot), true);
    // A slot's pages are always the same: their description is too. Who scribbles over it fools itself only.
    if (this.#described[slot] === length) return;
    this.#described[slot] = length;
    this.#indirectSegment.view = buffers.indirectPage(slot).view;
    this.#describe(this.#indirectSegment, 0, slot, count, length);
  }

  #describe(
    segment: InstanceType<typeof BlkifRequestSegment>,
    at: number,
    slot: number,
    count: number,
    length: number,
  ): void {
    const { refs, firstPage } = this.#buffers;
    const first = firstPage[slot]!;
    for (let i = 0; i < count; i++) {
      segment.base = at + i * blkif_request_segment.size;
      segment.gref = refs[first + i]!;
      segment.first_sect = 0;
      segment.last_sect = LAST_SECTOR;
    }
    if (count > 0) segment.last_sect = ((length - 1) & (PAGE_SIZE - 1)) >>> 9;
  }

  #stageDiscard(at: number, slot: number, stamp: number, sector: number, hi: number, count: number): void {
    const discard = this.#discard;
    discard.base = at;
    discard.operation = BLKIF_OP_DISCARD;
    discard.flag = 0;
    discard.handle = this.#handle;
    discard.id_lo = slot;
    discard.id_hi = stamp;
    discard.sector_number_lo = sector >>> 0;
    discard.sector_number_hi = hi;
    discard.nr_sectors_lo = count >>> 0;
    discard.nr_sectors_hi = Math.floor(count / 2 ** 32);
  }
}

/** One response. untrusted: each of its fields is read from the ring exactly once. */
export class ResponseReader {
  id_lo = 0;
  id_hi = 0;
  operation = 0;
  status = 0;
  readonly #cursor: InstanceType<typeof BlkifResponse>;

  constructor(page: Page) {
    this.#cursor = new BlkifResponse(page.view);
  }

  take(ring: FrontRing): void {
    const cursor = this.#cursor;
    cursor.base = ring.responseOffset();
    this.id_lo = cursor.id_lo;
    this.id_hi = cursor.id_hi;
    this.operation = cursor.operation;
    this.status = cursor.status;
    ring.rsp_cons = (ring.rsp_cons + 1) >>> 0;
  }
}
