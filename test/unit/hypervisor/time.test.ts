// What domains are told of time: vcpu_time_info, the wall clock, and the record of a domain's timers. The clocks are the test's own.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_platform_op,
  __HYPERVISOR_set_timer_op,
  PAGE_SIZE,
  SCHEDOP_poll,
  SCHEDOP_watchdog,
  SHUTDOWN_watchdog,
  sched_poll,
  sched_watchdog,
  shared_info,
  VCPUOP_register_vcpu_time_memory_area,
  VCPUOP_set_periodic_timer,
  VCPUOP_set_singleshot_timer,
  VIRQ_TIMER,
  vcpu_info,
  vcpu_set_periodic_timer,
  vcpu_set_singleshot_timer,
  vcpu_time_info,
  XEN_DOMCTL_settimeoffset,
  XEN_EACCES,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
  XENPF_INTERFACE_VERSION,
  XENPF_settime32,
  XENPF_settime64,
  xen_domctl_settimeoffset,
  xen_platform_op,
  xenpf_settime32,
  xenpf_settime64,
} from '#pvbus';
import { GuestClock } from '../../../domu-kernel/guest-clock.ts';
import { DomainTimes } from '../../../hypervisor/domain-time.ts';
import { timeScale } from '../../../hypervisor/guest-clock.ts';
import { Timers } from '../../../hypervisor/timers.ts';
import { VcpuTimers } from '../../../hypervisor/vcpu-timers.ts';
import { Watchdogs } from '../../../hypervisor/watchdogs.ts';
import { CoreRig, DEFERRED, type Guest, putStruct, StoppedClock } from '../../support/core-rig.ts';
import fc from '../../support/properties.ts';

let rig: CoreRig;
let a: Guest;
beforeEach(() => {
  rig = new CoreRig();
  a = rig.guest();
});
const advance = (ns: number) => {
  rig.clock.advance(ns);
  rig.settle();
};

