// Hypercalls about processors: who runs where, with which share, in which cpupool. Throws as xc.ts does.
import {
  type Domid,
  XEN_DOMCTL_getvcpuaffinity,
  XEN_DOMCTL_getvcpuinfo,
  XEN_DOMCTL_SCHEDOP_getinfo,
  XEN_DOMCTL_SCHEDOP_getvcpuinfo,
  XEN_DOMCTL_SCHEDOP_putinfo,
  XEN_DOMCTL_SCHEDOP_putvcpuinfo,
  XEN_DOMCTL_SCHEDRT_extra,
  XEN_DOMCTL_scheduler_op,
  XEN_DOMCTL_setvcpuaffinity,
  XEN_SCHEDULER_CREDIT,
  XEN_SCHEDULER_RTDS,
  XEN_SYSCTL_CPUPOOL_OP_ADDCPU,
  XEN_SYSCTL_CPUPOOL_OP_CREATE,
  XEN_SYSCTL_CPUPOOL_OP_DESTROY,
  XEN_SYSCTL_CPUPOOL_OP_FREEINFO,
  XEN_SYSCTL_CPUPOOL_OP_INFO,
  XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN,
  XEN_SYSCTL_CPUPOOL_OP_RMCPU,
  XEN_SYSCTL_CPUPOOL_PAR_ANY,
  XEN_SYSCTL_cpupool_op,
  XEN_SYSCTL_SCHEDOP_getinfo,
  XEN_SYSCTL_SCHEDOP_putinfo,
  XEN_SYSCTL_scheduler_op,
  XEN_VCPUAFFINITY_FORCE,
  XEN_VCPUAFFINITY_HARD,
  XEN_VCPUAFFINITY_SOFT,
  XenError,
  xen_domctl_getvcpuinfo,
  xen_domctl_sched_credit,
  xen_domctl_sched_rtds,
  xen_domctl_schedparam_vcpu,
  xen_domctl_scheduler_op,
  xen_domctl_scheduler_op_v,
  xen_domctl_vcpuaffinity,
  xen_sysctl_cpupool_op,
  xen_sysctl_credit_schedule,
  xen_sysctl_credit2_schedule,
  xen_sysctl_scheduler_op,
  xenctl_bitmap,
} from '#pvbus';
import { type ControlCalls, get64, set64 } from './control-calls.ts';

export interface XcVcpuInfo {
  readonly online: boolean;
  readonly blocked: boolean;
  readonly running: boolean;
  /** ns */
  readonly cpuTime: number;
  /** The pCPU it ran on last. */
  readonly cpu: number;
}
/** pCPUs by number. */
export type Cpus = readonly number[];

export interface XcCredit {
  readonly weight: number;
  readonly cap: number;
}
/** µs */
export interface XcRtds {
  readonly period: number;
  readonly budget: number;
  readonly extratime: boolean;
}
export interface XcPoolParams {
  readonly tslice_ms: number;
  readonly ratelimit_us: number;
  readonly vcpu_migr_delay_us: number;
}
export interface XcCpupool {
  readonly id: number;
  /** XEN_SCHEDULER_* */
  readonly schedId: number;
  readonly domains: number;
  readonly cpus: Cpus;
}

/** The bits that a map of pCPUs has room for. */
const MAP_BYTES = 128;

export class XcScheduling {
  readonly #calls: ControlCalls;

  constructor(calls: ControlCalls) {
    this.#calls = calls;
  }

  // ---- vCPUs ----

