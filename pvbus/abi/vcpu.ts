// Xen: public/vcpu.h. vcpu_op(cmd, vcpu id, argument struct).

import { cursorOf, struct, union } from '../struct.ts';

export const VCPUOP_initialise = 0; // argument: vcpu_guest_context
export const VCPUOP_up = 1;
export const VCPUOP_down = 2;
export const VCPUOP_is_up = 3; // returns 1 or 0
export const VCPUOP_get_runstate_info = 4;
export const VCPUOP_register_runstate_memory_area = 5;
export const VCPUOP_set_periodic_timer = 6;
export const VCPUOP_stop_periodic_timer = 7;
export const VCPUOP_set_singleshot_timer = 8;
export const VCPUOP_stop_singleshot_timer = 9;
export const VCPUOP_register_vcpu_info = 10;
export const VCPUOP_send_nmi = 11;
export const VCPUOP_get_physid = 12;
export const VCPUOP_register_vcpu_time_memory_area = 13;
export const VCPUOP_register_runstate_phys_area = 14; // Xen after 4.17
export const VCPUOP_register_vcpu_time_phys_area = 15; // Xen after 4.17

export const RUNSTATE_running = 0; // on a physical CPU
export const RUNSTATE_runnable = 1; // could run, has no CPU
export const RUNSTATE_blocked = 2; // waits for an event
export const RUNSTATE_offline = 3; // neither: down, paused or stopped

/** Nanoseconds spent in each RUNSTATE_*; the sum is the time since the vCPU was made. */
export const vcpu_runstate_info = struct('vcpu_runstate_info', 48, {
  state: 'i32',
  state_entry_time: 'u64', // XEN_RUNSTATE_UPDATE in its top bit
  time: { of: 'u64', count: 4 },
});
export const VcpuRunstateInfo = cursorOf(vcpu_runstate_info);
/** XEN_RUNSTATE_UPDATE is bit 63 of state_entry_time; this is its place in the high half. */
export const XEN_RUNSTATE_UPDATE_hi = 0x80000000;

export const vcpu_register_runstate_memory_area_addr = union('vcpu_register_runstate_memory_area_addr', 8, {
  h: 'u64',
  v: 'u64',
  p: 'u64',
});
export const vcpu_register_runstate_memory_area = struct('vcpu_register_runstate_memory_area', 8, {
  addr: vcpu_register_runstate_memory_area_addr,
});

export const vcpu_set_periodic_timer = struct('vcpu_set_periodic_timer', 8, { period_ns: 'u64' });
export const VcpuSetPeriodicTimer = cursorOf(vcpu_set_periodic_timer);

/** timeout_abs_ns: system time. */
export const vcpu_set_singleshot_timer = struct('vcpu_set_singleshot_timer', 16, {
  timeout_abs_ns: 'u64',
  flags: 'u32', // VCPU_SSHOTTMR_*
});
export const VcpuSetSingleshotTimer = cursorOf(vcpu_set_singleshot_timer);
export const VCPU_SSHOTTMR_future = 1 << 0; // ask for -ETIME when the time has passed

/** Move the vCPU's vcpu_info to `offset` in frame `mfn`: once, never across a page. */
export const vcpu_register_vcpu_info = struct('vcpu_register_vcpu_info', 16, {
  mfn: 'u64',
  offset: 'u32',
  rsvd: 'u32',
});
export const VcpuRegisterVcpuInfo = cursorOf(vcpu_register_vcpu_info);

export const vcpu_get_physid = struct('vcpu_get_physid', 8, { phys_id: 'u64' });
export const VcpuGetPhysid = cursorOf(vcpu_get_physid);

export const vcpu_register_time_memory_area_addr = union('vcpu_register_time_memory_area_addr', 8, {
  h: 'u64',
  v: 'u64',
  p: 'u64',
});
export const vcpu_register_time_memory_area = struct('vcpu_register_time_memory_area', 8, {
  addr: vcpu_register_time_memory_area_addr,
});
