// What the scheduler (the mechanism) and a scheduling policy say to each other.
import type { XEN_SCHEDULER_CREDIT, XEN_SCHEDULER_CREDIT2, XEN_SCHEDULER_NULL, XEN_SCHEDULER_RTDS } from '#pvbus';
import type { CpuSet } from './cpu-set.ts';

/** Asleep: it wants no CPU. (Also: paused, off line, not yet started.) */
export const UNIT_blocked = 0;
/** It wants a CPU and waits for one. */
export const UNIT_runnable = 1;
/** `schedule` gave it the pCPU `unit.cpu`. */
export const UNIT_running = 2;

/** A domain as one policy knows it. Made by `addDomain`; its parameters are read and set through the policy. */
export interface SchedDomain {
  readonly domid: number;
}

/** A vCPU as one policy knows it. Made by `insert`; everything in it is the policy's to write. */
export interface SchedUnit {
  /** The mechanism's own number for the vCPU. */
  readonly id: number;
  readonly domain: SchedDomain;
  readonly hard: CpuSet;
  readonly soft: CpuSet;
  readonly state: number;
  /**
   * Its place: the pCPU it runs on, ran on last or is meant for. A unit that sleeps has one too, so that it can
   * be woken there without asking anybody. -1: its hard affinity and the pool have no pCPU in common.
   */
  readonly cpu: number;
}

/** What `schedule` decides; each policy has one of these and writes it anew. */
export interface Decision {
  /** null: the pCPU idles. */
  readonly unit: SchedUnit | null;
  /** When to charge the unit and ask again, in ns. Infinity: nobody waits for this pCPU and nothing limits the unit. */
  readonly until: number;
}

/**
 * The run queue of one cpupool. It reads no clock, calls nobody, and belongs to one caller.
 *
 * Times are in ns on one monotonic clock and never go back between calls. The caller's duties:
 *
 * 1. After any call, take pCPUs out of the policy by `nextDue` until it says -1, and for each of them `charge`
 *    the unit that runs there, then `schedule` the pCPU. Whoever `schedule` moves may make further pCPUs due.
 * 2. When `until` of a pCPU's last decision has come, do the same with that pCPU.
 * 3. When `nextEvent` has come, `advance`.
 *
 * wake, sleep, yield, charge, schedule, nextDue, nextEvent and advance allocate nothing.
 */
export interface SchedPolicy {
  /** XEN_SCHEDULER_* */
  readonly sched_id: number;

  addCpu(cpu: number, now: number): void;
  /** A unit that runs there (charge it before) waits for another pCPU afterwards. */
  removeCpu(cpu: number, now: number): void;

  addDomain(domid: number): SchedDomain;
  /** The new unit is blocked. `soft` is a wish; `hard` may have no pCPU of this pool: the unit then waits, and that is no error. */
  insert(domain: SchedDomain, id: number, hard: CpuSet, soft: CpuSet, now: number): SchedUnit;
  /** In any state. */
  remove(unit: SchedUnit, now: number): void;
  setAffinity(unit: SchedUnit, hard: CpuSet, soft: CpuSet, now: number): void;

  /** It wants to run. No effect unless it is blocked. */
  wake(unit: SchedUnit, now: number): void;
  /** It wants no CPU any more. If it ran, its pCPU becomes due. */
  sleep(unit: SchedUnit, now: number): void;
  /** It runs and lets one who waits go first, once. Its pCPU becomes due. */
  yield(unit: SchedUnit, now: number): void;
  /**
   * The unit has used `ns` of CPU time since its last charge. That may be more than the time that has passed
   * (threads that help it), in any state (overrun: it ran without being told to); it pays for all of it.
   */
  charge(unit: SchedUnit, ns: number, now: number): void;
  /** Decide who has `cpu` from now on. The unit that had it competes again unless it is asleep. */
  schedule(cpu: number, now: number): Decision;

  /** A pCPU that has to decide again, taken from the set of those; -1 when there is none. */
  nextDue(): number;
  /** When something is due on which no running unit's `until` depends (a cap or budget is filled up); else Infinity. */
  nextEvent(): number;
  advance(now: number): void;
}

/** Credit and credit2: per domain. */
export interface CreditParams {
  /** 1 to 65535, 256 by default. Xen: 0 in a putinfo leaves what is there. */
  readonly weight: number;
  /** Per cent of one pCPU for the whole domain; 0 is no cap. Xen: 0xffff in a putinfo leaves what is there. */
  readonly cap: number;
}

/** Credit and credit2: per pool. Credit2 has only the rate limit; the others are 0 and ignored there. */
export interface CreditPoolParams {
  readonly tslice_ms: number;
  readonly ratelimit_us: number;
  readonly vcpu_migr_delay_us: number;
}

export interface CreditPolicy extends SchedPolicy {
  readonly sched_id: typeof XEN_SCHEDULER_CREDIT | typeof XEN_SCHEDULER_CREDIT2;
  domainParams(domain: SchedDomain): CreditParams;
  /** 0 or -XEN_EINVAL, and then nothing has changed; so for all of these. */
  setDomainParams(domain: SchedDomain, params: CreditParams, now: number): number;
  poolParams(): CreditPoolParams;
  setPoolParams(params: CreditPoolParams): number;
}

/** RTDS: per vCPU. Xen: xen_domctl_sched_rtds. */
export interface RtdsParams {
  /** In microseconds, as is `budget`. */
  readonly period: number;
  readonly budget: number;
  /** May it use time that nobody has reserved? */
  readonly extratime: boolean;
}

export interface RtdsPolicy extends SchedPolicy {
  readonly sched_id: typeof XEN_SCHEDULER_RTDS;
  /** What a new unit gets, and XEN_DOMCTL_SCHEDOP_getinfo says. */
  readonly defaultParams: RtdsParams;
  unitParams(unit: SchedUnit): RtdsParams;
  setUnitParams(unit: SchedUnit, params: RtdsParams, now: number): number;
  /** All units of the domain. */
  setDomainParams(domain: SchedDomain, params: RtdsParams, now: number): number;
}

export interface NullPolicy extends SchedPolicy {
  readonly sched_id: typeof XEN_SCHEDULER_NULL;
}

/** `sched_id` tells which. `makePolicy(sched_id, nrCpus)` in make-policy.ts makes one. */
export type Policy = CreditPolicy | RtdsPolicy | NullPolicy;
