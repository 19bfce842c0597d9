// Ends of domains that nobody asked for, and what is left of a domain after its end.

import { beforeEach, expect, it, vi } from 'vitest';
import {
  __HYPERVISOR_event_channel_op,
  Arena,
  domain_control,
  EVTCHNOP_send,
  PAGE_SIZE,
  SHUTDOWN_crash,
  SystemCallError,
  VIRQ_DOM_EXC,
  vcpu_page,
  vcpuFrame,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_pausedomain,
  XEN_EIO,
  XEN_ENOMEM,
  XEN_ESRCH,
  XENOLITH_SLEEPS_block,
  XENOLITH_WANT_grant,
  XENOLITH_WANT_run,
  xen_domctl_getdomaininfo,
  xen_domctl_max_mem,
} from '#pvbus';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';

let rig: CoreRig;
let a: Guest;

beforeEach(() => {
  rig = new CoreRig();
  a = rig.guest();
});

const flags = (guest: Guest) => {
  const { u } = rig.dom0.reset().domctl(XEN_DOMCTL_getdomaininfo, guest.domid);
  return rig.dom0.get(xen_domctl_getdomaininfo, u, 'flags');
};
const destroy = (guest: Guest) => rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, guest.domid).rc;

it('a process that ends by itself is a crash of its domain, in one line that names it and the cause', () => {
  const exc = rig.dom0.bindVirq(VIRQ_DOM_EXC);
  rig.hypervisor.domainExited(a.domid, { signal: 'SIGSEGV' });
  expect((flags(a) >>> 16) & 255).toBe(SHUTDOWN_crash);
  expect(rig.dom0.pending(exc)).toBe(true);
  expect(rig.log.lines).toEqual([`dom${a.domid}: shut down, crash: its process ended: killed by SIGSEGV`]);
  expect(rig.processes.asked).not.toContain(`stop ${a.domid}`);
});
it('of a process that ended without a message, what it printed last is the cause', () => {
  rig.hypervisor.domainExited(a.domid, { code: 5, printed: 'FATAL ERROR: no heap' });
  const why = 'its process ended: exit code 5, and had printed: FATAL ERROR: no heap';
  expect(rig.log.lines).toEqual([`dom${a.domid}: shut down, crash: ${why}`]);
});
it('the message its thread left is kept, and its first line logged', () => {
  rig.hypervisor.domainExited(a.domid, { crash: 'vcpu0: Error: boom\n    at kernel.ts:1', code: 1 });
  expect(a.domain.crashMessage).toBe('vcpu0: Error: boom\n    at kernel.ts:1');
  expect(rig.log.lines).toEqual([`dom${a.domid}: shut down, crash: vcpu0: Error: boom`]);
});
it('the end of a process that was asked for is no crash', () => {
  destroy(a);
  rig.settle();
  expect(rig.log.lines).toEqual([`dom${a.domid}: dying`, `dom${a.domid}: gone`]);
  rig.hypervisor.domainExited(a.domid, { code: 0 });
  rig.hypervisor.domainExited(4711, { code: 0 });
});
it('a domain that crashed is destroyed without its process', () => {
  rig.hypervisor.domainExited(a.domid, { code: 1 });
  destroy(a);
  expect(rig.processes.killed).toEqual([]);
  rig.settle();
  expect(rig.hypervisor.domains.byId(a.domid)).toBeUndefined();
});

it('a dying domain is told to stop, and its traps are never answered', () => {
  destroy(a);
  const { control } = a.domain.layout;
  expect(a.view.getUint32(control * PAGE_SIZE + domain_control.at.stop, true)).toBe(1);
  expect(a.trap(__HYPERVISOR_event_channel_op, EVTCHNOP_send, 0)).toBe(DEFERRED);
});
it('a trap of nobody is ESRCH', () => {
  expect(rig.hypervisor.trap(4711, 0, 29)).toBe(-XEN_ESRCH);
  expect(rig.hypervisor.trap(a.domid, 7, 29)).toBe(-XEN_ESRCH);
  expect(rig.hypervisor.trap(Number.NaN, -1, 29)).toBe(-XEN_ESRCH);
});

