// Which domains there are, and which domid the next one gets.
import { DOMID_FIRST_RESERVED, DOMID_SELF } from '#pvbus';
import type { Domain } from './domain.ts';

export class DomainTable {
  private readonly byDomid = new Map<number, Domain>();
  private lastUsed = 0;
  readonly capacity: number;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get size(): number {
    return this.byDomid.size;
  }

  /** Ascending by domid. */
  list(): Domain[] {
    return [...this.byDomid.values()].sort((a, b) => a.domid - b.domid);
  }

  /** A real domid only. A dying domain is still there. */
  byId(domid: number): Domain | undefined {
    return this.byDomid.get(domid);
  }

  /** DOMID_SELF or a real domid. */
  any(caller: Domain, domid: number): Domain | undefined {
    return domid === DOMID_SELF ? caller : this.byDomid.get(domid);
  }

  /**
   * A domid for a new domain, or -1. The search goes on from the last one given out, so that an id
   * comes back as late as possible: whoever still holds a dead domain's id must not reach its successor.
   */
  allocate(): number {
    for (let i = 1; i < DOMID_FIRST_RESERVED; i++) {
      const domid = (this.lastUsed + i) % DOMID_FIRST_RESERVED;
      if (domid !== 0 && !this.byDomid.has(domid)) return domid;
    }
    return -1;
  }

  add(domain: Domain): void {
    this.byDomid.set(domain.domid, domain);
    if (domain.domid !== 0) this.lastUsed = domain.domid;
  }

  remove(domain: Domain): void {
    this.byDomid.delete(domain.domid);
  }
}
