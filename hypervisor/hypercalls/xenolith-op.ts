// xenolith_op(cmd, argument): what Xen leaves to the architecture. See pvbus/abi/xenolith.ts.
import {
  bytesBeyondMemory,
  DOMID_SELF,
  DOMID_XEN,
  KIND_FOREIGN,
  setU64,
  XEN_E2BIG,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOBUFS,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  XENOLITH_FAULT_plant,
  XENOLITH_FAULT_remove,
  XENOLITH_FAULT_show,
  XENOLITH_FAULT_TEXT,
  XENOLITH_INHERITED_MAX,
  XENOLITH_INHERITED_mappings,
  XENOLITH_INHERITED_ports,
  XENOLITH_SERVICE_driver_domain,
  XENOLITHOP_confinement,
  XENOLITHOP_exhaust,
  XENOLITHOP_fault,
  XENOLITHOP_handover,
  XENOLITHOP_inherited,
  XENOLITHOP_map_foreign,
  XENOLITHOP_pool_populate,
  XENOLITHOP_pool_release,
  XENOLITHOP_process_memory,
  XENOLITHOP_replacement,
  XENOLITHOP_service,
  XENOLITHOP_strike,
  XENOLITHOP_successor,
  XENOLITHOP_successor_waits,
  xenolith_exhaust,
  xenolith_fault,
  xenolith_inherited,
  xenolith_map_foreign,
  xenolith_mapping,
  xenolith_pool_populate,
  xenolith_port,
  xenolith_replacement,
  xenolith_service,
  xenolith_strike,
} from '#pvbus';
import { DEFERRED, type Result } from '../deferred.ts';
import type { Domain, Vcpu } from '../domain.ts';
import type { DomainTable } from '../domain-table.ts';
import { readU64 } from '../guest-memory.ts';
import type { HypercallFaults } from '../hypercall-faults.ts';
import type { Pools } from '../pools.ts';
import { mayCall } from '../privilege.ts';
import type { Succession } from '../succession.ts';
import type { TraceBuffers } from '../trace-buffers.ts';

/** What the processes of domUs are confined by. */
export interface Confinement {
  /** XENOLITH_LAYER_* */
  readonly layers: number;
  /** What V8 begins with, as Linux counts data. */
  readonly engineBytes: number;
}

export interface XenolithOpParts {
  readonly domains: DomainTable;
  readonly pools: Pools;
  readonly succession: Succession;
  readonly faults: HypercallFaults;
  readonly trace: TraceBuffers;
  readonly confinement: Confinement;
}

export class XenolithOp {
  private readonly domains: DomainTable;
  private readonly pools: Pools;
  private readonly succession: Succession;
  private readonly faults: HypercallFaults;
  private readonly trace: TraceBuffers;
  private readonly confinement: Confinement;

  constructor({ domains, pools, succession, faults, trace, confinement }: XenolithOpParts) {
    this.domains = domains;
    this.pools = pools;
    this.succession = succession;
    this.faults = faults;
    this.trace = trace;
    this.confinement = confinement;
  }

  call(caller: Vcpu, cmd: number, arg: number): Result {
    switch (cmd) {
      case XENOLITHOP_pool_populate:
        return this.pool(caller.domain, arg, true);
      case XENOLITHOP_pool_release:
        return this.pool(caller.domain, arg, false);
      case XENOLITHOP_map_foreign:
        return this.mapForeign(caller, arg);
      case XENOLITHOP_inherited:
        return this.inherited(caller, arg);
      case XENOLITHOP_service:
        return this.service(caller.domain, arg);
      case XENOLITHOP_confinement:
        return mayCall('confinement', caller.domain, caller.domain) ? this.confinement.layers : -XEN_EPERM;
      case XENOLITHOP_process_memory:
        return mayCall('confinement', caller.domain, caller.domain) ? this.processMemory() : -XEN_EPERM;
      case XENOLITHOP_strike:
        return this.strike(caller.domain, arg);
      case XENOLITHOP_exhaust:
        return this.exhaust(caller.domain, arg);
      case XENOLITHOP_replacement:
        return this.replacement(caller.domain, arg);
      case XENOLITHOP_fault:
        return this.fault(caller.domain, arg);
      case XENOLITHOP_successor:
      case XENOLITHOP_successor_waits:
      case XENOLITHOP_handover:
        return mayCall('succession', caller.domain, caller.domain) ? this.succeed(caller, cmd) : -XEN_EPERM;
      default:
        return -XEN_ENOSYS;
    }
  }

  private processMemory(): number {
    let bytes = 0;
    for (const domain of this.domains.list())
      if (domain.domid !== 0 && domain.service === 0 && domain.hasMemory)
        bytes += bytesBeyondMemory(this.confinement.engineBytes, domain.layout.maxVcpus);
    return Math.ceil(bytes / 2 ** 20);
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
    if (domid === DOMID_XEN) {
      if (this.trace.arena === undefined) return -XEN_EINVAL;
      vcpu.tell(KIND_FOREIGN, DOMID_XEN, 0, this.trace.arena);
      return 0;
    }
    const domain = this.domains.byId(domid);
    if (domain === undefined) return -XEN_ESRCH;
    if (!domain.hasMemory || domain.dying) return -XEN_EINVAL;
    const { maxPages, maxVcpus } = domain.layout;
    vcpu.tell(KIND_FOREIGN, domid, maxPages + maxVcpus * 2 ** 32, domain.memory);
    return 0;
  }

