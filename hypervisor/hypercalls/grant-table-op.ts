// grant_table_op(cmd, array of arguments, count). Xen: public/grant_table.h.
import {
  __HYPERVISOR_grant_table_op,
  GNTST_bad_domain,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GNTTABOP_copy,
  GNTTABOP_get_status_frames,
  GNTTABOP_get_version,
  GNTTABOP_map_grant_ref,
  GNTTABOP_query_size,
  GNTTABOP_set_version,
  GNTTABOP_setup_table,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_and_replace,
  GNTTABOP_unmap_grant_ref,
  gntstName,
  gnttab_copy,
  gnttab_copy_ptr,
  gnttab_copy_ptr_u,
  gnttab_get_status_frames,
  gnttab_get_version,
  gnttab_map_grant_ref,
  gnttab_query_size,
  gnttab_set_version,
  gnttab_setup_table,
  gnttab_swap_grant_ref,
  gnttab_unmap_and_replace,
  gnttab_unmap_grant_ref,
  setU64,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
} from '#pvbus';
import type { Continuations } from '../continuations.ts';
import type { Result } from '../deferred.ts';
import type { Domain, Vcpu } from '../domain.ts';
import type { DomainTable } from '../domain-table.ts';
import type { CopySide, GrantTables } from '../grant-tables.ts';
import { joinU64, readU64 } from '../guest-memory.ts';
import { mayCall } from '../privilege.ts';
import type { Refusals } from '../refusals.ts';
import type { Trace } from '../trace.ts';

/** Elements done before others get their turn. */
const SLICE = 256;

/** One element of a batch at `arg`, whose bytes are reachable. Writes its status, and returns it. */
type Element = (caller: Vcpu, view: DataView, arg: number) => number;

export class GrantTableOp {
  private readonly domains: DomainTable;
  private readonly grants: GrantTables;
  private readonly continuations: Continuations;
  private readonly trace: Trace;
  private readonly refusals: Refusals;
  private readonly source: CopySide = { domid: 0, offset: 0, ref: 0, gmfn: 0 };
  private readonly dest: CopySide = { domid: 0, offset: 0, ref: 0, gmfn: 0 };

  constructor(
    domains: DomainTable,
    grants: GrantTables,
    continuations: Continuations,
    trace: Trace,
    refusals: Refusals,
  ) {
    this.domains = domains;
    this.grants = grants;
    this.continuations = continuations;
    this.trace = trace;
    this.refusals = refusals;
  }

  call(caller: Vcpu, cmd: number, arg: number, count: number): Result {
    count >>>= 0;
    if (count >= 2 ** 31) return -XEN_EINVAL;
    switch (cmd) {
      case GNTTABOP_map_grant_ref:
        return this.batch(caller, arg, count, gnttab_map_grant_ref.size, this.map);
      case GNTTABOP_unmap_grant_ref:
        return this.batch(caller, arg, count, gnttab_unmap_grant_ref.size, this.unmap);
      case GNTTABOP_copy:
        return this.batch(caller, arg, count, gnttab_copy.size, this.copy);
      case GNTTABOP_unmap_and_replace:
        return this.batch(caller, arg, count, gnttab_unmap_and_replace.size, this.unmapAndReplace);
      case GNTTABOP_swap_grant_ref:
        return this.batch(caller, arg, count, gnttab_swap_grant_ref.size, this.swap);
      case GNTTABOP_transfer:
        return -XEN_EOPNOTSUPP;
      case GNTTABOP_setup_table:
        return count === 1 ? this.setupTable(caller.domain, arg) : -XEN_EINVAL;
      case GNTTABOP_query_size:
        return count === 1 ? this.querySize(caller.domain, arg) : -XEN_EINVAL;
      case GNTTABOP_get_status_frames:
        return count === 1 ? this.getStatusFrames(caller.domain, arg) : -XEN_EINVAL;
      case GNTTABOP_set_version:
        return this.setVersion(caller.domain, arg);
      case GNTTABOP_get_version:
        return this.getVersion(caller.domain, arg);
      default:
        return -XEN_ENOSYS;
    }
  }

  private batch(caller: Vcpu, arg: number, count: number, size: number, element: Element): Result {
    if (count === 0) return 0;
    if (!caller.domain.physmap.reachable(arg, count * size)) return -XEN_EFAULT;
    return this.slice(caller, arg, count, size, element);
  }
  private slice(caller: Vcpu, arg: number, count: number, size: number, element: Element): Result {
    const { view } = caller.domain.memory;
    const now = Math.min(count, SLICE);
    for (let i = 0; i < now; i++) {
      const status = element(caller, view, arg + i * size);
      if (status !== GNTST_okay) this.refused(caller, status);
    }
    if (now === count) return 0;
    return this.continuations.later(caller, () =>
      // The frames may have gone while others had their turn.
      this.batch(caller, arg + now * size, count - now, size, element),
    );
  }

  private refused(caller: Vcpu, status: number): void {
    this.refusals.note(caller.domain, __HYPERVISOR_grant_table_op, undefined, () => gntstName(status));
  }

  private readonly map: Element = (caller, view, arg) => {
    const { at } = gnttab_map_grant_ref;
    const hostAddress = readU64(view, arg + at.host_addr);
    const flags = view.getUint32(arg + at.flags, true);
    const ref = view.getUint32(arg + at.ref, true);
    const granter = view.getUint16(arg + at.dom, true);
    const status = this.grants.map(caller, granter, ref, flags, hostAddress);
    if (status === GNTST_okay) {
      this.trace.grantMapped(caller, granter);
      view.setUint32(arg + at.handle, this.grants.handle, true);
      setU64(view, arg + at.dev_bus_addr, this.grants.place);
    }
    view.setInt16(arg + at.status, status, true);
    return status;
  };

