// platform_op(operation): the hardware domain sets the wall clock. Xen: public/platform.h.
import {
  XEN_EACCES,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
  XENPF_INTERFACE_VERSION,
  XENPF_settime32,
  XENPF_settime64,
  xen_platform_op,
  xenpf_settime32,
  xenpf_settime64,
} from '#pvbus';
import type { Vcpu } from '../domain.ts';
import type { GuestClocks } from '../guest-clock.ts';
import { readU64 } from '../guest-memory.ts';
import { mayCall } from '../privilege.ts';

/** Dates beyond (the year 36812) and times of a machine that has been up for longer (285 years) make no sense. */
const MAX_SECONDS = 2 ** 40;

export class PlatformOp {
  private readonly guestClocks: GuestClocks;

  constructor(guestClocks: GuestClocks) {
    this.guestClocks = guestClocks;
  }

  call({ domain }: Vcpu, arg: number): number {
    if (!domain.physmap.reachable(arg, xen_platform_op.size)) return -XEN_EFAULT;
    const { view } = domain.memory;
    if (view.getUint32(arg + xen_platform_op.at.interface_version, true) !== XENPF_INTERFACE_VERSION)
      return -XEN_EACCES;
    if (!mayCall('platform_op', domain, domain)) return -XEN_EPERM;
    const u = arg + xen_platform_op.at.u;
    switch (view.getUint32(arg + xen_platform_op.at.cmd, true)) {
      case XENPF_settime32: {
        const { at } = xenpf_settime32;
        const sec = view.getUint32(u + at.secs, true);
        return this.settime(sec, view.getUint32(u + at.nsecs, true), readU64(view, u + at.system_time));
      }
      case XENPF_settime64: {
        const { at } = xenpf_settime64;
        if (view.getUint32(u + at.mbz, true) !== 0) return -XEN_EINVAL;
        const sec = readU64(view, u + at.secs);
        return this.settime(sec, view.getUint32(u + at.nsecs, true), readU64(view, u + at.system_time));
      }
      default:
        return -XEN_ENOSYS;
    }
  }
  private settime(sec: number, nsec: number, systemTime: number): number {
    if (sec > MAX_SECONDS || systemTime >= Number.MAX_SAFE_INTEGER) return -XEN_EINVAL;
    this.guestClocks.setWallClock(sec, nsec, systemTime);
    return 0;
  }
}
