// Grant tables, version 1: what a domain lets others use, who uses it, and copying between the two.
// Xen: common/grant_table.c; public/grant_table.h.
import {
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_dev_addr,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_eagain,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
  GNTST_permission_denied,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_type_mask,
  GTF_writing,
  grant_entry_v1,
  PAGE_SIZE,
  POOL_SPAN,
} from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';
import type { DomainTable } from './domain-table.ts';
import { FRAME_POOL, FRAME_RAM } from './memory.ts';
import type { Pools } from './pools.ts';

/** A granter that flips an entry while it is being pinned gets this many chances to hold still. */
const MAX_TRIES = 5;

// Pins of an active entry: four counters of 8 bits in a word, as Xen's GNTPIN_*.
const PIN_DEVICE_READ = 1 << 0;
const PIN_DEVICE_WRITE = 1 << 8;
const PIN_HOST_READ = 1 << 16;
const PIN_HOST_WRITE = 1 << 24;
const PIN_WRITERS = 0xff00ff00;
/** A counter with this bit set takes no more. */
const PIN_FULL = 0x80;

/** One side of a GNTTABOP_copy, as its caller gave it. */
export interface CopySide {
  domid: number;
  offset: number;
  /** A gref or a gfn, as the flags say. */
  ref: number;
  gmfn: number;
}

export class GrantTables {
  private readonly domains: DomainTable;
  private readonly pools: Pools;
  /** What the last successful `map` made: its handle, and where the page lies. */
  handle = 0;
  place = 0;

  constructor(domains: DomainTable, pools: Pools) {
    this.domains = domains;
    this.pools = pools;
  }

  /** GNTTABOP_map_grant_ref: GNTST_*, and on success `handle` and `place`. */
  map(caller: Vcpu, granterDomid: number, ref: number, flags: number, hostAddress: number): number {
    const kind = flags & (GNTMAP_device_map | GNTMAP_host_map | GNTMAP_readonly);
    if ((kind & (GNTMAP_device_map | GNTMAP_host_map)) === 0) return GNTST_bad_gntref;
    // Xen: a guest without page tables of its own has no PTE to name.
    if ((flags & GNTMAP_contains_pte) !== 0) return GNTST_general_error;
    const granter = this.domains.byId(granterDomid);
    if (granter === undefined || granter.dying || !granter.hasMemory) return GNTST_bad_domain;
    const mapper = caller.domain;
    if (!mapper.grants.handlesLeft) return GNTST_no_space;
    if (ref >= granter.grants.entries) return GNTST_bad_gntref;

    const readonly = (kind & GNTMAP_readonly) !== 0;
    let pin = 0;
    if ((kind & GNTMAP_device_map) !== 0) pin += readonly ? PIN_DEVICE_READ : PIN_DEVICE_WRITE;
    if ((kind & GNTMAP_host_map) !== 0) pin += readonly ? PIN_HOST_READ : PIN_HOST_WRITE;
    const status = this.pin(granter, ref, mapper, readonly, pin, true);
    if (status !== GNTST_okay) return status;

    this.pools.send(granter.grants.poolOf(ref)!, caller);
    this.handle = mapper.grants.newHandle(granter, ref, kind, hostAddress, caller.id);
    this.place = placeOf(granter, ref);
    return GNTST_okay;
  }

  /** GNTTABOP_unmap_grant_ref: GNTST_* */
  unmap(mapper: Domain, hostAddress: number, busAddress: number, handle: number): number {
    const { grants } = mapper;
    const granter = grants.granterOf(handle);
    if (granter === undefined) return GNTST_bad_handle;
    const ref = grants.refOf(handle);
    if (busAddress !== 0 && busAddress !== placeOf(granter, ref)) return GNTST_bad_dev_addr;
    const kind = grants.kindOf(handle);
    let gone = 0;
    if (hostAddress !== 0 && (kind & GNTMAP_host_map) !== 0) {
      // A mapping made at no particular address answers to any.
      const at = grants.hostAddressOf(handle);
      if (at !== 0 && at !== hostAddress) return GNTST_general_error;
      gone |= GNTMAP_host_map;
    }
    if (busAddress !== 0) gone |= kind & GNTMAP_device_map;
    this.drop(mapper, handle, gone);
    return GNTST_okay;
  }

  /** A mapper is dying: release up to `budget` of its mappings, from handle `from`; returns where it stopped. */
  unmapFrom(mapper: Domain, from: number, budget: number): number {
    const { grants } = mapper;
    const end = Math.min(grants.handleEnd, from + budget);
    for (let handle = from; handle < end; handle++)
      if (grants.granterOf(handle) !== undefined) this.drop(mapper, handle, GNTMAP_host_map | GNTMAP_device_map);
    return end;
  }