  private service(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xenolith_service.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const domid = view.getUint16(arg + xenolith_service.at.domid, true);
    const service = view.getUint32(arg + xenolith_service.at.service, true);
    if (!mayCall('service', caller, caller)) return -XEN_EPERM;
    const domain = this.domains.byId(domid);
    if (domain === undefined) return -XEN_ESRCH;
    // Its memory is what starts its process.
    if (domain.hasMemory || domain.dying || service !== XENOLITH_SERVICE_driver_domain) return -XEN_EINVAL;
    domain.service = service;
    return 0;
  }

  private strike(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xenolith_strike.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xenolith_strike;
    if (!mayCall('strike', caller, caller)) return -XEN_EPERM;
    const domain = this.domains.byId(view.getUint16(arg + at.domid, true));
    const vcpu = domain?.vcpus[view.getUint16(arg + at.vcpu, true)];
    if (vcpu === undefined) return -XEN_ESRCH;
    return this.succession.strike(vcpu, view.getUint32(arg + at.stop_ms, true));
  }

  private exhaust(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xenolith_exhaust.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xenolith_exhaust;
    const domid = view.getUint16(arg + at.domid, true);
    const vcpu = this.domains.byId(domid)?.vcpus[view.getUint16(arg + at.vcpu, true)];
    const what = view.getUint32(arg + at.what, true);
    const left = view.getUint32(arg + at.left, true);
    if (!mayCall('exhaust', caller, caller)) return -XEN_EPERM;
    return vcpu === undefined && domid !== DOMID_XEN ? -XEN_ESRCH : this.succession.exhaust(vcpu, what, left);
  }

  private replacement(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xenolith_replacement.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const { at } = xenolith_replacement;
    if (!mayCall('replacement', caller, caller)) return -XEN_EPERM;
    const found = this.succession.replacement(view.getUint32(arg + at.number, true));
    if (found === undefined) return -XEN_ENOENT;
    view.setUint32(arg + at.number, found.number, true);
    view.setUint16(arg + at.domid, found.domid, true);
    view.setUint16(arg + at.vcpu, found.vcpu, true);
    view.setUint32(arg + at.pid, found.pid, true);
    view.setUint32(arg + at.ends, found.ends, true);
    setU64(view, arg + at.ended, found.endedNs);
    setU64(view, arg + at.served, found.servedNs);
    return 0;
  }

  private fault(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, xenolith_fault.size)) return -XEN_EFAULT;
    const { view, bytes } = caller.memory;
    const { at } = xenolith_fault;
    const domid = view.getUint16(arg + at.domid, true);
    const what = view.getUint16(arg + at.what, true);
    const length = view.getUint32(arg + at.length, true);
    const room = view.getUint32(arg + at.room, true);
    const text = readU64(view, arg + at.text);
    if (!mayCall('fault', caller, caller)) return -XEN_EPERM;
    if (room > XENOLITH_FAULT_TEXT || length > room) return -XEN_E2BIG;
    if (!caller.physmap.reachable(text, room)) return -XEN_EFAULT;
    const given = new TextDecoder().decode(bytes.slice(text, text + length));
    if (what === XENOLITH_FAULT_plant) {
      const domain = this.domains.byId(domid);
      return domain === undefined ? -XEN_ESRCH : this.faults.plant(domain, given);
    }
    if (what === XENOLITH_FAULT_remove) return this.faults.remove(domid, given);
    if (what !== XENOLITH_FAULT_show) return -XEN_EINVAL;
    const shown = this.faults.injected(domid, given);
    if (shown === undefined) return -XEN_ENOENT;
    const answer = new TextEncoder().encode(JSON.stringify(shown));
    if (answer.length > room) return -XEN_ENOBUFS;
    bytes.set(answer, text);
    view.setUint32(arg + at.length, answer.length, true);
    return 0;
  }

  private inherited(vcpu: Vcpu, arg: number): number {
    const { domain } = vcpu;
    if (!domain.physmap.reachable(arg, xenolith_inherited.size)) return -XEN_EFAULT;
    const { view } = domain.memory;
    const { at } = xenolith_inherited;
    const what = view.getUint32(arg + at.what, true);
    const from = view.getUint32(arg + at.from, true);
    const room = Math.min(view.getUint32(arg + at.nr, true), XENOLITH_INHERITED_MAX);
    const of = view.getUint32(arg + at.vcpu, true);
    const list = readU64(view, arg + at.list);
    if (!mayCall('inherited', domain, domain)) return -XEN_EPERM;
    if (room === 0 || (what !== XENOLITH_INHERITED_ports && what !== XENOLITH_INHERITED_mappings)) return -XEN_EINVAL;
    if (of >= domain.vcpus.length) return -XEN_EINVAL;
    const size = what === XENOLITH_INHERITED_ports ? xenolith_port.size : xenolith_mapping.size;
    if (!domain.physmap.reachable(list, room * size)) return -XEN_EFAULT;
    const { count, next } =
      what === XENOLITH_INHERITED_ports
        ? this.succession.ports(vcpu, of, from, list, room)
        : this.succession.mappings(vcpu, of, from, list, room);
    view.setUint32(arg + at.nr, count, true);
    view.setUint32(arg + at.from, next, true);
    return 0;
  }

  private succeed(caller: Vcpu, cmd: number): Result {
    if (cmd === XENOLITHOP_successor) return this.succession.prepare(caller);
    if (cmd === XENOLITHOP_successor_waits) return this.succession.waits(caller);
    const rc = this.succession.handOver(caller);
    return rc < 0 ? rc : DEFERRED;
  }
}
