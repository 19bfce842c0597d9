// Xen: public/sched.h. sched_op(cmd, argument struct).

import { cursorOf, struct } from '../struct.ts';

export const SCHEDOP_yield = 0; // no argument
export const SCHEDOP_block = 1; // no argument: enable upcalls, then sleep until an event is pending
export const SCHEDOP_shutdown = 2;
export const SCHEDOP_poll = 3;
export const SCHEDOP_remote_shutdown = 4;
export const SCHEDOP_shutdown_code = 5; // argument: sched_shutdown
export const SCHEDOP_watchdog = 6;
export const SCHEDOP_pin_override = 7;

export const sched_shutdown = struct('sched_shutdown', 4, { reason: 'u32' });
export const SchedShutdown = cursorOf(sched_shutdown);

/** Sleep until one of the ports is pending (even masked) or `timeout` (absolute ns of system time; 0: none). */
export const sched_poll = struct('sched_poll', 24, { ports: 'u64', nr_ports: 'u32', timeout: 'u64' });
export const SchedPoll = cursorOf(sched_poll);

export const sched_remote_shutdown = struct('sched_remote_shutdown', 8, { domain_id: 'u16', reason: 'u32' });
export const SchedRemoteShutdown = cursorOf(sched_remote_shutdown);

/** id 0 makes a new watchdog; timeout in seconds, 0 stops. */
export const sched_watchdog = struct('sched_watchdog', 8, { id: 'u32', timeout: 'u32' });
export const SchedWatchdog = cursorOf(sched_watchdog);

export const sched_pin_override = struct('sched_pin_override', 4, { pcpu: 'i32' });
export const SchedPinOverride = cursorOf(sched_pin_override);

export const SHUTDOWN_poweroff = 0;
export const SHUTDOWN_reboot = 1;
export const SHUTDOWN_suspend = 2;
export const SHUTDOWN_crash = 3;
export const SHUTDOWN_watchdog = 4;
export const SHUTDOWN_soft_reset = 5;
export const SHUTDOWN_MAX = 5;
