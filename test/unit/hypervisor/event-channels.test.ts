// Xen: public/event_channel.h; the rows E1 to E35 and the 2-level delivery rules of docs/hypercalls.md.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  DOMID_SELF,
  EVTCHN_2L_NR_CHANNELS,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_pirq,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_reset,
  EVTCHNOP_unmask,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
  evtchn_bind_ipi,
  evtchn_bind_pirq,
  evtchn_bind_vcpu,
  evtchn_reset,
  evtchn_unmask,
  SCHEDOP_poll,
  sched_poll,
  VIRQ_CON_RING,
  VIRQ_DEBUG,
  VIRQ_DOM_EXC,
  VIRQ_TIMER,
  XEN_DOMCTL_pausedomain,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
} from '#pvbus';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';

const NOBODY = 4711;
let rig: CoreRig;
let a: Guest;
let b: Guest;

beforeEach(() => {
  rig = new CoreRig();
  a = rig.guest();
  b = rig.guest();
});

const bindIpi = (guest: Guest, vcpu: number): number => {
  const at = guest.reset().put(evtchn_bind_ipi, { vcpu });
  const rc = guest.evtchn(EVTCHNOP_bind_ipi, at);
  return rc < 0 ? rc : guest.get(evtchn_bind_ipi, at, 'port');
};
const bindVcpu = (guest: Guest, port: number, vcpu: number): number =>
  guest.evtchn(EVTCHNOP_bind_vcpu, guest.reset().put(evtchn_bind_vcpu, { port, vcpu }));
const unmask = (guest: Guest, port: number): number =>
  guest.evtchn(EVTCHNOP_unmask, guest.reset().put(evtchn_unmask, { port }));
const reset = (guest: Guest, dom: number): number =>
  guest.evtchn(EVTCHNOP_reset, guest.reset().put(evtchn_reset, { dom }));

describe('alloc_unbound', () => {
  it('E1 gives the lowest free port and does not look whether the remote exists', () => {
    expect(a.allocUnbound(NOBODY)).toBe(1);
    expect(a.allocUnbound(b.domid)).toBe(2);
    expect(a.close(1)).toBe(0);
    expect(a.allocUnbound(DOMID_SELF)).toBe(1);
    const { status, u } = a.status(1);
    expect(status).toBe(EVTCHNSTAT_unbound);
    expect(a.view.getUint16(u, true)).toBe(a.domid);
  });
  it('E2 of an unknown domain is ESRCH', () => {
    expect(a.allocUnbound(b.domid, NOBODY)).toBe(-XEN_ESRCH);
    expect(rig.dom0.allocUnbound(b.domid, NOBODY)).toBe(-XEN_ESRCH);
  });
  it('E3 in another domain is for the privileged only, and leaks no port', () => {
    expect(a.allocUnbound(a.domid, b.domid)).toBe(-XEN_EPERM);
    expect(b.domain.ports.open).toBe(0);
    expect(rig.dom0.allocUnbound(rig.dom0.domid, b.domid)).toBe(1);
    expect(b.status(1).status).toBe(EVTCHNSTAT_unbound);
  });
  it('E4 ends with ENOSPC when 4095 ports are open, and the hypervisor lives on', () => {
    let got = 0;
    for (let i = 0; i < 4100; i++) {
      const port = a.allocUnbound(b.domid);
      if (port > 0) got++;
      else expect(port).toBe(-XEN_ENOSPC);
    }
    expect(got).toBe(EVTCHN_2L_NR_CHANNELS - 1);
    expect(a.close(2000)).toBe(0);
    expect(a.allocUnbound(b.domid)).toBe(2000);
    expect(b.allocUnbound(a.domid)).toBe(1);
  });
  it('E4 a domain created with a lower max_evtchn_port has no port above it', () => {
    const small = rig.guest({ maxEvtchnPort: 3 });
    expect([1, 2, 3, 4].map(() => small.allocUnbound(0))).toEqual([1, 2, 3, -XEN_ENOSPC]);
  });
});