describe('vcpu_time_info', () => {
  /** What a guest makes of the page when its TSC says `tsc`: Xen's arithmetic, in whole numbers. */
  const systemTime = (guest: Guest, at: number, tsc: number): bigint => {
    const get = (field: string) => BigInt(guest.get(vcpu_time_info, at, field));
    const shift = guest.get(vcpu_time_info, at, 'tsc_shift');
    let delta = BigInt(Math.round(tsc)) - get('tsc_timestamp');
    delta = shift < 0 ? delta >> BigInt(-shift) : delta << BigInt(shift);
    return get('system_time') + ((delta * get('tsc_to_system_mul')) >> 32n);
  };
  const infoTime = (guest: Guest, vcpu = 0) => guest.infoAt(vcpu) + vcpu_info.at.time;
  const KHZ = 2_494_140;
  /** CLOCK_MONOTONIC_RAW, while the system's clock is sped up or slowed down. */
  let raw = 0;
  const pass = (ns: number, rate: number) => {
    rig.clock.advance(ns);
    raw += ns / rate;
    rig.settle();
  };
  const drifting = () => {
    raw = 5_000_000_000;
    rig = new CoreRig({ rawClock: () => raw, cpuKhz: KHZ });
    a = rig.guest({ vcpus: 2 });
  };

  it('gives system time from the TSC to the ns, at any frequency', () => {
    for (const cpuKhz of [800_000, 1_000_000, 2_494_140, 4_700_123, 24_000]) {
      rig = new CoreRig({ cpuKhz });
      a = rig.guest();
      rig.clock.advance(3_600e9);
      const tsc = (rig.clock.now() * cpuKhz) / 1e6;
      const off = Number(systemTime(a, infoTime(a), tsc)) - rig.clock.now();
      // An hour after the page was written: less than a microsecond.
      expect(Math.abs(off)).toBeLessThan(2000);
    }
  });
  it('follows a clock that runs at another rate than the TSC, from second to second', () => {
    drifting();
    const error = () => Number(systemTime(a, infoTime(a), (raw * KHZ) / 1e6)) - rig.clock.now();
    for (const rate of [1.0004, 1.0004, 0.9996, 1]) {
      for (let i = 0; i < 20; i++) {
        pass(1e8, rate);
        // Half a thousandth of a second at worst, before the new rate is known; then next to nothing.
        expect(Math.abs(error())).toBeLessThan(1e6);
      }
      expect(Math.abs(error())).toBeLessThan(100);
    }
  });
  it('is the same on every vcpu, and in the second copy', () => {
    drifting();
    const area = 9 * PAGE_SIZE + 64;
    a.vcpuOp(VCPUOP_register_vcpu_time_memory_area, 1, a.reset().putU64s([area]));
    for (let i = 0; i < 3; i++) {
      pass(1e9, 1.0002);
      const times = [infoTime(a, 0), infoTime(a, 1), area].map(at => systemTime(a, at, (raw * KHZ) / 1e6));
      expect(new Set(times).size).toBe(1);
    }
  });
  it('has a version that is even when it is not being written, whatever the guest makes of it', () => {
    drifting();
    const at = infoTime(a) + vcpu_time_info.at.version;
    for (const forged of [undefined, 1, 0xffffffff, 0xfffffffe, 7]) {
      if (forged !== undefined) a.view.setUint32(at, forged, true);
      pass(1e9, 1);
      const version = a.view.getUint32(at, true);
      expect(version % 2).toBe(0);
      expect(version).not.toBe(forged);
    }
  });
  it('is odd while its content changes: who reads by the version never sees a half', () => {
    drifting();
    // Every store of the writer is seen here, in its order.
    const { words } = a.domain.memory;
    const base = infoTime(a) / 4;
    const seen: number[] = [];
    const { store } = Atomics;
    const before = Array.from(words.subarray(base, base + 8));
    Atomics.store = ((array: Int32Array, index: number, value: number) => {
      if (array === words && index === base) {
        seen.push(value);
        // When it says "odd" nothing has been written, and when it says "even" all of it has.
        const content = Array.from(words.subarray(base + 1, base + 8));
        expect(content.every((word, i) => word === before[i + 1])).toBe(value % 2 !== 0);
      }
      return store(array, index, value);
    }) as typeof Atomics.store;
    try {
      pass(1e9, 1.0001);
    } finally {
      Atomics.store = store;
    }
    expect(seen.map(version => version & 1)).toEqual([1, 0]);
  });
  it('timeScale keeps 31 bits of any rate', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-3, max: 1e4, noNaN: true }), ns => {
        const { mul, shift } = timeScale(ns);
        expect(mul).toBeGreaterThanOrEqual(2 ** 31);
        expect(mul).toBeLessThan(2 ** 32);
        expect(Math.abs((2 ** shift * mul) / 2 ** 32 / ns - 1)).toBeLessThan(2 ** -31);
      }),
    );
  });
  it('of a machine that was stopped or slept is right after the first look', () => {
    drifting();
    pass(1e9, 1);
    pass(7200e9, 1.0001);
    expect(Number(systemTime(a, infoTime(a), (raw * KHZ) / 1e6))).toBe(rig.clock.now());
    // One look at the clocks, not one for each second that was missed.
    expect(rig.hypervisor.nextDeadline()).toBe(rig.clock.now() + 1e9);
  });
});

