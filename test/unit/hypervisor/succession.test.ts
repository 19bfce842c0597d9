// A vCPU of dom0 goes from one process to another: by the death of the first, or because it gives way. The
// domains' own code (pvbus) on both sides of the change, in one thread.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_xenolith_op,
  DOMID_XEN,
  domid,
  dropInherited,
  dropInheritedOf,
  GNTMAP_host_map,
  GNTTABOP_map_grant_ref,
  getU64,
  gnttab_map_grant_ref,
  gref,
  handOver,
  inherited,
  KIND_DOORBELL,
  KIND_POOL,
  PAGE_SIZE,
  requestSuccessor,
  SCHEDOP_poll,
  sched_poll,
  successorWaits,
  type Vcpu,
  VIRQ_DOM_EXC,
  vcpu_page,
  vcpuFrame,
  XEN_DOMCTL_destroydomain,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_EPERM,
  XEN_ESRCH,
  XENOLITH_EXHAUST_memory,
  XENOLITH_INHERITED_MAX,
  XENOLITH_INHERITED_mappings,
  XENOLITH_INHERITED_ports,
  XENOLITH_LAYER_limits,
  XENOLITH_LAYER_seccomp,
  XENOLITH_SERVICE_driver_domain,
  XENOLITHOP_confinement,
  XENOLITHOP_exhaust,
  XENOLITHOP_handover,
  XENOLITHOP_inherited,
  XENOLITHOP_process_memory,
  XENOLITHOP_replacement,
  XENOLITHOP_service,
  XENOLITHOP_strike,
  XENOLITHOP_successor,
  XENOLITHOP_successor_waits,
  xenolith_exhaust,
  xenolith_inherited,
  xenolith_replacement,
  xenolith_service,
  xenolith_strike,
} from '#pvbus';
import { checkInvariants } from '../../support/core-invariants.ts';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';

const VCPU = 1;
let rig: CoreRig;
let guest: Guest;

beforeEach(() => {
  rig = new CoreRig();
  guest = rig.guest();
});

/** The thread that is vCPU 1 of dom0 dies where it stands; the next one. */
function successor(): Vcpu {
  rig.replaceThread(rig.dom0.domain.vcpus[VCPU]!);
  checkInvariants(rig.hypervisor);
  return rig.dom0.kernel(VCPU);
}
/** A page of the guest's with `text` in it, granted to dom0 with `ref`. */
function grantPage(ref: number, gfn: number, text: string): void {
  guest.poolPopulate(0, gfn);
  guest.bytes.set(Buffer.from(text), gfn * PAGE_SIZE);
  guest.grant(ref, 0, gfn);
}
/** One that dom0 may bind to. */
const guestPort = () => guest.kernel().events.allocUnbound(domid(0));
const text = (bytes: Uint8Array, length: number): string => Buffer.from(bytes.subarray(0, length)).toString();

