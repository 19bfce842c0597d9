// memory_op(op | start_extent << 6, argument). Xen: public/memory.h.
// Guests here are auto-translated: a frame number is always a gfn of the domain's own memory.
import {
  MEMOP_EXTENT_SHIFT,
  setU64,
  XEN_EBUSY,
  XEN_EDOM,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOMEM,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_gmfn_range,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
  XENMEM_acquire_resource,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  XENMEM_claim_pages,
  XENMEM_current_reservation,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_increase_reservation,
  XENMEM_maximum_gpfn,
  XENMEM_maximum_ram_page,
  XENMEM_maximum_reservation,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  XENMEM_resource_grant_table,
  XENMEM_resource_grant_table_id_shared,
  XENMEMF_populate_on_demand,
  xen_add_to_physmap,
  xen_add_to_physmap_batch,
  xen_add_to_physmap_batch_extra,
  xen_mem_acquire_resource,
  xen_memory_domain,
  xen_memory_exchange,
  xen_memory_reservation,
  xen_remove_from_physmap,
} from '#pvbus';
import type { Continuations } from '../continuations.ts';
import { DEFERRED, type Result } from '../deferred.ts';
import type { Domain, Vcpu } from '../domain.ts';
import type { DomainTable } from '../domain-table.ts';
import { NOWHERE, readU64 } from '../guest-memory.ts';
import { FRAME_EMPTY, FRAME_POOL, type HostMemory } from '../memory.ts';
import type { MemoryAudit } from '../memory-audit.ts';
import { mayCall } from '../privilege.ts';

const MAX_EXTENTS = 0xffffffff >>> MEMOP_EXTENT_SHIFT;
/** The largest extents a domain may ask for: 2 MiB for a guest, 1 GiB for a control domain. */
const MAX_ORDER_GUEST = 9;
const MAX_ORDER_CONTROL = 18;
/** Frames done before others get their turn. */
const SLICE_FRAMES = 65_536;
const SLICE_EXTENTS = 1024;
/** An increase has to search for its frames. */
const SLICE_SEARCHES = 16;

/** One XENMEM_{increase,decrease}_reservation or populate_physmap, its argument read. */
interface Reservation {
  readonly op: number;
  readonly caller: Domain;
  readonly domain: Domain;
  readonly list: number;
  readonly extents: number;
  readonly order: number;
  done: number;
}

export class MemoryOp {
  private readonly domains: DomainTable;
  private readonly host: HostMemory;
  private readonly continuations: Continuations;
  private readonly audit: MemoryAudit;

  constructor(domains: DomainTable, host: HostMemory, continuations: Continuations, audit: MemoryAudit) {
    this.domains = domains;
    this.host = host;
    this.continuations = continuations;
    this.audit = audit;
  }

  call(vcpu: Vcpu, cmd: number, arg: number): Result {
    cmd >>>= 0;
    const caller = vcpu.domain;
    const op = cmd & ((1 << MEMOP_EXTENT_SHIFT) - 1);
    const start = cmd >>> MEMOP_EXTENT_SHIFT;
    switch (op) {
      case XENMEM_increase_reservation:
      case XENMEM_decrease_reservation:
      case XENMEM_populate_physmap:
        return this.reservation(vcpu, op, start, arg);
      case XENMEM_maximum_ram_page:
        return start === 0 ? this.host.totalPages - 1 : -XEN_EINVAL;
      case XENMEM_current_reservation:
      case XENMEM_maximum_reservation:
      case XENMEM_maximum_gpfn:
        return start === 0 ? this.reservationOf(caller, op, arg) : -XEN_EINVAL;
      case XENMEM_exchange:
        return start === 0 ? this.exchange(caller, arg) : -XEN_EINVAL;
      case XENMEM_add_to_physmap:
        return start === 0 ? this.addToPhysmap(caller, arg) : -XEN_EINVAL;
      case XENMEM_add_to_physmap_batch:
        return this.addToPhysmapBatch(caller, start, arg);
      case XENMEM_remove_from_physmap:
        return start === 0 ? this.removeFromPhysmap(caller, arg) : -XEN_EINVAL;
      case XENMEM_claim_pages:
        return start === 0 ? this.claimPages(caller, arg) : -XEN_EINVAL;
      case XENMEM_acquire_resource:
        return start === 0 ? this.acquireResource(caller, arg) : -XEN_EINVAL;
      default:
        return -XEN_ENOSYS;
    }
  }

