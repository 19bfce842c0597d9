// Xen: public/vcpu.h; the rows V1 to V9 of docs/hypercalls.md.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_vcpu_op,
  DOMID_SELF,
  getU64,
  PAGE_SIZE,
  RUNSTATE_offline,
  RUNSTATE_running,
  SHUTDOWN_poweroff,
  VCPUOP_down,
  VCPUOP_get_physid,
  VCPUOP_get_runstate_info,
  VCPUOP_initialise,
  VCPUOP_is_up,
  VCPUOP_register_runstate_memory_area,
  VCPUOP_register_runstate_phys_area,
  VCPUOP_register_vcpu_info,
  VCPUOP_register_vcpu_time_memory_area,
  VCPUOP_set_periodic_timer,
  VCPUOP_set_singleshot_timer,
  VCPUOP_stop_periodic_timer,
  VCPUOP_stop_singleshot_timer,
  VCPUOP_up,
  VIRQ_TIMER,
  vcpu_get_physid,
  vcpu_guest_context,
  vcpu_info,
  vcpu_page,
  vcpu_register_vcpu_info,
  vcpu_runstate_info,
  vcpu_set_periodic_timer,
  vcpu_set_singleshot_timer,
  vcpu_time_info,
  vcpuFrame,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_unpausedomain,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_ENXIO,
  XENMEM_decrease_reservation,
  xen_memory_reservation,
} from '#pvbus';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';

let rig: CoreRig;
let a: Guest;
/** Has three vCPUs, of which the first is up. */
let smp: Guest;

beforeEach(() => {
  rig = new CoreRig();
  a = rig.guest();
  smp = rig.guest({ vcpus: 3 });
});

const initialise = (guest: Guest, vcpu: number) =>
  guest.vcpuOp(VCPUOP_initialise, vcpu, guest.reset().put(vcpu_guest_context));
const registerInfo = (guest: Guest, vcpu: number, mfn: number, offset: number) =>
  guest.vcpuOp(VCPUOP_register_vcpu_info, vcpu, guest.reset().put(vcpu_register_vcpu_info, { mfn, offset }));

it('a vcpu that does not exist is ENOENT, whatever else is wrong', () => {
  for (let cmd = 0; cmd < 20; cmd++) expect(a.vcpuOp(cmd, 1, 2 ** 40)).toBe(-XEN_ENOENT);
  expect(a.vcpuOp(VCPUOP_is_up, -1)).toBe(-XEN_ENOENT);
  expect(a.vcpuOp(99, 0)).toBe(-XEN_ENOSYS);
});

