// Xen: public/domctl.h and sysctl.h; the rows D1 to D16 of docs/hypercalls.md.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  cpu_user_regs,
  DOMID_ANY,
  DOMID_FIRST_RESERVED,
  DOMID_SELF,
  domain_control,
  getU64,
  PAGE_SIZE,
  SCHEDOP_pin_override,
  SCHEDOP_shutdown,
  SHUTDOWN_crash,
  SHUTDOWN_soft_reset,
  sched_pin_override,
  sched_shutdown,
  setU64,
  VGCF_online,
  VIRQ_DOM_EXC,
  VIRQ_TIMER,
  vcpu_guest_context,
  XEN_DOMCTL_CDF_hvm,
  XEN_DOMCTL_CDF_xs_domain,
  XEN_DOMCTL_createdomain,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_getnodeaffinity,
  XEN_DOMCTL_getvcpuaffinity,
  XEN_DOMCTL_getvcpucontext,
  XEN_DOMCTL_getvcpuinfo,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_max_vcpus,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_resumedomain,
  XEN_DOMCTL_SCHEDOP_getinfo,
  XEN_DOMCTL_SCHEDOP_putinfo,
  XEN_DOMCTL_scheduler_op,
  XEN_DOMCTL_set_address_size,
  XEN_DOMCTL_set_target,
  XEN_DOMCTL_set_virq_handler,
  XEN_DOMCTL_setvcpuaffinity,
  XEN_DOMCTL_setvcpucontext,
  XEN_DOMCTL_soft_reset,
  XEN_DOMCTL_unpausedomain,
  XEN_DOMINF_blocked,
  XEN_DOMINF_dying,
  XEN_DOMINF_paused,
  XEN_DOMINF_running,
  XEN_DOMINF_shutdown,
  XEN_EACCES,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENODATA,
  XEN_ENOENT,
  XEN_ENOMEM,
  XEN_ENOSYS,
  XEN_EOVERFLOW,
  XEN_EPERM,
  XEN_ESRCH,
  XEN_SCHEDULER_CREDIT2,
  XEN_SYSCTL_availheap,
  XEN_SYSCTL_CPUPOOL_OP_INFO,
  XEN_SYSCTL_cpupool_op,
  XEN_SYSCTL_cputopoinfo,
  XEN_SYSCTL_debug_keys,
  XEN_SYSCTL_getdomaininfolist,
  XEN_SYSCTL_numainfo,
  XEN_SYSCTL_physinfo,
  XEN_SYSCTL_readconsole,
  XEN_SYSCTL_sched_id,
  XEN_VCPUAFFINITY_FORCE,
  XEN_VCPUAFFINITY_HARD,
  XEN_VCPUAFFINITY_SOFT,
  xen_domctl_address_size,
  xen_domctl_createdomain,
  xen_domctl_getdomaininfo,
  xen_domctl_getvcpuinfo,
  xen_domctl_max_mem,
  xen_domctl_max_vcpus,
  xen_domctl_nodeaffinity,
  xen_domctl_scheduler_op,
  xen_domctl_set_target,
  xen_domctl_set_virq_handler,
  xen_domctl_vcpuaffinity,
  xen_domctl_vcpucontext,
  xen_sysctl_availheap,
  xen_sysctl_cpupool_op,
  xen_sysctl_cputopoinfo,
  xen_sysctl_debug_keys,
  xen_sysctl_getdomaininfolist,
  xen_sysctl_meminfo,
  xen_sysctl_numainfo,
  xen_sysctl_physinfo,
  xen_sysctl_readconsole,
  xen_sysctl_sched_id,
} from '#pvbus';
import { CoreRig, type Guest } from '../../support/core-rig.ts';

const NOBODY = 4711;
let rig: CoreRig;
let dom0: Guest;
let a: Guest;
let b: Guest;

beforeEach(() => {
  rig = new CoreRig();
  dom0 = rig.dom0;
  a = rig.guest();
  b = rig.guest();
});

const good = { max_vcpus: 1, max_evtchn_port: 1023, max_grant_frames: -1, max_maptrack_frames: -1, grant_opts: 1 };
const create = (fields: Record<string, number> = {}, domid = DOMID_ANY, by = dom0) =>
  by.reset().domctl(XEN_DOMCTL_createdomain, domid, xen_domctl_createdomain, { ...good, ...fields });
const op = (cmd: number, guest: Guest | number) =>
  dom0.reset().domctl(cmd, typeof guest === 'number' ? guest : guest.domid).rc;