  private drop(caller: Vcpu, hostAddress: number, busAddress: number, handle: number): number {
    const { domain } = caller;
    const granter = domain.grants.granterOf(handle);
    const status = this.grants.unmap(domain, hostAddress, busAddress, handle);
    if (status === GNTST_okay) this.trace.grantUnmapped(caller, granter!.domid);
    return status;
  }
  private readonly unmap: Element = (caller, view, arg) => {
    const { at } = gnttab_unmap_grant_ref;
    const hostAddress = readU64(view, arg + at.host_addr);
    const busAddress = readU64(view, arg + at.dev_bus_addr);
    const handle = view.getUint32(arg + at.handle, true);
    const status = this.drop(caller, hostAddress, busAddress, handle);
    view.setInt16(arg + at.status, status, true);
    return status;
  };

  private readonly unmapAndReplace: Element = (caller, view, arg) => {
    const { at } = gnttab_unmap_and_replace;
    const hostAddress = readU64(view, arg + at.host_addr);
    const newAddress = readU64(view, arg + at.new_addr);
    const handle = view.getUint32(arg + at.handle, true);
    // Xen: the replacement is a page table entry, which a translated guest does not have.
    const status = newAddress === 0 ? this.drop(caller, hostAddress, 0, handle) : (GNTST_general_error as number);
    view.setInt16(arg + at.status, status, true);
    return status;
  };

  private readonly copy: Element = (caller, view, arg) => {
    const { at } = gnttab_copy;
    const { source, dest } = this;
    readSide(source, view, arg + at.source);
    readSide(dest, view, arg + at.dest);
    const length = view.getUint16(arg + at.len, true);
    const flags = view.getUint16(arg + at.flags, true);
    const status = this.grants.copy(caller.domain, source, dest, length, flags);
    if (status === GNTST_okay) this.trace.grantCopied(caller, source.domid, dest.domid, length);
    view.setInt16(arg + at.status, status, true);
    return status;
  };

  private readonly swap: Element = (caller, view, arg) => {
    const { at } = gnttab_swap_grant_ref;
    const a = view.getUint32(arg + at.ref_a, true);
    const b = view.getUint32(arg + at.ref_b, true);
    const status = this.grants.swap(caller.domain, a, b);
    view.setInt16(arg + at.status, status, true);
    return status;
  };

  private setupTable(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, gnttab_setup_table.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = gnttab_setup_table;
    const frames = view.getUint32(arg + at.nr_frames, true);
    const list = readU64(view, arg + at.frame_list);
    const domain = this.domains.any(caller, view.getUint16(arg + at.dom, true));
    const answer = (status: number): number => {
      view.setInt16(arg + at.status, status, true);
      return 0;
    };
    if (domain === undefined || !domain.hasMemory || domain.dying) return answer(GNTST_bad_domain);
    if (!mayCall('grant_setup', caller, domain)) return answer(GNTST_permission_denied);
    if (frames > domain.grants.maxFrames) return answer(GNTST_general_error);
    if (frames > 0 && !caller.physmap.reachable(list, frames * 8)) return -XEN_EFAULT;
    domain.grants.grow(frames);
    for (let i = 0; i < frames; i++) setU64(view, list + 8 * i, domain.layout.grantFrames + i);
    return answer(GNTST_okay);
  }

  private querySize(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, gnttab_query_size.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = gnttab_query_size;
    const domain = this.domains.any(caller, view.getUint16(arg + at.dom, true));
    let status: number = GNTST_okay;
    if (domain === undefined) status = GNTST_bad_domain;
    else if (!mayCall('grant_query_size', caller, domain)) status = GNTST_permission_denied;
    else {
      view.setUint32(arg + at.nr_frames, domain.grants.frames, true);
      view.setUint32(arg + at.max_nr_frames, domain.grants.maxFrames, true);
    }
    view.setInt16(arg + at.status, status, true);
    return 0;
  }

  /** Only version 2 has status frames. */
  private getStatusFrames(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, gnttab_get_status_frames.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = gnttab_get_status_frames;
    const domain = this.domains.any(caller, view.getUint16(arg + at.dom, true));
    let status: number = GNTST_okay;
    if (domain === undefined) status = GNTST_bad_domain;
    else if (!mayCall('grant_setup', caller, domain)) status = GNTST_permission_denied;
    else if (view.getUint32(arg + at.nr_frames, true) > 0) status = GNTST_general_error;
    view.setInt16(arg + at.status, status, true);
    return 0;
  }

  private setVersion(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, gnttab_set_version.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const at = arg + gnttab_set_version.at.version;
    const version = view.getUint32(at, true);
    let rc = 0;
    if (version !== 1) rc = version === 2 ? -XEN_ENOSYS : -XEN_EINVAL;
    view.setUint32(at, 1, true);
    return rc;
  }

  private getVersion(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, gnttab_get_version.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = gnttab_get_version;
    const domain = this.domains.any(caller, view.getUint16(arg + at.dom, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('grant_query_size', caller, domain)) return -XEN_EPERM;
    view.setUint32(arg + at.version, 1, true);
    return 0;
  }
}

function readSide(side: CopySide, view: DataView, at: number): void {
  const u = at + gnttab_copy_ptr.at.u;
  // A union: the low half of the gmfn is the gref.
  side.ref = view.getUint32(u + gnttab_copy_ptr_u.at.ref, true);
  side.gmfn = joinU64(view.getUint32(u + gnttab_copy_ptr_u.at.gmfn + 4, true), side.ref);
  side.domid = view.getUint16(at + gnttab_copy_ptr.at.domid, true);
  side.offset = view.getUint16(at + gnttab_copy_ptr.at.offset, true);
}
