// Null: a pCPU for every unit, for good; who comes too late waits until one is free.
import { XEN_SCHEDULER_NULL } from '#pvbus';
import { CpuSet } from './cpu-set.ts';
import {
  type Decision,
  type NullPolicy,
  type SchedDomain,
  type SchedUnit,
  UNIT_blocked,
  UNIT_runnable,
  UNIT_running,
} from './policy.ts';

class Unit implements SchedUnit {
  readonly id: number;
  readonly domain: SchedDomain;
  hard: CpuSet;
  soft: CpuSet;
  state: number = UNIT_blocked;
  /** The pCPU that is its own; -1 on the waiting list. */
  cpu = -1;
  /** The pCPU it runs on, still its own or not any more; -1: none. */
  on = -1;

  constructor(id: number, domain: SchedDomain, hard: CpuSet, soft: CpuSet) {
    this.id = id;
    this.domain = domain;
    this.hard = hard;
    this.soft = soft;
  }
}

/** invariant: a pCPU without a unit and a waiting unit that may have it do not exist at the same time. */
export class Null implements NullPolicy {
  readonly sched_id = XEN_SCHEDULER_NULL;
  private readonly owners: (Unit | null)[];
  private readonly running: (Unit | null)[];
  private readonly free: CpuSet;
  private readonly due: CpuSet;
  private readonly waiting: Unit[] = [];
  private readonly decision: { unit: Unit | null; until: number } = { unit: null, until: Number.POSITIVE_INFINITY };

  constructor(nrCpus: number) {
    this.owners = new Array<Unit | null>(nrCpus).fill(null);
    this.running = new Array<Unit | null>(nrCpus).fill(null);
    this.free = new CpuSet(nrCpus);
    this.due = new CpuSet(nrCpus);
  }

  addCpu(cpu: number): void {
    if (this.free.has(cpu) || this.owners[cpu] !== null) return;
    this.release(cpu);
  }
  removeCpu(cpu: number): void {
    const owner = this.owners[cpu]!;
    this.owners[cpu] = null;
    this.stop(cpu);
    this.free.delete(cpu);
    this.due.delete(cpu);
    if (owner !== null) this.assign(owner);
  }
  addDomain(domid: number): SchedDomain {
    return { domid };
  }
  insert(domain: SchedDomain, id: number, hard: CpuSet, soft: CpuSet): Unit {
    const unit = new Unit(id, domain, hard.copy(), soft.copy());
    this.assign(unit);
    return unit;
  }
  remove(unit: Unit): void {
    this.sleep(unit);
    this.takeAway(unit);
  }
  setAffinity(unit: Unit, hard: CpuSet, soft: CpuSet): void {
    unit.hard = hard.copy();
    unit.soft = soft.copy();
    if (unit.cpu >= 0 && hard.has(unit.cpu)) return;
    this.takeAway(unit);
    this.assign(unit);
  }

  wake(unit: Unit): void {
    if (unit.state !== UNIT_blocked) return;
    unit.state = UNIT_runnable;
    if (unit.cpu >= 0) this.due.add(unit.cpu);
  }
  sleep(unit: Unit): void {
    if (unit.on >= 0) {
      this.due.add(unit.on);
      this.stop(unit.on);
    }
    unit.state = UNIT_blocked;
  }
  yield(): void {} // to nobody
  charge(): void {} // for nothing
  schedule(cpu: number): Decision {
    this.due.delete(cpu);
    const owner = this.owners[cpu] ?? null;
    if (this.running[cpu] !== owner) this.stop(cpu);
    // order: one that still runs on the pCPU it had before comes when that one has let it go.
    const runs = owner !== null && owner.state !== UNIT_blocked && (owner.on < 0 || owner.on === cpu);
    if (runs) {
      owner.state = UNIT_running;
      owner.on = cpu;
      this.running[cpu] = owner;
    }
    this.decision.unit = runs ? owner : null;
    return this.decision;
  }
  nextDue(): number {
    const cpu = this.due.first();
    if (cpu >= 0) this.due.delete(cpu);
    return cpu;
  }
  nextEvent(): number {
    return Number.POSITIVE_INFINITY;
  }
  advance(): void {}

  private stop(cpu: number): void {
    const unit = this.running[cpu] ?? null;
    if (unit === null) return;
    this.running[cpu] = null;
    unit.on = -1;
    unit.state = UNIT_runnable;
    if (unit.cpu >= 0) this.due.add(unit.cpu);
  }
  /** Preferably on a pCPU of its soft affinity. */
  private assign(unit: Unit): void {
    const preferred = this.free.nextIn(unit.hard.and(unit.soft), 0);
    const cpu = preferred >= 0 ? preferred : this.free.nextIn(unit.hard, 0);
    if (cpu >= 0) this.give(cpu, unit);
    else {
      unit.cpu = -1;
      this.waiting.push(unit);
    }
  }
  private give(cpu: number, unit: Unit): void {
    this.free.delete(cpu);
    this.owners[cpu] = unit;
    unit.cpu = cpu;
    this.due.add(cpu);
  }
  private takeAway(unit: Unit): void {
    const { cpu } = unit;
    unit.cpu = -1;
    if (cpu >= 0) this.release(cpu);
    else {
      const at = this.waiting.indexOf(unit);
      if (at >= 0) this.waiting.splice(at, 1);
    }
  }
  /** The first of the waiting list that may have it gets it. */
  private release(cpu: number): void {
    this.owners[cpu] = null;
    this.free.add(cpu);
    this.due.add(cpu);
    const next = this.waiting.findIndex(unit => unit.hard.has(cpu));
    if (next >= 0) this.give(cpu, this.waiting.splice(next, 1)[0]!);
  }
}
