// XEN_DOMCTL_scheduler_op and XEN_SYSCTL_scheduler_op: the parameters of a domain, its vCPUs, and a cpupool.
import {
  XEN_DOMCTL_SCHEDOP_getinfo,
  XEN_DOMCTL_SCHEDOP_getvcpuinfo,
  XEN_DOMCTL_SCHEDOP_putinfo,
  XEN_DOMCTL_SCHEDOP_putvcpuinfo,
  XEN_DOMCTL_SCHEDRT_extra,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ESRCH,
  XEN_SCHEDULER_CREDIT,
  XEN_SCHEDULER_CREDIT2,
  XEN_SCHEDULER_RTDS,
  XEN_SYSCTL_SCHEDOP_getinfo,
  XEN_SYSCTL_SCHEDOP_putinfo,
  xen_domctl_sched_credit,
  xen_domctl_sched_rtds,
  xen_domctl_schedparam_vcpu,
  xen_domctl_scheduler_op,
  xen_domctl_scheduler_op_v,
  xen_sysctl_credit_schedule,
  xen_sysctl_credit2_schedule,
  xen_sysctl_scheduler_op,
} from '#pvbus';
import type { Domain } from '../domain.ts';
import { readU64 } from '../guest-memory.ts';
import type { CreditPolicy, RtdsParams, RtdsPolicy } from '../policies/policy.ts';
import type { Cpupools } from '../scheduling/cpupools.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import type { Member } from '../scheduling/unit.ts';

/** What a putinfo leaves as it is. */
const SAME_WEIGHT = 0;
const SAME_CAP = 0xffff;
const CREDIT = xen_domctl_sched_credit.at;
const RTDS = xen_domctl_sched_rtds.at;

export class SchedulerOp {
  private readonly scheduler: Scheduler;
  private readonly pools: Cpupools;

  constructor(scheduler: Scheduler, pools: Cpupools) {
    this.scheduler = scheduler;
    this.pools = pools;
  }

  // ---- of a domain ----

  /** `op`: the caller's xen_domctl, with the operation at `u`. */
  domctl(caller: Domain, domain: Domain, op: DataView, u: number): number {
    const { at } = xen_domctl_scheduler_op;
    const { policy } = this.pools.of(domain);
    if (op.getUint32(u + at.sched_id, true) !== policy.sched_id) return -XEN_EINVAL;
    const cmd = op.getUint32(u + at.cmd, true);
    const member = this.scheduler.memberOf(domain);
    switch (policy.sched_id) {
      case XEN_SCHEDULER_CREDIT:
      case XEN_SCHEDULER_CREDIT2:
        return this.credit(policy, domain, member, cmd, op, u + at.u);
      case XEN_SCHEDULER_RTDS:
        return this.rtds(policy, caller, member, cmd, op, u + at.u);
      default:
        return cmd === XEN_DOMCTL_SCHEDOP_getinfo || cmd === XEN_DOMCTL_SCHEDOP_putinfo ? 0 : -XEN_EINVAL;
    }
  }
  private credit(
    policy: CreditPolicy,
    domain: Domain,
    member: Member | undefined,
    cmd: number,
    op: DataView,
    u: number,
  ): number {
    // dom0 is not scheduled: it has the parameters it was given, and they change nothing.
    const params = member ? policy.domainParams(member.entry) : domain.unscheduled;
    if (cmd === XEN_DOMCTL_SCHEDOP_getinfo) {
      op.setUint16(u + CREDIT.weight, params.weight, true);
      op.setUint16(u + CREDIT.cap, params.cap, true);
      return 0;
    }
    if (cmd !== XEN_DOMCTL_SCHEDOP_putinfo) return -XEN_EINVAL;
    const weight = op.getUint16(u + CREDIT.weight, true);
    const cap = op.getUint16(u + CREDIT.cap, true);
    const wanted = {
      weight: weight === SAME_WEIGHT ? params.weight : weight,
      cap: cap === SAME_CAP ? params.cap : cap,
    };
    if (!member) {
      domain.unscheduled = wanted;
      return 0;
    }
    const rc = policy.setDomainParams(member.entry, wanted, this.scheduler.now);
    this.scheduler.changed(member.pool);
    this.pools.countCaps(member.pool);
    return rc;
  }

