// One request of a frontend: copied out of the ring once, checked as a copy, described for the worker.
// Nothing here throws or allocates; a hostile request costs as much as an honest one.
import {
  type BackRing,
  BLKIF_DISCARD_SECURE,
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  BlkifRequest,
  BlkifRequestDiscard,
  BlkifRequestIndirect,
  blkif_request,
  blkif_request_indirect,
  blkif_request_segment,
  blkif_sring_entry,
  PAGE_SIZE,
} from '#pvbus';

export const SECTOR_SIZE = 512;
const SECTORS_PER_PAGE = PAGE_SIZE / SECTOR_SIZE;
/** What 'feature-max-indirect-segments' offers: 1 MiB a request. */
export const MAX_INDIRECT_SEGMENTS = 256;
const SEGMENTS_PER_PAGE = PAGE_SIZE / blkif_request_segment.size;
/** A u64 whose high half is below this is an exact number. */
const EXACT_HIGH = 2 ** 21;

const SEGMENT_WORDS = blkif_request_segment.size / 4;
const DIRECT_SEGMENTS = blkif_request.at.seg / 4;
const INDIRECT_GREFS = blkif_request_indirect.at.indirect_grefs / 4;

/** What a request may be asked for. */
export interface DiskLimits {
  /** Size in 512s. */
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly discard: boolean;
}

export class BlkbackRequest {
  /** The slot's private copy. */
  readonly #slot = new Int32Array(blkif_sring_entry.size / 4);
  readonly #rw: InstanceType<typeof BlkifRequest>;
  readonly #indirect: InstanceType<typeof BlkifRequestIndirect>;
  readonly #discard: InstanceType<typeof BlkifRequestDiscard>;
  readonly #limits: DiskLimits;

  // ---- to be echoed ----
  id_lo = 0;
  id_hi = 0;
  /** Xen: of an indirect request, what it does. */
  operation = 0;

  // ---- what it asks for; valid when decode (and addSegments) returned BLKIF_RSP_OKAY ----
  /** First 512-byte sector, and how many. */
  sector = 0;
  sectors = 0;
  /** Parts of granted pages, in the order of the disk's bytes. */
  nr_segments = 0;
  readonly grefs = new Uint32Array(MAX_INDIRECT_SEGMENTS);
  /** In bytes, inside the page. */
  readonly offsets = new Uint16Array(MAX_INDIRECT_SEGMENTS);
  readonly lengths = new Uint16Array(MAX_INDIRECT_SEGMENTS);
  /** Pages that hold the segments of an indirect request; 0 when its segments are known. */
  nrIndirectPages = 0;
  /** Why it was refused. */
  why = '';

