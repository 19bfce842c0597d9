// Pools: the memory one domain shares with one other. Only pool frames can be mapped by grant, since a
// mapping shows the grantee the whole pool; what a domain shares with nobody is never in one.
import {
  Arena,
  KIND_OVERLAY,
  KIND_POOL,
  KIND_RESTORE,
  PAGE_SIZE,
  POOL_SIZE,
  POOL_SPAN,
  SystemCallError,
  XEN_EBUSY,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_ENOSPC,
  XENOLITH_POOL_readonly,
} from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';

const POOL_PAGES = POOL_SIZE / PAGE_SIZE;
/** Linux ends a process's mappings at 65,530. A domain may cut its memory into this many pieces. */
const MAX_SEAMS_PER_DOMAIN = 2048;
const MAX_SEAMS = 40_000;

export class Pool {
  readonly id: number;
  readonly granter: Domain;
  readonly grantee: Domain;
  readonly readonly: boolean;
  readonly arena: Arena;
  /** The vCPUs that have been handed the memory. */
  readonly sentTo = new Set<Vcpu>();
  /** Active grant entries per page. */
  private readonly pins = new Uint16Array(POOL_PAGES);
  private readonly used = new Uint8Array(POOL_PAGES);
  private search = 0;
  usedPages = 0;
  /** Pages with at least one of them. */
  pinnedPages = 0;

  constructor(id: number, granter: Domain, grantee: Domain, readonly: boolean) {
    this.id = id;
    this.granter = granter;
    this.grantee = grantee;
    this.readonly = readonly;
    this.arena = Arena.createUnseen(`xenolith-pool-${granter.domid}-${grantee.domid}`, POOL_SIZE);
  }

  pin(page: number): void {
    if (this.pins[page]!++ === 0) this.pinnedPages++;
  }
  unpin(page: number): void {
    if (--this.pins[page]! === 0) this.pinnedPages--;
  }
  pinnedAt(page: number): boolean {
    return this.pins[page] !== 0;
  }
  /** A run of unused pages, or -1. They read as zero. */
  alloc(count: number): number {
    for (let from = this.search; ; from = 0) {
      let run = 0;
      for (let page = from; page < POOL_PAGES; page++) {
        run = this.used[page] === 0 ? run + 1 : 0;
        if (run < count) continue;
        const first = page - count + 1;
        this.used.fill(1, first, page + 1);
        this.usedPages += count;
        this.search = page + 1;
        return first;
      }
      if (from === 0) return -1;
    }
  }
  /** A page keeps nothing of what was in it: the grantee sees the pool for as long as it likes. */
  free(page: number, count: number): void {
    this.arena.discard(page, count);
    this.used.fill(0, page, page + count);
    this.usedPages -= count;
    this.search = Math.min(this.search, page);
  }
}

export class Pools {
  private readonly byId = new Map<number, Pool>();
  private lastId = 0;
  private seams = 0;

  get size(): number {
    return this.byId.size;
  }
  list(): Iterable<Pool> {
    return this.byId.values();
  }

  /** `count` frames of RAM of `granter` from `gfn` become pool frames towards `grantee`. 0 or -errno. */
  populate(granter: Domain, grantee: Domain, flags: number, gfn: number, count: number): number {
    if ((flags & ~XENOLITH_POOL_readonly) !== 0 || granter.dying || grantee.dying || !granter.hasMemory)
      return -XEN_EINVAL;
    const map = granter.physmap;
    if (count < 1 || !map.mayLeave(gfn, count)) return -XEN_EINVAL;
    const pool = this.pool(granter, grantee, (flags & XENOLITH_POOL_readonly) !== 0);
    if (pool === undefined) return -XEN_ENOMEM;
    const page = pool.alloc(count);
    if (page < 0) return -XEN_ENOSPC;
    const before = map.seams(gfn, count);
    // A run in the middle of RAM has a seam at either end.
    if (granter.seams + 2 > MAX_SEAMS_PER_DOMAIN || this.seams + 2 > MAX_SEAMS) {
      pool.free(page, count);
      return -XEN_ENOSPC;
    }
    try {
      map.overlay(gfn, count, pool, page);
    } catch (error) {
      pool.free(page, count);
      if (error instanceof SystemCallError) return -XEN_ENOMEM;
      throw error;
    }
    this.seamsChanged(granter, map.seams(gfn, count) - before);
    for (const vcpu of granter.vcpus) {
      this.send(pool, vcpu);
      vcpu.tell(KIND_OVERLAY, gfn + count * 2 ** 32, pool.id * POOL_SPAN + page * PAGE_SIZE);
    }
    return 0;
  }