describe('what a vcpu has', () => {
  it('is listed for it alone: ports it made or was bound to last, grants it has mapped', () => {
    const other = rig.dom0.kernel(0);
    const kernel = rig.dom0.kernel(VCPU);
    other.events.allocUnbound(domid(guest.domid));
    const heard = kernel.events.bindInterdomain(domid(guest.domid), guestPort());
    kernel.events.on(heard, () => {});
    // Made, and not heard yet: for the event channels it is still vCPU 0's.
    const unheard = kernel.events.bindInterdomain(domid(guest.domid), guestPort());
    const unbound = kernel.events.allocUnbound(domid(0));
    const virq = kernel.events.bindVirq(VIRQ_DOM_EXC, 0);
    const given = other.events.allocUnbound(domid(guest.domid));
    kernel.events.on(given, () => {});
    grantPage(8, 10, 'mine');
    grantPage(9, 11, "the other's");
    kernel.grants.map(domid(guest.domid), [8]);
    other.grants.map(domid(guest.domid), [9]);
    const { ports, mappings } = inherited(successor());
    expect(ports).toEqual([
      { port: heard, kind: 'interdomain', remote: guest.domid, remotePort: 1 },
      { port: unheard, kind: 'interdomain', remote: guest.domid, remotePort: 2 },
      { port: unbound, kind: 'unbound', remote: 0 },
      { port: virq, kind: 'virq', virq: VIRQ_DOM_EXC },
      { port: given, kind: 'unbound', remote: guest.domid },
    ]);
    expect(mappings.map(({ granter, ref }) => [granter, ref])).toEqual([[guest.domid, 8]]);
    expect(inherited(rig.dom0.kernel(0)).ports).toHaveLength(1);
  });

  it('is let go of by another vCPU when no thread takes its place', () => {
    const kernel = rig.dom0.kernel(VCPU);
    grantPage(8, 10, 'kept by nobody');
    kernel.grants.map(domid(guest.domid), [8]);
    kernel.events.on(kernel.events.bindInterdomain(domid(guest.domid), guestPort()), () => {});
    expect(guest.domain.grants.pinned).toBe(1);
    const other = rig.dom0.kernel(0);
    const own = other.events.allocUnbound(domid(guest.domid));
    dropInheritedOf(other, [VCPU]);
    expect(guest.domain.grants.pinned).toBe(0);
    expect(inherited(other, VCPU)).toEqual({ ports: [], mappings: [] });
    expect(inherited(other).ports.map(({ port }) => port)).toEqual([own]);
  });

  it('is listed whole when one call cannot hold it', () => {
    const kernel = rig.dom0.kernel(VCPU);
    const n = 2 * XENOLITH_INHERITED_MAX + 3;
    const ports = Array.from({ length: n }, () => kernel.events.allocUnbound(domid(guest.domid)));
    guest.poolPopulate(0, 20);
    const refs = Array.from({ length: n }, (_, i) => 8 + i);
    for (const ref of refs) guest.grant(ref, 0, 20);
    kernel.grants.map(domid(guest.domid), refs.slice(0, 100));
    kernel.grants.map(domid(guest.domid), refs.slice(100));
    const left = inherited(successor());
    expect(left.ports.map(({ port }) => port)).toEqual(ports);
    expect(left.mappings.map(({ ref }) => ref)).toEqual(refs);
  });

  it('is nothing once it was closed and unmapped', () => {
    const kernel = rig.dom0.kernel(VCPU);
    grantPage(8, 10, 'x');
    const [mapping] = kernel.grants.map(domid(guest.domid), [8]);
    const port = kernel.events.allocUnbound(domid(guest.domid));
    kernel.grants.unmap([mapping!]);
    kernel.events.close(port);
    expect(inherited(successor())).toEqual({ ports: [], mappings: [] });
  });

  it('goes when the next one lets go of it, but for the ports it keeps; the peer may bind and unshare', () => {
    const kernel = rig.dom0.kernel(VCPU);
    const [theirs, other] = [guestPort(), guestPort()];
    kernel.events.bindInterdomain(domid(guest.domid), theirs);
    const kept = kernel.events.bindInterdomain(domid(guest.domid), other);
    grantPage(8, 10, 'x');
    kernel.grants.map(domid(guest.domid), [8]);
    const next = successor();
    dropInherited(next, [kept]);
    expect(inherited(next)).toEqual({
      ports: [{ port: kept, kind: 'interdomain', remote: guest.domid, remotePort: other }],
      mappings: [],
    });
    // As after a close by whoever had it: the guest's end waits for somebody of dom0's again.
    expect(next.events.bindInterdomain(domid(guest.domid), theirs)).toBeGreaterThan(0);
    checkInvariants(rig.hypervisor);
  });

  it('of a domain that has died: the port without its other end, the mapping with its page', () => {
    const kernel = rig.dom0.kernel(VCPU);
    const port = kernel.events.bindInterdomain(domid(guest.domid), guestPort());
    grantPage(8, 10, 'last words');
    kernel.grants.map(domid(guest.domid), [8]);
    rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, guest.domid);
    rig.settle();
    const next = successor();
    const { ports, mappings } = inherited(next);
    expect(ports).toEqual([{ port, kind: 'unbound', remote: guest.domid }]);
    const mapping = next.grants.adopt(mappings[0]!);
    next.grants.unmap([mapping]);
    rig.settle();
    expect(rig.hypervisor.domains.byId(guest.domid)).toBeUndefined();
  });
});