  constructor(limits: DiskLimits) {
    const view = new DataView(this.#slot.buffer);
    this.#rw = new BlkifRequest(view);
    this.#indirect = new BlkifRequestIndirect(view);
    this.#discard = new BlkifRequestDiscard(view);
    this.#limits = limits;
  }

  /** Take the next request of the ring. untrusted: the frontend can change the slot under our eyes, once. */
  take(ring: BackRing): void {
    ring.copyRequest(this.#slot);
    ring.req_cons = (ring.req_cons + 1) >>> 0;
  }

  /** Check and describe what was taken: a BLKIF_RSP_. Indirect requests then need `addSegments`. */
  decode(): number {
    const rw = this.#rw;
    this.id_lo = rw.id_lo;
    this.id_hi = rw.id_hi;
    this.operation = rw.operation;
    this.nr_segments = 0;
    this.nrIndirectPages = 0;
    this.sectors = 0;
    switch (rw.operation) {
      case BLKIF_OP_READ:
      case BLKIF_OP_WRITE:
      case BLKIF_OP_FLUSH_DISKCACHE:
      case BLKIF_OP_WRITE_BARRIER:
        return this.#decodeDirect();
      case BLKIF_OP_INDIRECT:
        return this.#decodeIndirect();
      case BLKIF_OP_DISCARD:
        return this.#decodeDiscard();
      default:
        return this.#refuse('unknown operation', BLKIF_RSP_EOPNOTSUPP);
    }
  }

  #decodeDirect(): number {
    const rw = this.#rw;
    const count = rw.nr_segments;
    if (count > BLKIF_MAX_SEGMENTS_PER_REQUEST) return this.#refuse('more segments than a request holds');
    if (count === 0 && (rw.operation === BLKIF_OP_FLUSH_DISKCACHE || rw.operation === BLKIF_OP_WRITE_BARRIER)) {
      return BLKIF_RSP_OKAY;
    }
    if (count === 0) return this.#refuse('no segments');
    if (rw.operation !== BLKIF_OP_READ && this.#limits.readOnly) return this.#refuse('write to a read-only disk');
    if (rw.sector_number_hi >= EXACT_HIGH) return this.#refuse('beyond the end of the disk');
    this.sector = rw.sector_number_hi * 2 ** 32 + rw.sector_number_lo;
    return this.#add(this.#slot, DIRECT_SEGMENTS, count) ? this.#checkRange() : BLKIF_RSP_ERROR;
  }

  #decodeIndirect(): number {
    const indirect = this.#indirect;
    this.operation = indirect.indirect_op;
    this.id_lo = indirect.id_lo;
    this.id_hi = indirect.id_hi;
    if (this.operation !== BLKIF_OP_READ && this.operation !== BLKIF_OP_WRITE) {
      return this.#refuse('indirect request that neither reads nor writes');
    }
    const count = indirect.nr_segments;
    if (count === 0) return this.#refuse('no segments');
    if (count > MAX_INDIRECT_SEGMENTS) return this.#refuse('more indirect segments than are offered');
    if (this.operation === BLKIF_OP_WRITE && this.#limits.readOnly) return this.#refuse('write to a read-only disk');
    if (indirect.sector_number_hi >= EXACT_HIGH) return this.#refuse('beyond the end of the disk');
    this.sector = indirect.sector_number_hi * 2 ** 32 + indirect.sector_number_lo;
    this.nrIndirectPages = Math.ceil(count / SEGMENTS_PER_PAGE);
    return BLKIF_RSP_OKAY;
  }

  /** The gref of the i-th page of indirect segments. */
  indirectGref(i: number): number {
    return this.#slot[INDIRECT_GREFS + i]! >>> 0;
  }

  /** Take the segments out of the next of the indirect pages. untrusted: every word is read once. */
  addSegments(words: Int32Array): number {
    const left = this.#indirect.nr_segments - this.nr_segments;
    if (!this.#add(words, 0, Math.min(left, SEGMENTS_PER_PAGE))) return BLKIF_RSP_ERROR;
    return this.nr_segments === this.#indirect.nr_segments ? this.#checkRange() : BLKIF_RSP_OKAY;
  }

  /** All of its segments are known. */
  get isWhole(): boolean {
    return this.nrIndirectPages === 0 || this.nr_segments === this.#indirect.nr_segments;
  }

  #decodeDiscard(): number {
    const discard = this.#discard;
    if (!this.#limits.discard) return this.#refuse('discard was not offered', BLKIF_RSP_EOPNOTSUPP);
    if ((discard.flag & BLKIF_DISCARD_SECURE) !== 0) {
      return this.#refuse('secure discard was not offered', BLKIF_RSP_EOPNOTSUPP);
    }
    if (this.#limits.readOnly) return this.#refuse('discard on a read-only disk');
    if (discard.sector_number_hi >= EXACT_HIGH || discard.nr_sectors_hi >= EXACT_HIGH) {
      return this.#refuse('beyond the end of the disk');
    }
    this.sector = discard.sector_number_hi * 2 ** 32 + discard.sector_number_lo;
    this.sectors = discard.nr_sectors_hi * 2 ** 32 + discard.nr_sectors_lo;
    return this.#checkRange();
  }

  #add(words: Int32Array, from: number, count: number): boolean {
    let n = this.nr_segments;
    for (let at = from; at < from + count * SEGMENT_WORDS; at += SEGMENT_WORDS) {
      const ends = words[at + 1]!;
      const first = ends & 0xff;
      const last = (ends >>> 8) & 0xff;
      if (first > last || last >= SECTORS_PER_PAGE) {
        this.#refuse('segment beyond its page');
        return false;
      }
      this.grefs[n] = words[at]!;
      this.offsets[n] = first * SECTOR_SIZE;
      this.lengths[n] = (last - first + 1) * SECTOR_SIZE;
      this.sectors += last - first + 1;
      n++;
    }
    this.nr_segments = n;
    return true;
  }

  // Both summands are below 2^53 and the disk is much smaller: a sum that lost a bit is still too large.
  #checkRange(): number {
    if (this.sector + this.sectors <= this.#limits.sectors) return BLKIF_RSP_OKAY;
    return this.#refuse('beyond the end of the disk');
  }

  #refuse(why: string, status: number = BLKIF_RSP_ERROR): number {
    this.why = why;
    return status;
  }
}