describe('bind_interdomain', () => {
  it('E5 joins both ends and makes the local port pending at once, the remote one not', () => {
    const there = b.allocUnbound(a.domid);
    const here = a.bindInterdomain(b.domid, there);
    expect(here).toBe(1);
    expect(a.pending(here)).toBe(true);
    expect(b.pending(there)).toBe(false);
    const { status, u } = b.status(there);
    expect(status).toBe(EVTCHNSTAT_interdomain);
    expect([b.view.getUint16(u, true), b.view.getUint32(u + 4, true)]).toEqual([a.domid, here]);
  });
  it('E6 to an unknown domain is ESRCH', () => {
    expect(a.bindInterdomain(NOBODY, 1)).toBe(-XEN_ESRCH);
  });
  it('E7 to a port that is not waiting for the caller is EINVAL and costs no port', () => {
    const other = b.allocUnbound(0);
    const bound = b.allocUnbound(a.domid);
    expect(a.bindInterdomain(b.domid, bound)).toBe(1);
    for (const port of [0, 999, 4096, 0xffffffff, other, bound])
      expect(a.bindInterdomain(b.domid, port)).toBe(-XEN_EINVAL);
    expect(a.domain.ports.open).toBe(1);
  });
  it('E8 to oneself is allowed and has two ends', () => {
    const first = a.allocUnbound(DOMID_SELF);
    const second = a.bindInterdomain(DOMID_SELF, first);
    expect(second).toBe(2);
    a.takePending(second);
    expect(a.send(first)).toBe(0);
    expect([a.pending(first), a.pending(second)]).toEqual([false, true]);
    expect(a.send(second)).toBe(0);
    expect(a.pending(first)).toBe(true);
  });
});

describe('bind_virq and bind_ipi', () => {
  it('E9 of a number that is no virq is EINVAL', () => {
    expect(a.bindVirq(24)).toBe(-XEN_EINVAL);
    expect(a.bindVirq(0xffffffff)).toBe(-XEN_EINVAL);
  });
  it('E10 of a global virq on another vcpu than 0 is EINVAL', () => {
    expect(rig.dom0.bindVirq(VIRQ_DOM_EXC, 1)).toBe(-XEN_EINVAL);
  });
  it('E11 on a vcpu that does not exist is ENOENT', () => {
    expect(a.bindVirq(VIRQ_TIMER, 1)).toBe(-XEN_ENOENT);
    expect(a.bindVirq(VIRQ_TIMER, 0xffffffff)).toBe(-XEN_ENOENT);
  });
  it('E12 of a global virq by a domain that does not handle it is EBUSY', () => {
    expect(a.bindVirq(VIRQ_DOM_EXC)).toBe(-XEN_EBUSY);
    expect(rig.dom0.bindVirq(VIRQ_DOM_EXC)).toBe(1);
  });
  it('E13 twice on one vcpu is EEXIST', () => {
    expect(a.bindVirq(VIRQ_TIMER)).toBe(1);
    expect(a.bindVirq(VIRQ_TIMER)).toBe(-XEN_EEXIST);
    expect(rig.dom0.bindVirq(VIRQ_TIMER, 0)).toBe(1);
    expect(rig.dom0.bindVirq(VIRQ_TIMER, 1)).toBe(2);
  });
  it('E14 with no port left is ENOSPC and changes nothing for others (act 42)', () => {
    const full = rig.guest({ maxEvtchnPort: 1 });
    full.allocUnbound(0);
    expect(full.bindVirq(VIRQ_TIMER)).toBe(-XEN_ENOSPC);
    expect(full.bindVirq(VIRQ_DOM_EXC)).toBe(-XEN_EBUSY);
    expect(rig.dom0.bindVirq(VIRQ_DOM_EXC)).toBe(1);
    expect(full.close(1)).toBe(0);
    expect(full.bindVirq(VIRQ_TIMER)).toBe(1);
  });
  it('E15 bind_ipi to a vcpu that does not exist is ENOENT', () => {
    expect(bindIpi(a, 1)).toBe(-XEN_ENOENT);
    expect(a.status(bindIpi(a, 0)).status).toBe(EVTCHNSTAT_ipi);
  });
  it('E16 bind_pirq is EOPNOTSUPP: no domain has a physical interrupt', () => {
    expect(a.evtchn(EVTCHNOP_bind_pirq, a.put(evtchn_bind_pirq, { pirq: 1 }))).toBe(-XEN_EOPNOTSUPP);
  });
});

