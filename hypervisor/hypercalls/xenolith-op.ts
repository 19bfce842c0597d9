// xenolith_op(cmd, argument): what Xen leaves to the architecture. See pvbus/abi/xenolith.ts.
import {
  DOMID_SELF,
  KIND_FOREIGN,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  XENOLITHOP_map_foreign,
  XENOLITHOP_pool_populate,
  XENOLITHOP_pool_release,
  xenolith_map_foreign,
  xenolith_pool_populate,
} from '#pvbus';
import type { Domain, Vcpu } from '../domain.ts';
import type { DomainTable } from '../domain-table.ts';
import type { Pools } from '../pools.ts';
import { mayCall } from '../privilege.ts';

export class XenolithOp {
  private readonly domains: DomainTable;
  private readonly pools: Pools;

  constructor(domains: DomainTable, pools: Pools) {
    this.domains = domains;
    this.pools = pools;
  }

  call(caller: Vcpu, cmd: number, arg: number): number {
    switch (cmd) {
      case XENOLITHOP_pool_populate:
        return this.pool(caller.domain, arg, true);
      case XENOLITHOP_pool_release:
        return this.pool(caller.domain, arg, false);
      case XENOLITHOP_map_foreign:
        return this.mapForeign(caller, arg);
      default:
        return -XEN_ENOSYS;
    }
  }

  private pool(caller: Domain, arg: number, populate: boolean): number {
    if (!caller.physmap.reachable(arg, xenolith_pool_populate.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xenolith_pool_populate;
    const peer = view.getUint16(arg + at.peer, true);
    const flags = view.getUint32(arg + at.flags, true);
    const gfn = view.getUint32(arg + at.gfn, true);
    const count = view.getUint32(arg + at.nr_frames, true);
    const granter = this.domains.any(caller, view.getUint16(arg + at.domid, true));
    if (granter === undefined) return -XEN_ESRCH;
    if (!mayCall('pool', caller, granter)) return -XEN_EPERM;
    if (!populate) return this.pools.release(granter, peer === DOMID_SELF ? caller.domid : peer, flags, gfn, count);
    const grantee = this.domains.any(caller, peer);
    if (grantee === undefined) return -XEN_ESRCH;
    return this.pools.populate(granter, grantee, flags, gfn, count);
  }

  private mapForeign(vcpu: Vcpu, arg: number): number {
    const caller = vcpu.domain;
    if (!caller.physmap.reachable(arg, xenolith_map_foreign.size)) return -XEN_EFAULT;
    const domid = caller.memory.view.getUint16(arg + xenolith_map_foreign.at.domid, true);
    if (!mayCall('map_foreign', caller, caller)) return -XEN_EPERM;
    const domain = this.domains.byId(domid);
    if (domain === undefined) return -XEN_ESRCH;
    if (!domain.hasMemory || domain.dying) return -XEN_EINVAL;
    const { maxPages, maxVcpus } = domain.layout;
    vcpu.tell(KIND_FOREIGN, domid, maxPages + maxVcpus * 2 ** 32, domain.memory);
    return 0;
  }
}
