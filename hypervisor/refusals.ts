// What guests were refused, counted: one that goes on asking for what it may not have, or for what cannot be, is named.
import {
  __HYPERVISOR_domctl,
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_platform_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_sysctl,
  __HYPERVISOR_vcpu_op,
  type Log,
} from '#pvbus';
import type { Domain } from './domain.ts';

/** A guest that works hears a refusal now and then. */
const UNREMARKABLE = 63;

const NAMES: Readonly<Record<number, string>> = {
  [__HYPERVISOR_memory_op]: 'memory_op',
  [__HYPERVISOR_platform_op]: 'platform_op',
  [__HYPERVISOR_grant_table_op]: 'grant_table_op',
  [__HYPERVISOR_vcpu_op]: 'vcpu_op',
  [__HYPERVISOR_sched_op]: 'sched_op',
  [__HYPERVISOR_event_channel_op]: 'event_channel_op',
  [__HYPERVISOR_sysctl]: 'sysctl',
  [__HYPERVISOR_domctl]: 'domctl',
};

export class Refusals {
  private readonly log: Pick<Log, 'warn'>;
  /** By domain, of each hypercall. */
  private readonly counts = new WeakMap<Domain, Map<number, number>>();

  constructor(log: Pick<Log, 'warn'>) {
    this.log = log;
  }
  /** `domain` asked hypercall `nr` for `cmd` and heard `why`. One line for each doubling, however it goes on. */
  note(domain: Domain, nr: number, cmd: number | undefined, why: () => string): void {
    if (domain.isPrivileged) return;
    const counts = this.counts.get(domain) ?? new Map<number, number>();
    this.counts.set(domain, counts);
    // What is no hypercall counts as one.
    const known = NAMES[nr] === undefined ? -1 : nr;
    const n = (counts.get(known) ?? 0) + 1;
    counts.set(known, n);
    if (n <= UNREMARKABLE || (n & (n - 1)) !== 0) return;
    const what = NAMES[nr] === undefined ? `hypercall ${nr}` : `${NAMES[nr]}${cmd === undefined ? '' : ` ${cmd}`}`;
    this.log.warn(`dom${domain.domid}: ${what} refused: ${why()}; ${n} refusals so far`);
  }
}