describe('what is adopted', () => {
  it('a port is heard, and notified through, as if the process had made it', () => {
    const end = guest.kernel();
    const theirs = end.events.allocUnbound(domid(0));
    const before = rig.dom0.kernel(VCPU);
    const port = before.events.bindInterdomain(domid(guest.domid), theirs);
    before.events.on(port, () => {});
    let [heard, answered] = [0, 0];
    end.events.on(theirs, () => answered++);
    before.events.poll();
    const next = successor();
    next.events.on(port, () => heard++);
    next.events.poll();
    end.events.poll();
    [heard, answered] = [0, 0];
    const traps = countTraps();
    end.events.notify(theirs);
    next.events.poll();
    next.events.notify(port);
    end.events.poll();
    expect([heard, answered]).toEqual([1, 1]);
    expect(traps()).toBe(0);
  });
  function countTraps(): () => number {
    let n = 0;
    const { trap } = rig.hypervisor;
    rig.hypervisor.trap = (...args) => {
      n++;
      return trap.apply(rig.hypervisor, args);
    };
    return () => n;
  }

  it('a mapping shows the page it showed, and its grant is in use until it is unmapped', () => {
    const before = rig.dom0.kernel(VCPU);
    grantPage(8, 10, 'from before');
    const [old] = before.grants.map(domid(guest.domid), [8]);
    const next = successor();
    const mapping = next.grants.adopt(inherited(next).mappings[0]!);
    expect(mapping).toMatchObject({ granter: guest.domid, ref: gref(8), handle: old!.handle, offset: old!.offset });
    expect(text(mapping.page.bytes, 11)).toBe('from before');
    guest.bytes[10 * PAGE_SIZE] = 0x46;
    expect(text(mapping.page.bytes, 4)).toBe('From');
    expect(guest.kernel().grants.endAccess(gref(8))).toBe(false);
    next.grants.unmap([mapping]);
    expect(guest.kernel().grants.endAccess(gref(8))).toBe(true);
  });

  it('the next process is sent the doorbells its vcpu hears, and a pool when it asks what is mapped', () => {
    const before = rig.dom0.kernel(VCPU);
    before.events.on(before.events.bindInterdomain(domid(guest.domid), guestPort()), () => {});
    grantPage(8, 10, 'x');
    before.grants.map(domid(guest.domid), [8]);
    rig.replaceThread(rig.dom0.domain.vcpus[VCPU]!);
    const { sent } = rig.dom0.link(VCPU);
    expect(sent.map(({ kind, a }) => [kind, a])).toEqual([[KIND_DOORBELL, guest.domid]]);
    inherited(rig.dom0.kernel(VCPU));
    expect(sent.map(({ kind }) => kind)).toEqual([KIND_DOORBELL, KIND_POOL]);
  });
});

describe('events', () => {
  it('that came while nobody was there are delivered to the next one', () => {
    const end = guest.kernel();
    const theirs = end.events.allocUnbound(domid(0));
    const before = rig.dom0.kernel(VCPU);
    const port = before.events.bindInterdomain(domid(guest.domid), theirs);
    before.events.on(port, () => {});
    before.events.poll();
    const vcpu = rig.dom0.domain.vcpus[VCPU]!;
    rig.hypervisor.vacated(vcpu);
    end.events.notify(theirs);
    const heard: string[] = [];
    const next = successor();
    next.events.on(port, () => heard.push('port'));
    next.events.poll();
    expect(heard).toContain('port');
  });

  it('that were taken and not acted upon are delivered again, by whatever way they came', () => {
    for (const mediated of [true, false]) {
      rig = new CoreRig({ mediated });
      guest = rig.guest();
      const end = guest.kernel();
      const theirs = end.events.allocUnbound(domid(0));
      const before = rig.dom0.kernel(VCPU);
      const port = before.events.bindInterdomain(domid(guest.domid), theirs);
      const virq = before.events.bindVirq(VIRQ_DOM_EXC, 0);
      const dies = (): never => {
        throw new Error('killed');
      };
      before.events.on(port, () => {});
      before.events.on(virq, () => {});
      before.events.poll();
      before.events.on(port, dies);
      before.events.on(virq, dies);
      end.events.notify(theirs);
      rig.hypervisor.domainExited(guest.domid, { code: 1 });
      expect(() => before.events.poll()).toThrow('killed');
      const heard = new Set<string>();
      const next = successor();
      next.events.on(port, () => heard.add('port'));
      next.events.on(virq, () => heard.add('virq'));
      while (next.events.poll());
      expect([...heard].sort()).toEqual(['port', 'virq']);
    }
  });
});

