// The pages a frontend has asked to be kept mapped. Xen: io/netif.h, "Static Grants".
import { type Domid, type GrantMapping, XenError } from '#pvbus';
import type { GrantMaps } from '../../faults/faulty-grants.ts';
import { SourcePage } from './frame.ts';

/** Two full rings of pages (256 each) and as many again for a frontend that changes them while it runs. */
export const MAX_STATIC_GRANTS = 1024;

export class StaticGrant {
  readonly mapping: GrantMapping;
  readonly readonly: boolean;
  /** The page as a source of frames. */
  readonly source: SourcePage;

  constructor(mapping: GrantMapping, readonly: boolean) {
    this.mapping = mapping;
    this.readonly = readonly;
    this.source = new SourcePage(mapping.page.bytes);
  }
}

export interface GrefEntry {
  readonly ref: number;
  readonly readonly: boolean;
}

export class StaticGrants {
  private grants: GrantMaps;
  private readonly granter: Domid;
  private readonly byRef = new Map<number, StaticGrant>();

  constructor(grants: GrantMaps, granter: Domid) {
    this.grants = grants;
    this.granter = granter;
  }

  /** From now on. */
  mapBy(grants: GrantMaps): void {
    this.grants = grants;
  }

  /** A copy from or to a page that is not mapped here is not to be made. */
  refusesCopy(ref: number): boolean {
    return this.grants.refusesCopy?.(ref) ?? false;
  }

  get size(): number {
    return this.byRef.size;
  }
  find(ref: number): StaticGrant | undefined {
    return this.byRef.get(ref);
  }

  /** Map all of them or, with an error, none. */
  add(entries: readonly GrefEntry[]): void {
    if (this.byRef.size + entries.length > MAX_STATIC_GRANTS) {
      throw new XenError('ENOSPC', `dom${this.granter} wants more than ${MAX_STATIC_GRANTS} static grants`);
    }
    const refs = new Set(entries.map(entry => entry.ref));
    if (refs.size < entries.length || entries.some(entry => this.byRef.has(entry.ref))) {
      throw new XenError('EEXIST', `dom${this.granter} wants a gref mapped twice`);
    }
    const mapped: StaticGrant[] = [];
    try {
      for (const readonly of [false, true]) {
        const some = entries.filter(entry => entry.readonly === readonly).map(entry => entry.ref);
        if (some.length === 0) continue;
        for (const m of this.grants.map(this.granter, some, readonly)) mapped.push(new StaticGrant(m, readonly));
      }
    } catch (error) {
      this.grants.unmap(mapped.map(grant => grant.mapping));
      throw error;
    }
    for (const grant of mapped) this.byRef.set(grant.mapping.ref, grant);
  }

  /** Unmap those of `refs` that are mapped; which they were. */
  remove(refs: readonly number[]): Set<number> {
    const found = new Set(refs.filter(ref => this.byRef.has(ref)));
    const mappings = [...found].map(ref => this.byRef.get(ref)!.mapping);
    for (const ref of found) this.byRef.delete(ref);
    this.grants.unmap(mappings);
    return found;
  }

  removeAll(): void {
    this.remove([...this.byRef.keys()]);
  }
}
