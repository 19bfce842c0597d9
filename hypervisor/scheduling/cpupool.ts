// pCPUs, and the pools they are in. A pool's policy decides about its pCPUs alone.
import { XEN_SCHEDULER_NULL, XEN_SCHEDULER_RTDS } from '#pvbus';
import type { Vcpu } from '../domain.ts';
import { CpuSet } from '../policies/cpu-set.ts';
import type { Policy } from '../policies/policy.ts';
import type { Timer } from '../timers.ts';
import type { Unit } from './unit.ts';

export class Pcpu {
  readonly id: number;
  pool: Cpupool | undefined;
  /** Who has it, in a contended pool. */
  current: Unit | undefined;
  /** Asleep, and has kept its grant: it may run here when it wakes, if nobody else does by then. */
  kept: Unit | undefined;
  /** The end of the slice. */
  readonly slice: Timer;
  /** Since when nobody has it, and how long nobody had it before, in ns. */
  idleSince: number;
  idleNs = 0;

  constructor(id: number, slice: Timer, now: number) {
    this.id = id;
    this.slice = slice;
    this.idleSince = now;
  }
  /** Time that no domU has had it for, as far as a free pool can tell: to be read in a contended one. */
  idle(now: number): number {
    return this.idleNs + (this.current === undefined ? now - this.idleSince : 0);
  }
}

/** One place where a pCPU's vCPU changes: for traces. */
export type OnSwitch = (cpu: number, from: Vcpu | undefined, to: Vcpu | undefined, now: number) => void;

export class Cpupool {
  readonly id: number;
  readonly policy: Policy;
  readonly cpus: CpuSet;
  private readonly maxCpus: number;
  readonly units = new Set<Unit>();
  /** When the policy has something to do by itself. */
  readonly event: Timer;
  nrCpus = 0;
  /**
   * In a free pool every vCPU has a grant, also asleep, and the policy is asked nothing: at most as many run as
   * there are pCPUs. In a contended one only those have a grant that the policy has given a pCPU to.
   */
  contended = false;
  /** Times in a row that the pool did not look like what it is. */
  doubts = 0;
  /** Domains with a cap: it holds also while nobody else wants the pCPU. */
  capped = 0;

  constructor(id: number, policy: Policy, maxCpus: number, event: Timer) {
    this.id = id;
    this.maxCpus = maxCpus;
    this.policy = policy;
    this.cpus = new CpuSet(maxCpus);
    this.event = event;
  }
  /** The policy decides also while nobody waits. */
  get strict(): boolean {
    return (
      this.capped > 0 || this.policy.sched_id === XEN_SCHEDULER_RTDS || this.policy.sched_id === XEN_SCHEDULER_NULL
    );
  }
  /** A pCPU is one vCPU's, whether it sleeps or not. */
  get partitioned(): boolean {
    return this.policy.sched_id === XEN_SCHEDULER_NULL;
  }
  /** Its pCPUs, as a map of all. */
  get map(): boolean[] {
    return Array.from({ length: this.maxCpus }, (_, cpu) => this.cpus.has(cpu));
  }
  get list(): number[] {
    const list: number[] = [];
    for (let cpu = this.cpus.first(); cpu >= 0; cpu = this.cpus.nextIn(this.cpus, cpu + 1)) list.push(cpu);
    return list;
  }

  /** Could each of these have a pCPU of its own? */
  fits(units: readonly Unit[]): boolean {
    if (units.length > this.nrCpus) return false;
    if (units.length < 2) return true;
    const owner = new Map<number, Unit>();
    const place = (unit: Unit, tried: Set<number>): boolean => {
      for (let cpu = this.cpus.nextIn(unit.allowed, 0); cpu >= 0; cpu = this.cpus.nextIn(unit.allowed, cpu + 1)) {
        if (tried.has(cpu)) continue;
        tried.add(cpu);
        const other = owner.get(cpu);
        if (other !== undefined && !place(other, tried)) continue;
        owner.set(cpu, unit);
        return true;
      }
      return false;
    };
    return units.every(unit => place(unit, new Set()));
  }
}
