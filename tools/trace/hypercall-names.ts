// What to call a hypercall for a person: its own name, and its command's where there is one.
import * as pvbus from '#pvbus';

const NUMBERS = pvbus as unknown as Record<string, unknown>;

/** number -> the rest of the name that begins with `prefix`. The first of two names with a number is it. */
function namesOf(prefix: string): Map<number, string> {
  const names = new Map<number, string>();
  for (const [name, value] of Object.entries(NUMBERS)) {
    if (!name.startsWith(prefix) || typeof value !== 'number') continue;
    if (!names.has(value)) names.set(value, name.slice(prefix.length));
  }
  return names;
}

const hypercalls = namesOf('__HYPERVISOR_');
const commands = new Map<number, Map<number, string>>([
  [pvbus.__HYPERVISOR_event_channel_op, namesOf('EVTCHNOP_')],
  [pvbus.__HYPERVISOR_grant_table_op, namesOf('GNTTABOP_')],
  [pvbus.__HYPERVISOR_sched_op, namesOf('SCHEDOP_')],
  [pvbus.__HYPERVISOR_vcpu_op, namesOf('VCPUOP_')],
  [pvbus.__HYPERVISOR_memory_op, namesOf('XENMEM_')],
  [pvbus.__HYPERVISOR_xenolith_op, namesOf('XENOLITHOP_')],
]);

/** `cmd`: its first argument, where that was recorded. */
export function hypercallName(nr: number, cmd: number | undefined): string {
  const name = hypercalls.get(nr) ?? `hypercall ${nr}`;
  if (cmd === undefined) return name;
  // Xen: the upper bits of a memory_op's command say where to go on.
  return `${name} ${commands.get(nr)?.get(nr === pvbus.__HYPERVISOR_memory_op ? cmd & 0x3f : cmd) ?? cmd}`;
}
