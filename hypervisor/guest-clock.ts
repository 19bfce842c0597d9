// What a domain is told of time: vcpu_time_info and the wall clock in shared_info. Xen: public/xen.h.
import { type Clock, PAGE_SIZE, setU64, shared_info, vcpu_time_info, XEN_PVCLOCK_TSC_STABLE_BIT } from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';

/** The TSC of this architecture is the monotonic clock in ns, so that system time is the TSC itself. */
export function writeTime(vcpu: Vcpu, now: number): void {
  const { view, at } = vcpu.info.timeAddress;
  writeTimeAt(view, at, now);
  // The guest may have given the frame away since it registered the area.
  const { timeArea, domain } = vcpu;
  if (timeArea >= 0 && domain.physmap.reachable(timeArea, vcpu_time_info.size))
    writeTimeAt(domain.memory.view, timeArea, now);
}
function writeTimeAt(view: DataView, base: number, now: number): void {
  const { at } = vcpu_time_info;
  const version = (view.getUint32(base + at.version, true) | 1) >>> 0;
  view.setUint32(base + at.version, version, true);
  setU64(view, base + at.tsc_timestamp, now);
  setU64(view, base + at.system_time, now);
  // ((tsc << 1) * 2^31) >> 32 = tsc
  view.setUint32(base + at.tsc_to_system_mul, 0x80000000, true);
  view.setInt8(base + at.tsc_shift, 1);
  view.setUint8(base + at.flags, XEN_PVCLOCK_TSC_STABLE_BIT);
  view.setUint32(base + at.version, (version + 1) >>> 0, true);
}

/** The wall clock at system time 0, moved by the domain's offset. */
export function writeWallClock(domain: Domain, clock: Clock): void {
  if (!domain.hasMemory) return;
  const { view } = domain.memory;
  const base = domain.layout.sharedInfo * PAGE_SIZE;
  const { at } = shared_info;
  const boot = Math.max(0, clock.wallMs() / 1000 + domain.timeOffsetSeconds - clock.now() / 1e9);
  const version = (view.getUint32(base + at.wc_version, true) | 1) >>> 0;
  view.setUint32(base + at.wc_version, version, true);
  view.setUint32(base + at.wc_sec, Math.floor(boot) % 2 ** 32, true);
  view.setUint32(base + at.wc_sec_hi, Math.floor(boot / 2 ** 32), true);
  view.setUint32(base + at.wc_nsec, Math.floor((boot % 1) * 1e9), true);
  view.setUint32(base + at.wc_version, (version + 1) >>> 0, true);
}