it('teardown is done in slices, with others served in between', () => {
  for (let i = 0; i < 1000; i++) a.allocUnbound(0);
  destroy(a);
  const slices: number[] = [];
  while (a.domain.ports.open > 0) {
    expect(rig.hypervisor.step()).toBe('progress');
    slices.push(a.domain.ports.open);
  }
  expect(slices.length).toBeGreaterThan(5);
});

it('fault 40: after many lives nothing is left behind', () => {
  const { hypervisor } = rig;
  const count = () => ({
    domains: hypervisor.domains.size,
    free: hypervisor.host.freePages,
    pools: hypervisor.pools.size,
    doorbells: hypervisor.doorbells.size,
    ports: rig.dom0.domain.ports.open,
    mappings: rig.dom0.domain.grants.mappings,
    timers: hypervisor.timersPending,
  });
  const before = count();
  for (let i = 0; i < 30; i++) {
    const guest = rig.guest();
    const [here] = rig.dom0.connect(guest);
    guest.poolPopulate(0, 10, 3);
    guest.grant(20, 0, 11);
    const { handle } = rig.dom0.map(guest.domid, 20);
    guest.call(15, rig.clock.now() + 1e9);
    if (i % 2 === 0) hypervisor.domainExited(guest.domid, { code: 1 });
    destroy(guest);
    rig.settle();
    rig.dom0.unmap(handle);
    rig.dom0.close(here);
    rig.settle();
  }
  expect(count()).toEqual(before);
});

it('fault 5: a bug of the hypervisor costs the caller its domain, and nobody else anything', () => {
  const b = rig.guest();
  const broken = vi.spyOn(a.domain.physmap, 'reachable').mockImplementation(() => {
    throw new Error('an invariant is broken');
  });
  expect(a.trap(__HYPERVISOR_event_channel_op, EVTCHNOP_send, 0)).toBe(-XEN_EIO);
  broken.mockRestore();
  expect(a.domain.isShutDown).toBe(true);
  expect(rig.internalErrors[0]).toContain(`internal error in a hypercall of dom${a.domid} vcpu0`);
  expect(b.allocUnbound(0)).toBe(1);
});

it('no memory to be had for a domain is ENOMEM, and the domain can be destroyed', () => {
  const huge = new CoreRig({ hostPages: 2 ** 40 });
  vi.spyOn(Arena, 'create').mockImplementationOnce(() => {
    throw new SystemCallError('mmap', XEN_ENOMEM);
  });
  const domid = huge.createDomain();
  const rc = huge.dom0.reset().domctl(XEN_DOMCTL_max_mem, domid, xen_domctl_max_mem, { max_memkb: 2 ** 50 }).rc;
  expect(rc).toBe(-XEN_ENOMEM);
  expect(huge.dom0.reset().domctl(XEN_DOMCTL_destroydomain, domid).rc).toBe(0);
  huge.settle();
  expect(huge.hypervisor.domains.byId(domid)).toBeUndefined();
});

it('a paused domain that is resumed or unpaused runs only when both are over', () => {
  rig.dom0.reset().domctl(XEN_DOMCTL_pausedomain, a.domid);
  rig.processes.asked.length = 0;
  rig.hypervisor.life.shutdown(a.domain, 2);
  rig.hypervisor.life.resume(a.domain);
  expect(rig.processes.asked).toEqual([`stop ${a.domid}`]);
  rig.hypervisor.life.unpause(a.domain);
  expect(rig.processes.asked).toEqual([`stop ${a.domid}`, `cont ${a.domid}`]);
});

it('a vCPU that waits for a pCPU is awake, whoever sleeps in its stead; the next thread of it wants nothing yet', () => {
  const { domain } = a;
  const [vcpu] = domain.vcpus;
  const set = (field: 'event_sleeping' | 'want', value: number): void => {
    domain.memory.words[(vcpuFrame(domain.layout, 0) * PAGE_SIZE + vcpu_page.at[field]) / 4] = value;
  };
  set('event_sleeping', XENOLITH_SLEEPS_block);
  set('want', XENOLITH_WANT_run);
  expect(vcpu!.blocked).toBe(true);
  set('want', XENOLITH_WANT_grant);
  expect(vcpu!.blocked).toBe(false);
  vcpu!.vacate();
  set('event_sleeping', XENOLITH_SLEEPS_block);
  expect(vcpu!.blocked).toBe(true);
});
