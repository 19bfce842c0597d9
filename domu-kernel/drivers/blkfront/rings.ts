// The rings of a disk: their pages, granted to its backend. Apart from the buffers, so that a backend that offers more or
// fewer of them than the one before costs a few frames.
import { type Domid, type GrantTable, type Gref, PAGE_SIZE, type Page, pageAt, type SharedPages } from '#pvbus';

/** How many rings, each of `1 << order` pages. */
export interface RingShape {
  readonly queues: number;
  readonly order: number;
}
export const ONE_RING: RingShape = { queues: 1, order: 0 };

/** The pages of one ring, side by side, and their grefs. */
export interface RingPages {
  readonly page: Page;
  readonly refs: readonly Gref[];
}

export class SharedRings {
  readonly peer: Domid;
  readonly shape: RingShape;
  readonly rings: readonly RingPages[];
  readonly #grants: GrantTable;
  readonly #shared: SharedPages;

  /** Throws when the domain has no memory or grants left. */
  constructor(grants: GrantTable, peer: Domid, shape = ONE_RING) {
    const pages = 1 << shape.order;
    this.peer = peer;
    this.shape = shape;
    this.#grants = grants;
    this.#shared = grants.allocShared(peer, shape.queues * pages);
    const refs: Gref[] = [];
    try {
      for (let i = 0; i < shape.queues * pages; i++) refs.push(grants.grantAccess(peer, this.#shared.gfn + i));
    } catch (error) {
      for (const ref of refs) grants.endAccess(ref);
      this.#shared.release();
      throw error;
    }
    const { bytes } = this.#shared;
    this.rings = Array.from({ length: shape.queues }, (_, queue) => ({
      page: pageAt(bytes.buffer, bytes.byteOffset + queue * pages * PAGE_SIZE, pages),
      refs: refs.slice(queue * pages, (queue + 1) * pages),
    }));
  }

  /** As SharedBuffers.release. */
  release(): number {
    const refs = this.rings.flatMap(ring => ring.refs);
    const held = refs.filter(ref => !this.#grants.endAccess(ref));
    if (held.length > 0) return refs.length;
    this.#shared.release();
    return 0;
  }
}
