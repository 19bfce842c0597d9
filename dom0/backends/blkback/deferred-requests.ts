// The requests of a vbd that its image has and has not answered.
import { BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_WRITE_BARRIER, type GrantMapping } from '#pvbus';
import type { Deferred } from './disk-image.ts';
import type { BlkbackRequest } from './request.ts';
import { MAX_DEFERRED_PAGES, type Mapped, type RequestPages } from './request-pages.ts';

type Settled = (request: BlkbackRequest, borrowed: readonly GrantMapping[], status: number) => void;

/** One of them, with all that it uses. */
class DeferredRequest implements Deferred {
  readonly request: BlkbackRequest;
  readonly mapped: Mapped;
  readonly settle: (status: number, why?: string) => void;
  /** To be unmapped when it is answered. */
  readonly borrowed: readonly GrantMapping[];
  readonly settled: Settled;

  constructor(
    request: BlkbackRequest,
    mapped: Mapped,
    borrowed: readonly GrantMapping[],
    settled: Settled,
    settle: (deferred: DeferredRequest, status: number, why: string) => void,
  ) {
    this.request = request;
    this.mapped = mapped;
    this.borrowed = borrowed;
    this.settled = settled;
    this.settle = (status, why = '') => settle(this, status, why);
  }
}

export class DeferredRequests {
  readonly #pages: RequestPages;
  readonly #all = new Set<DeferredRequest>();
  #nrPages = 0;
  /** One of them is a barrier: nothing overtakes it. */
  #barrier = false;
  readonly #spare: DeferredRequest[] = [];

  constructor(pages: RequestPages) {
    this.#pages = pages;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Whether a request has to wait for others to be answered. */
  holdUp(operation: number, pages: number): boolean {
    if (this.#all.size === 0) return false;
    // order: a flush comes after all that was asked before it, nothing comes before a barrier that was asked after it.
    // While it waits the vbd takes nothing from any ring, so that it does not wait for ever.
    const orders = operation === BLKIF_OP_FLUSH_DISKCACHE || operation === BLKIF_OP_WRITE_BARRIER;
    return orders || this.#barrier || this.#nrPages + pages > MAX_DEFERRED_PAGES;
  }

  /** `settled` is called once, when the image has answered, unless the frontend goes before. */
  add(request: BlkbackRequest, mapped: Mapped, borrowed: readonly GrantMapping[], settled: Settled): Deferred {
    const deferred = new DeferredRequest(request, mapped, borrowed, settled, this.#settle);
    this.#pages.pin(request);
    this.#all.add(deferred);
    this.#nrPages += request.nr_segments;
    if (request.operation === BLKIF_OP_WRITE_BARRIER) this.#barrier = true;
    return deferred;
  }
  readonly #settle = (deferred: DeferredRequest, status: number, why: string): void => {
    if (!this.#all.delete(deferred)) return; // the frontend has gone
    const { request, borrowed } = deferred;
    this.#nrPages -= request.nr_segments;
    if (request.operation === BLKIF_OP_WRITE_BARRIER) this.#barrier = false;
    this.#pages.unpin(request);
    request.why = why;
    deferred.settled(request, borrowed, status);
    this.#spare.push(deferred);
  };
  /** What an answered one had, for the next. */
  spare(): Pick<DeferredRequest, 'request' | 'mapped'> | undefined {
    return this.#spare.pop();
  }

  /** Their image has forgotten them, and nobody is to hear of them any more. */
  drop(): void {
    for (const { borrowed } of this.#all) this.#pages.unmap(borrowed);
    this.#all.clear();
    this.#nrPages = 0;
    this.#barrier = false;
  }
}