  /** Take the kinds `gone` from a live handle; the handle goes with its last kind. */
  private drop(mapper: Domain, handle: number, gone: number): void {
    const { grants } = mapper;
    const granter = grants.granterOf(handle)!;
    const ref = grants.refOf(handle);
    const kind = grants.kindOf(handle);
    const readonly = (kind & GNTMAP_readonly) !== 0;
    let pin = 0;
    if ((kind & gone & GNTMAP_device_map) !== 0) pin += readonly ? PIN_DEVICE_READ : PIN_DEVICE_WRITE;
    if ((kind & gone & GNTMAP_host_map) !== 0) pin += readonly ? PIN_HOST_READ : PIN_HOST_WRITE;
    if (pin === 0) return;
    const left = kind & ~gone;
    if ((left & (GNTMAP_device_map | GNTMAP_host_map)) === 0) grants.freeHandle(handle);
    else grants.setKind(handle, left);
    this.unpin(granter, ref, pin);
  }

  /**
   * Pin an entry of `granter` for `user`: for a mapping, whose page must be in a pool of the two, or for
   * a copy, whose page may be any.
   */
  private pin(granter: Domain, ref: number, user: Domain, readonly: boolean, pin: number, mapping: boolean): number {
    const active = granter.grants;
    const pins = active.pinsOf(ref);
    if (pins !== 0 && (active.mapperOf(ref) !== user || anyFull(pins, pin))) return GNTST_general_error;
    const firstWriter = !readonly && (pins & PIN_WRITERS) === 0;
    if (pins === 0 || firstWriter) {
      const status = markInUse(granter, ref, user.domid, readonly, mapping);
      if (status !== GNTST_okay) return status;
    }
    // untrusted: the frame is read once, at the first pin, and only after the entry was found valid.
    const gfn = pins === 0 ? Atomics.load(granter.memory.words, entryWord(granter, ref) + 1) >>> 0 : active.gfnOf(ref);
    if (!mayUse(granter, gfn, user, readonly, mapping)) {
      markUnused(granter, ref, pins, pin);
      return GNTST_bad_page;
    }
    if (pins === 0) active.firstPin(ref, user, gfn);
    active.addPin(ref, pin);
    if (mapping && active.poolOf(ref) === undefined) {
      const pool = granter.physmap.poolAt(gfn)!;
      active.setPool(ref, pool);
      pool.pin(granter.physmap.poolPageAt(gfn));
    }
    return GNTST_okay;
  }
  private unpin(granter: Domain, ref: number, pin: number): void {
    const active = granter.grants;
    active.dropPin(ref, pin);
    const pins = active.pinsOf(ref);
    if (pins === 0) {
      const pool = active.poolOf(ref);
      if (pool !== undefined) {
        pool.unpin(granter.physmap.poolPageAt(active.gfnOf(ref)));
        active.setPool(ref, undefined);
      }
      active.lastPinGone(ref);
    }
    // order: the flags last. Once they are clear the granter may put the page to another use.
    markUnused(granter, ref, pins, pin);
  }

  /** GNTTABOP_copy of `length` bytes: GNTST_* */
  copy(caller: Domain, source: CopySide, dest: CopySide, length: number, flags: number): number {
    if (length === 0) return GNTST_okay;
    const fromGref = (flags & GNTCOPY_source_gref) !== 0;
    const toGref = (flags & GNTCOPY_dest_gref) !== 0;
    if ((!fromGref && source.domid !== DOMID_SELF) || (!toGref && dest.domid !== DOMID_SELF))
      return GNTST_permission_denied;
    const from = this.domains.any(caller, source.domid);
    const to = this.domains.any(caller, dest.domid);
    if (from === undefined || to === undefined || from.dying || to.dying) return GNTST_bad_domain;
    if (!from.hasMemory || !to.hasMemory) return GNTST_bad_domain;
    if (source.offset + length > PAGE_SIZE || dest.offset + length > PAGE_SIZE) return GNTST_bad_copy_arg;

    let fromGfn = source.gmfn;
    if (fromGref) {
      const status = this.pinForCopy(from, source.ref, caller, true);
      if (status !== GNTST_okay) return status;
      fromGfn = from.grants.gfnOf(source.ref);
    } else if (!usable(from, fromGfn)) return GNTST_bad_page;

    let toGfn = dest.gmfn;
    let status: number = GNTST_okay;
    if (toGref) {
      status = this.pinForCopy(to, dest.ref, caller, false);
      if (status === GNTST_okay) toGfn = to.grants.gfnOf(dest.ref);
    } else if (!usable(to, toGfn)) status = GNTST_bad_page;

    if (status === GNTST_okay) {
      const at = fromGfn * PAGE_SIZE + source.offset;
      to.memory.bytes.set(from.memory.bytes.subarray(at, at + length), toGfn * PAGE_SIZE + dest.offset);
      if (toGref) this.unpin(to, dest.ref, PIN_HOST_WRITE);
    }
    if (fromGref) this.unpin(from, source.ref, PIN_HOST_READ);
    return status;
  }
  private pinForCopy(granter: Domain, ref: number, user: Domain, readonly: boolean): number {
    if (ref >= granter.grants.entries) return GNTST_bad_gntref;
    return this.pin(granter, ref, user, readonly, readonly ? PIN_HOST_READ : PIN_HOST_WRITE, false);
  }

