// A vCPU of a domU as the scheduler knows it.
import { futexWake, PAGE_SIZE, vcpu_page, vcpuFrame, XENOLITH_GRANT_contended, XENOLITH_WANT_grant } from '#pvbus';
import type { Domain, Vcpu } from '../domain.ts';
import type { CpuSet } from '../policies/cpu-set.ts';
import type { SchedDomain, SchedUnit } from '../policies/policy.ts';
import type { Timer } from '../timers.ts';
import type { Cpupool, Pcpu } from './cpupool.ts';
import type { Preemption } from './preemption.ts';

export const ANYWHERE = -1;

/** A domain in its pool. */
export interface Member {
  readonly domain: Domain;
  readonly units: Unit[];
  pool: Cpupool;
  entry: SchedDomain;
  /** Its process is stopped because of this vCPU, which did not yield. */
  offender: Unit | undefined;
}

export class Unit {
  readonly vcpu: Vcpu;
  readonly member: Member;
  readonly id: number;
  /** The policy's record of it. */
  entity: SchedUnit;
  /** Fires when it has not yielded in time. */
  readonly grace: Timer;
  /** How long it has to yield. */
  graceNs = 0;
  /** It was given that time twice. */
  graceGrew = false;
  /** Its domain runs, and it is up. */
  online = false;
  /** In a contended pool: it wants a pCPU, or has one. */
  wants = false;
  /** untrusted: it has said since it last had a grant that it sleeps until it has one. */
  waits = false;
  /** The hypervisor has woken it, and it has not said yet that it is awake. */
  expected = false;
  /** The pCPU that is its own, in a contended pool. */
  slot: Pcpu | undefined;
  /** Since when that is so. */
  hasSince = 0;
  /** CPU time it had used when it was last charged, and when that was. */
  chargedNs = 0;
  chargedAt = 0;
  /** What it had used when its grant was taken. */
  tookBackAt = 0;
  /** Where its affinity and its pool let it run. */
  allowed: CpuSet;
  /** Where Linux was told to run it: a pCPU, or ANYWHERE that is allowed; NaN: somewhere else. */
  placed = ANYWHERE;

  constructor(vcpu: Vcpu, member: Member, id: number, entity: SchedUnit, allowed: CpuSet, preemption: Preemption) {
    this.vcpu = vcpu;
    this.member = member;
    this.id = id;
    this.entity = entity;
    this.allowed = allowed;
    this.grace = preemption.makeGrace(this);
  }
  get domain(): Domain {
    return this.member.domain;
  }

  private word(field: 'grant' | 'want'): number {
    return (vcpuFrame(this.domain.layout, this.vcpu.id) * PAGE_SIZE + vcpu_page.at[field]) / 4;
  }
  /** It may run on `cpu`. */
  give(cpu: number, contended: boolean): void {
    if (!this.domain.hasMemory) return;
    const { memory } = this.domain;
    const word = this.word('grant');
    // order: the grant, then what it wants; who waits says so first and sleeps only while there is no grant.
    Atomics.store(memory.words, word, (1 + cpu) | (contended ? XENOLITH_GRANT_contended : 0));
    this.waits = false;
    if (Atomics.load(memory.words, this.word('want')) === XENOLITH_WANT_grant) futexWake(memory.address + 4 * word);
  }
  /** It may not run any more. */
  take(): void {
    if (this.domain.hasMemory) Atomics.store(this.domain.memory.words, this.word('grant'), 0);
  }
}
