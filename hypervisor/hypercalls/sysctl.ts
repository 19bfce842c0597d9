// sysctl(xen_sysctl): control of the whole host. Xen: public/sysctl.h, common/sysctl.c.
import {
  PAGE_SIZE,
  setU64,
  XEN_EACCES,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  XEN_SYSCTL_availheap,
  XEN_SYSCTL_CPUPOOL_OP_ADDCPU,
  XEN_SYSCTL_CPUPOOL_OP_CREATE,
  XEN_SYSCTL_CPUPOOL_OP_DESTROY,
  XEN_SYSCTL_CPUPOOL_OP_FREEINFO,
  XEN_SYSCTL_CPUPOOL_OP_INFO,
  XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN,
  XEN_SYSCTL_CPUPOOL_OP_RMCPU,
  XEN_SYSCTL_cpupool_op,
  XEN_SYSCTL_cputopoinfo,
  XEN_SYSCTL_debug_keys,
  XEN_SYSCTL_getcpuinfo,
  XEN_SYSCTL_getdomaininfolist,
  XEN_SYSCTL_INTERFACE_VERSION,
  XEN_SYSCTL_numainfo,
  XEN_SYSCTL_PHYSCAP_gnttab_v1,
  XEN_SYSCTL_PHYSCAP_pv,
  XEN_SYSCTL_physinfo,
  XEN_SYSCTL_readconsole,
  XEN_SYSCTL_sched_id,
  XEN_SYSCTL_scheduler_op,
  XEN_SYSCTL_tbuf_op,
  xen_domctl_getdomaininfo,
  xen_sysctl,
  xen_sysctl_availheap,
  xen_sysctl_cpuinfo,
  xen_sysctl_cpupool_op,
  xen_sysctl_cputopo,
  xen_sysctl_cputopoinfo,
  xen_sysctl_debug_keys,
  xen_sysctl_getcpuinfo,
  xen_sysctl_getdomaininfolist,
  xen_sysctl_meminfo,
  xen_sysctl_numainfo,
  xen_sysctl_physinfo,
  xen_sysctl_readconsole,
  xen_sysctl_sched_id,
} from '#pvbus';
import { GuestBitmap } from '../affinity.ts';
import type { ConsoleRing } from '../console-ring.ts';
import type { Domain, Vcpu } from '../domain.ts';
import { writeDomainInfo } from '../domain-info.ts';
import type { DomainLife } from '../domain-life.ts';
import type { DomainTable } from '../domain-table.ts';
import { readU64 } from '../guest-memory.ts';
import type { HostMemory } from '../memory.ts';
import { mayCall } from '../privilege.ts';
import type { Cpupools } from '../scheduling/cpupools.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import type { Trace } from '../trace.ts';
import type { SchedulerOp } from './scheduler-op.ts';
import { tbufOp } from './tbuf-op.ts';

const U = xen_sysctl.at.u;
/** More than this many debug keys in one call are a mistake. */
const MAX_DEBUG_KEYS = 1024;
/** Distance of a NUMA node from itself, by convention. */
const LOCAL_DISTANCE = 10;

export interface SysctlParts {
  readonly domains: DomainTable;
  readonly life: DomainLife;
  readonly host: HostMemory;
  readonly console: ConsoleRing;
  readonly trace: Trace;
  readonly scheduler: Scheduler;
  readonly cpupools: Cpupools;
  readonly schedulerOp: SchedulerOp;
  /** How long a pCPU has been idle, ns. */
  readonly idleNs: (cpu: number) => number;
  readonly nrCpus: number;
  readonly cpuKhz: number;
  readonly debugKey: (key: string) => void;
}

export class Sysctl {
  private readonly parts: SysctlParts;
  private readonly bytes = new Uint8Array(xen_sysctl.size);
  private readonly op = new DataView(this.bytes.buffer);

  constructor(parts: SysctlParts) {
    this.parts = parts;
  }

  call(vcpu: Vcpu, arg: number): number {
    const caller = vcpu.domain;
    if (!caller.physmap.reachable(arg, xen_sysctl.size)) return -XEN_EFAULT;
    // untrusted: a private copy; what is checked is what is used.
    this.bytes.set(caller.memory.bytes.subarray(arg, arg + xen_sysctl.size));
    if (this.op.getUint32(xen_sysctl.at.interface_version, true) !== XEN_SYSCTL_INTERFACE_VERSION) return -XEN_EACCES;
    const cmd = this.op.getUint32(xen_sysctl.at.cmd, true);
    const action = cmd === XEN_SYSCTL_getdomaininfolist ? 'getdomaininfo' : 'sysctl';
    if (!mayCall(action, caller, caller)) return -XEN_EPERM;
    const rc = this.act(caller, cmd);
    if (rc >= 0) caller.memory.bytes.set(this.bytes, arg);
    return rc;
  }