describe('the thread that has died', () => {
  const dom0Vcpu = () => rig.dom0.domain.vcpus[VCPU]!;
  const wordsOf = (field: 'reply_sleeping' | 'event_sleeping' | 'crash_length'): number =>
    rig.dom0.view.getUint32(vcpuFrame(rig.dom0.domain.layout, VCPU) * PAGE_SIZE + vcpu_page.at[field], true);

  it('in a poll is not answered, nor is its deadline told to the next one', () => {
    const port = rig.dom0.allocUnbound(0);
    const ports = rig.dom0.reset().putU32s([port]);
    rig.dom0.vcpuId = VCPU;
    rig.dom0.vcpu.complete = () => {
      throw new Error('answered');
    };
    const arg = rig.dom0.put(sched_poll, { ports, nr_ports: 1, timeout: rig.clock.ns + 1e6 });
    expect(rig.dom0.trap(__HYPERVISOR_sched_op, SCHEDOP_poll, arg)).toBe(DEFERRED);
    const before = rig.hypervisor.timersPending;
    rig.hypervisor.vacated(dom0Vcpu());
    expect(rig.hypervisor.timersPending).toBe(before - 1);
    rig.clock.advance(2e6);
    rig.settle();
    rig.dom0.vcpuId = 0;
    rig.dom0.close(port);
    expect(inherited(successor()).mappings).toEqual([]);
  });

  it('in a long hypercall leaves what was done of it, and its vcpu free for another call', () => {
    guest.poolPopulate(0, 20);
    for (let ref = 8; ref < 300; ref++) guest.grant(ref, 0, 20);
    const { dom0 } = rig;
    dom0.vcpuId = VCPU;
    const list = Array.from({ length: 600 }, (_, i) => ({
      host_addr: PAGE_SIZE,
      flags: GNTMAP_host_map,
      ref: 8 + (i % 100),
      dom: guest.domid,
    }));
    const arg = dom0.reset().putMany(gnttab_map_grant_ref, list);
    dom0.vcpu.complete = () => {
      throw new Error('answered');
    };
    expect(dom0.trap(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, arg, 600)).toBe(DEFERRED);
    rig.hypervisor.vacated(dom0Vcpu());
    rig.settle();
    const next = successor();
    const { mappings } = inherited(next);
    expect(mappings.length).toBeGreaterThan(0);
    expect(mappings.length).toBeLessThan(600);
    next.grants.unmap(mappings.map(mapping => next.grants.adopt(mapping)));
    expect(rig.dom0.domain.grants.mappings).toBe(0);
    checkInvariants(rig.hypervisor);
  });

  it('asleep is not believed to sleep any more', () => {
    const end = guest.kernel();
    const kernel = rig.dom0.kernel(VCPU);
    kernel.events.on(kernel.events.bindInterdomain(domid(guest.domid), end.events.allocUnbound(domid(0))), () => {});
    kernel.wakeWords.announce(1);
    const page = (vcpuFrame(rig.dom0.domain.layout, VCPU) * PAGE_SIZE) / 4;
    Atomics.store(rig.dom0.domain.memory.words, page + vcpu_page.at.reply_sleeping / 4, 1);
    Atomics.store(rig.dom0.domain.memory.words, page + vcpu_page.at.crash_length / 4, 7);
    const pair = rig.dom0.domain.doorbells.get(guest.domain)!;
    expect(dom0Vcpu().blocked).toBe(true);
    expect(pair.sleeping(dom0Vcpu())).toBe(true);
    rig.hypervisor.vacated(dom0Vcpu());
    expect(dom0Vcpu().blocked).toBe(false);
    expect(pair.sleeping(dom0Vcpu())).toBe(false);
    expect([wordsOf('reply_sleeping'), wordsOf('event_sleeping'), wordsOf('crash_length')]).toEqual([0, 0, 0]);
  });
});

