// Xen: public/platform.h. platform_op(xen_platform_op), for the hardware domain.

import { cursorOf, struct, union } from '../struct.ts';

export const XENPF_INTERFACE_VERSION = 0x03000001;

/** The wall clock is to say `secs` and `nsecs` since 1970 at system time `system_time`. */
export const XENPF_settime32 = 17;
export const XENPF_settime64 = 62;
export const xenpf_settime32 = struct('xenpf_settime32', 16, { secs: 'u32', nsecs: 'u32', system_time: 'u64' });
export const xenpf_settime64 = struct('xenpf_settime64', 24, {
  secs: 'u64',
  nsecs: 'u32',
  mbz: 'u32',
  system_time: 'u64',
});

export const xen_platform_op_u = union('xen_platform_op_u', 128, {
  settime32: xenpf_settime32,
  settime64: xenpf_settime64,
  pad: { of: 'u8', count: 128 },
});
export const xen_platform_op = struct('xen_platform_op', 136, {
  cmd: 'u32',
  interface_version: 'u32', // XENPF_INTERFACE_VERSION
  u: xen_platform_op_u,
});
export const XenPlatformOp = cursorOf(xen_platform_op);