describe('the wall clock', () => {
  const wall = (guest: Guest) => {
    const base = guest.domain.layout.sharedInfo * PAGE_SIZE;
    const u32 = (field: keyof typeof shared_info.at) => guest.view.getUint32(base + shared_info.at[field], true);
    expect(u32('wc_version') % 2).toBe(0);
    return { sec: u32('wc_sec') + u32('wc_sec_hi') * 2 ** 32, nsec: u32('wc_nsec'), version: u32('wc_version') };
  };
  const settime = (
    fields: { secs: number; nsecs?: number; mbz?: number; system_time?: number },
    { guest = rig.dom0, cmd = XENPF_settime64, version = XENPF_INTERFACE_VERSION } = {},
  ) => {
    const at = guest.reset().put(xen_platform_op, { cmd, interface_version: version });
    putStruct(
      guest.view,
      at + xen_platform_op.at.u,
      cmd === XENPF_settime32 ? xenpf_settime32 : xenpf_settime64,
      fields,
    );
    return guest.call(__HYPERVISOR_platform_op, at);
  };
  const offset = (guest: Guest, time_offset_seconds: number) =>
    rig.dom0.reset().domctl(XEN_DOMCTL_settimeoffset, guest.domid, xen_domctl_settimeoffset, { time_offset_seconds })
      .rc;

  it('fault 51: is set by dom0 for all domains, those to come too, and leaves system time alone', () => {
    const clock = new GuestClock(a.kernel(), rig.clock);
    expect(clock.wallMs()).toBeCloseTo(rig.clock.wallMs(), 0);
    const { version } = wall(a);
    const now = clock.now();
    expect(settime({ secs: 2_000_000_000, nsecs: 250_000_000, system_time: rig.clock.now() })).toBe(0);
    for (const guest of [a, rig.dom0, rig.guest()]) {
      const { sec, nsec } = wall(guest);
      expect(sec * 1e9 + nsec).toBe(2_000_000_000 * 1e9 + 250_000_000 - rig.clock.now());
    }
    expect(wall(a).version).not.toBe(version);
    expect(clock.wallMs()).toBe(2_000_000_000_250);
    expect(clock.now()).toBe(now);
    advance(1e9);
    expect(clock.wallMs()).toBe(2_000_000_001_250);
    // Timers are a matter of system time.
    expect(settime({ secs: 1000, system_time: 0 }, { cmd: XENPF_settime32 })).toBe(0);
    expect(clock.wallMs()).toBe(1_000_000 + rig.clock.now() / 1e6);
  });
  it('is refused to others, to other versions, with a field that must be zero, and for no time at all', () => {
    const before = wall(a);
    expect(settime({ secs: 1 }, { guest: a })).toBe(-XEN_EPERM);
    expect(settime({ secs: 1 }, { guest: a, version: 1 })).toBe(-XEN_EACCES);
    expect(settime({ secs: 1 }, { version: XENPF_INTERFACE_VERSION + 1 })).toBe(-XEN_EACCES);
    expect(settime({ secs: 1, mbz: 1 })).toBe(-XEN_EINVAL);
    for (const secs of [2 ** 41, 2 ** 63]) expect(settime({ secs })).toBe(-XEN_EINVAL);
    expect(settime({ secs: 1, system_time: 2 ** 63 })).toBe(-XEN_EINVAL);
    expect(settime({ secs: 1 }, { cmd: 1000 })).toBe(-XEN_ENOSYS);
    expect(rig.dom0.call(__HYPERVISOR_platform_op, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(wall(a)).toEqual(before);
  });
  it('of a domain is off by what settimeoffset says, forwards and backwards, also after it is set', () => {
    const b = rig.guest();
    expect(offset(a, 3600)).toBe(0);
    expect(wall(a).sec - wall(b).sec).toBe(3600);
    expect(offset(a, -7200)).toBe(0);
    expect(wall(a).sec - wall(b).sec).toBe(-7200);
    settime({ secs: 2 ** 32 + 100, system_time: rig.clock.now() });
    expect(wall(a).sec - wall(b).sec).toBe(-7200);
    expect(wall(b).sec).toBe(2 ** 32 + 99); // the host has been up for a second
    // There is no time before 1970.
    settime({ secs: 10, system_time: 0 });
    expect(wall(a)).toMatchObject({ sec: 0, nsec: 0 });
  });
  it('fault 51: follows a step of the host’s clock, and the time the machine slept, within a second', () => {
    rig = new CoreRig({ rawClock: () => rig.clock.now() });
    a = rig.guest();
    const clock = new GuestClock(a.kernel(), rig.clock);
    advance(1e9);
    const { version } = wall(a);
    rig.clock.wall += 1; // no step: it is read in whole milliseconds
    advance(1e9);
    expect(wall(a).version).toBe(version);
    rig.clock.wall += 8 * 3600_000; // asleep: the wall clock went on, system time did not
    advance(1e9);
    expect(clock.wallMs()).toBeCloseTo(rig.clock.wallMs(), -1);
    // Set by dom0, it goes on from there.
    settime({ secs: 1000, system_time: rig.clock.now() });
    rig.clock.wall -= 5000;
    advance(1e9);
    expect(clock.wallMs()).toBe(1000_000 - 5000 + 1000);
  });
});

describe('timers', () => {
  let port: number;
  beforeEach(() => {
    port = a.bindVirq(VIRQ_TIMER);
  });
  const periodic = (period_ns: number) =>
    a.vcpuOp(VCPUOP_set_periodic_timer, 0, a.reset().put(vcpu_set_periodic_timer, { period_ns }));
  const singleshot = (at: bigint) => {
    const arg = a.reset().put(vcpu_set_singleshot_timer);
    a.view.setBigUint64(arg + vcpu_set_singleshot_timer.at.timeout_abs_ns, at, true);
    return a.vcpuOp(VCPUOP_set_singleshot_timer, 0, arg);
  };

  it('V7 a periodic one stays in step, however late it is looked at', () => {
    const start = rig.clock.now();
    expect(periodic(10e6)).toBe(0);
    const ticks: number[] = [];
    for (const late of [3, 0, 9, 1, 250, 3, 0]) {
      rig.clock.ns = rig.hypervisor.nextDeadline()! + late * 1e6;
      rig.settle();
      expect(a.takePending(port)).toBe(true);
      a.clearUpcall();
      ticks.push((rig.hypervisor.nextDeadline()! - start) / 1e6);
    }
    expect(ticks).toEqual([20, 30, 40, 50, 310, 320, 330]);
  });
  it('V8 a deadline is signed: the upper half of a u64 is past, the lower half however far ahead is not', () => {
    for (const past of [2n ** 63n, 2n ** 64n - 1n, 2n ** 63n + 12345n]) {
      expect(singleshot(past)).toBe(0);
      expect(a.takePending(port)).toBe(true);
    }
    for (const far of [2n ** 63n - 1n, 2n ** 53n, 2n ** 60n]) {
      expect(singleshot(far)).toBe(0);
      advance(400 * 24 * 3600e9);
      expect(a.takePending(port)).toBe(far === 2n ** 53n);
    }
  });
  it('T3 a deadline no number holds is 100 ms from now on a machine that is up for years, too', () => {
    rig.clock.ns = 9e15 - 5;
    for (const timeout of [2 ** 53, 2 ** 63, 2 ** 64 - 1]) {
      expect(a.trap(__HYPERVISOR_set_timer_op, timeout)).toBe(0);
      expect(rig.hypervisor.nextDeadline()).toBe(rig.clock.now() + 100e6);
    }
  });
  it('S6 a poll’s timeout is signed as well', () => {
    const poll = (timeout: bigint) => {
      const ports = a.reset().putU32s([port]);
      const arg = a.put(sched_poll, { ports, nr_ports: 1 });
      a.view.setBigUint64(arg + sched_poll.at.timeout, timeout, true);
      return a.sched(SCHEDOP_poll, arg);
    };
    expect(poll(2n ** 63n)).toBe(0);
    expect(poll(2n ** 64n - 1n)).toBe(0);
    expect(poll(1n)).toBe(0);
    const results: number[] = [];
    a.vcpu.complete = result => results.push(result);
    expect(poll(2n ** 63n - 1n)).toBe(DEFERRED);
    advance(1000e9);
    expect(results).toEqual([]);
  });
  it('fault 52: a host that stood still for an hour tells of every timer once, in the order of their deadlines', () => {
    const guests = [a, rig.guest(), rig.guest()];
    const ports = [port, ...guests.slice(1).map(guest => guest.bindVirq(VIRQ_TIMER))];
    const told: number[] = [];
    guests.forEach((guest, i) => {
      guest.kernel();
      guest.trap(__HYPERVISOR_set_timer_op, rig.clock.now() + (3 - i) * 1e9);
      const { wake } = guest.vcpu;
      guest.vcpu.wake = () => {
        told.push(i);
        wake.call(guest.vcpu);
      };
    });
    periodic(1e6);
    advance(3600e9);
    // The periodic one of the first guest was due first of all; its single one finds the event there.
    expect(told).toEqual([0, 2, 1]);
    guests.forEach((guest, i) => {
      expect(guest.takePending(ports[i]!)).toBe(true);
    });
    expect(rig.hypervisor.nextDeadline()).toBe(rig.clock.now() + 1e6);
  });
  it('S9 a watchdog’s time passes while the host stands still', () => {
    a.sched(SCHEDOP_watchdog, a.reset().put(sched_watchdog, { id: 0, timeout: 10 }));
    const patient = rig.guest();
    patient.sched(SCHEDOP_watchdog, patient.reset().put(sched_watchdog, { id: 0, timeout: 10_000 }));
    advance(3600e9);
    expect([a.domain.isShutDown, a.domain.shutdownCode]).toEqual([true, SHUTDOWN_watchdog]);
    expect(patient.domain.isShutDown).toBe(false);
  });
  it('a domain’s time can be kept and given to its later self, on a host whose clock is another', () => {
    const parts = (clock: StoppedClock) => {
      const timers = new Timers();
      const fired: string[] = [];
      const life = { shutdown: () => fired.push('watchdog') } as unknown as ConstructorParameters<typeof Watchdogs>[2];
      const virqs = { raiseVcpu: () => fired.push('timer') } as unknown as ConstructorParameters<typeof VcpuTimers>[1];
      const vcpuTimers = new VcpuTimers(timers, virqs, clock);
      const watchdogs = new Watchdogs(timers, clock, life, rig.log);
      return { timers, fired, vcpuTimers, watchdogs, times: new DomainTimes(vcpuTimers, watchdogs) };
    };
    const here = parts(rig.clock);
    const domain = rig.guest({ vcpus: 2 }).domain;
    domain.timeOffsetSeconds = -60;
    const now = rig.clock.now();
    here.vcpuTimers.setSingleshot(domain.vcpus[0]!, now + 5e6);
    here.vcpuTimers.setPeriodic(domain.vcpus[1]!, 2e6, now + 1.5e6);
    here.watchdogs.set(domain, 0, 30);
    expect(here.watchdogs.set(domain, 0, 60)).toBe(2);
    here.watchdogs.set(domain, 1, 0);
    rig.clock.advance(1e6);
    const kept = JSON.parse(JSON.stringify(here.times.get(domain)));
    expect(kept).toEqual({
      offsetSeconds: -60,
      vcpus: [
        { singleshotIn: 4e6, periodNs: 0, tickIn: null },
        { singleshotIn: null, periodNs: 2e6, tickIn: 0.5e6 },
      ],
      watchdogs: [null, 60e9 - 1e6],
    });
    const clock = new StoppedClock();
    clock.ns = 77e9;
    const there = parts(clock);
    const later = rig.guest({ vcpus: 2 }).domain;
    there.times.set(later, kept);
    expect(later.timeOffsetSeconds).toBe(-60);
    const events: [number, number][] = [];
    for (let i = 0; i < 5; i++) {
      clock.ns = there.timers.nextDeadline()!;
      there.fired.length = 0;
      there.timers.runDue(clock.ns);
      events.push([(clock.ns - 77e9) / 1e6, there.fired.length]);
    }
    expect(events).toEqual([
      [0.5, 1],
      [2.5, 1],
      [4, 1],
      [4.5, 1],
      [6.5, 1],
    ]);
    expect(there.watchdogs.set(later, 2, 0)).toBe(0);
    expect(there.watchdogs.set(later, 1, 1)).toBe(-XEN_EINVAL);
  });
});
