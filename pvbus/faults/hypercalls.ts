// The hypercalls that faults can befall, by Xen's own names: a whole one, or one of its commands.
import {
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_reset,
  EVTCHNOP_send,
  EVTCHNOP_set_priority,
  EVTCHNOP_status,
  EVTCHNOP_unmask,
} from '../abi/event_channel.ts';
import {
  GNTTABOP_copy,
  GNTTABOP_map_grant_ref,
  GNTTABOP_query_size,
  GNTTABOP_setup_table,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_unmap_grant_ref,
} from '../abi/grant_table.ts';
import {
  MEMOP_EXTENT_SHIFT,
  XENMEM_add_to_physmap,
  XENMEM_decrease_reservation,
  XENMEM_increase_reservation,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
} from '../abi/memory.ts';
import { SCHEDOP_block, SCHEDOP_poll, SCHEDOP_shutdown, SCHEDOP_watchdog, SCHEDOP_yield } from '../abi/sched.ts';
import {
  VCPUOP_down,
  VCPUOP_initialise,
  VCPUOP_register_runstate_memory_area,
  VCPUOP_register_vcpu_info,
  VCPUOP_set_periodic_timer,
  VCPUOP_set_singleshot_timer,
  VCPUOP_stop_periodic_timer,
  VCPUOP_stop_singleshot_timer,
  VCPUOP_up,
} from '../abi/vcpu.ts';
import {
  __HYPERVISOR_console_io,
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_set_timer_op,
  __HYPERVISOR_vcpu_op,
  __HYPERVISOR_xen_version,
} from '../abi/xen.ts';
import { __HYPERVISOR_xenolith_op, XENOLITHOP_pool_populate, XENOLITHOP_pool_release } from '../abi/xenolith.ts';

interface Named {
  readonly nr: number;
  /** Its first argument; without, whatever that is. */
  readonly cmd?: number;
}

/** Whole ones. Of ours only two commands are a guest's. */
const WHOLE: Readonly<Record<string, number>> = {
  memory_op: __HYPERVISOR_memory_op,
  set_timer_op: __HYPERVISOR_set_timer_op,
  xen_version: __HYPERVISOR_xen_version,
  console_io: __HYPERVISOR_console_io,
  grant_table_op: __HYPERVISOR_grant_table_op,
  vcpu_op: __HYPERVISOR_vcpu_op,
  sched_op: __HYPERVISOR_sched_op,
  event_channel_op: __HYPERVISOR_event_channel_op,
};
const COMMANDS: Readonly<Record<number, Readonly<Record<string, number>>>> = {
  [__HYPERVISOR_memory_op]: {
    ...{ XENMEM_increase_reservation, XENMEM_decrease_reservation, XENMEM_populate_physmap },
    ...{ XENMEM_add_to_physmap, XENMEM_remove_from_physmap },
  },
  [__HYPERVISOR_grant_table_op]: {
    ...{ GNTTABOP_map_grant_ref, GNTTABOP_unmap_grant_ref, GNTTABOP_setup_table, GNTTABOP_copy },
    ...{ GNTTABOP_query_size, GNTTABOP_swap_grant_ref },
  },
  [__HYPERVISOR_vcpu_op]: {
    ...{ VCPUOP_initialise, VCPUOP_up, VCPUOP_down, VCPUOP_register_vcpu_info, VCPUOP_register_runstate_memory_area },
    ...{ VCPUOP_set_periodic_timer, VCPUOP_stop_periodic_timer },
    ...{ VCPUOP_set_singleshot_timer, VCPUOP_stop_singleshot_timer },
  },
  [__HYPERVISOR_sched_op]: { SCHEDOP_yield, SCHEDOP_block, SCHEDOP_shutdown, SCHEDOP_poll, SCHEDOP_watchdog },
  [__HYPERVISOR_event_channel_op]: {
    ...{ EVTCHNOP_alloc_unbound, EVTCHNOP_bind_interdomain, EVTCHNOP_bind_virq, EVTCHNOP_bind_ipi, EVTCHNOP_close },
    ...{ EVTCHNOP_send, EVTCHNOP_status, EVTCHNOP_bind_vcpu, EVTCHNOP_unmask, EVTCHNOP_reset },
    ...{ EVTCHNOP_init_control, EVTCHNOP_expand_array, EVTCHNOP_set_priority },
  },
  [__HYPERVISOR_xenolith_op]: { XENOLITHOP_pool_populate, XENOLITHOP_pool_release },
};

const BY_NAME = new Map<string, Named>();
for (const [name, nr] of Object.entries(WHOLE)) BY_NAME.set(name, { nr });
for (const [nr, commands] of Object.entries(COMMANDS))
  for (const [name, cmd] of Object.entries(commands)) BY_NAME.set(name, { nr: Number(nr), cmd });

/** What `op` of a fault of hypercalls may be. */
export const HYPERCALL_OPS: readonly string[] = [...BY_NAME.keys()];

/** The numbers of the hypercalls that it is for: one, or with no `op` all of the list. */
export function hypercallsOf(op: string | undefined): readonly number[] {
  const named = op === undefined ? undefined : BY_NAME.get(op);
  return named === undefined ? Object.values(WHOLE) : [named.nr];
}

/** Is a call of hypercall `nr`, whose first argument is `a0`, one of those that `op` names? */
export function isHypercall(op: string | undefined, nr: number, a0: number): boolean {
  if (op === undefined) return true; // asked of those of the list alone
  const named = BY_NAME.get(op);
  return named !== undefined && named.nr === nr && (named.cmd === undefined || named.cmd === commandOf(nr, a0));
}

/** As Xen calls it. */
export function hypercallName(nr: number, a0: number): string {
  const command = commandOf(nr, a0);
  const known = Object.entries(COMMANDS[nr] ?? {}).find(([, cmd]) => cmd === command)?.[0];
  return known ?? Object.entries(WHOLE).find(([, whole]) => whole === nr)?.[0] ?? `hypercall ${nr}`;
}

/** Xen: above the command of memory_op is where a call that was cut short goes on. */
const commandOf = (nr: number, a0: number): number =>
  nr === __HYPERVISOR_memory_op ? a0 & ((1 << MEMOP_EXTENT_SHIFT) - 1) : a0;