describe('a process that gives way to the next', () => {
  it('asks for one, and is never answered when it hands over; the next one is at once', () => {
    const kernel = rig.dom0.kernel(VCPU);
    const port = kernel.events.allocUnbound(domid(guest.domid));
    expect(successorWaits(kernel)).toBe(false);
    requestSuccessor(kernel);
    expect(successorWaits(kernel)).toBe(true);
    expect(rig.processes.asked).toContain('successor 0.1');
    expect(() => requestSuccessor(kernel)).toThrow(expect.objectContaining({ code: 'EBUSY' }));
    rig.dom0.vcpuId = VCPU;
    expect(rig.dom0.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_handover)).toBe(DEFERRED);
    rig.dom0.vcpu.complete = () => {
      throw new Error('answered');
    };
    rig.settle();
    const next = rig.dom0.kernel(VCPU);
    expect(inherited(next).ports).toEqual([{ port, kind: 'unbound', remote: guest.domid }]);
  });

  it('goes on when the next one is gone', () => {
    const kernel = rig.dom0.kernel(VCPU);
    requestSuccessor(kernel);
    rig.processes.heirs.clear();
    expect(successorWaits(kernel)).toBe(false);
    expect(() => handOver(kernel)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    expect(inherited(kernel).ports).toEqual([]);
  });
});

describe('the hypercalls', () => {
  const list = (caller: Guest, fields: Record<string, number>): number =>
    caller.call(__HYPERVISOR_xenolith_op, XENOLITHOP_inherited, caller.reset().put(xenolith_inherited, fields));

  it('are for the control domain alone', () => {
    const room = { what: XENOLITH_INHERITED_ports, nr: 1, list: 0 };
    expect(list(guest, room)).toBe(-XEN_EPERM);
    expect(guest.call(__HYPERVISOR_xenolith_op, XENOLITHOP_successor)).toBe(-XEN_EPERM);
    expect(guest.call(__HYPERVISOR_xenolith_op, XENOLITHOP_successor_waits)).toBe(-XEN_EPERM);
    expect(guest.call(__HYPERVISOR_xenolith_op, XENOLITHOP_handover)).toBe(-XEN_EPERM);
    expect(rig.processes.asked.filter(line => line.startsWith('successor'))).toEqual([]);
    expect(list(rig.dom0, room)).toBe(0);
  });

  it('refuse what they cannot read, write or name', () => {
    const { dom0 } = rig;
    const nowhere = dom0.domain.layout.frames * PAGE_SIZE;
    expect(dom0.call(__HYPERVISOR_xenolith_op, XENOLITHOP_inherited, nowhere)).toBe(-XEN_EFAULT);
    expect(list(dom0, { what: XENOLITH_INHERITED_mappings, nr: 1, list: nowhere })).toBe(-XEN_EFAULT);
    expect(list(dom0, { what: XENOLITH_INHERITED_mappings, nr: 1, list: nowhere - 8 })).toBe(-XEN_EFAULT);
    expect(list(dom0, { what: 2, nr: 1 })).toBe(-XEN_EINVAL);
    expect(list(dom0, { what: XENOLITH_INHERITED_ports, nr: 0 })).toBe(-XEN_EINVAL);
    expect(list(dom0, { what: XENOLITH_INHERITED_ports, nr: 1, vcpu: dom0.domain.vcpus.length })).toBe(-XEN_EINVAL);
    expect(dom0.call(__HYPERVISOR_xenolith_op, XENOLITHOP_handover)).toBe(-XEN_ENOENT);
    dom0.call(__HYPERVISOR_xenolith_op, XENOLITHOP_successor);
    expect(dom0.call(__HYPERVISOR_xenolith_op, XENOLITHOP_successor)).toBe(-XEN_EBUSY);
  });

  it('list from any number without an end, and no more than there is room for', () => {
    const { dom0 } = rig;
    const ports = [1, 2, 3].map(() => dom0.allocUnbound(0));
    const at = (from: number, nr: number) => {
      const arg = dom0.reset().put(xenolith_inherited, { what: XENOLITH_INHERITED_ports, from, nr, list: 0x2000 });
      const rc = dom0.call(__HYPERVISOR_xenolith_op, XENOLITHOP_inherited, arg);
      return [rc, dom0.get(xenolith_inherited, arg, 'nr'), dom0.get(xenolith_inherited, arg, 'from')];
    };
    expect(at(0, 2)).toEqual([0, 2, ports[2]]);
    expect(at(ports[2]!, 2)).toEqual([0, 1, 0]);
    expect(at(0xffffffff, 2)).toEqual([0, 0, 0]);
    expect(at(0, 0xffffffff)).toEqual([0, 3, 0]);
  });
});

