// Xen: public/sched.h; the rows S1 to S10 and T1 to T4 of docs/hypercalls.md.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_set_timer_op,
  SCHEDOP_block,
  SCHEDOP_pin_override,
  SCHEDOP_poll,
  SCHEDOP_remote_shutdown,
  SCHEDOP_shutdown,
  SCHEDOP_shutdown_code,
  SCHEDOP_watchdog,
  SCHEDOP_yield,
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  SHUTDOWN_suspend,
  SHUTDOWN_watchdog,
  type Struct,
  sched_pin_override,
  sched_poll,
  sched_remote_shutdown,
  sched_shutdown,
  sched_watchdog,
  VIRQ_DEBUG,
  VIRQ_DOM_EXC,
  VIRQ_TIMER,
  vcpu_info,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_resumedomain,
  XEN_DOMINF_shutdown,
  XEN_DOMINF_shutdownshift,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSPC,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  xen_domctl_getdomaininfo,
} from '#pvbus';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';

const NOBODY = 4711;
const SECOND = 1e9;
let rig: CoreRig;
let a: Guest;
let b: Guest;

beforeEach(() => {
  rig = new CoreRig();
  a = rig.guest();
  b = rig.guest();
});

/** Results a vCPU gets after a DEFERRED. */
function answers(guest: Guest): number[] {
  const results: number[] = [];
  guest.vcpu.complete = result => results.push(result);
  return results;
}
const sched = (guest: Guest, cmd: number, s: Struct, fields: Record<string, number>) =>
  guest.sched(cmd, guest.reset().put(s, fields));
const shutdown = (guest: Guest, reason: number) => sched(guest, SCHEDOP_shutdown, sched_shutdown, { reason });
const watchdog = (guest: Guest, id: number, timeout: number) =>
  sched(guest, SCHEDOP_watchdog, sched_watchdog, { id, timeout });
const poll = (guest: Guest, ports: number[], timeout = 0, nr_ports = ports.length) => {
  guest.reset();
  const list = guest.putU32s(ports);
  return guest.sched(SCHEDOP_poll, guest.put(sched_poll, { ports: list, nr_ports, timeout }));
};
const setTimer = (guest: Guest, timeout: number) => guest.trap(__HYPERVISOR_set_timer_op, timeout);
const flagsOf = (guest: Guest) => {
  const { rc, u } = rig.dom0.reset().domctl(XEN_DOMCTL_getdomaininfo, guest.domid);
  expect(rc).toBe(0);
  return rig.dom0.get(xen_domctl_getdomaininfo, u, 'flags');
};
const codeOf = (guest: Guest) => (flagsOf(guest) >>> XEN_DOMINF_shutdownshift) & 255;
const advance = (ns: number) => {
  rig.clock.advance(ns);
  rig.settle();
};

it('S1 yield is 0', () => {
  expect(a.sched(SCHEDOP_yield)).toBe(0);
});

describe('S2 block', () => {
  it('S2 returns at once when an event is pending, with upcalls unmasked', () => {
    const timer = a.bindVirq(VIRQ_TIMER);
    setTimer(a, rig.clock.now());
    expect(a.pending(timer)).toBe(true);
    a.bytes[a.infoAt() + vcpu_info.at.evtchn_upcall_mask] = 1;
    expect(a.sched(SCHEDOP_block)).toBe(0);
    expect(a.bytes[a.infoAt() + vcpu_info.at.evtchn_upcall_mask]).toBe(0);
  });
  it('S2 otherwise waits for one', () => {
    a.bindVirq(VIRQ_TIMER);
    setTimer(a, rig.clock.now() + 1000);
    const results = answers(a);
    expect(a.sched(SCHEDOP_block)).toBe(DEFERRED);
    expect(a.vcpu.blocked).toBe(true);
    advance(999);
    expect(results).toEqual([]);
    advance(1);
    expect(results).toEqual([0]);
    expect(a.upcallPending()).toBe(true);
    expect(a.vcpu.blocked).toBe(false);
  });
  it('S2 a masked port does not end it', () => {
    const timer = a.bindVirq(VIRQ_TIMER);
    a.mask(timer);
    setTimer(a, rig.clock.now() + 1000);
    const results = answers(a);
    expect(a.sched(SCHEDOP_block)).toBe(DEFERRED);
    advance(2000);
    expect(a.pending(timer)).toBe(true);
    expect(results).toEqual([]);
  });
  it('S2 a vcpu that hears doorbells is sent back to look itself', () => {
    a.connect(b);
    a.clearUpcall();
    expect(a.sched(SCHEDOP_block)).toBe(0);
  });
});

