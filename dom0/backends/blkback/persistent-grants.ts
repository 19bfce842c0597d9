// The pages a frontend lends for good ('feature-persistent'): mapped at their first use and kept, so that
// a request on them costs no hypercall. Xen: io/blkif.h, note 7.
import type { Domid, GrantMapping } from '#pvbus';
import type { GrantMaps } from '../../faults/faulty-grants.ts';

interface Entry {
  readonly mapping: GrantMapping;
  /** The request that used it last. */
  used: number;
  /** Requests under way that use it. */
  pins: number;
}

/** A full cache lets go of this part of itself at once, so that a sweep is rare. */
const SWEPT_PART = 1 / 8;

export class PersistentGrants {
  readonly #grants: () => GrantMaps;
  readonly #granter: Domid;
  readonly #limit: number;
  readonly #entries = new Map<number, Entry>();
  #request = 0;
  /** How often a page had to make room for another. */
  evicted = 0;

  /** `limit` must be above the number of pages one request can name. */
  constructor(grants: () => GrantMaps, granter: Domid, limit: number) {
    this.#grants = grants;
    this.#granter = granter;
    this.#limit = limit;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A new request begins: what the one before has found may be evicted again. */
  begin(): void {
    this.#request++;
  }

  /** The page of `ref`, when it is mapped. It stays so until the next `begin`. */
  find(ref: number): GrantMapping | undefined {
    const entry = this.#entries.get(ref);
    if (entry === undefined) return undefined;
    entry.used = this.#request;
    return entry.mapping;
  }

  /** The page of `ref`, which is mapped, stays so until it is unpinned as often. */
  pin(ref: number): void {
    this.#entries.get(ref)!.pins++;
  }
  unpin(ref: number): void {
    this.#entries.get(ref)!.pins--;
  }

  /** Map all of these, none of which is mapped yet. Throws, with none of them mapped, when one cannot be. */
  map(refs: ReadonlySet<number>): void {
    if (this.#entries.size + refs.size > this.#limit) this.#makeRoom(refs.size);
    for (const mapping of this.#grants().map(this.#granter, [...refs])) {
      this.#entries.set(mapping.ref, { mapping, used: this.#request, pins: 0 });
    }
  }

  // Xen asks for a least-recently-used order.
  #makeRoom(wanted: number): void {
    const idle = [...this.#entries.values()].filter(entry => entry.used !== this.#request && entry.pins === 0);
    idle.sort((a, b) => a.used - b.used);
    const needed = this.#entries.size + wanted - this.#limit;
    const victims = idle.slice(0, Math.max(needed, Math.floor(this.#limit * SWEPT_PART)));
    for (const { mapping } of victims) this.#entries.delete(mapping.ref);
    this.evicted += victims.length;
    this.#grants().unmap(victims.map(entry => entry.mapping));
  }

  release(): void {
    const mappings = [...this.#entries.values()].map(entry => entry.mapping);
    this.#entries.clear();
    this.#grants().unmap(mappings);
  }
}