const info = (guest: Guest) => {
  const { rc, u } = dom0.reset().domctl(XEN_DOMCTL_getdomaininfo, guest.domid);
  expect(rc).toBe(0);
  return (field: string) => dom0.get(xen_domctl_getdomaininfo, u, field);
};
const shutDown = (guest: Guest, reason: number) =>
  guest.sched(SCHEDOP_shutdown, guest.reset().put(sched_shutdown, { reason }));

describe('D1 every domctl', () => {
  it('D1 with another interface version is EACCES, before anything else', () => {
    for (const caller of [dom0, a])
      expect(caller.reset().domctl(XEN_DOMCTL_pausedomain, b.domid, undefined, {}, 0x14).rc).toBe(-XEN_EACCES);
    expect(b.domain.isPaused).toBe(false);
  });
  it('D1 of an unknown domain is ESRCH for a control domain, EPERM for others', () => {
    for (const domid of [NOBODY, DOMID_SELF, 0x7ff4, 0xffff]) {
      expect(op(XEN_DOMCTL_pausedomain, domid)).toBe(-XEN_ESRCH);
      expect(a.reset().domctl(XEN_DOMCTL_pausedomain, domid).rc).toBe(-XEN_EPERM);
    }
  });
  it('D1 of every number by the unprivileged is EPERM, and changes nothing (act 52)', () => {
    const before = rig.hypervisor.dump();
    for (let cmd = 0; cmd < 256; cmd++) {
      expect(a.reset().domctl(cmd, b.domid).rc).toBe(-XEN_EPERM);
      expect(a.reset().domctl(cmd, a.domid).rc).toBe(-XEN_EPERM);
      expect(a.reset().sysctl(cmd).rc).toBe(-XEN_EPERM);
    }
    expect(rig.hypervisor.dump()).toBe(before);
  });
  it('D1 an unreadable operation is EFAULT, an unknown one ENOSYS', () => {
    expect(dom0.call(36, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(op(200, a)).toBe(-XEN_ENOSYS);
  });
});

describe('createdomain', () => {
  it('D2 makes a domain that is paused by its controller', () => {
    const { rc, domain } = create();
    expect(rc).toBe(0);
    const made = rig.hypervisor.domains.byId(domain)!;
    expect([made.controllerPauses, made.creationFinished]).toEqual([1, false]);
    expect(rig.processes.asked).not.toContain(`start ${domain}`);
  });
  it('D2 with an id in use or reserved is EEXIST', () => {
    for (const domid of [a.domid, DOMID_FIRST_RESERVED, 0x7ff4, 0x7ff6, 0x8000])
      expect(create({}, domid).rc).toBe(-XEN_EEXIST);
    expect(create({}, 4711)).toMatchObject({ rc: 0, domain: 4711 });
  });
  it('D2 with what this hypervisor does not have is EINVAL', () => {
    for (const bad of [
      { max_vcpus: 0 },
      { max_vcpus: 65 },
      { flags: XEN_DOMCTL_CDF_hvm },
      { flags: 1 << 31 },
      { iommu_opts: 1 },
      { grant_opts: 0 },
      { grant_opts: 2 },
      { grant_opts: 0x11 },
      { max_grant_frames: 0 },
      { max_grant_frames: 65 },
      { max_maptrack_frames: 1 << 20 },
      { vmtrace_size: 4096 },
    ])
      expect(create(bad).rc).toBe(-XEN_EINVAL);
    expect(create({ cpupool_id: 1 }).rc).toBe(-XEN_ESRCH);
    expect(rig.hypervisor.domains.size).toBe(3);
  });
  it("D2 beyond the host's number of domains is ENOMEM", () => {
    const small = new CoreRig({ maxDomains: 2 });
    small.guest();
    expect(small.dom0.reset().domctl(XEN_DOMCTL_createdomain, DOMID_ANY, xen_domctl_createdomain, good).rc).toBe(
      -XEN_ENOMEM,
    );
  });
  it('fault 38: D3 gives the next id after the last, never 0, and none twice in a row', () => {
    const first = create().domain;
    expect(op(XEN_DOMCTL_destroydomain, first)).toBe(0);
    rig.settle();
    expect(create().domain).toBe(first + 1);
    expect(create({}, DOMID_FIRST_RESERVED - 1).rc).toBe(0);
    expect(op(XEN_DOMCTL_destroydomain, DOMID_FIRST_RESERVED - 1)).toBe(0);
    rig.settle();
    // Wraps past 0 and past those in use.
    expect(create().domain).toBe(first);
    for (const any of [0, 0xffff]) expect(create({}, any).rc).toBe(0);
  });
});

describe('destroydomain', () => {
  it('D4 of oneself is EINVAL; a domain that dies is killed, and gone once its process is', () => {
    expect(op(XEN_DOMCTL_destroydomain, 0)).toBe(-XEN_EINVAL);
    const exc = dom0.bindVirq(VIRQ_DOM_EXC);
    const free = rig.hypervisor.host.freePages;
    const [here] = dom0.connect(a);
    expect(op(XEN_DOMCTL_destroydomain, a)).toBe(0);
    expect(rig.processes.asked.at(-1)).toBe(`kill ${a.domid}`);
    expect(info(a)('flags') & XEN_DOMINF_dying).not.toBe(0);
    expect(op(XEN_DOMCTL_destroydomain, a)).toBe(0);
    while (rig.hypervisor.step() === 'progress');
    expect(info(a)('flags') & XEN_DOMINF_dying).not.toBe(0);
    expect(a.domain.ports.open).toBe(0);
    expect(dom0.pending(exc)).toBe(false);
    rig.settle();
    expect(dom0.pending(exc)).toBe(true);
    expect(op(XEN_DOMCTL_destroydomain, a)).toBe(-XEN_ESRCH);
    expect(rig.hypervisor.host.freePages).toBe(free + 64);
    expect(dom0.status(here).status).toBe(1);
    expect(rig.hypervisor.doorbells.size).toBe(0);
    expect(rig.processes.asked.filter(line => line.startsWith('kill'))).toHaveLength(1);
  });
  it('D4 a domain that never got memory goes too', () => {
    const { domain } = create();
    expect(op(XEN_DOMCTL_destroydomain, domain)).toBe(0);
    rig.settle();
    expect(rig.hypervisor.domains.byId(domain)).toBeUndefined();
    expect(rig.processes.asked.some(line => line.endsWith(` ${domain}`))).toBe(false);
  });
});

describe('pause and unpause', () => {
  it('D5 counts; of oneself EINVAL, the 256th EOVERFLOW', () => {
    expect(op(XEN_DOMCTL_pausedomain, 0)).toBe(-XEN_EINVAL);
    for (let i = 0; i < 255; i++) expect(op(XEN_DOMCTL_pausedomain, a)).toBe(0);
    expect(op(XEN_DOMCTL_pausedomain, a)).toBe(-XEN_EOVERFLOW);
    expect(rig.processes.asked.filter(line => line === `stop ${a.domid}`)).toHaveLength(1);
    for (let i = 0; i < 255; i++) {
      expect(a.domain.isPaused).toBe(true);
      expect(op(XEN_DOMCTL_unpausedomain, a)).toBe(0);
    }
    expect(a.domain.isPaused).toBe(false);
    expect(rig.processes.asked.at(-1)).toBe(`cont ${a.domid}`);
  });
  it('D6 unpause of a domain that is not paused is EINVAL', () => {
    expect(op(XEN_DOMCTL_unpausedomain, a)).toBe(-XEN_EINVAL);
  });
  it('D6 the first unpause to 0 ends the building and sets the run word', () => {
    const c = rig.guest({ building: true });
    const run = () => c.view.getUint32(c.domain.layout.control * PAGE_SIZE + domain_control.at.run, true);
    expect(op(XEN_DOMCTL_pausedomain, c)).toBe(0);
    expect(op(XEN_DOMCTL_unpausedomain, c)).toBe(0);
    expect([c.domain.creationFinished, run()]).toEqual([false, 0]);
    // A process that boots while its domain is built is not stopped.
    expect(rig.processes.asked).not.toContain(`stop ${c.domid}`);
    expect(op(XEN_DOMCTL_unpausedomain, c)).toBe(0);
    expect([c.domain.creationFinished, run()]).toEqual([true, 1]);
  });
});

describe('D7 getdomaininfo and the list', () => {
  it('D7 says what a domain is doing', () => {
    const flags = (guest: Guest) => info(guest)('flags') & 0xffff;
    expect(flags(a)).toBe(XEN_DOMINF_running);
    op(XEN_DOMCTL_pausedomain, a);
    expect(flags(a)).toBe(XEN_DOMINF_paused);
    op(XEN_DOMCTL_unpausedomain, a);
    a.sched(1); // block
    expect(flags(a)).toBe(XEN_DOMINF_blocked);
    shutDown(b, SHUTDOWN_crash);
    expect(info(b)('flags')).toBe(XEN_DOMINF_shutdown | (SHUTDOWN_crash << 16));
    // Xen: a domain none of whose vcpus is on line counts as blocked.
    expect(flags(rig.guest({ building: true }))).toBe(XEN_DOMINF_paused | XEN_DOMINF_blocked);
    op(XEN_DOMCTL_destroydomain, a);
    expect(info(a)('flags') & 0xff).toBe(XEN_DOMINF_dying | XEN_DOMINF_paused);
    op(XEN_DOMCTL_destroydomain, b);
    expect(info(b)('flags') & 0xff).toBe(XEN_DOMINF_dying | XEN_DOMINF_paused | XEN_DOMINF_shutdown);
  });
  it('D7 counts memory, vcpus and CPU time', () => {
    rig.processes.cpu.set(`${a.domid}.0`, 12_345);
    const field = info(a);
    expect(field('tot_pages')).toBe(64);
    expect(field('max_pages')).toBe(64);
    expect(field('cpu_time')).toBe(12_345);
    expect(field('nr_online_vcpus')).toBe(1);
    expect(field('max_vcpu_id')).toBe(0);
    expect(field('shared_info_frame')).toBe(a.domain.layout.sharedInfo);
    const smp = info(rig.guest({ vcpus: 4 }));
    expect([smp('nr_online_vcpus'), smp('max_vcpu_id')]).toEqual([1, 3]);
  });
  it('D7 the list ascends from the first id asked for, and stops at max', () => {
    const list = (first_domain: number, max_domains: number) => {
      const buffer = dom0.reset().alloc(112 * 8);
      const { rc, u } = dom0.sysctl(XEN_SYSCTL_getdomaininfolist, xen_sysctl_getdomaininfolist, {
        first_domain,
        max_domains,
        buffer,
      });
      expect(rc).toBe(0);
      const n = dom0.get(xen_sysctl_getdomaininfolist, u, 'num_domains');
      return Array.from({ length: n }, (_, i) =>
        dom0.get(xen_domctl_getdomaininfo, buffer + i * xen_domctl_getdomaininfo.size, 'domain'),
      );
    };
    create({}, 4711);
    expect(list(0, 100)).toEqual([0, a.domid, b.domid, 4711]);
    expect(list(b.domid, 100)).toEqual([b.domid, 4711]);
    expect(list(b.domid + 1, 1)).toEqual([4711]);
    expect(list(4712, 100)).toEqual([]);
    expect(list(0, 2)).toEqual([0, a.domid]);
    expect(list(0, 0)).toEqual([]);
    expect(
      dom0
        .reset()
        .sysctl(XEN_SYSCTL_getdomaininfolist, xen_sysctl_getdomaininfolist, { max_domains: 9, buffer: 2 ** 40 }).rc,
    ).toBe(-XEN_EFAULT);
  });
  it('D7 the domain that serves xenstore may ask, and only ask', () => {
    const store = rig.guest({ flags: XEN_DOMCTL_CDF_xs_domain });
    expect(store.reset().domctl(XEN_DOMCTL_getdomaininfo, a.domid).rc).toBe(0);
    expect(store.reset().domctl(XEN_DOMCTL_getdomaininfo, NOBODY).rc).toBe(-XEN_ESRCH);
    expect(store.reset().domctl(XEN_DOMCTL_pausedomain, a.domid).rc).toBe(-XEN_EPERM);
  });
});

describe('limits', () => {
  it('D8 max_vcpus of oneself, or another number than at creation, is EINVAL', () => {
    const max = (domid: number, n: number) =>
      dom0.reset().domctl(XEN_DOMCTL_max_vcpus, domid, xen_domctl_max_vcpus, { max: n }).rc;
    expect(max(0, 5)).toBe(-XEN_EINVAL);
    expect(max(a.domid, 2)).toBe(-XEN_EINVAL);
    expect(max(a.domid, 0)).toBe(-XEN_EINVAL);
    expect(max(a.domid, 1)).toBe(0);
  });
  it('D9 max_mem below what is in use only refuses more', () => {
    const max = (max_memkb: number) =>
      dom0.reset().domctl(XEN_DOMCTL_max_mem, a.domid, xen_domctl_max_mem, { max_memkb }).rc;
    expect(max(40)).toBe(0);
    expect([info(a)('tot_pages'), info(a)('max_pages')]).toEqual([64, 10]);
    expect(rig.populate(a.domid, 5, 1)).toBe(0);
    expect(max(2 ** 60)).toBe(-XEN_EINVAL);
  });
  it('D9 the first max_mem gives the domain its memory and its process', () => {
    const { domain } = create({ max_vcpus: 2 });
    const made = rig.hypervisor.domains.byId(domain)!;
    const set = (max_memkb: number) =>
      dom0.reset().domctl(XEN_DOMCTL_max_mem, domain, xen_domctl_max_mem, { max_memkb }).rc;
    expect(set(0)).toBe(0);
    expect(made.hasMemory).toBe(false);
    const seen: string[] = [];
    rig.hypervisor.onDomainCreated = d => seen.push(`created ${d.domid}`);
    rig.processes.onStart = d => seen.push(`start ${d.domid}`);
    expect(set(400)).toBe(0);
    expect(made.layout).toMatchObject({ maxPages: 100, maxVcpus: 2 });
    expect(set(800)).toBe(0);
    expect(made.layout.maxPages).toBe(100);
    expect(seen).toEqual([`created ${domain}`, `start ${domain}`]);
  });
  it('D9 what happened to the ports of a domain without memory is there when it has some', () => {
    const { domain } = create();
    expect(dom0.allocUnbound(0, domain)).toBe(1);
    expect(dom0.bindInterdomain(domain, 1)).toBe(1);
    expect(dom0.send(1)).toBe(0);
    dom0.reset().domctl(XEN_DOMCTL_max_vcpus, domain, xen_domctl_max_vcpus, { max: 1 });
    dom0.reset().domctl(XEN_DOMCTL_max_mem, domain, xen_domctl_max_mem, { max_memkb: 64 });
    const made = rig.hypervisor.domains.byId(domain)!;
    expect(made.shared.pending(1)).toBe(true);
    expect(made.memory.view.getUint8(made.layout.portTable * PAGE_SIZE + 16)).toBe(2);
  });
});

describe('vcpus', () => {
  const map = (bits: number) => {
    const at = dom0.alloc(8);
    dom0.view.setUint32(at, bits, true);
    return { bitmap: at, nr_bits: 16 };
  };
  const affinity = (cmd: number, guest: Guest, vcpu: number, flags: number, hard?: number, soft?: number) => {
    dom0.reset();
    const cpumap_hard = hard === undefined ? { bitmap: 0, nr_bits: 0 } : map(hard);
    const cpumap_soft = soft === undefined ? { bitmap: 0, nr_bits: 0 } : map(soft);
    const { rc } = dom0.domctl(cmd, guest.domid, xen_domctl_vcpuaffinity, { vcpu, flags, cpumap_hard, cpumap_soft });
    const read = (at: number) => (at === 0 ? -1 : dom0.view.getUint16(at, true));
    return { rc, hard: read(cpumap_hard.bitmap), soft: read(cpumap_soft.bitmap) };
  };
  const HARD = XEN_VCPUAFFINITY_HARD;
  const SOFT = XEN_VCPUAFFINITY_SOFT;
  const set = XEN_DOMCTL_setvcpuaffinity;

  it('D10 checks what it is given', () => {
    expect(affinity(set, a, 1, HARD, 1).rc).toBe(-XEN_EINVAL);
    expect(affinity(set, a, 0, 0, 1).rc).toBe(-XEN_EINVAL);
    expect(affinity(set, a, 0, HARD).rc).toBe(-XEN_EINVAL);
    expect(affinity(set, a, 0, HARD, 0xfff0).rc).toBe(-XEN_EINVAL);
    const { domain } = create();
    const made = { domid: domain } as Guest;
    expect(affinity(set, made, 0, HARD, 1).rc).toBe(-XEN_ESRCH);
    expect(
      dom0.reset().domctl(set, a.domid, xen_domctl_vcpuaffinity, {
        vcpu: 0,
        flags: HARD,
        cpumap_hard: { bitmap: 2 ** 40, nr_bits: 8 },
      }).rc,
    ).toBe(-XEN_EFAULT);
  });
  it('D10 gives back what is in effect, and rolls hard back when soft cannot be', () => {
    expect(affinity(set, a, 0, HARD | SOFT, 0x3, 0x6)).toEqual({ rc: 0, hard: 0x3, soft: 0x2 });
    expect(affinity(XEN_DOMCTL_getvcpuaffinity, a, 0, HARD | SOFT, 0, 0)).toEqual({ rc: 0, hard: 0x3, soft: 0x6 });
    expect(affinity(set, a, 0, HARD | SOFT, 0x8, 0xff00).rc).toBe(-XEN_EINVAL);
    expect(affinity(XEN_DOMCTL_getvcpuaffinity, a, 0, HARD, 0)).toMatchObject({ rc: 0, hard: 0x3 });
    expect(affinity(XEN_DOMCTL_getvcpuaffinity, b, 0, HARD, 0)).toMatchObject({ rc: 0, hard: 0xf });
  });
  it('D10 a pin override is EBUSY unless forced', () => {
    dom0.sched(SCHEDOP_pin_override, dom0.reset().put(sched_pin_override, { pcpu: 1 }));
    expect(affinity(set, dom0, 0, HARD, 1).rc).toBe(-XEN_EBUSY);
    expect(affinity(set, dom0, 0, HARD | XEN_VCPUAFFINITY_FORCE, 1).rc).toBe(0);
    expect(affinity(set, dom0, 0, HARD, 1).rc).toBe(0);
  });
  it('D11 getvcpuinfo: no such vcpu is ENOENT', () => {
    const ask = (vcpu: number) =>
      dom0.reset().domctl(XEN_DOMCTL_getvcpuinfo, a.domid, xen_domctl_getvcpuinfo, { vcpu });
    expect(ask(1).rc).toBe(-XEN_ENOENT);
    rig.processes.cpu.set(`${a.domid}.0`, 77);
    const { rc, u } = ask(0);
    expect(rc).toBe(0);
    const field = (name: string) => dom0.get(xen_domctl_getvcpuinfo, u, name);
    expect([field('online'), field('blocked'), field('running'), field('cpu_time')]).toEqual([1, 0, 1, 77]);
  });
  it('setvcpucontext brings the vcpu on line and tells the domain where to start', () => {
    const c = rig.guest({ building: true });
    const give = (ctxt: number, vcpu = 0) =>
      dom0.domctl(XEN_DOMCTL_setvcpucontext, c.domid, xen_domctl_vcpucontext, { vcpu, ctxt }).rc;
    const ctxt = dom0.reset().put(vcpu_guest_context, { flags: VGCF_online });
    setU64(dom0.view, ctxt + vcpu_guest_context.at.user_regs + cpu_user_regs.at.rip, 0x5000);
    setU64(dom0.view, ctxt + vcpu_guest_context.at.user_regs + cpu_user_regs.at.rsi, 0x7000);
    expect(give(2 ** 40)).toBe(-XEN_EFAULT);
    expect(give(ctxt, 1)).toBe(-XEN_EINVAL);
    expect(info(c)('nr_online_vcpus')).toBe(0);
    expect(give(ctxt)).toBe(0);
    expect(info(c)('nr_online_vcpus')).toBe(1);
    const control = c.domain.layout.control * PAGE_SIZE;
    expect(getU64(c.view, control + domain_control.at.entry)).toBe(0x5000);
    expect(getU64(c.view, control + domain_control.at.start_info)).toBe(0x7000);
    const back = dom0.reset().alloc(vcpu_guest_context.size);
    const get = (guest: Guest) =>
      dom0.domctl(XEN_DOMCTL_getvcpucontext, guest.domid, xen_domctl_vcpucontext, { vcpu: 0, ctxt: back }).rc;
    expect(get(c)).toBe(0);
    expect(getU64(dom0.view, back + vcpu_guest_context.at.user_regs + cpu_user_regs.at.rip)).toBe(0x5000);
    expect(get(rig.guest({ building: true }))).toBe(-XEN_ENODATA);
  });
});

describe('shutdown, resume, reset', () => {
  it('D12 resumedomain of oneself is EINVAL; else the shutdown and its code are gone', () => {
    expect(op(XEN_DOMCTL_resumedomain, 0)).toBe(-XEN_EINVAL);
    shutDown(a, SHUTDOWN_crash);
    expect(op(XEN_DOMCTL_resumedomain, a)).toBe(0);
    expect(info(a)('flags')).toBe(XEN_DOMINF_running | (255 << 16));
    expect(op(XEN_DOMCTL_resumedomain, a)).toBe(0);
  });
  it('D13 soft_reset of oneself, or of a domain that has not stopped, is EINVAL', () => {
    a.bindVirq(VIRQ_TIMER);
    expect(op(XEN_DOMCTL_soft_reset, 0)).toBe(-XEN_EINVAL);
    expect(op(XEN_DOMCTL_soft_reset, a)).toBe(-XEN_EINVAL);
    expect(a.domain.ports.open).toBe(1);
    shutDown(a, SHUTDOWN_soft_reset);
    expect(op(XEN_DOMCTL_soft_reset, a)).toBe(0);
    expect(a.domain.ports.open).toBe(0);
    expect(info(a)('flags') & XEN_DOMINF_shutdown).toBe(0);
  });
  it('D14 set_virq_handler', () => {
    const handle = (guest: Guest, virq: number) =>
      dom0.reset().domctl(XEN_DOMCTL_set_virq_handler, guest.domid, xen_domctl_set_virq_handler, { virq }).rc;
    expect(handle(a, VIRQ_TIMER)).toBe(-XEN_EINVAL);
    expect(handle(a, 24)).toBe(-XEN_EINVAL);
    expect(handle(dom0, VIRQ_DOM_EXC)).toBe(0);
    const port = dom0.bindVirq(VIRQ_DOM_EXC);
    expect(handle(a, VIRQ_DOM_EXC)).toBe(-XEN_EBUSY);
    dom0.close(port);
    expect(handle(a, VIRQ_DOM_EXC)).toBe(0);
    expect(dom0.bindVirq(VIRQ_DOM_EXC)).toBe(-XEN_EBUSY);
    const there = a.bindVirq(VIRQ_DOM_EXC);
    expect(there).toBe(1);
    shutDown(b, SHUTDOWN_crash);
    expect(a.pending(there)).toBe(true);
    // The handler dies: its virqs go home.
    op(XEN_DOMCTL_destroydomain, a);
    rig.settle();
    expect(dom0.bindVirq(VIRQ_DOM_EXC)).toBeGreaterThan(0);
    op(XEN_DOMCTL_destroydomain, b);
    expect(handle(b, VIRQ_DOM_EXC)).toBe(-XEN_EINVAL);
  });
  it('D15 scheduler_op: another scheduler or command is EINVAL; weight and cap are kept', () => {
    const sched = (sched_id: number, cmd: number, credit2 = { weight: 0, cap: 0xffff }) =>
      dom0.reset().domctl(XEN_DOMCTL_scheduler_op, a.domid, xen_domctl_scheduler_op, { sched_id, cmd, u: { credit2 } });
    expect(sched(5, XEN_DOMCTL_SCHEDOP_getinfo).rc).toBe(-XEN_EINVAL);
    expect(sched(XEN_SCHEDULER_CREDIT2, 9).rc).toBe(-XEN_EINVAL);
    const read = () => {
      const { u } = sched(XEN_SCHEDULER_CREDIT2, XEN_DOMCTL_SCHEDOP_getinfo);
      return [dom0.view.getUint16(u + 8, true), dom0.view.getUint16(u + 10, true)];
    };
    expect(read()).toEqual([256, 0]);
    expect(sched(XEN_SCHEDULER_CREDIT2, XEN_DOMCTL_SCHEDOP_putinfo, { weight: 512, cap: 50 }).rc).toBe(0);
    expect(sched(XEN_SCHEDULER_CREDIT2, XEN_DOMCTL_SCHEDOP_putinfo).rc).toBe(0);
    expect(read()).toEqual([512, 50]);
  });
  it('set_target lets a domain act on one other', () => {
    const target = (of: number, to: number) =>
      dom0.reset().domctl(XEN_DOMCTL_set_target, of, xen_domctl_set_target, { target: to }).rc;
    expect(target(a.domid, NOBODY)).toBe(-XEN_ESRCH);
    expect(target(a.domid, a.domid)).toBe(-XEN_EINVAL);
    expect(a.allocUnbound(0, b.domid)).toBe(-XEN_EPERM);
    expect(target(a.domid, b.domid)).toBe(0);
    expect(a.allocUnbound(0, b.domid)).toBe(1);
    expect(a.reset().domctl(XEN_DOMCTL_pausedomain, b.domid).rc).toBe(-XEN_EPERM);
  });
  it('only 64-bit guests, on one node', () => {
    const size = (n: number) =>
      dom0.reset().domctl(XEN_DOMCTL_set_address_size, a.domid, xen_domctl_address_size, { size: n }).rc;
    expect([size(64), size(32)]).toEqual([0, -XEN_EINVAL]);
    const bitmap = dom0.reset().alloc(8);
    const nodemap = { bitmap, nr_bits: 8 };
    expect(dom0.domctl(XEN_DOMCTL_getnodeaffinity, a.domid, xen_domctl_nodeaffinity, { nodemap }).rc).toBe(0);
    expect(dom0.bytes[bitmap]).toBe(1);
  });
});

describe('D16 sysctl', () => {
  it('D16 with another interface version is EACCES, unknown ENOSYS, unreadable EFAULT', () => {
    expect(dom0.reset().sysctl(XEN_SYSCTL_sched_id, undefined, {}, 1).rc).toBe(-XEN_EACCES);
    expect(dom0.reset().sysctl(99).rc).toBe(-XEN_ENOSYS);
    expect(dom0.call(35, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(a.reset().sysctl(XEN_SYSCTL_physinfo).rc).toBe(-XEN_EPERM);
  });
  it('D16 physinfo, sched_id, availheap', () => {
    const { rc, u } = dom0.reset().sysctl(XEN_SYSCTL_physinfo);
    expect(rc).toBe(0);
    const field = (name: string) => dom0.get(xen_sysctl_physinfo, u, name);
    expect([field('nr_cpus'), field('max_cpu_id'), field('cpu_khz')]).toEqual([4, 3, 2_000_000]);
    expect([field('total_pages'), field('free_pages')]).toEqual([100_000, 100_000 - 512 - 128]);
    const sched = dom0.reset().sysctl(XEN_SYSCTL_sched_id);
    expect(dom0.get(xen_sysctl_sched_id, sched.u, 'sched_id')).toBe(XEN_SCHEDULER_CREDIT2);
    const heap = dom0.reset().sysctl(XEN_SYSCTL_availheap);
    expect(dom0.get(xen_sysctl_availheap, heap.u, 'avail_bytes')).toBe((100_000 - 640) * 4096);
  });
  it('D16 readconsole and debug_keys', () => {
    const read = (fields: Record<string, number>, size = 4096) => {
      const buffer = dom0.reset().alloc(size);
      const { rc, u } = dom0.sysctl(XEN_SYSCTL_readconsole, xen_sysctl_readconsole, { buffer, count: size, ...fields });
      expect(rc).toBe(0);
      const count = dom0.get(xen_sysctl_readconsole, u, 'count');
      const index = dom0.get(xen_sysctl_readconsole, u, 'index');
      return { text: Buffer.from(dom0.bytes.slice(buffer, buffer + count)).toString(), index };
    };
    const press = (text: string) => {
      const keys = dom0.reset().alloc(8);
      dom0.bytes.set(Buffer.from(text), keys);
      return dom0.sysctl(XEN_SYSCTL_debug_keys, xen_sysctl_debug_keys, { keys, nr_keys: text.length }).rc;
    };
    expect(press('q')).toBe(0);
    const all = read({});
    expect(all.text).toContain(`(XEN) dom${a.domid}: running, 64 of 64 pages\n`);
    expect(read({ incremental: 1, index: all.index }).text).toBe('');
    expect(press('\x01')).toBe(0);
    const more = read({ incremental: 1, index: all.index });
    expect(more.text).toBe("(XEN) no debug key '?'; 'h' lists them\n");
    expect(read({}, 16).text).toBe(all.text.slice(0, 16));
    expect(read({ clear: 1 }).text).toBe(all.text + more.text);
    expect(read({}).text).toBe('');
    expect(read({ incremental: 1, index: 0xffffffff }).text).toBe('');
    expect(dom0.reset().sysctl(XEN_SYSCTL_readconsole, xen_sysctl_readconsole, { buffer: 2 ** 40, count: 5 }).rc).toBe(
      -XEN_EFAULT,
    );
    expect(dom0.reset().sysctl(XEN_SYSCTL_debug_keys, xen_sysctl_debug_keys, { keys: 2 ** 40, nr_keys: 1 }).rc).toBe(
      -XEN_EFAULT,
    );
    expect(press('*')).toBe(0);
  });
  it('D16 the host is one node and one cpupool of plain CPUs', () => {
    const topo = dom0.reset().sysctl(XEN_SYSCTL_cputopoinfo, xen_sysctl_cputopoinfo, { num_cpus: 0, cputopo: 0 });
    expect(dom0.get(xen_sysctl_cputopoinfo, topo.u, 'num_cpus')).toBe(4);
    const cputopo = dom0.reset().alloc(48);
    expect(dom0.sysctl(XEN_SYSCTL_cputopoinfo, xen_sysctl_cputopoinfo, { num_cpus: 4, cputopo }).rc).toBe(0);
    expect([0, 1, 2, 3].map(i => dom0.view.getUint32(cputopo + 12 * i, true))).toEqual([0, 1, 2, 3]);
    const meminfo = dom0.reset().put(xen_sysctl_meminfo);
    const distance = dom0.alloc(4);
    expect(dom0.sysctl(XEN_SYSCTL_numainfo, xen_sysctl_numainfo, { num_nodes: 1, meminfo, distance }).rc).toBe(0);
    expect(dom0.get(xen_sysctl_meminfo, meminfo, 'memsize')).toBe(100_000 * 4096);
    const bitmap = dom0.reset().alloc(8);
    const pool = (cpupool_id: number, op = XEN_SYSCTL_CPUPOOL_OP_INFO) =>
      dom0.sysctl(XEN_SYSCTL_cpupool_op, xen_sysctl_cpupool_op, { op, cpupool_id, cpumap: { bitmap, nr_bits: 8 } }).rc;
    expect(pool(0)).toBe(0);
    expect(dom0.bytes[bitmap]).toBe(0xf);
    expect(pool(1)).toBe(-XEN_ENOENT);
    expect(pool(0, 99)).toBe(-XEN_ENOSYS);
  });
});
