// Frames: how many the host has, and what each guest frame of a domain is.
import { type Arena, type DomainLayout, PAGE_SIZE } from '#pvbus';
import type { Domain } from './domain.ts';
import { NOWHERE } from './guest-memory.ts';
import type { Pool } from './pools.ts';

/** What is at a gfn. */
export const FRAME_EMPTY = 0;
export const FRAME_RAM = 1;
/** A frame of a pool that this domain shares with one peer; see pools.ts. */
export const FRAME_POOL = 2;
/** The hypervisor's own: shared_info, grant table, control page, port table, vCPU pages. */
export const FRAME_XEN = 3;

/** The pages the domains of this host share out among them. */
export class HostMemory {
  readonly totalPages: number;
  private allocated = 0;
  private claimed = 0;

  constructor(totalPages: number) {
    this.totalPages = totalPages;
  }

  get freePages(): number {
    return this.totalPages - this.allocated;
  }
  get outstandingPages(): number {
    return this.claimed;
  }

  /** Give `domain` pages. False when the host has no more, or has promised them to others. */
  take(domain: Domain, pages: number): boolean {
    if (pages > this.freePages - (this.claimed - domain.outstandingPages)) return false;
    this.allocated += pages;
    domain.totPages += pages;
    // A claim shrinks as it is redeemed.
    const redeemed = Math.min(pages, domain.outstandingPages);
    domain.outstandingPages -= redeemed;
    this.claimed -= redeemed;
    return true;
  }
  give(domain: Domain, pages: number): void {
    this.allocated -= pages;
    domain.totPages -= pages;
  }
  /** Promise pages to a domain before it has them; the caller has checked that this is sensible. */
  claim(domain: Domain, pages: number): boolean {
    if (pages > this.freePages - this.claimed) return false;
    domain.outstandingPages = pages;
    this.claimed += pages;
    return true;
  }
  unclaim(domain: Domain): void {
    this.claimed -= domain.outstandingPages;
    domain.outstandingPages = 0;
  }
}

/** What is at each gfn of one domain. Bytes of FRAME_EMPTY frames exist in the memfd, but are nobody's. */
export class Physmap {
  readonly arena: Arena;
  readonly layout: DomainLayout;
  private readonly kinds: Uint8Array;
  private readonly size: number;
  // Per frame of RAM, while it is a pool frame: which pool, and which of its pages.
  private pools: (Pool | undefined)[] = [];
  private poolPages = new Int32Array(0);
  /** Frames the hypervisor itself writes to: they stay RAM. */
  private readonly held = new Map<number, number>();
  /** No frame of RAM below is empty. */
  private firstEmpty = 0;
  /** Highest gfn that is or was populated. */
  private highest = -1;
  /** Frames of kind FRAME_RAM, and of RAM addresses those of FRAME_EMPTY. */
  private ram = 0;
  private empty: number;

  constructor(arena: Arena, layout: DomainLayout) {
    this.arena = arena;
    this.layout = layout;
    this.size = layout.frames * PAGE_SIZE;
    this.kinds = new Uint8Array(layout.frames);
    this.kinds.fill(FRAME_XEN, layout.sharedInfo);
    this.empty = layout.maxPages;
  }

  kind(gfn: number): number {
    return this.kinds[gfn] ?? FRAME_EMPTY;
  }
  /** The highest gfn of RAM in use so far. */
  get maximumGpfn(): number {
    return this.highest;
  }

  /** May an argument of `bytes` bytes lie at `address`? Every frame it touches must be populated. */
  reachable(address: number, bytes: number): boolean {
    // untrusted: any number at all.
    if (!Number.isInteger(address) || address < 0 || address + bytes > this.size) return false;
    const last = Math.floor((address + bytes - 1) / PAGE_SIZE);
    for (let gfn = Math.floor(address / PAGE_SIZE); gfn <= last; gfn++)
      if (this.kinds[gfn] === FRAME_EMPTY) return false;
    return true;
  }

  /** Are these all frames of RAM addresses, each of kind `kind`? */
  all(gfn: number, count: number, kind: number): boolean {
    if (gfn + count > this.layout.maxPages) return false;
    for (let i = gfn; i < gfn + count; i++) if (this.kinds[i] !== kind) return false;
    return true;
  }
  /** May these frames leave RAM? */
  mayLeave(gfn: number, count: number): boolean {
    if (!this.all(gfn, count, FRAME_RAM)) return false;
    for (const frame of this.held.keys()) if (frame >= gfn && frame < gfn + count) return false;
    return true;
  }
  hold(gfn: number): void {
    this.held.set(gfn, (this.held.get(gfn) ?? 0) + 1);
  }
  letGo(gfn: number): void {
    const n = this.held.get(gfn) ?? 0;
    if (n <= 1) this.held.delete(gfn);
    else this.held.set(gfn, n - 1);
  }