describe('close', () => {
  it('E17 of a port that is free, reserved or no port is EINVAL', () => {
    for (const port of [0, 1, 77, 4096, 0xffffffff]) expect(a.close(port)).toBe(-XEN_EINVAL);
  });
  it('E18 of an interdomain port leaves the peer unbound, waiting for the closer', () => {
    const [here, there] = a.connect(b);
    expect(b.send(there)).toBe(0);
    expect(a.pending(here)).toBe(true);
    expect(a.close(here)).toBe(0);
    expect(a.pending(here)).toBe(false);
    expect(a.status(here)).toMatchObject({ status: EVTCHNSTAT_closed, vcpu: 0 });
    const { status, u } = b.status(there);
    expect(status).toBe(EVTCHNSTAT_unbound);
    expect(b.view.getUint16(u, true)).toBe(a.domid);
    expect(b.pending(there)).toBe(false);
    expect(b.send(there)).toBe(0);
    expect(a.bindInterdomain(b.domid, there)).toBe(here);
    expect(b.send(there)).toBe(0);
    expect(a.pending(here)).toBe(true);
  });
  it('E18 the pair keeps no doorbell slot, and a new channel gets one', () => {
    const [here] = a.connect(b);
    const pair = a.domain.doorbells.get(b.domain)!;
    expect(pair.usedSlots).toBe(1);
    a.close(here);
    expect(pair.usedSlots).toBe(0);
    expect(a.domain.vcpus[0]!.hears.size).toBe(0);
    a.connect(b);
    expect(pair.usedSlots).toBe(1);
  });
  it('E19 of a virq lets it be bound again; twice is EINVAL', () => {
    expect(a.bindVirq(VIRQ_TIMER)).toBe(1);
    expect(a.close(1)).toBe(0);
    expect(a.close(1)).toBe(-XEN_EINVAL);
    expect(a.bindVirq(VIRQ_TIMER)).toBe(1);
  });
});

describe('send', () => {
  it('E20 on a port that is free, reserved, a virq or no port is EINVAL', () => {
    const virq = a.bindVirq(VIRQ_TIMER);
    for (const port of [0, virq, 99, 4096, 0xffffffff]) expect(a.send(port)).toBe(-XEN_EINVAL);
    expect(a.pending(virq)).toBe(false);
  });
  it('E21 on an unbound port is dropped without a word', () => {
    expect(a.send(a.allocUnbound(b.domid))).toBe(0);
  });
  it('E22 makes the remote port pending; while it is, another send is no new edge', () => {
    const [here, there] = a.connect(b);
    expect(a.send(here)).toBe(0);
    expect(b.pending(there)).toBe(true);
    expect([b.selected(there), b.upcallPending()]).toEqual([true, true]);
    b.clearUpcall();
    expect(a.send(here)).toBe(0);
    expect([b.selected(there), b.upcallPending()]).toEqual([false, false]);
    b.takePending(there);
    expect(a.send(here)).toBe(0);
    expect([b.pending(there), b.upcallPending()]).toEqual([true, true]);
  });
  it('E23 on an ipi makes the own port pending on its vcpu', () => {
    const { dom0 } = rig;
    const port = bindIpi(dom0, 3);
    expect(dom0.send(port)).toBe(0);
    expect(dom0.pending(port)).toBe(true);
    expect([dom0.upcallPending(3), dom0.upcallPending(0)]).toEqual([true, false]);
  });
});

