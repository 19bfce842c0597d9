// All state as text, by debug key: what `xl debug-keys` puts into `xl dmesg`.
import { EVTCHNSTAT_interdomain, EVTCHNSTAT_ipi, EVTCHNSTAT_unbound, EVTCHNSTAT_virq } from '#pvbus';
import type { Domain } from './domain.ts';
import { reasonName } from './domain-life.ts';
import type { Hypervisor } from './hypervisor.ts';

type Section = (hypervisor: Hypervisor) => string[];

const KEYS: readonly (readonly [key: string, what: string, section: Section])[] = [
  ['q', 'domains and their vcpus', dumpDomains],
  ['e', 'event channels', dumpPorts],
  ['g', 'grants in use', dumpGrants],
  ['m', 'memory and pools', dumpMemory],
  ['a', 'timers', hypervisor => [`${hypervisor.timersPending} timers pending`]],
];

/** The lines a debug key prints; '*' prints everything, 'h' says what there is. */
export function dumpState(hypervisor: Hypervisor, key: string): string[] {
  if (key === 'h') return KEYS.map(([name, what]) => `key '${name}': ${what}`);
  const sections = key === '*' ? KEYS : KEYS.filter(([name]) => name === key);
  if (sections.length === 0) return [`no debug key '${key.replace(/[^\x21-\x7e]/g, '?')}'; 'h' lists them`];
  return sections.flatMap(([name, what, section]) => [`'${name}' pressed -> ${what}`, ...section(hypervisor)]);
}

function life(domain: Domain): string {
  if (domain.dying) return 'dying';
  if (domain.isShutDown) return `shut down (${reasonName(domain.shutdownCode)})`;
  if (!domain.creationFinished) return 'building';
  return domain.isPaused ? `paused ${domain.controllerPauses}` : 'running';
}

function dumpDomains(hypervisor: Hypervisor): string[] {
  const lines: string[] = [];
  for (const domain of hypervisor.domains.list()) {
    lines.push(
      `dom${domain.domid}: ${life(domain)}, ${domain.totPages} of ${domain.maxPages} pages` +
        (domain.crashMessage === undefined ? '' : `, ${domain.crashMessage.split('\n', 1)[0]}`),
    );
    for (const vcpu of domain.vcpus) {
      if (!vcpu.made) continue;
      const doing = vcpu.waiting ? `in a hypercall: ${vcpu.waiting.kind}` : vcpu.blocked ? 'blocked' : 'on line';
      lines.push(`  vcpu${vcpu.id}: ${vcpu.up ? doing : 'down'}, hears ${vcpu.hears.size} peers directly`);
    }
  }
  return lines.concat(hypervisor.teardowns.describe().map(line => `teardown of ${line}`));
}

function dumpPorts(hypervisor: Hypervisor): string[] {
  const lines: string[] = [];
  for (const domain of hypervisor.domains.list()) {
    lines.push(`dom${domain.domid}: ${domain.ports.open} ports`);
    for (let port = 1; port < domain.ports.used; port++) {
      const entry = domain.ports.opened(port);
      if (entry === undefined) continue;
      let what = '';
      if (entry.state === EVTCHNSTAT_unbound) what = `unbound, for dom${entry.remoteDomid}`;
      else if (entry.state === EVTCHNSTAT_virq) what = `virq ${entry.virq}`;
      else if (entry.state === EVTCHNSTAT_ipi) what = 'ipi';
      else if (entry.state === EVTCHNSTAT_interdomain)
        what = `dom${entry.remoteDomid} port ${entry.remotePort}, ${entry.pair ? `slot ${entry.slot}` : entry.local ? 'local' : 'mediated'}`;
      const bits = `${domain.eventAbi.pending(port, entry) ? 'p' : '-'}${domain.eventAbi.masked(port) ? 'm' : '-'}`;
      lines.push(`  ${port} [${bits}] vcpu${entry.notify_vcpu}: ${what}`);
    }
  }
  return lines;
}

function dumpGrants(hypervisor: Hypervisor): string[] {
  const lines: string[] = [];
  for (const domain of hypervisor.domains.list()) {
    const { grants } = domain;
    lines.push(
      `dom${domain.domid}: ${grants.frames} of ${grants.maxFrames} grant frames, ${grants.pinned} entries in use by others, ` +
        `${grants.mappings} mappings of others`,
    );
    if (grants.pinned === 0) continue;
    for (let ref = 0; ref < grants.entries; ref++)
      if (grants.pinsOf(ref) !== 0)
        lines.push(
          `  gref ${ref}: gfn ${grants.gfnOf(ref)}, dom${grants.mapperOf(ref)?.domid}, pins ${grants.pinsOf(ref).toString(16).padStart(8, '0')}`,
        );
  }
  return lines;
}

function dumpMemory(hypervisor: Hypervisor): string[] {
  const { host, pools, doorbells } = hypervisor;
  const lines = [
    `${host.freePages} of ${host.totalPages} pages free, ${host.outstandingPages} claimed, ${doorbells.size} doorbell pages`,
  ];
  for (const pool of pools.list())
    lines.push(
      `pool ${pool.id}: dom${pool.granter.domid} for dom${pool.grantee.domid}${pool.readonly ? ', read-only' : ''}: ` +
        `${pool.usedPages} pages, ${pool.pinnedPages} in use`,
    );
  return lines;
}
