// What --json of a listing is made of: one line, numbers as numbers. docs/xl-json.md has the schema, which only grows.

import { type DomainInfo, reasonWord } from '#pvbus';
import { stateLetters, stateWord } from '../domain-state.ts';
import type { CommandContext } from './command.ts';

export function printJson({ out }: Pick<CommandContext, 'out'>, value: unknown): number {
  out(JSON.stringify(value));
  return 0;
}

/** A domain, wherever one is listed as such. */
export function domainJson(domain: DomainInfo) {
  return {
    domid: domain.domid,
    name: domain.name,
    uuid: domain.uuid,
    memory_kib: domain.current_kb,
    claimed_kib: domain.outstanding_kb,
    max_memory_kib: domain.max_kb,
    vcpus: domain.vcpu_online,
    max_vcpus: domain.vcpu_max_id + 1,
    cpu_time_ns: domain.cpu_time,
    state: stateWord(domain),
    flags: stateLetters(domain),
    shutdown_reason: domain.shutdown ? reasonWord(domain.shutdown_reason) : null,
    cpupool: domain.cpupool,
    security_label: domain.ssid_label,
  };
}

/** -1 is xl's word for what is not there yet. */
export const orNull = (value: number): number | null => (value < 0 ? null : value);
