// The pages that a vbd's requests name, as they are mapped here: for good where the frontend lends them so, else for one
// request. One for all rings of a vbd: a page that two of them name is mapped once.
import { BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST, BLKIF_OP_READ, type Domid, type GrantMapping, XenError } from '#pvbus';
import type { GrantMaps } from '../../faults/faulty-grants.ts';
import { PersistentGrants } from './persistent-grants.ts';
import { type BlkbackRequest, MAX_INDIRECT_SEGMENTS } from './request.ts';
import type { VbdStats } from './stats.ts';

/** Xen: Linux keeps as many. */
export const MAX_PERSISTENT_GRANTS = 1056;
/** Of requests that an image answers later, together; one may always be there. */
export const MAX_DEFERRED_PAGES = 512;

// invariant: the pages of one request, twice counted, fit beside those of requests that are answered later: none of them
// is evicted by another of them.
if (MAX_PERSISTENT_GRANTS < MAX_DEFERRED_PAGES + 2 * (MAX_INDIRECT_SEGMENTS + BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST)) {
  throw new Error('blkback: too few persistent grants');
}

/** Where each segment of a request is mapped. */
export type Mapped = (GrantMapping | undefined)[];
export const noMappings = (): Mapped => new Array(MAX_INDIRECT_SEGMENTS).fill(undefined);

export class RequestPages {
  /** Others may take its place between two turns. */
  grants: GrantMaps;
  readonly #granter: Domid;
  readonly #label: string;
  readonly #stats: VbdStats;
  readonly #persistent: PersistentGrants | undefined;

  constructor(grants: GrantMaps, granter: Domid, label: string, stats: VbdStats, persistent: boolean) {
    this.grants = grants;
    this.#granter = granter;
    this.#label = label;
    this.#stats = stats;
    if (persistent) this.#persistent = new PersistentGrants(() => this.grants, granter, MAX_PERSISTENT_GRANTS);
  }

  /** A new request begins: what is not pinned may be evicted by it. */
  begin(): void {
    this.#persistent?.begin();
  }

  /**
   * Fill `mapped` for the request's segments or its indirect pages; what is for this request only is also in `borrowed`
   * then. False, and `why` said, when a grant cannot be mapped.
   */
  map(request: BlkbackRequest, indirect: boolean, mapped: Mapped, borrowed: GrantMapping[]): boolean {
    const count = indirect ? request.nrIndirectPages : request.nr_segments;
    const cache = this.#persistent;
    if (!cache) return this.#mapForOnce(request, indirect, count, mapped, borrowed);
    for (let i = 0; i < count; i++) {
      const mapping = cache.find(indirect ? request.indirectGref(i) : request.grefs[i]!);
      if (mapping === undefined) return this.#mapForGood(cache, request, indirect, count, mapped);
      mapped[i] = mapping;
    }
    return true;
  }

  #mapForGood(
    cache: PersistentGrants,
    request: BlkbackRequest,
    indirect: boolean,
    count: number,
    mapped: Mapped,
  ): boolean {
    const missing = new Set<number>();
    for (let i = 0; i < count; i++) {
      const ref = indirect ? request.indirectGref(i) : request.grefs[i]!;
      if (!cache.find(ref)) missing.add(ref);
    }
    try {
      cache.map(missing);
    } catch (error) {
      return failed(request, error);
    }
    for (let i = 0; i < count; i++) {
      const mapping = cache.find(indirect ? request.indirectGref(i) : request.grefs[i]!);
      if (!mapping) throw new Error(`${this.#label}: a grant was evicted under its request`);
      mapped[i] = mapping;
    }
    this.#stats.persistent = cache.size;
    this.#stats.evicted = cache.evicted;
    return true;
  }

  #mapForOnce(
    request: BlkbackRequest,
    indirect: boolean,
    count: number,
    mapped: Mapped,
    borrowed: GrantMapping[],
  ): boolean {
    const refs: number[] = [];
    for (let i = 0; i < count; i++) refs.push(indirect ? request.indirectGref(i) : request.grefs[i]!);
    // What the image is read into must be writable: a page granted for reading only is refused by the map.
    const readonly = indirect || request.operation !== BLKIF_OP_READ;
    try {
      const mappings = this.grants.map(this.#granter, refs, readonly);
      for (let i = 0; i < count; i++) {
        mapped[i] = mappings[i];
        borrowed.push(mappings[i]!);
      }
      return true;
    } catch (error) {
      return failed(request, error);
    }
  }

  /** The pages of the request's segments, which are mapped, stay so until they are unpinned as often. */
  pin(request: BlkbackRequest): void {
    if (this.#persistent) for (let i = 0; i < request.nr_segments; i++) this.#persistent.pin(request.grefs[i]!);
  }
  unpin(request: BlkbackRequest): void {
    if (this.#persistent) for (let i = 0; i < request.nr_segments; i++) this.#persistent.unpin(request.grefs[i]!);
  }

  /** What was mapped for one request. */
  unmap(borrowed: readonly GrantMapping[]): void {
    this.grants.unmap(borrowed);
  }
  /** What is mapped for good. */
  release(): void {
    this.#persistent?.release();
  }
}

function failed(request: BlkbackRequest, error: unknown): false {
  if (!(error instanceof XenError)) throw error;
  request.why = error.message;
  return false;
}
