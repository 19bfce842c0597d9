// What of time belongs to a domain, as a record that can be kept: everything counts from the moment it was made.
import type { Domain } from './domain.ts';
import type { VcpuTime, VcpuTimers } from './vcpu-timers.ts';
import type { Watchdogs } from './watchdogs.ts';

export interface DomainTime {
  /** Of its wall clock to Xen's. */
  readonly offsetSeconds: number;
  /** By vCPU. */
  readonly vcpus: readonly VcpuTime[];
  readonly watchdogs: readonly (number | null)[];
}

export class DomainTimes {
  private readonly timers: VcpuTimers;
  private readonly watchdogs: Watchdogs;

  constructor(timers: VcpuTimers, watchdogs: Watchdogs) {
    this.timers = timers;
    this.watchdogs = watchdogs;
  }
  get(domain: Domain): DomainTime {
    return {
      offsetSeconds: domain.timeOffsetSeconds,
      vcpus: domain.vcpus.map(vcpu => this.timers.save(vcpu)),
      watchdogs: this.watchdogs.save(domain),
    };
  }
  /** `domain` is new, has as many vCPUs and no timers. What was due in between fires at once. */
  set(domain: Domain, { offsetSeconds, vcpus, watchdogs }: DomainTime): void {
    domain.timeOffsetSeconds = offsetSeconds;
    vcpus.forEach((time, id) => {
      this.timers.restore(domain.vcpus[id]!, time);
    });
    this.watchdogs.restore(domain, watchdogs);
  }
}