describe('S3 shutdown', () => {
  it('S3 stops the domain, tells the handler of VIRQ_DOM_EXC, and keeps the code', () => {
    const exc = rig.dom0.bindVirq(VIRQ_DOM_EXC);
    const results = answers(a);
    expect(shutdown(a, SHUTDOWN_reboot)).toBe(DEFERRED);
    expect(rig.dom0.pending(exc)).toBe(true);
    expect(rig.processes.asked.at(-1)).toBe(`stop ${a.domid}`);
    expect(flagsOf(a) & XEN_DOMINF_shutdown).not.toBe(0);
    expect(codeOf(a)).toBe(SHUTDOWN_reboot);
    expect(results).toEqual([]);
    expect(rig.log.lines.at(-1)).toBe(`dom${a.domid}: shut down, reboot`);
  });
  it('S3 a second shutdown returns 0, and the first code stays', () => {
    shutdown(a, SHUTDOWN_reboot);
    const at = rig.dom0.reset().put(sched_remote_shutdown, { domain_id: a.domid, reason: SHUTDOWN_crash });
    expect(rig.dom0.sched(SCHEDOP_remote_shutdown, at)).toBe(0);
    expect(codeOf(a)).toBe(SHUTDOWN_reboot);
  });
  it('S3 only the low 8 bits of the reason count, and any is taken', () => {
    expect(shutdown(a, 0x1234_5677)).toBe(DEFERRED);
    expect(codeOf(a)).toBe(0x77);
  });
  it('S3 an unreadable argument is EFAULT, and nothing stops', () => {
    expect(a.sched(SCHEDOP_shutdown, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(a.domain.isShutDown).toBe(false);
  });
  it('S4 of the hardware domain takes the host down', () => {
    const reasons: number[] = [];
    rig.hypervisor.onHostShutdown = reason => reasons.push(reason);
    expect(shutdown(rig.dom0, SHUTDOWN_poweroff)).toBe(0);
    expect(reasons).toEqual([SHUTDOWN_poweroff]);
  });
  it('S5 a suspend that is cancelled returns 1 to the guest, another shutdown 0', () => {
    for (const [reason, result] of [
      [SHUTDOWN_suspend, 1],
      [SHUTDOWN_poweroff, 0],
    ] as const) {
      const results = answers(a);
      expect(shutdown(a, reason)).toBe(DEFERRED);
      expect(rig.dom0.reset().domctl(XEN_DOMCTL_resumedomain, a.domid).rc).toBe(0);
      expect(results).toEqual([result]);
      expect(rig.processes.asked.at(-1)).toBe(`cont ${a.domid}`);
    }
  });
});

describe('S6 poll', () => {
  it('S6 of more than 128 ports, or a port that cannot be, is EINVAL; an unreadable list EFAULT (act 44)', () => {
    expect(poll(a, [], 1, 129)).toBe(-XEN_EINVAL);
    expect(poll(a, [4096])).toBe(-XEN_EINVAL);
    expect(poll(a, [0xffffffff])).toBe(-XEN_EINVAL);
    expect(a.sched(SCHEDOP_poll, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(a.sched(SCHEDOP_poll, a.reset().put(sched_poll, { ports: 2 ** 40, nr_ports: 1 }))).toBe(-XEN_EFAULT);
  });
  it('S6 every port from 32 to 4095 with a time-out of 1 ns is harmless (act 44)', () => {
    for (let port = 32; port < 4096; port++) expect(poll(a, [port], 1)).toBe(0);
  });
  it('S6 returns 0 at once when a port is pending, even masked, and leaves it so', () => {
    const timer = a.bindVirq(VIRQ_TIMER);
    a.mask(timer);
    setTimer(a, 1);
    expect(poll(a, [timer])).toBe(0);
    expect(a.pending(timer)).toBe(true);
  });
  it('S6 returns 0 at its time-out', () => {
    const debug = a.bindVirq(VIRQ_DEBUG);
    const results = answers(a);
    expect(poll(a, [debug], rig.clock.now() + 500)).toBe(DEFERRED);
    advance(499);
    expect(results).toEqual([]);
    advance(1);
    expect(results).toEqual([0]);
  });
  it('S6 returns 0 for another event of the vcpu', () => {
    const timer = a.bindVirq(VIRQ_TIMER);
    const debug = a.bindVirq(VIRQ_DEBUG);
    setTimer(a, rig.clock.now() + 500);
    const results = answers(a);
    expect(poll(a, [debug])).toBe(DEFERRED);
    advance(500);
    expect(results).toEqual([0]);
    expect(a.pending(timer)).toBe(true);
  });
  it('S6 without ports and time-out it is a sleep until an event', () => {
    expect(poll(a, [])).toBe(DEFERRED);
  });
});

it('S7 remote_shutdown: unknown ESRCH, unprivileged EPERM, else 0', () => {
  const remote = (guest: Guest, domain_id: number) =>
    sched(guest, SCHEDOP_remote_shutdown, sched_remote_shutdown, { domain_id, reason: SHUTDOWN_crash });
  expect(remote(a, NOBODY)).toBe(-XEN_ESRCH);
  expect(remote(a, b.domid)).toBe(-XEN_EPERM);
  expect(remote(a, a.domid)).toBe(-XEN_EPERM);
  expect(b.domain.isShutDown).toBe(false);
  expect(remote(rig.dom0, b.domid)).toBe(0);
  expect(codeOf(b)).toBe(SHUTDOWN_crash);
});

it('S8 shutdown_code latches the reason that a later shutdown reports', () => {
  expect(sched(a, SCHEDOP_shutdown_code, sched_shutdown, { reason: SHUTDOWN_watchdog })).toBe(0);
  expect(sched(a, SCHEDOP_shutdown_code, sched_shutdown, { reason: SHUTDOWN_reboot })).toBe(0);
  expect(a.domain.isShutDown).toBe(false);
  shutdown(a, SHUTDOWN_poweroff);
  expect(codeOf(a)).toBe(SHUTDOWN_watchdog);
});

describe('S9 watchdog', () => {
  it('S9 id 0 makes one, 1 or 2; a third is ENOSPC', () => {
    expect([watchdog(a, 0, 10), watchdog(a, 0, 10), watchdog(a, 0, 10)]).toEqual([1, 2, -XEN_ENOSPC]);
    expect(watchdog(a, 1, 0)).toBe(0);
    expect(watchdog(a, 1, 0)).toBe(-XEN_EINVAL);
    expect(watchdog(a, 0, 10)).toBe(1);
  });
  it("S9 an id that is none, or in nobody's use, is EINVAL", () => {
    for (const id of [1, 2, 3, 0xffffffff]) expect(watchdog(a, id, 10)).toBe(-XEN_EINVAL);
  });
  it('S9 one that is not poked in time shuts the domain down with reason watchdog', () => {
    expect(watchdog(a, 0, 10)).toBe(1);
    advance(9 * SECOND);
    expect(watchdog(a, 1, 10)).toBe(0);
    advance(9 * SECOND);
    expect(a.domain.isShutDown).toBe(false);
    advance(SECOND);
    expect(codeOf(a)).toBe(SHUTDOWN_watchdog);
  });
  it('S9 it does not fire in a domain that has shut down', () => {
    watchdog(a, 0, 1);
    shutdown(a, SHUTDOWN_poweroff);
    advance(2 * SECOND);
    expect(codeOf(a)).toBe(SHUTDOWN_poweroff);
  });
});

it('S10 pin_override: not the hardware domain EPERM, bad cpu EINVAL, another pin EBUSY', () => {
  const pin = (guest: Guest, pcpu: number) => sched(guest, SCHEDOP_pin_override, sched_pin_override, { pcpu });
  expect(pin(a, 0)).toBe(-XEN_EPERM);
  expect(pin(rig.dom0, 4)).toBe(-XEN_EINVAL);
  expect(pin(rig.dom0, 1)).toBe(0);
  expect(pin(rig.dom0, 2)).toBe(-XEN_EBUSY);
  expect(pin(rig.dom0, -1)).toBe(0);
  expect(pin(rig.dom0, 2)).toBe(0);
});

it('an unknown operation is ENOSYS', () => {
  expect(a.sched(99)).toBe(-XEN_ENOSYS);
});

it('a vcpu has one hypercall at a time', () => {
  expect(a.sched(SCHEDOP_block)).toBe(DEFERRED);
  expect(a.sched(SCHEDOP_yield)).toBe(-XEN_EBUSY);
});

describe('set_timer_op', () => {
  let timer: number;
  beforeEach(() => {
    timer = a.bindVirq(VIRQ_TIMER);
  });
  it('T1 0 stops the timer', () => {
    expect(setTimer(a, rig.clock.now() + 100)).toBe(0);
    expect(setTimer(a, 0)).toBe(0);
    advance(1000);
    expect(a.pending(timer)).toBe(false);
    expect(rig.hypervisor.nextDeadline()).toBeUndefined();
  });
  it('T2 a time that has passed fires at once', () => {
    expect(setTimer(a, 1)).toBe(0);
    expect(a.pending(timer)).toBe(true);
  });
  it('T3 a negative time, or one more than 2^50 ns ahead, is 100 ms from now', () => {
    for (const timeout of [-1, rig.clock.now() + 2 ** 50 + 1, 2 ** 63, Number.NaN]) {
      expect(setTimer(a, timeout)).toBe(0);
      expect(rig.hypervisor.nextDeadline()).toBe(rig.clock.now() + 100e6);
    }
    expect(setTimer(a, rig.clock.now() + 2 ** 50)).toBe(0);
    expect(rig.hypervisor.nextDeadline()).toBe(rig.clock.now() + 2 ** 50);
  });
  it('T4 arming again replaces', () => {
    setTimer(a, rig.clock.now() + 100);
    setTimer(a, rig.clock.now() + 300);
    advance(299);
    expect(a.takePending(timer)).toBe(false);
    advance(1);
    expect(a.takePending(timer)).toBe(true);
    advance(1000);
    expect(a.takePending(timer)).toBe(false);
  });
});