it('V1 initialise: once, and not running yet', () => {
  expect(smp.vcpuOp(VCPUOP_initialise, 1, 2 ** 40)).toBe(-XEN_EFAULT);
  expect(initialise(smp, 1)).toBe(0);
  expect(smp.vcpuOp(VCPUOP_is_up, 1)).toBe(0);
  expect(initialise(smp, 1)).toBe(-XEN_EEXIST);
  expect(initialise(smp, 0)).toBe(-XEN_EEXIST);
});
it('V1 a vcpu beyond those of shared_info needs a registered vcpu_info first', () => {
  const many = rig.guest({ vcpus: 40 });
  expect(initialise(many, 35)).toBe(-XEN_EINVAL);
  expect(registerInfo(many, 35, 10, 0)).toBe(0);
  expect(initialise(many, 35)).toBe(0);
});
it('V2 up: not initialised EINVAL, up already 0', () => {
  expect(smp.vcpuOp(VCPUOP_up, 1)).toBe(-XEN_EINVAL);
  initialise(smp, 1);
  expect(smp.vcpuOp(VCPUOP_up, 1)).toBe(0);
  expect(smp.vcpuOp(VCPUOP_up, 1)).toBe(0);
});
it('V3 down of the last vcpu that is up shuts the domain down', () => {
  initialise(smp, 1);
  smp.vcpuOp(VCPUOP_up, 1);
  smp.vcpuId = 1;
  expect(smp.vcpuOp(VCPUOP_down, 0)).toBe(0);
  expect(smp.domain.isShutDown).toBe(false);
  expect(smp.vcpuOp(VCPUOP_is_up, 0)).toBe(0);
  expect(smp.vcpuOp(VCPUOP_down, 0)).toBe(0); // already
  expect(smp.vcpuOp(VCPUOP_down, 1)).toBe(0);
  expect([smp.domain.isShutDown, smp.domain.shutdownCode]).toEqual([true, SHUTDOWN_poweroff]);
});
it('V3 down of oneself returns when another vcpu brings it up, and no event ends it', () => {
  const page = vcpuFrame(smp.domain.layout, 1) * PAGE_SIZE;
  const context = smp.reset().put(vcpu_guest_context, { user_regs: { rip: 5 * PAGE_SIZE, rsi: 0x123456789 } });
  expect(smp.vcpuOp(VCPUOP_initialise, 1, context)).toBe(0);
  expect(getU64(smp.view, page + vcpu_page.at.entry)).toBe(0);
  smp.vcpuOp(VCPUOP_up, 1);
  // Its thread begins where it was told to.
  expect(getU64(smp.view, page + vcpu_page.at.entry)).toBe(5 * PAGE_SIZE);
  expect(getU64(smp.view, page + vcpu_page.at.argument)).toBe(0x123456789);

  const timer = smp.bindVirq(VIRQ_TIMER, 1);
  smp.vcpuId = 1;
  const results: number[] = [];
  smp.vcpu.complete = result => results.push(result);
  const at = smp.reset().put(vcpu_set_singleshot_timer, { timeout_abs_ns: rig.clock.now() + 1000 });
  expect(smp.vcpuOp(VCPUOP_set_singleshot_timer, 1, at)).toBe(0);
  smp.vcpu.complete = result => results.push(result);
  expect(smp.trap(__HYPERVISOR_vcpu_op, VCPUOP_down, 1)).toBe(DEFERRED);
  expect(smp.trap(__HYPERVISOR_vcpu_op, VCPUOP_is_up, 1)).toBe(-XEN_EBUSY);
  rig.clock.advance(2000);
  rig.settle();
  expect(smp.pending(timer)).toBe(true);
  expect(results).toEqual([]);
  smp.vcpuId = 0;
  expect([smp.vcpuOp(VCPUOP_is_up, 1), smp.domain.vcpus[1]!.blocked]).toEqual([0, false]);
  expect(smp.vcpuOp(VCPUOP_up, 1)).toBe(0);
  expect(results).toEqual([0]);
  expect(smp.vcpuOp(VCPUOP_is_up, 1)).toBe(1);
});
it('V4 is_up', () => {
  expect([0, 1, 2].map(vcpu => smp.vcpuOp(VCPUOP_is_up, vcpu))).toEqual([1, 0, 0]);
});

