// The hypercalls about scheduling, by the errors of Xen's headers.
import { beforeEach, describe, expect, it } from 'vitest';
import {
  SCHEDOP_pin_override,
  SCHEDOP_yield,
  sched_pin_override,
  XEN_DOMCTL_createdomain,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_getvcpuaffinity,
  XEN_DOMCTL_getvcpuinfo,
  XEN_DOMCTL_SCHEDOP_getinfo,
  XEN_DOMCTL_SCHEDOP_getvcpuinfo,
  XEN_DOMCTL_SCHEDOP_putinfo,
  XEN_DOMCTL_SCHEDOP_putvcpuinfo,
  XEN_DOMCTL_SCHEDRT_extra,
  XEN_DOMCTL_scheduler_op,
  XEN_DOMCTL_setvcpuaffinity,
  XEN_EADDRINUSE,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENODEV,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  XEN_SCHEDULER_ARINC653,
  XEN_SCHEDULER_CREDIT,
  XEN_SCHEDULER_CREDIT2,
  XEN_SCHEDULER_NULL,
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
  XEN_SYSCTL_getcpuinfo,
  XEN_SYSCTL_SCHEDOP_getinfo,
  XEN_SYSCTL_SCHEDOP_putinfo,
  XEN_SYSCTL_scheduler_op,
  XEN_VCPUAFFINITY_HARD,
  XEN_VCPUAFFINITY_SOFT,
  xen_domctl_createdomain,
  xen_domctl_getdomaininfo,
  xen_domctl_getvcpuinfo,
  xen_domctl_schedparam_vcpu,
  xen_domctl_scheduler_op,
  xen_domctl_scheduler_op_v,
  xen_domctl_vcpuaffinity,
  xen_sysctl_cpuinfo,
  xen_sysctl_cpupool_op,
  xen_sysctl_getcpuinfo,
  xen_sysctl_scheduler_op,
} from '#pvbus';
import { CoreRig, type Guest } from '../../../support/core-rig.ts';

const ANY = XEN_SYSCTL_CPUPOOL_PAR_ANY;
const NOBODY = 77;
let rig: CoreRig;
let dom0: Guest;
beforeEach(() => {
  rig = new CoreRig({ nrCpus: 4 });
  dom0 = rig.dom0;
});

/** A cpupool_op: its result, the operation's fields and its map. */
function pool(op: number, fields: Record<string, number> = {}, caller = dom0) {
  const bitmap = caller.reset().alloc(8);
  const arg = { op, cpumap: { bitmap, nr_bits: 8 }, ...fields };
  const { rc, u } = caller.sysctl(XEN_SYSCTL_cpupool_op, xen_sysctl_cpupool_op, arg);
  const field = (name: string): number => caller.get(xen_sysctl_cpupool_op, u, name);
  return {
    rc,
    id: field('cpupool_id'),
    sched: field('sched_id'),
    domains: field('n_dom'),
    cpus: caller.bytes[bitmap]!,
  };
}
const create = (cpupool_id = ANY, sched_id = XEN_SCHEDULER_CREDIT2) =>
  pool(XEN_SYSCTL_CPUPOOL_OP_CREATE, { cpupool_id, sched_id });
const destroy = (cpupool_id: number): number => pool(XEN_SYSCTL_CPUPOOL_OP_DESTROY, { cpupool_id }).rc;
const info = (cpupool_id: number) => pool(XEN_SYSCTL_CPUPOOL_OP_INFO, { cpupool_id });
const add = (cpupool_id: number, cpu: number): number => pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, { cpupool_id, cpu }).rc;
const remove = (cpupool_id: number, cpu: number): number => pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, { cpupool_id, cpu }).rc;
const move = (cpupool_id: number, domid: number): number =>
  pool(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, { cpupool_id, domid }).rc;
const freeCpus = (): number => pool(XEN_SYSCTL_CPUPOOL_OP_FREEINFO).cpus;
/** A new pool with these pCPUs, which were Pool-0's. */
function made(sched_id: number, ...cpus: number[]): number {
  const { id } = create(ANY, sched_id);
  for (const cpu of cpus) expect([remove(0, cpu), add(id, cpu)]).toEqual([0, 0]);
  return id;
}