describe('status', () => {
  it('E24 says what each kind of port is', () => {
    const unbound = a.allocUnbound(b.domid);
    const virq = a.bindVirq(VIRQ_DEBUG);
    const ipi = bindIpi(a, 0);
    expect(a.status(0)).toMatchObject({ rc: 0, status: EVTCHNSTAT_closed });
    expect(a.status(1000)).toMatchObject({ rc: 0, status: EVTCHNSTAT_closed });
    expect(a.status(unbound).status).toBe(EVTCHNSTAT_unbound);
    const asked = a.status(virq);
    expect(asked.status).toBe(EVTCHNSTAT_virq);
    expect(a.view.getUint32(asked.u, true)).toBe(VIRQ_DEBUG);
    expect(a.status(ipi).status).toBe(EVTCHNSTAT_ipi);
  });
  it('E24 of an unknown domain ESRCH, a bad port EINVAL, another domain unprivileged EPERM', () => {
    expect(a.status(1, NOBODY).rc).toBe(-XEN_ESRCH);
    expect(a.status(4096).rc).toBe(-XEN_EINVAL);
    expect(a.status(0xffffffff).rc).toBe(-XEN_EINVAL);
    expect(a.status(1, b.domid).rc).toBe(-XEN_EPERM);
    expect(rig.dom0.status(1, b.domid).rc).toBe(0);
  });
});

describe('bind_vcpu', () => {
  it('E25 a missing vcpu is ENOENT before the port is looked at, then a bad port EINVAL', () => {
    expect(bindVcpu(a, 4711, 1)).toBe(-XEN_ENOENT);
    expect(bindVcpu(a, 4711, 0)).toBe(-XEN_EINVAL);
    expect(bindVcpu(a, 0, 0)).toBe(-XEN_EINVAL);
  });
  it('E25 moves unbound, interdomain and global virq ports, not ipis and per-vcpu virqs', () => {
    const { dom0 } = rig;
    const unbound = dom0.allocUnbound(a.domid);
    const virq = dom0.bindVirq(VIRQ_CON_RING);
    const timer = dom0.bindVirq(VIRQ_TIMER, 1);
    const ipi = bindIpi(dom0, 1);
    expect(bindVcpu(dom0, unbound, 2)).toBe(0);
    expect(bindVcpu(dom0, virq, 3)).toBe(0);
    expect(bindVcpu(dom0, timer, 2)).toBe(-XEN_EINVAL);
    expect(bindVcpu(dom0, ipi, 2)).toBe(-XEN_EINVAL);
    expect(dom0.status(unbound).vcpu).toBe(2);
    expect(dom0.status(virq).vcpu).toBe(3);
    const [here, there] = dom0.connect(a);
    dom0.clearUpcall(0);
    expect(bindVcpu(dom0, here, 4)).toBe(0);
    expect(a.send(there)).toBe(0);
    expect([dom0.upcallPending(4), dom0.upcallPending(0)]).toEqual([true, false]);
  });
});

describe('unmask', () => {
  it('E26 of a number that is no port is EINVAL', () => {
    expect(unmask(a, 4096)).toBe(-XEN_EINVAL);
    expect(unmask(a, 0xffffffff)).toBe(-XEN_EINVAL);
  });
  it('E27 of a free port does nothing', () => {
    a.mask(1234);
    expect(unmask(a, 1234)).toBe(0);
    expect(a.masked(1234)).toBe(true);
  });
  it('E28 of a port that became pending while masked raises its edge now', () => {
    const [here, there] = a.connect(b);
    b.clearUpcall();
    b.mask(there);
    expect(a.send(here)).toBe(0);
    expect([b.pending(there), b.selected(there), b.upcallPending()]).toEqual([true, false, false]);
    expect(unmask(b, there)).toBe(0);
    expect([b.masked(there), b.selected(there), b.upcallPending()]).toEqual([false, true, true]);
  });
});