  /** GNTTABOP_swap_grant_ref in `domain`: GNTST_* */
  swap(domain: Domain, a: number, b: number): number {
    const { grants } = domain;
    if (a >= grants.entries || b >= grants.entries) return GNTST_bad_gntref;
    if (a === b) return GNTST_okay;
    if (grants.pinsOf(a) !== 0 || grants.pinsOf(b) !== 0) return GNTST_eagain;
    const { words } = domain.memory;
    const at = entryWord(domain, a);
    const bt = entryWord(domain, b);
    for (let i = 0; i < 2; i++) {
      const old = Atomics.load(words, at + i);
      Atomics.store(words, at + i, Atomics.load(words, bt + i));
      Atomics.store(words, bt + i, old);
    }
    return GNTST_okay;
  }
}

/** Where in its pool the page of a mapped entry lies. */
export function placeOf(granter: Domain, ref: number): number {
  const pool = granter.grants.poolOf(ref)!;
  return pool.id * POOL_SPAN + granter.physmap.poolPageAt(granter.grants.gfnOf(ref)) * PAGE_SIZE;
}

/** The entry's first word: flags, and the domid above them. The frame is in the next. */
function entryWord(granter: Domain, ref: number): number {
  return (granter.layout.grantFrames * PAGE_SIZE + ref * grant_entry_v1.size) / 4;
}

/** Would a counter that `pin` adds to overflow? */
function anyFull(pins: number, pin: number): boolean {
  return (
    ((pin & 0xff) !== 0 && (pins & PIN_FULL) !== 0) ||
    ((pin & 0xff00) !== 0 && (pins & (PIN_FULL << 8)) !== 0) ||
    ((pin & 0xff0000) !== 0 && (pins & (PIN_FULL << 16)) !== 0) ||
    ((pin & 0xff000000) !== 0 && (pins & (PIN_FULL << 24)) !== 0)
  );
}

function mayUse(granter: Domain, gfn: number, user: Domain, readonly: boolean, mapping: boolean): boolean {
  if (!mapping) return usable(granter, gfn);
  const pool = granter.physmap.poolAt(gfn);
  return pool !== undefined && pool.grantee === user && (readonly || !pool.readonly);
}
/** A frame of the domain's own memory, which a copy may touch. */
function usable(domain: Domain, gfn: number): boolean {
  const kind = domain.physmap.kind(gfn);
  return kind === FRAME_RAM || kind === FRAME_POOL;
}

/** Set reading, and for a writer writing, in an entry that permits it. */
function markInUse(granter: Domain, ref: number, domid: number, readonly: boolean, mapping: boolean): number {
  const { words } = granter.memory;
  const at = entryWord(granter, ref);
  const mask = mapping ? GTF_type_mask | GTF_sub_page : GTF_type_mask;
  // untrusted: the granter may change the word at any time; what was checked is what gets replaced.
  let old = Atomics.load(words, at);
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    if ((old & mask) !== GTF_permit_access || old >>> 16 !== domid) return GNTST_general_error;
    if (!readonly && (old & GTF_readonly) !== 0) return GNTST_general_error;
    const now = Atomics.compareExchange(words, at, old, old | GTF_reading | (readonly ? 0 : GTF_writing));
    if (now === old) return GNTST_okay;
    old = now;
  }
  return GNTST_general_error;
}
/** Clear what nobody needs any more once `pin` is gone and `pins` are left. */
function markUnused(granter: Domain, ref: number, pins: number, pin: number): void {
  let clear = 0;
  if ((pin & PIN_WRITERS) !== 0 && (pins & PIN_WRITERS) === 0) clear |= GTF_writing;
  if (pins === 0) clear |= GTF_reading;
  if (clear !== 0) Atomics.and(granter.memory.words, entryWord(granter, ref), ~clear);
}