describe('what only a control domain may ask of processes', () => {
  it('is what confines them: the same answer for the whole host', () => {
    const layers = XENOLITH_LAYER_seccomp | XENOLITH_LAYER_limits;
    const confined = new CoreRig({ confinement: { layers, engineBytes: 50 * 2 ** 20 } });
    expect(confined.dom0.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_confinement)).toBe(layers);
    expect(confined.guest().trap(__HYPERVISOR_xenolith_op, XENOLITHOP_confinement)).toBe(-XEN_EPERM);
    expect(rig.dom0.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_confinement)).toBe(0);
  });
  it("is what memory they may have beyond their domains'", () => {
    const host = new CoreRig({ confinement: { layers: 0, engineBytes: 50 * 2 ** 20 } });
    const processMemory = (): unknown => host.dom0.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_process_memory);
    expect(processMemory()).toBe(0);
    const guest = host.guest();
    expect(processMemory()).toBe(50 + 128);
    host.guest();
    expect(processMemory()).toBe(2 * (50 + 128));
    expect(guest.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_process_memory)).toBe(-XEN_EPERM);
  });
  it('is that one be struck, of a vCPU that there is', () => {
    const strike = (from: Guest, fields: { domid: number; vcpu?: number; stop_ms?: number }): unknown =>
      from.trap(
        __HYPERVISOR_xenolith_op,
        XENOLITHOP_strike,
        from.reset().put(xenolith_strike, { vcpu: 0, stop_ms: 0, ...fields }),
      );
    const other = rig.guest();
    expect(strike(guest, { domid: other.domid })).toBe(-XEN_EPERM);
    expect(strike(guest, { domid: guest.domid })).toBe(-XEN_EPERM);
    expect(strike(rig.dom0, { domid: 99 })).toBe(-XEN_ESRCH);
    expect(strike(rig.dom0, { domid: guest.domid, vcpu: 7 })).toBe(-XEN_ESRCH);
    expect(rig.dom0.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_strike, 0xffff_fff0)).toBe(-XEN_EFAULT);
    expect(rig.processes.struck).toEqual([]);
    expect(strike(rig.dom0, { domid: guest.domid, stop_ms: 0xffff_ffff })).toBe(0);
    expect(rig.processes.struck).toEqual([[guest.domid, 0, 0xffff_ffff]]);
  });
  it('is that one, or the hypervisor, run out of something', () => {
    const exhaust = (from: Guest, fields: { domid: number; vcpu?: number; what?: number }): unknown =>
      from.trap(
        __HYPERVISOR_xenolith_op,
        XENOLITHOP_exhaust,
        from.reset().put(xenolith_exhaust, { vcpu: 0, what: XENOLITH_EXHAUST_memory, left: 5, ...fields }),
      );
    expect(exhaust(guest, { domid: rig.guest().domid })).toBe(-XEN_EPERM);
    expect(exhaust(guest, { domid: DOMID_XEN })).toBe(-XEN_EPERM);
    expect(exhaust(rig.dom0, { domid: 99 })).toBe(-XEN_ESRCH);
    expect(exhaust(rig.dom0, { domid: guest.domid, vcpu: 7 })).toBe(-XEN_ESRCH);
    expect(rig.dom0.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_exhaust, 0xffff_fff0)).toBe(-XEN_EFAULT);
    expect(rig.processes.exhausted).toEqual([]);
    expect(exhaust(rig.dom0, { domid: guest.domid })).toBe(0);
    expect(exhaust(rig.dom0, { domid: DOMID_XEN })).toBe(0);
    expect(rig.processes.exhausted).toEqual([
      [guest.domid, XENOLITH_EXHAUST_memory, 5],
      [undefined, XENOLITH_EXHAUST_memory, 5],
    ]);
  });
});