  /** The reverse. Refused while any of the frames is in use by the grantee. 0 or -errno. */
  release(granter: Domain, granteeDomid: number, flags: number, gfn: number, count: number): number {
    if (!granter.hasMemory) return -XEN_EINVAL;
    const map = granter.physmap;
    if (count < 1 || gfn + count > map.layout.maxPages) return -XEN_EINVAL;
    const readonly = (flags & XENOLITH_POOL_readonly) !== 0;
    for (let i = gfn; i < gfn + count; i++) {
      const pool = map.poolAt(i);
      if (pool === undefined || pool.grantee.domid !== granteeDomid || pool.readonly !== readonly) return -XEN_EINVAL;
    }
    for (let i = gfn; i < gfn + count; i++) if (map.poolAt(i)!.pinnedAt(map.poolPageAt(i))) return -XEN_EBUSY;
    const before = map.seams(gfn, count);
    const old = Array.from({ length: count }, (_, i) => ({
      pool: map.poolAt(gfn + i)!,
      page: map.poolPageAt(gfn + i),
    }));
    try {
      map.restore(gfn, count);
    } catch (error) {
      if (error instanceof SystemCallError) return -XEN_ENOMEM;
      throw error;
    }
    this.seamsChanged(granter, map.seams(gfn, count) - before);
    for (const vcpu of granter.vcpus) vcpu.tell(KIND_RESTORE, gfn + count * 2 ** 32, 0);
    for (const { pool, page } of old) {
      pool.free(page, 1);
      // It takes no new pages: its grantee is dying, or gone.
      if (pool.usedPages === 0 && poolsOf(granter, readonly).get(pool.grantee) !== pool) this.discard(pool);
    }
    return 0;
  }

  private pool(granter: Domain, grantee: Domain, readonly: boolean): Pool | undefined {
    const pools = poolsOf(granter, readonly);
    const known = pools.get(grantee);
    if (known) return known;
    do this.lastId = (this.lastId % (2 ** 20 - 1)) + 1;
    while (this.byId.has(this.lastId));
    try {
      const pool = new Pool(this.lastId, granter, grantee, readonly);
      pools.set(grantee, pool);
      this.byId.set(pool.id, pool);
      return pool;
    } catch (error) {
      if (error instanceof SystemCallError) return undefined;
      throw error;
    }
  }

  /** Hand the pool's memory to a vCPU of its granter or its grantee, once. */
  send(pool: Pool, vcpu: Vcpu): void {
    if (pool.sentTo.has(vcpu)) return;
    const b = pool.granter.domid + pool.grantee.domid * 2 ** 16;
    if (vcpu.tell(KIND_POOL, pool.id, b, pool.arena)) pool.sentTo.add(vcpu);
  }
  /** Tell a vCPU that has just got its link what its domain's frames are overlaid with. */
  sendAll(vcpu: Vcpu): void {
    for (const pool of this.byId.values()) pool.sentTo.delete(vcpu);
    vcpu.domain.physmap.eachOverlay((gfn, count, pool, page) => {
      this.send(pool, vcpu);
      vcpu.tell(KIND_OVERLAY, gfn + count * 2 ** 32, pool.id * POOL_SPAN + page * PAGE_SIZE);
    });
  }

  /** Pages of a domain that others have mapped. */
  pinnedPagesOf(granter: Domain): number {
    let n = 0;
    for (const pool of this.byId.values()) if (pool.granter === granter) n += pool.pinnedPages;
    return n;
  }
  /** The granter has died and nobody uses its pages any more: their memory goes, whoever still has a view of it. */
  releaseOf(granter: Domain): void {
    this.seamsChanged(granter, -granter.seams);
    for (const pool of this.byId.values()) if (pool.granter === granter) this.discard(pool);
  }
  /** The grantee has died: its pools get no new pages, and go with their last one. */
  granteeGone(grantee: Domain): void {
    for (const pool of this.byId.values()) {
      if (pool.grantee !== grantee) continue;
      poolsOf(pool.granter, pool.readonly).delete(grantee);
      if (pool.usedPages === 0 && pool.granter !== grantee) this.discard(pool);
    }
  }
  private discard(pool: Pool): void {
    pool.arena.discard(0, POOL_PAGES);
    pool.arena.release();
    this.byId.delete(pool.id);
  }
  private seamsChanged(domain: Domain, by: number): void {
    domain.seams += by;
    this.seams += by;
  }
}

/** Those that take new pages. */
const poolsOf = (granter: Domain, readonly: boolean): Map<Domain, Pool> =>
  readonly ? granter.readonlyPools : granter.pools;
