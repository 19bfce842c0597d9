// Carries out what policies decide: who has a grant, and what state a vCPU is in because of it.
import { type Clock, RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running } from '#pvbus';
import type { DomainProcesses, Vcpu } from '../domain.ts';
import type { Decision } from '../policies/policy.ts';
import { Timer, Timers } from '../timers.ts';
import { type Cpupool, type OnSwitch, Pcpu } from './cpupool.ts';
import { Placement } from './placement.ts';
import { Preemption } from './preemption.ts';
import type { Unit } from './unit.ts';

export interface SchedulerParts {
  readonly clock: Clock;
  readonly processes: DomainProcesses;
  readonly nrCpus: number;
  /** Account for the vCPU's time up to now, of which it has used `cpuTimeNs` in all, and tell the guest. */
  readonly account: (vcpu: Vcpu, cpuTimeNs: number) => void;
  readonly enter: (vcpu: Vcpu, runstate: number) => void;
}

export class Dispatcher {
  readonly parts: SchedulerParts;
  /** Slices, graces, looks, and what policies do by themselves. */
  readonly timers = new Timers();
  readonly pcpus: readonly Pcpu[];
  readonly units = new Map<number, Unit>();
  readonly placement: Placement;
  readonly preemption = new Preemption(this);
  onSwitch: OnSwitch = () => {};

  constructor(parts: SchedulerParts) {
    this.parts = parts;
    this.placement = new Placement(parts.processes, parts.nrCpus);
    const now = parts.clock.now();
    this.pcpus = Array.from({ length: parts.nrCpus }, (_, id) => {
      const slice = new Timer(at => this.sliceEnds(id, at));
      return new Pcpu(id, slice, now);
    });
  }

  /** It wants a pCPU. */
  wake(unit: Unit, now: number): void {
    if (!unit.wants) {
      // What it has used asleep is its helpers', and before it came on line the builder's.
      this.charge(unit, now);
      unit.wants = true;
      const { member } = unit;
      if (member.offender === undefined || member.offender === unit) member.pool.policy.wake(unit.entity, now);
      this.settle(member.pool, now);
    } else if (unit.slot) unit.give(unit.slot.id, !unit.member.pool.partitioned); // it was about to sleep, perhaps
    if (unit.slot) return;
    // It may run on without a grant, or on one that it has kept and that is another's now.
    for (const slot of this.pcpus) if (slot.kept === unit) slot.kept = undefined;
    unit.take();
    this.enter(unit);
    if (!unit.waits && !unit.expected && !unit.grace.pending) this.preemption.begin(unit, now);
  }
  /** `keep`: it says so itself, and will say when it wakes. */
  sleep(unit: Unit, now: number, keep: boolean): void {
    this.timers.stop(unit.grace);
    unit.expected = false;
    if (!unit.wants) return;
    this.charge(unit, now);
    unit.wants = false;
    const { slot, member } = unit;
    member.pool.policy.sleep(unit.entity, now);
    if (keep && slot) slot.kept = unit;
    else unit.take();
    this.preemption.release(member);
    this.settle(member.pool, now);
    this.enter(unit);
  }

  /** Have the policy decide about every pCPU that it wants to decide about. */
  settle(pool: Cpupool, now: number): void {
    const { policy } = pool;
    for (let cpu = policy.nextDue(); cpu >= 0; cpu = policy.nextDue()) {
      const slot = this.pcpus[cpu]!;
      if (slot.current) this.charge(slot.current, now);
      this.decided(slot, policy.schedule(cpu, now), now);
    }
    const event = policy.nextEvent();
    if (event === Number.POSITIVE_INFINITY) this.timers.stop(pool.event);
    else this.timers.set(pool.event, event);
  }
  private sliceEnds(cpu: number, now: number): void {
    const slot = this.pcpus[cpu]!;
    const { pool } = slot;
    if (!pool) return;
    if (slot.current) this.charge(slot.current, now);
    this.decided(slot, pool.policy.schedule(cpu, now), now);
    this.settle(pool, now);
  }
  private decided(slot: Pcpu, { unit: entity, until }: Decision, now: number): void {
    this.switchTo(slot, entity === null ? undefined : this.units.get(entity.id), now);
    if (until === Number.POSITIVE_INFINITY) this.timers.stop(slot.slice);
    else this.timers.set(slot.slice, until);
  }
  /** From now on `next` has the pCPU. */
  switchTo(slot: Pcpu, next: Unit | undefined, now: number): void {
    const prev = slot.current;
    if (next === prev) return;
    if (prev === undefined) slot.idleNs += now - slot.idleSince;
    if (next === undefined) slot.idleSince = now;
    slot.current = next;
    this.onSwitch(slot.id, prev?.vcpu, next?.vcpu, now);
    // One that the policy has moved has its new place already.
    if (prev?.slot === slot) {
      prev.slot = undefined;
      if (prev.wants) this.takeBack(prev, now);
    }
    if (next === undefined) return;
    if (next.slot !== undefined && next.slot.current === next && next.slot !== slot) {
      next.slot.current = undefined;
      next.slot.idleSince = now;
    }
    next.slot = slot;
    next.hasSince = now;
    if (slot.kept !== next) this.revokeKept(slot);
    for (const other of this.pcpus) if (other.kept === next) other.kept = undefined;
    this.timers.stop(next.grace);
    this.placement.place(next);
    next.give(slot.id, !next.member.pool.partitioned);
    this.preemption.release(next.member);
    this.enter(next);
  }
  /** Who sleeps and might wake here may not any more. */
  revokeKept(slot: Pcpu): void {
    const { kept } = slot;
    slot.kept = undefined;
    kept?.take();
  }
  /** Its pCPU is another's, or nobody's; it does not know yet. */
  takeBack(unit: Unit, now: number): void {
    unit.take();
    this.enter(unit);
    if (!unit.waits) this.preemption.begin(unit, now);
  }
  /** It pays for what it has used since the last time. */
  charge(unit: Unit, now: number): void {
    const used = this.parts.processes.cpuTimeNs(unit.domain, unit.vcpu.id);
    const ns = used - unit.chargedNs;
    unit.chargedNs = used;
    unit.chargedAt = now;
    this.parts.account(unit.vcpu, used);
    if (ns > 0) unit.member.pool.policy.charge(unit.entity, ns, now);
  }
  enter(unit: Unit): void {
    this.parts.enter(unit.vcpu, this.runstateOf(unit));
  }
  runstateOf(unit: Unit): number {
    if (!unit.online) return RUNSTATE_offline;
    if (!unit.member.pool.contended || unit.slot) return RUNSTATE_running;
    return unit.wants ? RUNSTATE_runnable : RUNSTATE_blocked;
  }
  /** Where it runs, or ran last. */
  homeOf(unit: Unit): number {
    return Math.max(0, unit.slot?.id ?? unit.entity.cpu);
  }
}