  /** ESRCH: there is no such vCPU. */
  vcpuInfo(domid: Domid, vcpu: number): XcVcpuInfo {
    const { at } = xen_domctl_getvcpuinfo;
    const what = `get the state of dom${domid} vcpu${vcpu}`;
    const u = this.#calls.domctl(XEN_DOMCTL_getvcpuinfo, domid, what, (view, arg) =>
      view.setUint32(arg + at.vcpu, vcpu, true),
    );
    const { view } = this.#calls.vcpu.scratch;
    return {
      online: view.getUint8(u + at.online) !== 0,
      blocked: view.getUint8(u + at.blocked) !== 0,
      running: view.getUint8(u + at.running) !== 0,
      cpuTime: get64(view, u + at.cpu_time),
      cpu: view.getUint32(u + at.cpu, true),
    };
  }
  affinity(domid: Domid, vcpu: number): { hard: Cpus; soft: Cpus } {
    const flags = XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT;
    const what = `get the affinity of dom${domid} vcpu${vcpu}`;
    const { hard, soft } = this.#affinity(XEN_DOMCTL_getvcpuaffinity, domid, vcpu, flags, what, [], []);
    return { hard: this.#map(hard), soft: this.#map(soft) };
  }
  /** null: as it is. `force`: even against what the vCPU was pinned to for a while. */
  setAffinity(domid: Domid, vcpu: number, hard: Cpus | null, soft: Cpus | null, force: boolean): void {
    const maps = (hard === null ? 0 : XEN_VCPUAFFINITY_HARD) | (soft === null ? 0 : XEN_VCPUAFFINITY_SOFT);
    const flags = maps | (force ? XEN_VCPUAFFINITY_FORCE : 0);
    const what = `set the affinity of dom${domid} vcpu${vcpu}`;
    this.#affinity(XEN_DOMCTL_setvcpuaffinity, domid, vcpu, flags, what, hard ?? [], soft ?? []);
  }
  /** Returns where the two maps are. */
  #affinity(
    cmd: number,
    domid: Domid,
    vcpu: number,
    flags: number,
    what: string,
    hardCpus: Cpus,
    softCpus: Cpus,
  ): { hard: number; soft: number } {
    const { at } = xen_domctl_vcpuaffinity;
    this.#calls.vcpu.scratch.reset();
    const hard = this.#newMap(hardCpus);
    const soft = this.#newMap(softCpus);
    this.#calls.domctlMore(cmd, domid, what, (view, u) => {
      view.setUint32(u + at.vcpu, vcpu, true);
      view.setUint32(u + at.flags, flags, true);
      pointTo(view, u + at.cpumap_hard, hard);
      pointTo(view, u + at.cpumap_soft, soft);
    });
    return { hard, soft };
  }

  // ---- shares ----

  credit(domid: Domid, schedId: number): XcCredit {
    const what = `get the weight and cap of dom${domid}`;
    const u = this.#schedule(domid, schedId, XEN_DOMCTL_SCHEDOP_getinfo, what);
    const { view } = this.#calls.vcpu.scratch;
    const { at } = xen_domctl_sched_credit;
    return { weight: view.getUint16(u + at.weight, true), cap: view.getUint16(u + at.cap, true) };
  }
  /** null: as it is. */
  setCredit(domid: Domid, schedId: number, weight: number | null, cap: number | null): void {
    const what = `set the weight and cap of dom${domid}`;
    this.#schedule(domid, schedId, XEN_DOMCTL_SCHEDOP_putinfo, what, (view, u) => {
      view.setUint16(u + xen_domctl_sched_credit.at.weight, weight ?? 0, true);
      view.setUint16(u + xen_domctl_sched_credit.at.cap, cap ?? 0xffff, true);
    });
  }
  /** What a vCPU of the domain gets by default. */
  rtdsDefault(domid: Domid): XcRtds {
    const u = this.#schedule(domid, XEN_SCHEDULER_RTDS, XEN_DOMCTL_SCHEDOP_getinfo, `get the period of dom${domid}`);
    return readRtds(this.#calls.vcpu.scratch.view, u);
  }
  /** Of all its vCPUs. */
  setRtdsAll(domid: Domid, params: XcRtds): void {
    const what = `set the period of dom${domid}`;
    this.#schedule(domid, XEN_SCHEDULER_RTDS, XEN_DOMCTL_SCHEDOP_putinfo, what, (view, u) =>
      writeRtds(view, u, params),
    );
  }
  rtds(domid: Domid, vcpu: number): XcRtds {
    const entry = this.#rtdsVcpu(domid, vcpu, XEN_DOMCTL_SCHEDOP_getvcpuinfo, 'get');
    return readRtds(this.#calls.vcpu.scratch.view, entry + xen_domctl_schedparam_vcpu.at.u);
  }
  setRtds(domid: Domid, vcpu: number, params: XcRtds): void {
    this.#rtdsVcpu(domid, vcpu, XEN_DOMCTL_SCHEDOP_putvcpuinfo, 'set', params);
  }
  /** Returns where the vCPU's entry is. */
  #rtdsVcpu(domid: Domid, vcpu: number, cmd: number, verb: string, params?: XcRtds): number {
    const { scratch } = this.#calls.vcpu;
    const entry = scratch.reset().alloc(xen_domctl_schedparam_vcpu.size);
    scratch.view.setUint32(entry + xen_domctl_schedparam_vcpu.at.vcpuid, vcpu, true);
    if (params) writeRtds(scratch.view, entry + xen_domctl_schedparam_vcpu.at.u, params);
    const what = `${verb} the period of dom${domid} vcpu${vcpu}`;
    this.#scheduleMore(domid, XEN_SCHEDULER_RTDS, cmd, what, (view, u) => {
      set64(view, u + xen_domctl_scheduler_op_v.at.vcpus, entry);
      view.setUint32(u + xen_domctl_scheduler_op_v.at.nr_vcpus, 1, true);
    });
    return entry;
  }
  #schedule(domid: Domid, schedId: number, cmd: number, what: string, fill?: (view: DataView, u: number) => void) {
    this.#calls.vcpu.scratch.reset();
    return this.#scheduleMore(domid, schedId, cmd, what, fill);
  }
  /** Returns where the scheduler's own parameters are. */
  #scheduleMore(
    domid: Domid,
    schedId: number,
    cmd: number,
    what: string,
    fill?: (view: DataView, u: number) => void,
  ): number {
    const { at } = xen_domctl_scheduler_op;
    const u = this.#calls.domctlMore(XEN_DOMCTL_scheduler_op, domid, what, (view, arg) => {
      view.setUint32(arg + at.sched_id, schedId, true);
      view.setUint32(arg + at.cmd, cmd, true);
      fill?.(view, arg + at.u);
    });
    return u + at.u;
  }

  // ---- pools ----

  /** In order of their numbers. */
  pools(): XcCpupool[] {
    const found: XcCpupool[] = [];
    for (let from = 0; ; from = found[found.length - 1]!.id + 1) {
      const pool = this.#poolFrom(from);
      if (pool === undefined) return found;
      found.push(pool);
    }
  }
  /** The first pool with a number >= `from`. */
  #poolFrom(from: number): XcCpupool | undefined {
    const { at } = xen_sysctl_cpupool_op;
    this.#calls.vcpu.scratch.reset();
    const map = this.#newMap([]);
    let u: number;
    try {
      u = this.#calls.sysctlMore(XEN_SYSCTL_cpupool_op, `get cpupool ${from}`, (view, arg) => {
        view.setUint32(arg + at.op, XEN_SYSCTL_CPUPOOL_OP_INFO, true);
        view.setUint32(arg + at.cpupool_id, from, true);
        pointTo(view, arg + at.cpumap, map);
      });
    } catch (error) {
      if (error instanceof XenError && error.code === 'ENOENT') return undefined;
      throw error;
    }
    const { view } = this.#calls.vcpu.scratch;
    return {
      id: view.getUint32(u + at.cpupool_id, true),
      schedId: view.getUint32(u + at.sched_id, true),
      domains: view.getUint32(u + at.n_dom, true),
      cpus: this.#map(map),
    };
  }
  /** pCPUs in no pool. */
  freeCpus(): Cpus {
    const { at } = xen_sysctl_cpupool_op;
    this.#calls.vcpu.scratch.reset();
    const map = this.#newMap([]);
    this.#calls.sysctlMore(XEN_SYSCTL_cpupool_op, 'get the free pCPUs', (view, u) => {
      view.setUint32(u + at.op, XEN_SYSCTL_CPUPOOL_OP_FREEINFO, true);
      pointTo(view, u + at.cpumap, map);
    });
    return this.#map(map);
  }
  /** The number of the new one, which has no pCPU yet. */
  createPool(schedId: number): number {
    const { at } = xen_sysctl_cpupool_op;
    const u = this.#pool(XEN_SYSCTL_CPUPOOL_OP_CREATE, 'create a cpupool', {
      cpupool_id: XEN_SYSCTL_CPUPOOL_PAR_ANY,
      sched_id: schedId,
    });
    return this.#calls.vcpu.scratch.view.getUint32(u + at.cpupool_id, true);
  }
  destroyPool(id: number): void {
    this.#pool(XEN_SYSCTL_CPUPOOL_OP_DESTROY, `destroy cpupool ${id}`, { cpupool_id: id });
  }
  addCpu(id: number, cpu: number): void {
    this.#pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, `add pCPU ${cpu} to cpupool ${id}`, { cpupool_id: id, cpu });
  }
  removeCpu(id: number, cpu: number): void {
    this.#pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, `remove pCPU ${cpu} from cpupool ${id}`, { cpupool_id: id, cpu });
  }
  moveDomain(domid: Domid, id: number): void {
    this.#pool(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, `move dom${domid} to cpupool ${id}`, { cpupool_id: id, domid });
  }
  #pool(
    op: number,
    what: string,
    args: { readonly [K in 'cpupool_id' | 'sched_id' | 'domid' | 'cpu']?: number },
  ): number {
    const { at } = xen_sysctl_cpupool_op;
    return this.#calls.sysctl(XEN_SYSCTL_cpupool_op, what, (view, u) => {
      view.setUint32(u + at.op, op, true);
      for (const name of ['cpupool_id', 'sched_id', 'domid', 'cpu'] as const)
        view.setUint32(u + at[name], args[name] ?? 0, true);
    });
  }

  /** Of a pool whose scheduler is credit or credit2, which has the rate limit alone. */
  poolParams(id: number, schedId: number): XcPoolParams {
    const u = this.#poolSchedule(id, schedId, XEN_SYSCTL_SCHEDOP_getinfo, `get the parameters of cpupool ${id}`);
    const { view } = this.#calls.vcpu.scratch;
    if (schedId !== XEN_SCHEDULER_CREDIT) {
      const ratelimit_us = view.getUint32(u + xen_sysctl_credit2_schedule.at.ratelimit_us, true);
      return { tslice_ms: 0, ratelimit_us, vcpu_migr_delay_us: 0 };
    }
    const { at } = xen_sysctl_credit_schedule;
    return {
      tslice_ms: view.getUint32(u + at.tslice_ms, true),
      ratelimit_us: view.getUint32(u + at.ratelimit_us, true),
      vcpu_migr_delay_us: view.getUint32(u + at.vcpu_migr_delay_us, true),
    };
  }
  setPoolParams(id: number, schedId: number, params: XcPoolParams): void {
    const what = `set the parameters of cpupool ${id}`;
    this.#poolSchedule(id, schedId, XEN_SYSCTL_SCHEDOP_putinfo, what, (view, u) => {
      if (schedId !== XEN_SCHEDULER_CREDIT) {
        view.setUint32(u + xen_sysctl_credit2_schedule.at.ratelimit_us, params.ratelimit_us, true);
        return;
      }
      const { at } = xen_sysctl_credit_schedule;
      for (const name of ['tslice_ms', 'ratelimit_us', 'vcpu_migr_delay_us'] as const)
        view.setUint32(u + at[name], params[name], true);
    });
  }
  #poolSchedule(
    id: number,
    schedId: number,
    cmd: number,
    what: string,
    fill?: (view: DataView, u: number) => void,
  ): number {
    const { at } = xen_sysctl_scheduler_op;
    const u = this.#calls.sysctl(XEN_SYSCTL_scheduler_op, what, (view, arg) => {
      view.setUint32(arg + at.cpupool_id, id, true);
      view.setUint32(arg + at.sched_id, schedId, true);
      view.setUint32(arg + at.cmd, cmd, true);
      fill?.(view, arg + at.u);
    });
    return u + at.u;
  }

  // ---- maps of pCPUs ----

  #newMap(cpus: Cpus): number {
    const { scratch } = this.#calls.vcpu;
    const map = scratch.alloc(MAP_BYTES);
    for (const cpu of cpus) if (cpu < MAP_BYTES * 8) scratch.bytes[map + (cpu >> 3)]! |= 1 << (cpu & 7);
    return map;
  }
  #map(map: number): Cpus {
    const { bytes } = this.#calls.vcpu.scratch;
    const cpus: number[] = [];
    for (let cpu = 0; cpu < MAP_BYTES * 8; cpu++) if (bytes[map + (cpu >> 3)]! & (1 << (cpu & 7))) cpus.push(cpu);
    return cpus;
  }
}

function pointTo(view: DataView, bitmap: number, map: number): void {
  set64(view, bitmap + xenctl_bitmap.at.bitmap, map);
  view.setUint32(bitmap + xenctl_bitmap.at.nr_bits, MAP_BYTES * 8, true);
}
function readRtds(view: DataView, u: number): XcRtds {
  const { at } = xen_domctl_sched_rtds;
  return {
    period: view.getUint32(u + at.period, true),
    budget: view.getUint32(u + at.budget, true),
    extratime: (view.getUint32(u + at.flags, true) & XEN_DOMCTL_SCHEDRT_extra) !== 0,
  };
}
function writeRtds(view: DataView, u: number, { period, budget, extratime }: XcRtds): void {
  const { at } = xen_domctl_sched_rtds;
  view.setUint32(u + at.period, period, true);
  view.setUint32(u + at.budget, budget, true);
  view.setUint32(u + at.flags, extratime ? XEN_DOMCTL_SCHEDRT_extra : 0, true);
}