  private rtds(
    policy: RtdsPolicy,
    caller: Domain,
    member: Member | undefined,
    cmd: number,
    op: DataView,
    u: number,
  ): number {
    switch (cmd) {
      case XEN_DOMCTL_SCHEDOP_getinfo:
        putRtds(op, u, policy.defaultParams);
        return 0;
      case XEN_DOMCTL_SCHEDOP_putinfo: {
        if (!member) return -XEN_EINVAL;
        const rc = policy.setDomainParams(member.entry, readRtds(op, u), this.scheduler.now);
        this.scheduler.changed(member.pool);
        return rc;
      }
      case XEN_DOMCTL_SCHEDOP_getvcpuinfo:
      case XEN_DOMCTL_SCHEDOP_putvcpuinfo:
        return member ? this.rtdsVcpus(policy, caller, member, cmd, op, u) : -XEN_EINVAL;
      default:
        return -XEN_EINVAL;
    }
  }
  /** Xen: those before one that is refused stay as they have become; nr_vcpus says how many were processed. */
  private rtdsVcpus(policy: RtdsPolicy, caller: Domain, member: Member, cmd: number, op: DataView, u: number): number {
    const { at } = xen_domctl_scheduler_op_v;
    const { size, at: field } = xen_domctl_schedparam_vcpu;
    const list = readU64(op, u + at.vcpus);
    const count = op.getUint32(u + at.nr_vcpus, true);
    // More than there are vCPUs are not all different ones.
    if (count > member.units.length) return -XEN_EINVAL;
    if (count > 0 && !caller.physmap.reachable(list, count * size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    let done = 0;
    let rc = 0;
    for (; done < count && rc === 0; done++) {
      const entry = list + done * size;
      // untrusted: read once.
      const id = view.getUint32(entry + field.vcpuid, true);
      const unit = member.units.find(({ vcpu }) => vcpu.id === id);
      if (!unit) rc = -XEN_EINVAL;
      else if (cmd === XEN_DOMCTL_SCHEDOP_getvcpuinfo) putRtds(view, entry + field.u, policy.unitParams(unit.entity));
      else rc = policy.setUnitParams(unit.entity, readRtds(view, entry + field.u), this.scheduler.now);
    }
    this.scheduler.changed(member.pool);
    op.setUint32(u + at.nr_vcpus, rc === 0 ? done : done - 1, true);
    return rc;
  }

  // ---- of a pool ----

  sysctl(op: DataView, u: number): number {
    const { at } = xen_sysctl_scheduler_op;
    const pool = this.pools.byId(op.getUint32(u + at.cpupool_id, true));
    if (!pool) return -XEN_ESRCH;
    const { policy } = pool;
    const cmd = op.getUint32(u + at.cmd, true);
    if (op.getUint32(u + at.sched_id, true) !== policy.sched_id) return -XEN_EINVAL;
    if (cmd !== XEN_SYSCTL_SCHEDOP_getinfo && cmd !== XEN_SYSCTL_SCHEDOP_putinfo) return -XEN_EINVAL;
    if (policy.sched_id !== XEN_SCHEDULER_CREDIT && policy.sched_id !== XEN_SCHEDULER_CREDIT2) return 0;
    const base = u + at.u;
    const credit = xen_sysctl_credit_schedule.at;
    const isCredit2 = policy.sched_id === XEN_SCHEDULER_CREDIT2;
    const ratelimit = base + (isCredit2 ? xen_sysctl_credit2_schedule.at.ratelimit_us : credit.ratelimit_us);
    if (cmd === XEN_SYSCTL_SCHEDOP_getinfo) {
      const params = policy.poolParams();
      op.setUint32(ratelimit, params.ratelimit_us, true);
      if (isCredit2) return 0;
      op.setUint32(base + credit.tslice_ms, params.tslice_ms, true);
      op.setUint32(base + credit.vcpu_migr_delay_us, params.vcpu_migr_delay_us, true);
      return 0;
    }
    const rc = policy.setPoolParams({
      ratelimit_us: op.getUint32(ratelimit, true),
      tslice_ms: isCredit2 ? 0 : op.getUint32(base + credit.tslice_ms, true),
      vcpu_migr_delay_us: isCredit2 ? 0 : op.getUint32(base + credit.vcpu_migr_delay_us, true),
    });
    this.scheduler.changed(pool);
    return rc;
  }
}

function putRtds(view: DataView, at: number, { period, budget, extratime }: RtdsParams): void {
  view.setUint32(at + RTDS.period, period, true);
  view.setUint32(at + RTDS.budget, budget, true);
  view.setUint32(at + RTDS.flags, extratime ? XEN_DOMCTL_SCHEDRT_extra : 0, true);
}
const readRtds = (view: DataView, at: number): RtdsParams => ({
  period: view.getUint32(at + RTDS.period, true),
  budget: view.getUint32(at + RTDS.budget, true),
  extratime: (view.getUint32(at + RTDS.flags, true) & XEN_DOMCTL_SCHEDRT_extra) !== 0,
});