  // ---- increase, decrease, populate: the number of extents done, whatever went wrong ----

  private reservation(vcpu: Vcpu, op: number, start: number, arg: number): Result {
    const caller = vcpu.domain;
    if (!caller.physmap.reachable(arg, xen_memory_reservation.size)) return start;
    const { view } = caller.memory;
    const { at } = xen_memory_reservation;
    const extents = readU64(view, arg + at.nr_extents);
    const order = view.getUint32(arg + at.extent_order, true);
    const flags = view.getUint32(arg + at.mem_flags, true);
    if (extents > MAX_EXTENTS || start >= extents) return start;
    if (order > (caller.isPrivileged ? MAX_ORDER_CONTROL : MAX_ORDER_GUEST)) return start;
    // There is no populate-on-demand. Address bits and NUMA nodes make no difference to any frame here.
    if ((flags & XENMEMF_populate_on_demand) !== 0) return start;
    const domain = this.domains.any(caller, view.getUint16(arg + at.domid, true));
    if (domain === undefined || !domain.hasMemory || domain.dying) return start;
    if (!mayCall('memory_adjust_reservation', caller, domain)) return start;
    const list = readU64(view, arg + at.extent_start);
    return this.slice(vcpu, { op, caller, domain, list, extents, order, done: start });
  }
  private slice(vcpu: Vcpu, r: Reservation): Result {
    const done = this.extents(vcpu, r);
    if (done !== DEFERRED && !r.domain.dying) this.audit.changed(r.domain);
    return done;
  }
  private extents(vcpu: Vcpu, r: Reservation): Result {
    const { view } = r.caller.memory;
    const frames = 2 ** r.order;
    const slice = r.op === XENMEM_increase_reservation ? SLICE_SEARCHES : SLICE_EXTENTS;
    const end = Math.min(r.extents, r.done + Math.min(slice, Math.max(1, SLICE_FRAMES / frames)));
    while (r.done < end) {
      const at = r.list + 8 * r.done;
      // An increase may come without a list; the other two say there which frames they mean.
      const hasList = r.op !== XENMEM_increase_reservation || r.list !== 0;
      if (hasList && !r.caller.physmap.reachable(at, 8)) return r.done;
      if (r.domain.dying) return r.done;
      if (r.op === XENMEM_decrease_reservation) {
        if (!this.decrease(r.domain, readU64(view, at), frames)) return r.done;
      } else {
        const gfn = r.op === XENMEM_populate_physmap ? readU64(view, at) : r.domain.physmap.lowestHole(frames);
        if (!this.populate(r.domain, gfn, frames)) return r.done;
        if (r.op === XENMEM_increase_reservation && hasList) setU64(view, at, gfn);
      }
      r.done++;
    }
    return r.done === r.extents ? r.done : this.continuations.later(vcpu, () => this.slice(vcpu, r));
  }
  private decrease(domain: Domain, gfn: number, frames: number): boolean {
    if (!domain.physmap.mayLeave(gfn, frames)) return false;
    domain.physmap.depopulate(gfn, frames);
    this.host.give(domain, frames);
    return true;
  }
  private populate(domain: Domain, gfn: number, frames: number): boolean {
    if (!domain.physmap.all(gfn, frames, FRAME_EMPTY)) return false;
    if (domain.totPages + frames > domain.maxPages || !this.host.take(domain, frames)) return false;
    domain.physmap.populate(gfn, frames);
    return true;
  }

  // ---- questions ----