  /** The lowest gfn with `count` empty frames in a row, aligned to `count`; NOWHERE when there is none. */
  lowestHole(count: number): number {
    while (this.firstEmpty < this.layout.maxPages && this.kinds[this.firstEmpty] !== FRAME_EMPTY) this.firstEmpty++;
    for (let gfn = this.firstEmpty - (this.firstEmpty % count); gfn + count <= this.layout.maxPages; gfn += count)
      if (this.all(gfn, count, FRAME_EMPTY)) return gfn;
    return NOWHERE;
  }

  /** Zeroed frames appear. They were empty. */
  populate(gfn: number, count: number): void {
    // untrusted: the domain can write to the whole of its file, also where it has no memory.
    this.arena.discard(gfn, count);
    this.kinds.fill(FRAME_RAM, gfn, gfn + count);
    this.highest = Math.max(this.highest, gfn + count - 1);
    this.ram += count;
    this.empty -= count;
  }
  /** Frames of RAM go, and their memory with them. */
  depopulate(gfn: number, count: number): void {
    this.kinds.fill(FRAME_EMPTY, gfn, gfn + count);
    this.firstEmpty = Math.min(this.firstEmpty, gfn);
    this.arena.discard(gfn, count);
    this.ram -= count;
    this.empty += count;
  }
  /** Frames of RAM addresses that are empty. */
  get emptyFrames(): number {
    return this.empty;
  }
  /** The frames its file may hold memory for: what lies in pools is in their files. */
  get backedFrames(): number {
    return this.ram + this.layout.frames - this.layout.maxPages;
  }
  /** Give back what the file holds for frames that have no memory in it. */
  discardUnbacked(): void {
    const backed = (gfn: number): boolean => this.kinds[gfn] === FRAME_RAM;
    for (let gfn = 0; gfn < this.layout.maxPages; ) {
      let end = gfn + 1;
      while (end < this.layout.maxPages && backed(end) === backed(gfn)) end++;
      if (!backed(gfn)) this.arena.discard(gfn, end - gfn);
      gfn = end;
    }
  }

  poolAt(gfn: number): Pool | undefined {
    return this.kinds[gfn] === FRAME_POOL ? this.pools[gfn] : undefined;
  }
  poolPageAt(gfn: number): number {
    return this.poolPages[gfn]!;
  }
  /** Frames of RAM become pages of a pool; their own memory is given back. Throws SystemCallError. */
  overlay(gfn: number, count: number, pool: Pool, page: number): void {
    this.arena.overlay(gfn, pool.arena, page, count);
    this.arena.discard(gfn, count);
    if (this.poolPages.length === 0) {
      this.poolPages = new Int32Array(this.layout.maxPages);
      this.pools = new Array<Pool | undefined>(this.layout.maxPages).fill(undefined);
    }
    this.ram -= count;
    for (let i = 0; i < count; i++) {
      this.kinds[gfn + i] = FRAME_POOL;
      this.pools[gfn + i] = pool;
      this.poolPages[gfn + i] = page + i;
    }
  }
  /** Pool frames become zeroed RAM again. Throws SystemCallError. */
  restore(gfn: number, count: number): void {
    this.arena.restore(gfn, count);
    // untrusted: it may have written below the pool.
    this.arena.discard(gfn, count);
    this.ram += count;
    for (let i = gfn; i < gfn + count; i++) {
      this.kinds[i] = FRAME_RAM;
      this.pools[i] = undefined;
    }
  }
  /** Where the mapping of these frames and of their neighbours jumps: each jump is a mapping of its own. */
  seams(gfn: number, count: number): number {
    let n = 0;
    for (let i = gfn; i <= gfn + count; i++) if (!this.joined(i - 1, i)) n++;
    return n;
  }
  private joined(a: number, b: number): boolean {
    const pool = this.poolAt(a);
    return pool === this.poolAt(b) && (pool === undefined || this.poolPages[a]! + 1 === this.poolPages[b]!);
  }
  /** Calls back for every run of frames that lie in a row in a pool as well. */
  eachOverlay(tell: (gfn: number, count: number, pool: Pool, page: number) => void): void {
    if (this.poolPages.length === 0) return;
    for (let gfn = 0; gfn < this.layout.maxPages; ) {
      const pool = this.poolAt(gfn);
      if (pool === undefined) {
        gfn++;
        continue;
      }
      let end = gfn + 1;
      while (this.joined(end - 1, end)) end++;
      tell(gfn, end - gfn, pool, this.poolPages[gfn]!);
      gfn = end;
    }
  }
}