describe('runstate', () => {
  const read = (guest: Guest, at: number) => ({
    state: guest.get(vcpu_runstate_info, at, 'state'),
    entry: guest.get(vcpu_runstate_info, at, 'state_entry_time'),
    time: [0, 1, 2, 3].map(i => getU64(guest.view, at + vcpu_runstate_info.at.time + 8 * i)),
  });
  const ask = (guest: Guest, vcpu = 0) => {
    const at = guest.reset().put(vcpu_runstate_info);
    expect(guest.vcpuOp(VCPUOP_get_runstate_info, vcpu, at)).toBe(0);
    return read(guest, at);
  };
  const sum = (time: number[]) => time.reduce((x, y) => x + y);

  it('V5 the four times add up to all the time there was', () => {
    expect(a.vcpuOp(VCPUOP_get_runstate_info, 0, 2 ** 40)).toBe(-XEN_EFAULT);
    const start = rig.clock.now();
    rig.processes.cpu.set(`${a.domid}.0`, 300);
    rig.clock.advance(1000);
    expect(ask(a)).toEqual({ state: RUNSTATE_running, entry: start, time: [300, 0, 700, 0] });
    rig.dom0.reset().domctl(XEN_DOMCTL_pausedomain, a.domid);
    rig.clock.advance(5000);
    rig.dom0.reset().domctl(XEN_DOMCTL_unpausedomain, a.domid);
    rig.processes.cpu.set(`${a.domid}.0`, 10_000);
    rig.clock.advance(50);
    const { time } = ask(a);
    expect(time).toEqual([350, 0, 700, 5000]);
    expect(sum(time)).toBe(rig.clock.now() - start);
  });
  it('V5 shows one that is down as offline, and who asks as running, whatever its words say', () => {
    const page = vcpuFrame(a.domain.layout, 0) * PAGE_SIZE;
    a.view.setUint32(page + vcpu_page.at.event_sleeping, 1, true);
    expect(a.domain.vcpus[0]!.blocked).toBe(true);
    expect(ask(a).state).toBe(RUNSTATE_running);
    expect(ask(smp, 1).state).toBe(RUNSTATE_offline);
  });
  it('V6 a registered area is kept up to date', () => {
    const pointer = (address: number) => a.reset().putU64s([address]);
    expect(a.vcpuOp(VCPUOP_register_runstate_memory_area, 0, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(a.vcpuOp(VCPUOP_register_runstate_memory_area, 0, pointer(2 ** 40))).toBe(-XEN_EFAULT);
    const area = 9 * PAGE_SIZE + 100;
    expect(a.vcpuOp(VCPUOP_register_runstate_memory_area, 0, pointer(area))).toBe(0);
    expect(read(a, area).state).toBe(RUNSTATE_running);
    rig.clock.advance(100);
    rig.dom0.reset().domctl(XEN_DOMCTL_pausedomain, a.domid);
    expect(read(a, area)).toMatchObject({ state: RUNSTATE_offline, entry: rig.clock.now() });
  });
  it('V6 a physical area may not cross a page or lie crooked; ~0 unregisters', () => {
    const register = (address: number) => a.vcpuOp(VCPUOP_register_runstate_phys_area, 0, a.reset().putU64s([address]));
    expect(register(9 * PAGE_SIZE + 4)).toBe(-XEN_ENXIO);
    expect(register(10 * PAGE_SIZE - 8)).toBe(-XEN_ENXIO);
    expect(register(9 * PAGE_SIZE)).toBe(0);
    expect(a.domain.vcpus[0]!.runstateArea).toBe(9 * PAGE_SIZE);
    expect(register(-1)).toBe(0);
    expect(a.domain.vcpus[0]!.runstateArea).toBe(-1);
  });
  it('V6 an area whose frame the guest has given away is left alone', () => {
    a.vcpuOp(VCPUOP_register_runstate_memory_area, 0, a.reset().putU64s([9 * PAGE_SIZE]));
    const extent_start = a.reset().putU64s([9]);
    const arg = a.put(xen_memory_reservation, { extent_start, nr_extents: 1, domid: DOMID_SELF });
    expect(a.memory(XENMEM_decrease_reservation, arg)).toBe(1);
    rig.clock.advance(100);
    rig.dom0.reset().domctl(XEN_DOMCTL_pausedomain, a.domid);
    expect(a.bytes.subarray(9 * PAGE_SIZE, 10 * PAGE_SIZE).every(byte => byte === 0)).toBe(true);
  });
});

describe('timers', () => {
  const periodic = (period_ns: number) =>
    a.vcpuOp(VCPUOP_set_periodic_timer, 0, a.reset().put(vcpu_set_periodic_timer, { period_ns }));
  const singleshot = (timeout_abs_ns: number, guest = a, vcpu = 0) =>
    guest.vcpuOp(
      VCPUOP_set_singleshot_timer,
      vcpu,
      guest.reset().put(vcpu_set_singleshot_timer, { timeout_abs_ns, flags: 1 }),
    );
  it('V7 a period below 1 ms or above 2^62 ns is EINVAL', () => {
    expect(periodic(999_999)).toBe(-XEN_EINVAL);
    expect(periodic(2 ** 63)).toBe(-XEN_EINVAL);
    expect(periodic(2 ** 62)).toBe(0);
    expect(a.vcpuOp(VCPUOP_set_periodic_timer, 0, 2 ** 40)).toBe(-XEN_EFAULT);
  });
  it('V7 ticks until it is stopped; ticks nobody had time for are one', () => {
    const port = a.bindVirq(VIRQ_TIMER);
    expect(periodic(1e6)).toBe(0);
    for (let i = 0; i < 3; i++) {
      expect(a.takePending(port)).toBe(false);
      rig.clock.advance(1e6);
      rig.settle();
      expect(a.takePending(port)).toBe(true);
      a.clearUpcall();
    }
    rig.clock.advance(1e9);
    rig.settle();
    expect(a.takePending(port)).toBe(true);
    expect(rig.hypervisor.nextDeadline()).toBe(rig.clock.now() + 1e6);
    expect(a.vcpuOp(VCPUOP_stop_periodic_timer, 0)).toBe(0);
    expect(rig.hypervisor.nextDeadline()).toBeUndefined();
  });
  it('V8 singleshot: for another vcpu EINVAL, for a time that has passed at once', () => {
    const port = a.bindVirq(VIRQ_TIMER);
    expect(singleshot(rig.clock.now() + 50, smp, 1)).toBe(-XEN_EINVAL);
    expect(smp.vcpuOp(VCPUOP_stop_singleshot_timer, 1)).toBe(-XEN_EINVAL);
    expect(singleshot(rig.clock.now())).toBe(0);
    expect(a.takePending(port)).toBe(true);
    expect(singleshot(rig.clock.now() + 50)).toBe(0);
    expect(a.vcpuOp(VCPUOP_stop_singleshot_timer, 0)).toBe(0);
    rig.clock.advance(100);
    rig.settle();
    expect(a.takePending(port)).toBe(false);
    expect(a.vcpuOp(VCPUOP_set_singleshot_timer, 0, 2 ** 40)).toBe(-XEN_EFAULT);
  });
});

describe('V9 register_vcpu_info', () => {
  it('V9 across a page or crooked ENXIO, no such frame EINVAL, a second time EBUSY', () => {
    expect(a.vcpuOp(VCPUOP_register_vcpu_info, 0, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(registerInfo(a, 0, 9, PAGE_SIZE - 56)).toBe(-XEN_ENXIO);
    expect(registerInfo(a, 0, 9, 4)).toBe(-XEN_ENXIO);
    expect(registerInfo(a, 0, 9, 0xffffffff)).toBe(-XEN_ENXIO);
    expect(registerInfo(a, 0, 64_000, 0)).toBe(-XEN_EINVAL);
    expect(registerInfo(a, 0, 2 ** 52, 0)).toBe(-XEN_EINVAL);
    expect(registerInfo(a, 0, 9, 128)).toBe(0);
    expect(registerInfo(a, 0, 10, 0)).toBe(-XEN_EBUSY);
  });
  it('V9 selects everything and raises the upcall; later events are marked in the new place', () => {
    const port = a.bindVirq(VIRQ_TIMER);
    const at = 9 * PAGE_SIZE + 128;
    expect(registerInfo(a, 0, 9, 128)).toBe(0);
    const sel = at + vcpu_info.at.evtchn_pending_sel;
    expect(a.bytes.subarray(sel, sel + 8).every(byte => byte === 0xff)).toBe(true);
    expect(a.bytes[at + vcpu_info.at.evtchn_upcall_pending]).toBe(1);
    a.bytes[at] = 0;
    a.bytes.fill(0, sel, sel + 8);
    a.vcpuOp(VCPUOP_set_singleshot_timer, 0, a.reset().put(vcpu_set_singleshot_timer, { timeout_abs_ns: 1 }));
    expect(a.pending(port)).toBe(true);
    expect([a.bytes[at], a.bytes[sel]]).toEqual([1, 1]);
    expect(a.upcallPending()).toBe(false);
  });
  it('V9 the frame stays with the domain while the hypervisor writes to it', () => {
    registerInfo(a, 0, 9, 0);
    const extent_start = a.reset().putU64s([9]);
    const arg = a.put(xen_memory_reservation, { extent_start, nr_extents: 1, domid: DOMID_SELF });
    expect(a.memory(XENMEM_decrease_reservation, arg)).toBe(0);
    expect(a.poolPopulate(0, 9)).toBe(-XEN_EINVAL);
  });
});

it('time: the second copy of vcpu_time_info says what the first does', () => {
  const area = 9 * PAGE_SIZE;
  expect(a.vcpuOp(VCPUOP_register_vcpu_time_memory_area, 0, a.reset().putU64s([area]))).toBe(0);
  const info = a.infoAt(0) + vcpu_info.at.time;
  for (const at of [area, info]) {
    expect(a.get(vcpu_time_info, at, 'version') % 2).toBe(0);
    expect(a.get(vcpu_time_info, at, 'system_time')).toBe(rig.clock.now());
    expect(a.get(vcpu_time_info, at, 'tsc_timestamp')).toBe(2 * rig.clock.now());
  }
});

it('get_physid is EINVAL: no vcpu is pinned for good', () => {
  expect(a.vcpuOp(VCPUOP_get_physid, 0, a.put(vcpu_get_physid))).toBe(-XEN_EINVAL);
});