  private reservationOf(caller: Domain, op: number, arg: number): number {
    if (!caller.physmap.reachable(arg, xen_memory_domain.size)) return -XEN_EFAULT;
    const domain = this.domains.any(caller, caller.memory.view.getUint16(arg + xen_memory_domain.at.domid, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('memory_stat_reservation', caller, domain)) return -XEN_EPERM;
    if (op === XENMEM_current_reservation) return domain.totPages;
    if (op === XENMEM_maximum_reservation) return domain.maxPages;
    return domain.hasMemory ? Math.max(0, domain.physmap.maximumGpfn) : 0;
  }

  // ---- the physmap ----

  /** Only for guests that know machine frames. What is asked is still checked as Xen does, before it is refused. */
  private exchange(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xen_memory_exchange.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xen_memory_reservation;
    const side = (base: number) => ({
      list: readU64(view, base + at.extent_start),
      extents: readU64(view, base + at.nr_extents),
      order: view.getUint32(base + at.extent_order, true),
      domid: view.getUint16(base + at.domid, true),
    });
    const from = side(arg + xen_memory_exchange.at.in);
    const to = side(arg + xen_memory_exchange.at.out);
    const exchanged = readU64(view, arg + xen_memory_exchange.at.nr_exchanged);
    const maxOrder = caller.isPrivileged ? MAX_ORDER_CONTROL : MAX_ORDER_GUEST;
    if (from.order > maxOrder || to.order > maxOrder) return -XEN_EPERM;
    if (exchanged > from.extents || from.domid !== to.domid) return -XEN_EINVAL;
    const frames = from.extents * 2 ** from.order;
    if (frames > NOWHERE || frames !== to.extents * 2 ** to.order) return -XEN_EINVAL;
    // A forged nr_exchanged must not place the start outside the lists (XSA-212).
    const toDone = (exchanged * 2 ** from.order) / 2 ** to.order;
    for (const [list, extents, done] of [
      [from.list, from.extents, exchanged],
      [to.list, to.extents, toDone],
    ] as const)
      if (extents > 0 && !caller.physmap.reachable(list + 8 * Math.floor(done), 8 * Math.max(1, extents - done)))
        return -XEN_EFAULT;
    const domain = this.domains.any(caller, from.domid);
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('memory_exchange', caller, domain)) return -XEN_EPERM;
    return -XEN_EOPNOTSUPP;
  }