  private act(caller: Domain, cmd: number): number {
    switch (cmd) {
      case XEN_SYSCTL_readconsole:
        return this.readConsole(caller);
      case XEN_SYSCTL_tbuf_op:
        return tbufOp(this.parts.trace, caller, this.op, U, this.parts.nrCpus);
      case XEN_SYSCTL_physinfo:
        return this.physinfo();
      case XEN_SYSCTL_sched_id:
        this.op.setUint32(U + xen_sysctl_sched_id.at.sched_id, this.parts.cpupools.byId(0)!.policy.sched_id, true);
        return 0;
      case XEN_SYSCTL_getdomaininfolist:
        return this.getDomainInfoList(caller);
      case XEN_SYSCTL_debug_keys:
        return this.debugKeys(caller);
      case XEN_SYSCTL_availheap:
        setU64(this.op, U + xen_sysctl_availheap.at.avail_bytes, this.parts.host.freePages * PAGE_SIZE);
        return 0;
      case XEN_SYSCTL_cputopoinfo:
        return this.cputopoinfo(caller);
      case XEN_SYSCTL_numainfo:
        return this.numainfo(caller);
      case XEN_SYSCTL_cpupool_op:
        return this.cpupoolOp(caller);
      case XEN_SYSCTL_scheduler_op:
        return this.parts.schedulerOp.sysctl(this.op, U);
      case XEN_SYSCTL_getcpuinfo:
        return this.getCpuInfo(caller);
      default:
        return -XEN_ENOSYS;
    }
  }

  private readConsole(caller: Domain): number {
    const { at } = xen_sysctl_readconsole;
    const { console } = this.parts;
    const count = this.op.getUint32(U + at.count, true);
    const buffer = readU64(this.op, U + at.buffer);
    if (count > 0 && !caller.physmap.reachable(buffer, count)) return -XEN_EFAULT;
    const incremental = this.op.getUint8(U + at.incremental) !== 0;
    const from = incremental ? this.op.getUint32(U + at.index, true) : 0;
    const got = console.read(caller.memory.bytes.subarray(buffer, count > 0 ? buffer + count : buffer), from);
    this.op.setUint32(U + at.count, got.count, true);
    this.op.setUint32(U + at.index, got.next, true);
    if (this.op.getUint8(U + at.clear) !== 0) console.clear();
    return 0;
  }

  private physinfo(): number {
    const { at } = xen_sysctl_physinfo;
    const { host, nrCpus, cpuKhz } = this.parts;
    const u32 = (offset: number, value: number): void => this.op.setUint32(U + offset, value, true);
    this.bytes.fill(0, U, U + xen_sysctl_physinfo.size);
    u32(at.threads_per_core, 1);
    u32(at.cores_per_socket, nrCpus);
    u32(at.nr_cpus, nrCpus);
    u32(at.max_cpu_id, nrCpus - 1);
    u32(at.nr_nodes, 1);
    u32(at.cpu_khz, cpuKhz);
    u32(at.capabilities, XEN_SYSCTL_PHYSCAP_pv | XEN_SYSCTL_PHYSCAP_gnttab_v1);
    setU64(this.op, U + at.total_pages, host.totalPages);
    setU64(this.op, U + at.free_pages, host.freePages);
    setU64(this.op, U + at.outstanding_pages, host.outstandingPages);
    setU64(this.op, U + at.max_mfn, host.totalPages - 1);
    return 0;
  }

  private getDomainInfoList(caller: Domain): number {
    const { at } = xen_sysctl_getdomaininfolist;
    const first = this.op.getUint16(U + at.first_domain, true);
    const max = this.op.getUint32(U + at.max_domains, true);
    const buffer = readU64(this.op, U + at.buffer);
    const { domains, life } = this.parts;
    const { size } = xen_domctl_getdomaininfo;
    const shown = domains
      .list()
      .filter(domain => domain.domid >= first && mayCall('getdomaininfo', caller, domain))
      .slice(0, max);
    if (shown.length > 0 && !caller.physmap.reachable(buffer, shown.length * size)) return -XEN_EFAULT;
    for (const [i, domain] of shown.entries()) writeDomainInfo(domain, life, caller.memory.view, buffer + i * size);
    this.op.setUint32(U + at.num_domains, shown.length, true);
    return 0;
  }

  private debugKeys(caller: Domain): number {
    const { at } = xen_sysctl_debug_keys;
    const keys = readU64(this.op, U + at.keys);
    const count = this.op.getUint32(U + at.nr_keys, true);
    if (count > MAX_DEBUG_KEYS) return -XEN_EINVAL;
    if (count > 0 && !caller.physmap.reachable(keys, count)) return -XEN_EFAULT;
    const pressed = caller.memory.bytes.slice(keys, count > 0 ? keys + count : keys);
    for (const key of pressed) this.parts.debugKey(String.fromCharCode(key));
    return 0;
  }

