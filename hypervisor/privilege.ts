// Who may call what. The one table; a handler asks it by the name of the action.
import type { Domain } from './domain.ts';

/**
 * target: a domain on itself, else as dm_priv. xs_priv: the xenstore domain, else as
 * dm_priv. dm_priv: a domain whose `target` is the subject, else as priv. priv: the control domain.
 * outlives: ours: the control domain, and one whose process is a program of the host's, each on itself.
 * Actions that are not here are everybody's. Xen: include/xsm/dummy.h, the default policy.
 */
type Rule = 'target' | 'xs_priv' | 'dm_priv' | 'priv' | 'outlives';

const RULES = {
  evtchn_unbound: 'target',
  evtchn_status: 'target',
  evtchn_reset: 'target',
  grant_setup: 'target',
  grant_query_size: 'target',
  memory_adjust_reservation: 'target',
  memory_stat_reservation: 'target',
  memory_exchange: 'target',
  add_to_physmap: 'target',
  remove_from_physmap: 'target',
  claim_pages: 'priv',
  domain_resource_map: 'dm_priv',
  schedop_shutdown: 'dm_priv',
  console_io: 'priv',
  xen_commandline: 'priv',
  xen_build_id: 'priv',
  getdomaininfo: 'xs_priv',
  domctl: 'priv',
  sysctl: 'priv',
  platform_op: 'priv',
  pool: 'target',
  map_foreign: 'priv',
  service: 'priv',
  confinement: 'priv',
  strike: 'priv',
  exhaust: 'priv',
  replacement: 'priv',
  fault: 'priv',
  inherited: 'outlives',
  succession: 'priv',
} as const satisfies Record<string, Rule>;

export type Action = keyof typeof RULES;

/** May `caller` do this to `subject`? Actions on the whole host have the caller itself as subject. */
export function mayCall(action: Action, caller: Domain, subject: Domain): boolean {
  const rule: Rule = RULES[action];
  switch (rule) {
    case 'target':
      return caller === subject || controls(caller, subject);
    case 'xs_priv':
      return caller.isXenstore || controls(caller, subject);
    case 'dm_priv':
      return controls(caller, subject);
    case 'priv':
      return caller.isPrivileged;
    case 'outlives':
      return caller === subject && (caller.isPrivileged || caller.service !== 0);
  }
}

const controls = (caller: Domain, subject: Domain): boolean => caller.isPrivileged || caller.target === subject;