  /** Xen's own frames have fixed places here; asking for that place succeeds, any other is not supported. */
  private addToPhysmap(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xen_add_to_physmap.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xen_add_to_physmap;
    const space = view.getUint32(arg + at.space, true);
    const index = readU64(view, arg + at.idx);
    const gfn = readU64(view, arg + at.gpfn);
    // Xen: a foreign frame needs the batch call, which can name its domain.
    if (space === XENMAPSPACE_gmfn_foreign) return -XEN_ENOSYS;
    const domain = this.domains.any(caller, view.getUint16(arg + at.domid, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('add_to_physmap', caller, domain)) return -XEN_EPERM;
    return placeOf(domain, space, index, gfn);
  }
  private addToPhysmapBatch(caller: Domain, start: number, arg: number): number {
    if (!caller.physmap.reachable(arg, xen_add_to_physmap_batch.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xen_add_to_physmap_batch;
    const space = view.getUint16(arg + at.space, true);
    const size = view.getUint16(arg + at.size, true);
    const extra = view.getUint16(arg + at.u + xen_add_to_physmap_batch_extra.at.res0, true);
    if (start > size || start > 0xffff) return -XEN_EDOM;
    if (space === XENMAPSPACE_gmfn_range) return -XEN_EOPNOTSUPP;
    const idxs = readU64(view, arg + at.idxs);
    const gpfns = readU64(view, arg + at.gpfns);
    const errs = readU64(view, arg + at.errs);
    const { physmap } = caller;
    const left = size - start;
    if (
      left > 0 &&
      !(
        physmap.reachable(idxs + 8 * start, 8 * left) &&
        physmap.reachable(gpfns + 8 * start, 8 * left) &&
        physmap.reachable(errs + 4 * start, 4 * left)
      )
    )
      return -XEN_EFAULT;
    const domain = this.domains.any(caller, view.getUint16(arg + at.domid, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('add_to_physmap', caller, domain)) return -XEN_EPERM;
    if (space !== XENMAPSPACE_gmfn_foreign && extra !== 0) return -XEN_EINVAL;
    for (let i = start; i < size; i++) {
      const rc = placeOf(domain, space, readU64(view, idxs + 8 * i), readU64(view, gpfns + 8 * i));
      view.setInt32(errs + 4 * i, rc, true);
    }
    return 0;
  }
  private removeFromPhysmap(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xen_remove_from_physmap.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xen_remove_from_physmap;
    const gfn = readU64(view, arg + at.gpfn);
    const domain = this.domains.any(caller, view.getUint16(arg + at.domid, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('remove_from_physmap', caller, domain)) return -XEN_EPERM;
    if (!domain.hasMemory || domain.dying) return -XEN_EINVAL;
    const kind = domain.physmap.kind(gfn);
    if (kind === FRAME_EMPTY) return -XEN_ENOENT;
    if (kind === FRAME_POOL) return -XEN_EBUSY; // shared with a peer: XENOLITHOP_pool_release first
    if (!this.decrease(domain, gfn, 1)) return -XEN_EINVAL;
    this.audit.changed(domain);
    return 0;
  }

  // ---- claims and resources ----

  private claimPages(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xen_memory_reservation.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xen_memory_reservation;
    const list = readU64(view, arg + at.extent_start);
    const pages = readU64(view, arg + at.nr_extents);
    const order = view.getUint32(arg + at.extent_order, true);
    const flags = view.getUint32(arg + at.mem_flags, true);
    if (!mayCall('claim_pages', caller, caller)) return -XEN_EPERM;
    if (list !== 0 || order !== 0 || flags !== 0) return -XEN_EINVAL;
    const domain = this.domains.any(caller, view.getUint16(arg + at.domid, true));
    if (domain === undefined || domain.dying) return -XEN_EINVAL;
    if (pages === 0) {
      this.host.unclaim(domain);
      return 0;
    }
    // Xen: one claim at a time, and only for more than the domain has and no more than it may have.
    if (domain.outstandingPages > 0 || pages <= domain.totPages || pages > domain.maxPages) return -XEN_EINVAL;
    return this.host.claim(domain, pages - domain.totPages) ? 0 : -XEN_ENOMEM;
  }

  private acquireResource(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xen_mem_acquire_resource.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xen_mem_acquire_resource;
    const type = view.getUint16(arg + at.type, true);
    const id = view.getUint32(arg + at.id, true);
    const frames = view.getUint32(arg + at.nr_frames, true);
    const first = readU64(view, arg + at.frame);
    const list = readU64(view, arg + at.frame_list);
    if (view.getUint32(arg + at.pad, true) !== 0) return -XEN_EINVAL;
    if (first + frames > 0xffffffff) return -XEN_EINVAL;
    const domain = this.domains.byId(view.getUint16(arg + at.domid, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (domain === caller || !mayCall('domain_resource_map', caller, domain)) return -XEN_EPERM;
    // Of version 1 tables there are shared frames only.
    const size =
      type === XENMEM_resource_grant_table && id === XENMEM_resource_grant_table_id_shared
        ? domain.grants.maxFrames
        : 0;
    if (size === 0) return -XEN_EINVAL;
    if (list === 0) {
      if (frames !== 0) return -XEN_EINVAL;
      view.setUint32(arg + at.nr_frames, size, true);
      return 0;
    }
    if (first + frames > size) return -XEN_EINVAL;
    // A mapping goes into the caller's own frames, which only KIND_FOREIGN can do here: XENOLITHOP_map_foreign.
    return -XEN_EOPNOTSUPP;
  }
}

function placeOf(domain: Domain, space: number, index: number, gfn: number): number {
  if (!domain.hasMemory) return -XEN_EINVAL;
  const { layout } = domain;
  if (space === XENMAPSPACE_shared_info) {
    if (index !== 0) return -XEN_EINVAL;
    return gfn === layout.sharedInfo ? 0 : -XEN_EOPNOTSUPP;
  }
  if (space === XENMAPSPACE_grant_table) {
    if (index >= domain.grants.maxFrames) return -XEN_EINVAL;
    if (gfn !== layout.grantFrames + index) return -XEN_EOPNOTSUPP;
    domain.grants.grow(index + 1);
    return 0;
  }
  return space > XENMAPSPACE_gmfn_foreign ? -XEN_ENOSYS : -XEN_EOPNOTSUPP;
}
