// The pages a disk shares with its backend beside its rings: the buffers of its request slots, the descriptors of
// large requests. All of them are granted once and stay so: 'feature-persistent' (Xen: io/blkif.h, note 7),
// which a backend that doesn't know it doesn't notice.
import { type Domid, type GrantTable, type Gref, PAGE_SIZE, type Page, type SharedPages } from '#pvbus';

/** How many slots a disk has: small ones of a page, large ones of contiguous pages. */
export interface BufferShape {
  readonly small: number;
  readonly large: number;
  readonly largePages: number;
}
/** 32 page-sized requests and a megabyte of large ones at a time. */
export const DEFAULT_SHAPE: BufferShape = { small: 32, large: 8, largePages: 32 };

export class SharedBuffers {
  readonly peer: Domid;
  readonly shape: BufferShape;
  readonly slots: number;
  /** The gref of every page: those of a slot are at firstPage[slot], ... */
  readonly refs: Uint32Array;
  readonly firstPage: Int32Array;
  readonly pages: Int32Array;
  readonly #grants: GrantTable;
  readonly #shared: SharedPages;
  readonly #bytes: Uint8Array[] = [];
  readonly #indirect: Page[] = [];
  readonly #firstIndirect: number;

  /** Throws when the domain has no memory or grants left. */
  constructor(grants: GrantTable, peer: Domid, shape: BufferShape = DEFAULT_SHAPE) {
    this.peer = peer;
    this.shape = shape;
    this.#grants = grants;
    this.slots = shape.small + shape.large;
    const data = shape.small + shape.large * shape.largePages;
    const count = data + shape.large;
    this.#shared = grants.allocShared(peer, count);
    this.refs = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      try {
        this.refs[i] = grants.grantAccess(peer, this.#shared.gfn + i);
      } catch (error) {
        for (const ref of this.refs.subarray(0, i)) grants.endAccess(ref as Gref); // from grantAccess
        this.#shared.release();
        throw error;
      }
    }
    this.firstPage = new Int32Array(this.slots);
    this.pages = new Int32Array(this.slots);
    let page = 0;
    for (let slot = 0; slot < this.slots; slot++) {
      const pages = slot < shape.small ? 1 : shape.largePages;
      this.firstPage[slot] = page;
      this.pages[slot] = pages;
      this.#bytes.push(this.#shared.bytes.subarray(page * PAGE_SIZE, (page + pages) * PAGE_SIZE));
      page += pages;
    }
    this.#firstIndirect = page;
    for (let i = 0; i < shape.large; i++) this.#indirect.push(this.#shared.page(page + i));
  }

  /** The buffer of a slot. The backend can write to it at any time. */
  bytes(slot: number): Uint8Array {
    return this.#bytes[slot]!;
  }
  /** The page for the segments of a large slot's request. */
  indirectPage(slot: number): Page {
    return this.#indirect[slot - this.shape.small]!;
  }
  indirectRef(slot: number): number {
    return this.refs[this.#firstIndirect + slot - this.shape.small]!;
  }

  /**
   * End every grant and give the pages back. Pages the peer still has mapped cannot be taken from it: then
   * all of them stay where they are, and their number is returned.
   */
  release(): number {
    let held = 0;
    for (const ref of this.refs) if (!this.#grants.endAccess(ref as Gref)) held++; // from grantAccess
    if (held > 0) return this.refs.length;
    this.#shared.release();
    return 0;
  }
}