describe('reset', () => {
  it('E29 of oneself closes every port; of another when it is paused', () => {
    const [, there] = a.connect(b);
    a.allocUnbound(b.domid);
    a.bindVirq(VIRQ_TIMER);
    expect(reset(a, DOMID_SELF)).toBe(0);
    expect(a.domain.ports.open).toBe(0);
    expect(b.status(there).status).toBe(EVTCHNSTAT_unbound);
    expect(a.bindVirq(VIRQ_TIMER)).toBe(1);
    expect(rig.dom0.reset().domctl(XEN_DOMCTL_pausedomain, b.domid).rc).toBe(0);
    expect(reset(rig.dom0, b.domid)).toBe(0);
    expect(b.domain.ports.open).toBe(0);
  });
  it('E30 of an unknown domain ESRCH, another unprivileged EPERM, one that runs EINVAL', () => {
    expect(reset(a, NOBODY)).toBe(-XEN_ESRCH);
    expect(reset(a, b.domid)).toBe(-XEN_EPERM);
    expect(reset(rig.dom0, b.domid)).toBe(-XEN_EINVAL);
  });
});

describe('arguments', () => {
  it('an unknown operation is ENOSYS, an unreadable argument EFAULT before anything has changed', () => {
    expect(a.evtchn(14, 0)).toBe(-XEN_ENOSYS);
    expect(a.evtchn(-1, 0)).toBe(-XEN_ENOSYS);
    for (const address of [-1, 2 ** 53, a.domain.layout.frames * 4096 - 4, 1e300, Number.NaN, 0.5])
      expect(a.evtchn(6, address)).toBe(-XEN_EFAULT);
    expect(a.domain.ports.open).toBe(0);
  });
});

describe('2-level delivery', () => {
  it('rule 2: a port of a selected word raises no second upcall', () => {
    const [h1, t1] = a.connect(b);
    const [h2, t2] = a.connect(b);
    b.clearUpcall();
    a.send(h1);
    expect(b.upcallPending()).toBe(true);
    // The guest has taken the flag but not the selector yet.
    b.bytes[b.infoAt()] = 0;
    a.send(h2);
    expect([b.pending(t1), b.pending(t2), b.upcallPending()]).toEqual([true, true, false]);
  });
  it('rule 3: a poll hears a masked port', () => {
    const mediated = new CoreRig({ mediated: true });
    const from = mediated.guest();
    const to = mediated.guest();
    const [here, there] = from.connect(to);
    to.mask(there);
    to.clearUpcall();
    const ports = to.reset().putU32s([there]);
    const results: number[] = [];
    to.vcpu.complete = result => results.push(result);
    expect(to.sched(SCHEDOP_poll, to.put(sched_poll, { ports, nr_ports: 1 }))).toBe(DEFERRED);
    expect(from.send(here)).toBe(0);
    expect(results).toEqual([0]);
    expect([to.pending(there), to.selected(there), to.upcallPending()]).toEqual([true, false, false]);
  });
  it('a guest that scribbles on its bits loses only its own events (act 45)', () => {
    const [h1, t1] = a.connect(b);
    const [h2, t2] = a.connect(rig.dom0);
    b.bytes.fill(0xff, b.domain.layout.sharedInfo * 4096, (b.domain.layout.sharedInfo + 1) * 4096);
    expect(a.send(h1)).toBe(0);
    expect(a.send(h2)).toBe(0);
    expect(rig.dom0.pending(t2)).toBe(true);
    expect(b.close(t1)).toBe(0);
    expect(b.allocUnbound(0)).toBe(1);
    expect(rig.internalErrors).toEqual([]);
  });
});
