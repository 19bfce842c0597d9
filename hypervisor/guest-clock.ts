// What domains are told of time: vcpu_time_info and the wall clock in shared_info. Xen: public/xen.h.
import { type Clock, PAGE_SIZE, setU64, shared_info, vcpu_time_info, XEN_PVCLOCK_TSC_STABLE_BIT } from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';
import type { DomainTable } from './domain-table.ts';
import type { WallClock } from './wall-clock.ts';

/** The two clocks are compared this often; between, the pages tell how one follows from the other. */
const EPOCH_NS = 1e9;
/** So much earlier is as good, when the hypervisor is awake for something else. */
const SLACK_NS = 300e6;
/** Linux speeds a clock up or slows it down by no more. */
const MAX_SLEW = 0.001;
const SLOWEST_KHZ = 1e6;

export interface GuestClockParts {
  readonly clock: Clock;
  readonly wallClock: WallClock;
  readonly domains: DomainTable;
  /** CLOCK_MONOTONIC_RAW in ns; undefined: system time, which then needs no comparing. */
  readonly raw?: (() => number) | undefined;
  /** The nominal frequency of what is called the TSC: JavaScript cannot read the real one. */
  readonly khz: number;
}

/** Both clocks at one moment. */
interface Stamp {
  readonly raw: number;
  readonly system: number;
}

export class GuestClocks {
  private readonly parts: GuestClockParts;
  private readonly khz: number;
  private stamp: Stamp;
  /** How many ns of system time one of CLOCK_MONOTONIC_RAW was lately. */
  private slope = 1;
  private due: number | undefined;

  constructor(parts: GuestClockParts) {
    this.parts = parts;
    this.khz = parts.khz > 0 ? parts.khz : SLOWEST_KHZ;
    this.stamp = this.read();
    if (parts.raw !== undefined) this.due = this.stamp.system + EPOCH_NS;
  }
  private read(): Stamp {
    const { clock, raw } = this.parts;
    const before = raw?.();
    const system = clock.now();
    return { raw: before === undefined ? system : (before + raw!()) / 2, system };
  }

  /** When `step` has something to do, ns; undefined: never. */
  get deadline(): number | undefined {
    return this.due;
  }
  /** True when it was time to look at the clocks. */
  step(now: number): boolean {
    if (this.due === undefined || now < this.due - SLACK_NS) return false;
    const before = this.stamp;
    this.stamp = this.read();
    const slope = (this.stamp.system - before.system) / (this.stamp.raw - before.raw);
    if (Math.abs(slope - 1) < MAX_SLEW) this.slope = slope;
    this.due = this.stamp.system + EPOCH_NS;
    const stepped = this.parts.wallClock.follow();
    for (const domain of this.parts.domains.list()) {
      if (!domain.hasMemory || domain.dying) continue;
      for (const vcpu of domain.vcpus) if (vcpu.made) this.writeTime(vcpu);
      if (stepped) this.writeWallClock(domain);
    }
    return true;
  }

  /** Write vcpu_time_info, and the second one that the vCPU has registered. */
  writeTime(vcpu: Vcpu): void {
    const { words, view, at } = vcpu.info.timeAddress;
    this.writeTimeAt(words, view, at);
    // The guest may have given the frame away since it registered the area.
    const { timeArea, domain } = vcpu;
    if (timeArea >= 0 && domain.physmap.reachable(timeArea, vcpu_time_info.size))
      this.writeTimeAt(domain.memory.words, domain.memory.view, timeArea);
  }
  private writeTimeAt(words: Int32Array, view: DataView, base: number): void {
    const { at } = vcpu_time_info;
    const { mul, shift } = timeScale((this.slope * 1e6) / this.khz);
    whileOdd(words, (base + at.version) / 4, () => {
      setU64(view, base + at.tsc_timestamp, Math.round((this.stamp.raw * this.khz) / 1e6));
      setU64(view, base + at.system_time, Math.round(this.stamp.system));
      view.setUint32(base + at.tsc_to_system_mul, mul, true);
      view.setInt8(base + at.tsc_shift, shift);
      // Where the clocks are compared anew a page may be a little ahead of another one.
      view.setUint8(base + at.flags, this.due === undefined ? XEN_PVCLOCK_TSC_STABLE_BIT : 0);
    });
  }

  /** Write the wall clock at system time 0 as the domain is to have it. */
  writeWallClock(domain: Domain): void {
    if (!domain.hasMemory) return;
    const { view, words } = domain.memory;
    const base = domain.layout.sharedInfo * PAGE_SIZE;
    const { at } = shared_info;
    const { sec, nsec } = this.parts.wallClock.atBoot(domain.timeOffsetSeconds);
    whileOdd(words, (base + at.wc_version) / 4, () => {
      view.setUint32(base + at.wc_sec, sec % 2 ** 32, true);
      view.setUint32(base + at.wc_sec_hi, Math.floor(sec / 2 ** 32), true);
      view.setUint32(base + at.wc_nsec, nsec, true);
    });
  }
  /** XENPF_settime: the wall clock of all domains is another one from here on. */
  setWallClock(sec: number, nsec: number, systemTime: number): void {
    this.parts.wallClock.set(sec, nsec, systemTime);
    for (const domain of this.parts.domains.list()) this.writeWallClock(domain);
  }
}

/** How ticks of so many ns become ns: ((ticks << shift) * mul) >> 32, with as many bits in `mul` as there are. */
export function timeScale(nsPerTick: number): { mul: number; shift: number } {
  let shift = 0;
  let ns = nsPerTick;
  for (; ns >= 1; shift++) ns /= 2;
  for (; ns < 0.5; shift--) ns *= 2;
  return { mul: Math.min(Math.round(ns * 2 ** 32), 0xffffffff), shift };
}

/**
 * Xen: a version is odd while what it stands for is written, and another one afterwards: who reads sees the whole of one.
 * untrusted: the guest may write to it; whatever it is, it is even at the end.
 */
function whileOdd(words: Int32Array, version: number, write: () => void): void {
  const odd = Atomics.load(words, version) | 1;
  // order: odd, the content, even. Atomic stores are not moved past others.
  Atomics.store(words, version, odd);
  write();
  Atomics.store(words, version, (odd + 1) | 0);
}