describe('sysctl cpupool_op', () => {
  it('Pool-0 has all pCPUs and dom0', () => {
    expect(info(0)).toMatchObject({ rc: 0, id: 0, sched: XEN_SCHEDULER_CREDIT2, domains: 1, cpus: 0xf });
    expect(freeCpus()).toBe(0);
  });
  it('info is of the next pool there is; after the last one ENOENT', () => {
    expect(create(7).rc).toBe(0);
    expect([info(1).id, info(7).id, info(8).rc]).toEqual([7, 7, -XEN_ENOENT]);
  });
  it('create: a new id or the one that is asked for; taken is EEXIST, a scheduler that is not there ENOENT', () => {
    expect([create().id, create().id, create(1).rc]).toEqual([1, 2, -XEN_EEXIST]);
    expect([create(3, XEN_SCHEDULER_ARINC653).rc, create(3, 0).rc]).toEqual([-XEN_ENOENT, -XEN_ENOENT]);
    expect(create(2 ** 30).rc).toBe(-XEN_EINVAL);
    for (const sched of [XEN_SCHEDULER_CREDIT, XEN_SCHEDULER_RTDS, XEN_SCHEDULER_NULL])
      expect(info(create(ANY, sched).id).sched).toBe(sched);
  });
  it('destroy: of none ENOENT; with a pCPU or a domain EBUSY', () => {
    expect([destroy(9), destroy(0)]).toEqual([-XEN_ENOENT, -XEN_EBUSY]);
    const id = made(XEN_SCHEDULER_CREDIT2, 3);
    expect(destroy(id)).toBe(-XEN_EBUSY);
    expect([remove(id, 3), destroy(id), destroy(id)]).toEqual([0, 0, -XEN_ENOENT]);
    expect([freeCpus(), add(0, 3), freeCpus()]).toEqual([8, 0, 0]);
  });
  it('addcpu: none such EINVAL, not free ENODEV, any is the first free one, no pool ENOENT', () => {
    const { id } = create();
    expect([add(id, 4), add(id, 1), add(id, ANY)]).toEqual([-XEN_EINVAL, -XEN_ENODEV, -XEN_ENODEV]);
    expect([remove(0, 1), remove(0, 2), add(9, 1)]).toEqual([0, 0, -XEN_ENOENT]);
    expect([add(id, ANY), info(id).cpus, freeCpus()]).toEqual([0, 2, 4]);
  });
  it('rmcpu: none such EINVAL, not there ENODEV, any is the last one, no pool ENOENT', () => {
    expect([remove(0, 4), remove(9, 0)]).toEqual([-XEN_EINVAL, -XEN_ENOENT]);
    expect([remove(0, ANY), remove(0, 3), info(0).cpus]).toEqual([0, -XEN_ENODEV, 7]);
    expect(remove(create().id, ANY)).toBe(-XEN_ENODEV);
  });
  it('rmcpu of the last one is EBUSY while a domain lives there; who is dying there goes to Pool-0', () => {
    for (const cpu of [1, 2, 3]) remove(0, cpu);
    expect(remove(0, 0)).toBe(-XEN_EBUSY);
    const { id } = create();
    add(id, 1);
    const guest = rig.guest();
    expect(move(id, guest.domid)).toBe(0);
    expect(remove(id, 1)).toBe(-XEN_EBUSY);
    dom0.reset().domctl(XEN_DOMCTL_destroydomain, guest.domid);
    expect([remove(id, 1), info(id).domains, destroy(id)]).toEqual([0, 0, 0]);
    rig.settle();
    expect(rig.internalErrors).toEqual([]);
  });
  it('rmcpu of one that a vCPU is pinned to for a while is EADDRINUSE', () => {
    const pin = (pcpu: number) => dom0.sched(SCHEDOP_pin_override, dom0.reset().put(sched_pin_override, { pcpu }));
    expect([pin(2), remove(0, 2), pin(-1), remove(0, 2)]).toEqual([0, -XEN_EADDRINUSE, 0, 0]);
  });
  it('movedomain: nobody ESRCH, oneself EPERM, to no pool or one without pCPUs ENOENT', () => {
    const guest = rig.guest();
    const { id } = create();
    expect([move(id, NOBODY), move(id, 0), move(9, guest.domid), move(id, guest.domid)]).toEqual([
      -XEN_ESRCH,
      -XEN_EPERM,
      -XEN_ENOENT,
      -XEN_ENOENT,
    ]);
    expect([remove(0, 3), add(id, 3), move(id, guest.domid), move(id, guest.domid)]).toEqual([0, 0, 0, 0]);
    expect([info(0).domains, info(id).domains]).toEqual([1, 1]);
    const shown = dom0.reset().domctl(XEN_DOMCTL_getdomaininfo, guest.domid);
    expect(dom0.get(xen_domctl_getdomaininfo, shown.u, 'cpupool')).toBe(id);
    expect(rig.processes.asked).toContain(`place ${guest.domid}.0 3`);
  });
  it('another operation is ENOSYS, an unreadable map EFAULT, an unprivileged caller EPERM', () => {
    expect(pool(99).rc).toBe(-XEN_ENOSYS);
    expect(pool(XEN_SYSCTL_CPUPOOL_OP_INFO, { cpumap: { bitmap: 2 ** 40, nr_bits: 8 } } as never).rc).toBe(-XEN_EFAULT);
    expect(pool(XEN_SYSCTL_CPUPOOL_OP_INFO, {}, rig.guest()).rc).toBe(-XEN_EPERM);
  });
  it('a domain is made in the pool it is to be in; without pCPUs or not there at all ESRCH', () => {
    const made_ = (cpupool_id: number): number =>
      dom0.reset().domctl(XEN_DOMCTL_createdomain, 0xffff, xen_domctl_createdomain, {
        max_vcpus: 1,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: 1,
        cpupool_id,
      }).rc;
    const { id } = create();
    expect([made_(9), made_(id)]).toEqual([-XEN_ESRCH, -XEN_ESRCH]);
    remove(0, 3);
    add(id, 3);
    expect([made_(id), info(id).domains]).toEqual([0, 1]);
  });
});