describe('processes that have taken the place of others', () => {
  function ask(from: Guest, number: number): unknown {
    const arg = from.reset().put(xenolith_replacement, { number });
    const rc = from.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_replacement, arg);
    if (rc !== 0) return rc;
    const { at } = xenolith_replacement;
    const words = (['number', 'domid', 'vcpu', 'pid', 'ends'] as const).map(name =>
      from.get(xenolith_replacement, arg, name),
    );
    return [...words, getU64(from.view, arg + at.ended), getU64(from.view, arg + at.served)];
  }

  it('are told of to a control domain, from any number on', () => {
    const { replacements } = rig.processes;
    const dom0 = rig.dom0.domain;
    expect(ask(guest, 1)).toBe(-XEN_EPERM);
    expect(ask(rig.dom0, 0)).toBe(-XEN_ENOENT);
    expect(rig.dom0.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_replacement, 0xffff_fff0)).toBe(-XEN_EFAULT);
    expect(replacements.serves(dom0, 0, 10, 1)).toBe(false); // the first one takes nobody's place
    for (const at of [5e9, 6e9]) replacements.ended(dom0, 1, at);
    expect(replacements.serves(dom0, 1, 4711, 7e9)).toBe(true);
    expect(replacements.serves(dom0, 1, 4711, 8e9)).toBe(false);
    const only = [1, 0, 1, 4711, 2, 5e9, 7e9];
    expect([0, 1, 2].map(number => ask(rig.dom0, number))).toEqual([only, only, -XEN_ENOENT]);
  });
  it('are forgotten when there were 64 since', () => {
    for (let n = 1; n <= 70; n++) {
      rig.processes.replacements.ended(guest.domain, 0, n);
      rig.processes.replacements.serves(guest.domain, 0, n, n);
    }
    expect(ask(rig.dom0, 0)).toEqual([7, guest.domid, 0, 7, 1, 7, 7]);
  });
});

describe('a domain whose process is a program of the host', () => {
  const service = (from: Guest, domid: number, which: number): unknown => {
    const at = from.reset().alloc(xenolith_service.size);
    from.view.setUint16(at + xenolith_service.at.domid, domid, true);
    from.view.setUint32(at + xenolith_service.at.service, which, true);
    return from.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_service, at);
  };
  const list = (from: Guest): unknown => {
    const at = from.reset().alloc(xenolith_inherited.size);
    const entries = from.alloc(XENOLITH_INHERITED_MAX * 16);
    from.view.setUint32(at + xenolith_inherited.at.nr, 1, true);
    from.view.setUint32(at + xenolith_inherited.at.list, entries, true);
    return from.trap(__HYPERVISOR_xenolith_op, XENOLITHOP_inherited, at);
  };

  it('is one because a control domain says so, before it has memory', () => {
    const unmade = rig.guestOf(rig.createDomain());
    expect(service(guest, unmade.domid, XENOLITH_SERVICE_driver_domain)).toBe(-XEN_EPERM);
    expect(service(rig.dom0, 99, XENOLITH_SERVICE_driver_domain)).toBe(-XEN_ESRCH);
    expect(service(rig.dom0, unmade.domid, 0)).toBe(-XEN_EINVAL);
    expect(service(rig.dom0, unmade.domid, 2)).toBe(-XEN_EINVAL);
    expect(service(rig.dom0, guest.domid, XENOLITH_SERVICE_driver_domain)).toBe(-XEN_EINVAL);
    expect(service(rig.dom0, unmade.domid, XENOLITH_SERVICE_driver_domain)).toBe(0);
    expect(unmade.domain.service).toBe(XENOLITH_SERVICE_driver_domain);
  });
  it('may ask what it inherits, and nothing else that is for the control domain', () => {
    expect(list(guest)).toBe(-XEN_EPERM);
    guest.domain.service = XENOLITH_SERVICE_driver_domain;
    expect(list(guest)).toBe(0);
    for (const cmd of [XENOLITHOP_successor, XENOLITHOP_successor_waits, XENOLITHOP_handover])
      expect(guest.trap(__HYPERVISOR_xenolith_op, cmd)).toBe(-XEN_EPERM);
    expect(service(guest, guest.domid, XENOLITH_SERVICE_driver_domain)).toBe(-XEN_EPERM);
  });
});
