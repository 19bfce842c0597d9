// What time a guest has: monotonic since the host started, the wall clock as Xen's offset to it, and how long it ran.
import {
  __HYPERVISOR_vcpu_op,
  type Clock,
  checked,
  getU64,
  RUNSTATE_running,
  shared_info,
  systemClock,
  VCPUOP_get_runstate_info,
  type Vcpu,
  vcpu_runstate_info,
} from '#pvbus';

const WC_VERSION = shared_info.at.wc_version / 4;
const WC_SEC = shared_info.at.wc_sec / 4;
const WC_NSEC = shared_info.at.wc_nsec / 4;
const WC_SEC_HI = shared_info.at.wc_sec_hi / 4;

/**
 * Xen's system time is CLOCK_MONOTONIC here, which a guest reads by itself: it costs less than vcpu_time_info's
 * arithmetic, and is what that is made from. Only what is added to it to get the wall clock is in shared_info, where
 * dom0 may change it without touching the first.
 */
export class GuestClock implements Clock {
  private readonly vcpu: Vcpu;
  private readonly words: Int32Array;
  private readonly real: Clock;

  constructor(vcpu: Vcpu, real: Clock = systemClock) {
    this.vcpu = vcpu;
    this.words = vcpu.memory.page(vcpu.layout.sharedInfo).words;
    this.real = real;
  }
  now(): number {
    return this.real.now();
  }
  /** Virtual time, ns: how long this vCPU has run. It stands still while the vCPU sleeps, waits or is stopped. */
  virtual(): number {
    const { vcpu } = this;
    const at = vcpu.scratch.reset().alloc(vcpu_runstate_info.size);
    checked(vcpu.hypercall(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, vcpu.id, at), 'get_runstate_info');
    return getU64(vcpu.scratch.view, at + vcpu_runstate_info.at.time + 8 * RUNSTATE_running);
  }
  wallMs(): number {
    const { words } = this;
    // Xen: odd while it is being written; try again then, and when it changed meanwhile.
    for (let attempt = 0; attempt < 1000; attempt++) {
      const version = Atomics.load(words, WC_VERSION);
      const seconds = (Atomics.load(words, WC_SEC) >>> 0) + (Atomics.load(words, WC_SEC_HI) >>> 0) * 2 ** 32;
      const nanoseconds = Atomics.load(words, WC_NSEC) >>> 0;
      if ((version & 1) !== 0 || Atomics.load(words, WC_VERSION) !== version) continue;
      if (seconds === 0) break; // nobody has set it
      return seconds * 1000 + (nanoseconds + this.real.now()) / 1e6;
    }
    return this.real.wallMs();
  }
}

/** Programs see `Date` through this: the class, with what "now" means replaced. */
export function guestDate(clock: Clock): DateConstructor {
  const now = (): number => Math.floor(clock.wallMs());
  return new Proxy(Date, {
    construct: (date, args, newTarget) => Reflect.construct(date, args.length === 0 ? [now()] : args, newTarget),
    apply: () => new Date(now()).toString(),
    get: (date, key, receiver) => (key === 'now' ? now : Reflect.get(date, key, receiver)),
  });
}