describe('D15 scheduler_op', () => {
  const op = (domid: number, sched_id: number, cmd: number, u = {}) =>
    dom0.reset().domctl(XEN_DOMCTL_scheduler_op, domid, xen_domctl_scheduler_op, { sched_id, cmd, u });
  const U = xen_domctl_scheduler_op.at.u;
  const credit = (domid: number, sched_id: number): number[] => {
    const { rc, u } = op(domid, sched_id, XEN_DOMCTL_SCHEDOP_getinfo);
    return [rc, dom0.view.getUint16(u + U, true), dom0.view.getUint16(u + U + 2, true)];
  };

  it.each([
    ['credit', XEN_SCHEDULER_CREDIT],
    ['credit2', XEN_SCHEDULER_CREDIT2],
  ])('D15 %s: weight and cap; 0 and 0xffff leave theirs; per vCPU or of another scheduler EINVAL', (name, sched) => {
    const guest = rig.guest();
    expect(move(made(sched, 3), guest.domid)).toBe(0);
    const put = (weight: number, cap: number): number =>
      op(guest.domid, sched, XEN_DOMCTL_SCHEDOP_putinfo, { [name]: { weight, cap } }).rc;
    expect(credit(guest.domid, sched)).toEqual([0, 256, 0]);
    expect([put(512, 50), put(0, 0xffff)]).toEqual([0, 0]);
    expect(credit(guest.domid, sched)).toEqual([0, 512, 50]);
    expect([put(0, 0), put(1024, 0xffff)]).toEqual([0, 0]);
    expect(credit(guest.domid, sched)).toEqual([0, 1024, 0]);
    expect(op(guest.domid, XEN_SCHEDULER_RTDS, XEN_DOMCTL_SCHEDOP_getinfo).rc).toBe(-XEN_EINVAL);
    for (const cmd of [XEN_DOMCTL_SCHEDOP_getvcpuinfo, XEN_DOMCTL_SCHEDOP_putvcpuinfo, 9])
      expect(op(guest.domid, sched, cmd).rc).toBe(-XEN_EINVAL);
  });
  it('D15 of dom0 is kept and shown; its time is not scheduled', () => {
    expect(op(0, XEN_SCHEDULER_CREDIT2, XEN_DOMCTL_SCHEDOP_putinfo, { credit2: { weight: 300, cap: 7 } }).rc).toBe(0);
    expect(credit(0, XEN_SCHEDULER_CREDIT2)).toEqual([0, 300, 7]);
  });
  it('D15 rtds: defaults, all vCPUs, some vCPUs; a bad one is EINVAL and says how many came before it', () => {
    const guest = rig.guest({ vcpus: 3 });
    expect(move(made(XEN_SCHEDULER_RTDS, 3), guest.domid)).toBe(0);
    const rtds = (cmd: number, u = {}) => op(guest.domid, XEN_SCHEDULER_RTDS, cmd, u);
    const { u } = rtds(XEN_DOMCTL_SCHEDOP_getinfo);
    expect([dom0.view.getUint32(u + U, true), dom0.view.getUint32(u + U + 4, true)]).toEqual([10_000, 4000]);
    const put = (period: number, budget: number): number =>
      rtds(XEN_DOMCTL_SCHEDOP_putinfo, { rtds: { period, budget } }).rc;
    expect([put(20_000, 5000), put(0, 0), put(1000, 2000)]).toEqual([0, -XEN_EINVAL, -XEN_EINVAL]);
    type Entry = {
      readonly vcpuid: number;
      readonly period?: number;
      readonly budget?: number;
      readonly flags?: number;
    };
    const some = (cmd: number, entries: readonly Entry[], nr = entries.length) => {
      dom0.reset();
      const list = entries.map(({ vcpuid, ...params }) => ({ vcpuid, u: { rtds: params } }));
      const vcpus = dom0.putMany(xen_domctl_schedparam_vcpu, list as never);
      const fields = { sched_id: XEN_SCHEDULER_RTDS, cmd, u: { v: { vcpus, nr_vcpus: nr } } };
      const done = dom0.domctl(XEN_DOMCTL_scheduler_op, guest.domid, xen_domctl_scheduler_op, fields);
      const read = (i: number): number[] =>
        [0, 4, 8].map(at => dom0.view.getUint32(vcpus + i * xen_domctl_schedparam_vcpu.size + at, true));
      return { rc: done.rc, nr: dom0.get(xen_domctl_scheduler_op_v, done.u + U, 'nr_vcpus'), read };
    };
    const good = { vcpuid: 1, period: 8000, budget: 1000, flags: XEN_DOMCTL_SCHEDRT_extra };
    expect(some(XEN_DOMCTL_SCHEDOP_putvcpuinfo, [good])).toMatchObject({ rc: 0, nr: 1 });
    expect(some(XEN_DOMCTL_SCHEDOP_putvcpuinfo, [{ vcpuid: 3 }]).rc).toBe(-XEN_EINVAL);
    expect(some(XEN_DOMCTL_SCHEDOP_putvcpuinfo, [{ vcpuid: 0, period: 5, budget: 9 }]).rc).toBe(-XEN_EINVAL);
    expect(some(XEN_DOMCTL_SCHEDOP_putvcpuinfo, [good], 4).rc).toBe(-XEN_EINVAL);
    const got = some(XEN_DOMCTL_SCHEDOP_getvcpuinfo, [{ vcpuid: 1 }, { vcpuid: 2 }]);
    expect([got.rc, got.nr, got.read(0), got.read(1)]).toEqual([0, 2, [8000, 1000, 1], [20_000, 5000, 0]]);
    const unreadable = { v: { vcpus: 2 ** 40, nr_vcpus: 1 } };
    expect(rtds(XEN_DOMCTL_SCHEDOP_getvcpuinfo, unreadable).rc).toBe(-XEN_EFAULT);
  });
  it('D15 null has nothing to set', () => {
    const guest = rig.guest();
    expect(move(made(XEN_SCHEDULER_NULL, 3), guest.domid)).toBe(0);
    expect(op(guest.domid, XEN_SCHEDULER_NULL, XEN_DOMCTL_SCHEDOP_getinfo).rc).toBe(0);
    expect(op(guest.domid, XEN_SCHEDULER_NULL, 9).rc).toBe(-XEN_EINVAL);
  });

  it('sysctl scheduler_op: of a pool that is not there ESRCH, another scheduler or command EINVAL, values in range', () => {
    const at = xen_sysctl_scheduler_op.at.u;
    const global = (cpupool_id: number, sched_id: number, cmd: number, u = {}) =>
      dom0.reset().sysctl(XEN_SYSCTL_scheduler_op, xen_sysctl_scheduler_op, { cpupool_id, sched_id, cmd, u });
    expect(global(9, XEN_SCHEDULER_CREDIT2, XEN_SYSCTL_SCHEDOP_getinfo).rc).toBe(-XEN_ESRCH);
    expect(global(0, XEN_SCHEDULER_CREDIT, XEN_SYSCTL_SCHEDOP_getinfo).rc).toBe(-XEN_EINVAL);
    expect(global(0, XEN_SCHEDULER_CREDIT2, 9).rc).toBe(-XEN_EINVAL);
    const ratelimit = (us: number): number =>
      global(0, XEN_SCHEDULER_CREDIT2, XEN_SYSCTL_SCHEDOP_putinfo, { sched_credit2: { ratelimit_us: us } }).rc;
    expect([ratelimit(99), ratelimit(500_001), ratelimit(2000)]).toEqual([-XEN_EINVAL, -XEN_EINVAL, 0]);
    const { u } = global(0, XEN_SCHEDULER_CREDIT2, XEN_SYSCTL_SCHEDOP_getinfo);
    expect(dom0.view.getUint32(u + at, true)).toBe(2000);
    const id = made(XEN_SCHEDULER_CREDIT, 3);
    const sched_credit = { tslice_ms: 5, ratelimit_us: 200, vcpu_migr_delay_us: 300 };
    expect(global(id, XEN_SCHEDULER_CREDIT, XEN_SYSCTL_SCHEDOP_putinfo, { sched_credit }).rc).toBe(0);
    const read = global(id, XEN_SCHEDULER_CREDIT, XEN_SYSCTL_SCHEDOP_getinfo).u + at;
    expect([0, 4, 8].map(field => dom0.view.getUint32(read + field, true))).toEqual([5, 200, 300]);
    const late = { sched_credit: { ...sched_credit, tslice_ms: 1001 } };
    expect(global(id, XEN_SCHEDULER_CREDIT, XEN_SYSCTL_SCHEDOP_putinfo, late).rc).toBe(-XEN_EINVAL);
  });
});

