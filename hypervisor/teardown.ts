// The end of a domain, in slices: what it had is given back in an order in which nobody can use what is gone.
import { type Log, VIRQ_DOM_EXC } from '#pvbus';
import type { Domain } from './domain.ts';
import type { DomainTable } from './domain-table.ts';
import type { DoorbellPages } from './doorbell-pages.ts';
import type { EventChannels } from './event-channels.ts';
import type { GrantTables } from './grant-tables.ts';
import type { HostMemory } from './memory.ts';
import type { Pools } from './pools.ts';
import type { Timers } from './timers.ts';
import type { VcpuTimers } from './vcpu-timers.ts';
import type { Virqs } from './virq.ts';

/** Ports or mappings taken down in one step. */
const SLICE = 128;

/** How far the end of a dying domain has come. */
interface Teardown {
  readonly domain: Domain;
  phase: 'ports' | 'mappings' | 'process' | 'memory' | 'zombie';
  next: number;
}

export interface TeardownParts {
  readonly log: Log;
  readonly domains: DomainTable;
  readonly host: HostMemory;
  readonly events: EventChannels;
  readonly virqs: Virqs;
  readonly grants: GrantTables;
  readonly pools: Pools;
  readonly doorbells: DoorbellPages;
  readonly timers: Timers;
  readonly vcpuTimers: VcpuTimers;
  readonly memoryGoing: (domain: Domain) => void;
}

export class Teardowns {
  private readonly parts: TeardownParts;
  private readonly ending: Teardown[] = [];

  constructor(parts: TeardownParts) {
    this.parts = parts;
  }

  /** The domain is dying. */
  begin(domain: Domain): void {
    this.ending.push({ domain, phase: 'ports', next: 1 });
  }

  /** One slice of one dying domain's teardown. True when something was done. */
  step(): boolean {
    for (let i = 0; i < this.ending.length; i++) {
      const teardown = this.ending.shift()!;
      const moved = this.advance(teardown);
      if (!teardown.domain.gone) this.ending.push(teardown);
      if (moved) return true;
    }
    return false;
  }
  private advance(teardown: Teardown): boolean {
    const { domain } = teardown;
    const { events, grants, virqs, vcpuTimers, timers, host, pools } = this.parts;
    switch (teardown.phase) {
      case 'ports':
        teardown.next = events.closeFrom(domain, teardown.next, SLICE);
        if (teardown.next < domain.ports.used) return true;
        for (const vcpu of domain.vcpus) vcpuTimers.stopAll(vcpu);
        for (const timer of domain.watchdogs) if (timer) timers.stop(timer);
        virqs.clearHandler(domain);
        host.unclaim(domain);
        teardown.phase = 'mappings';
        teardown.next = 0;
        return true;
      case 'mappings':
        teardown.next = grants.unmapFrom(domain, teardown.next, SLICE);
        if (teardown.next < domain.grants.handleEnd) return true;
        pools.granteeGone(domain);
        teardown.phase = 'process';
        return true;
      case 'process':
        // order: memory last. The process may write to it until it is reaped.
        if (domain.hasProcess) return false;
        teardown.phase = 'memory';
        return true;
      case 'memory': {
        const kept = Math.min(pools.pinnedPagesOf(domain), domain.totPages);
        if (domain.hasMemory) {
          this.parts.memoryGoing(domain);
          domain.memory.discard(0, domain.layout.frames);
          domain.memory.release();
        }
        host.give(domain, domain.totPages - kept);
        virqs.raiseGlobal(VIRQ_DOM_EXC);
        teardown.phase = 'zombie';
        return true;
      }
      case 'zombie':
        // Others still have pages of it mapped: they stay until the last mapping goes, and with them the domid.
        if (domain.grants.pinned > 0) return false;
        this.finish(domain);
        return true;
    }
  }
  private finish(domain: Domain): void {
    const { domains, host, pools, doorbells, virqs, log } = this.parts;
    pools.releaseOf(domain);
    host.give(domain, domain.totPages);
    domain.gone = true;
    domains.remove(domain);
    for (const other of domains.list()) if (other.target === domain) other.target = undefined;
    doorbells.forget(domain, domains.list());
    domain.console.finish();
    log.info(`dom${domain.domid}: gone`);
    virqs.raiseGlobal(VIRQ_DOM_EXC);
  }

  /** Domains that are still dying: for the dump. */
  describe(): string[] {
    return this.ending.map(({ domain, phase }) => `dom${domain.domid}: ${phase}`);
  }
}