  /** Every CPU is a core of its own: what Linux knows better is not the hypervisor's. */
  private cputopoinfo(caller: Domain): number {
    const { at } = xen_sysctl_cputopoinfo;
    const { nrCpus } = this.parts;
    const list = readU64(this.op, U + at.cputopo);
    const room = list === 0 ? 0 : Math.min(this.op.getUint32(U + at.num_cpus, true), nrCpus);
    const { size, at: field } = xen_sysctl_cputopo;
    if (room > 0 && !caller.physmap.reachable(list, room * size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    for (let i = 0; i < room; i++) {
      view.setUint32(list + i * size + field.core, i, true);
      view.setUint32(list + i * size + field.socket, 0, true);
      view.setUint32(list + i * size + field.node, 0, true);
    }
    this.op.setUint32(U + at.num_cpus, nrCpus, true);
    return 0;
  }
  private numainfo(caller: Domain): number {
    const { at } = xen_sysctl_numainfo;
    const { host } = this.parts;
    const asked = this.op.getUint32(U + at.num_nodes, true);
    const meminfo = readU64(this.op, U + at.meminfo);
    const distance = readU64(this.op, U + at.distance);
    if (asked > 0 && meminfo !== 0) {
      if (!caller.physmap.reachable(meminfo, xen_sysctl_meminfo.size)) return -XEN_EFAULT;
      setU64(caller.memory.view, meminfo + xen_sysctl_meminfo.at.memsize, host.totalPages * PAGE_SIZE);
      setU64(caller.memory.view, meminfo + xen_sysctl_meminfo.at.memfree, host.freePages * PAGE_SIZE);
    }
    if (asked > 0 && distance !== 0) {
      if (!caller.physmap.reachable(distance, 4)) return -XEN_EFAULT;
      caller.memory.view.setUint32(distance, LOCAL_DISTANCE, true);
    }
    this.op.setUint32(U + at.num_nodes, 1, true);
    return 0;
  }
  private cpupoolOp(caller: Domain): number {
    const { at } = xen_sysctl_cpupool_op;
    const { cpupools } = this.parts;
    const id = this.op.getUint32(U + at.cpupool_id, true);
    const cpu = this.op.getUint32(U + at.cpu, true);
    switch (this.op.getUint32(U + at.op, true)) {
      case XEN_SYSCTL_CPUPOOL_OP_CREATE: {
        const made = cpupools.create(id, this.op.getUint32(U + at.sched_id, true));
        if (made < 0) return made;
        this.op.setUint32(U + at.cpupool_id, made, true);
        return 0;
      }
      case XEN_SYSCTL_CPUPOOL_OP_DESTROY:
        return cpupools.destroy(id);
      case XEN_SYSCTL_CPUPOOL_OP_INFO: {
        const pool = cpupools.from(id);
        if (!pool) return -XEN_ENOENT;
        this.op.setUint32(U + at.cpupool_id, pool.id, true);
        this.op.setUint32(U + at.sched_id, pool.policy.sched_id, true);
        this.op.setUint32(U + at.n_dom, cpupools.domainsIn(pool).length, true);
        return this.writeCpus(caller, pool.map);
      }
      case XEN_SYSCTL_CPUPOOL_OP_ADDCPU:
        return cpupools.addCpu(id, cpu);
      case XEN_SYSCTL_CPUPOOL_OP_RMCPU:
        return cpupools.removeCpu(id, cpu);
      case XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN: {
        const domain = this.parts.domains.byId(this.op.getUint32(U + at.domid, true));
        if (!domain) return -XEN_ESRCH;
        return domain === caller ? -XEN_EPERM : cpupools.moveDomain(id, domain);
      }
      case XEN_SYSCTL_CPUPOOL_OP_FREEINFO:
        return this.writeCpus(caller, cpupools.freeCpus);
      default:
        return -XEN_ENOSYS;
    }
  }
  private writeCpus(caller: Domain, map: boolean[]): number {
    const bitmap = new GuestBitmap(caller, this.op, U + xen_sysctl_cpupool_op.at.cpumap);
    if (bitmap.isNull) return 0;
    if (!bitmap.reachable) return -XEN_EFAULT;
    bitmap.write(map);
    return 0;
  }
  private getCpuInfo(caller: Domain): number {
    const { at } = xen_sysctl_getcpuinfo;
    const { scheduler, idleNs } = this.parts;
    const { size, at: field } = xen_sysctl_cpuinfo;
    const nr = Math.min(this.op.getUint32(U + at.max_cpus, true), scheduler.pcpus.length);
    const list = readU64(this.op, U + at.info);
    if (nr > 0 && !caller.physmap.reachable(list, nr * size)) return -XEN_EFAULT;
    for (let cpu = 0; cpu < nr; cpu++) setU64(caller.memory.view, list + cpu * size + field.idletime, idleNs(cpu));
    this.op.setUint32(U + at.nr_cpus, nr, true);
    return 0;
  }
}