describe('where a vCPU runs', () => {
  const affinity = (domid: number, cpus: number, flags = XEN_VCPUAFFINITY_HARD, cmd = XEN_DOMCTL_setvcpuaffinity) => {
    const bitmap = dom0.reset().alloc(8);
    dom0.bytes[bitmap] = cpus;
    const map = { bitmap, nr_bits: 8 };
    const fields = { vcpu: 0, flags, cpumap_hard: map, cpumap_soft: map };
    const { rc } = dom0.domctl(cmd, domid, xen_domctl_vcpuaffinity, fields);
    return { rc, cpus: dom0.bytes[bitmap]! };
  };
  it('D10 hard affinity is the effective one in the pool, and none there is EINVAL and changes nothing', () => {
    const guest = rig.guest();
    const id = made(XEN_SCHEDULER_CREDIT2, 2, 3);
    move(id, guest.domid);
    expect(affinity(guest.domid, 0b0011).rc).toBe(-XEN_EINVAL);
    expect(affinity(guest.domid, 0b0110)).toEqual({ rc: 0, cpus: 0b0100 });
    expect(rig.processes.asked.at(-1)).toBe(`place ${guest.domid}.0 2`);
    expect(affinity(guest.domid, 0, XEN_VCPUAFFINITY_HARD, XEN_DOMCTL_getvcpuaffinity).cpus).toBe(0b0110);
    expect(affinity(guest.domid, 0b1000, XEN_VCPUAFFINITY_SOFT).rc).toBe(0);
  });
  it('D11 getvcpuinfo names the pCPU; no such vCPU is ENOENT', () => {
    const guest = rig.guest();
    const vcpu = (id: number) =>
      dom0.reset().domctl(XEN_DOMCTL_getvcpuinfo, guest.domid, xen_domctl_getvcpuinfo, { vcpu: id });
    expect(vcpu(1).rc).toBe(-XEN_ENOENT);
    affinity(guest.domid, 0b1000);
    const { rc, u } = vcpu(0);
    expect([rc, dom0.get(xen_domctl_getvcpuinfo, u, 'cpu'), dom0.get(xen_domctl_getvcpuinfo, u, 'running')]).toEqual([
      0, 3, 1,
    ]);
  });
  it('a domain that is moved may run on all of its new pool', () => {
    const guest = rig.guest();
    affinity(guest.domid, 0b0001);
    expect(move(made(XEN_SCHEDULER_CREDIT2, 2, 3), guest.domid)).toBe(0);
    expect(rig.processes.asked.at(-1)).toBe(`place ${guest.domid}.0 2 3`);
    expect(affinity(guest.domid, 0, XEN_VCPUAFFINITY_HARD, XEN_DOMCTL_getvcpuaffinity).cpus).toBe(0xf);
  });
  it('S1 yield is 0', () => {
    expect(rig.guest().sched(SCHEDOP_yield)).toBe(0);
    expect(dom0.sched(SCHEDOP_yield)).toBe(0);
  });
  it('getcpuinfo says how long each pCPU was idle', () => {
    rig = new CoreRig({ nrCpus: 2, idleNs: cpu => 1000 + cpu });
    dom0 = rig.dom0;
    const list = dom0.reset().alloc(4 * xen_sysctl_cpuinfo.size);
    const { rc, u } = dom0.sysctl(XEN_SYSCTL_getcpuinfo, xen_sysctl_getcpuinfo, { max_cpus: 4, info: list });
    expect([rc, dom0.get(xen_sysctl_getcpuinfo, u, 'nr_cpus')]).toEqual([0, 2]);
    expect([0, 1].map(i => dom0.view.getUint32(list + i * xen_sysctl_cpuinfo.size, true))).toEqual([1000, 1001]);
    expect(dom0.reset().sysctl(XEN_SYSCTL_getcpuinfo, xen_sysctl_getcpuinfo, { max_cpus: 4, info: 2 ** 40 }).rc).toBe(
      -XEN_EFAULT,
    );
  });
});
