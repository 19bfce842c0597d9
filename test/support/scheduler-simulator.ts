// A machine of pCPUs and vCPUs on a virtual clock, for any scheduling policy. It checks every decision.

import type { CpuSet } from '../../hypervisor/policies/cpu-set.ts';
import { Heap, type HeapNode } from '../../hypervisor/policies/heap.ts';
import type { SchedDomain, SchedPolicy, SchedUnit } from '../../hypervisor/policies/policy.ts';

/** How a vCPU spends its time. */
export interface Behaviour {
  /** How long it computes before it blocks, in ns. Infinity: it never blocks. */
  burst(): number;
  /** How long it then sleeps. */
  sleep(): number;
  /** How long it goes on when it has been told to stop. */
  readonly gripNs?: number;
  /** CPU time of helper threads, for each ns of its own. */
  readonly helpers?: number;
}
export const hog: Behaviour = { burst: () => Number.POSITIVE_INFINITY, sleep: () => 0 };

class Event implements HeapNode {
  readonly prio = 0;
  key = 0;
  seq = 0;
  pos = -1;
  readonly act: () => void;
  constructor(act: () => void) {
    this.act = act;
  }
}

export class SimUnit {
  unit: SchedUnit;
  readonly behaviour: Behaviour;
  readonly wakeUp: Event;
  /** Of the current burst. */
  remaining = 0;
  wants = false;
  /** On which pCPU it runs; -1: none. */
  on = -1;
  lastOn = -1;
  /** Since when it runs or, if it wants to, waits. */
  since = 0;
  addedAt = 0;
  wokenAt = -1;
  /** CPU time of its own, what it took after it had been told to stop, and of its helpers: `charged` is the sum. */
  ran = 0;
  gripped = 0;
  helped = 0;
  charged = 0;
  waited = 0;
  /** Time for which it was told to run where another had not left yet. */
  kept = 0;
  slept = 0;
  maxWait = 0;
  readonly latencies: number[] = [];
  /** By pCPU. */
  readonly ranOn: number[];
  /** It may be kept waiting while a pCPU idles: a cap, or a hard reservation. */
  limited = false;
  removed = false;

  constructor(unit: SchedUnit, behaviour: Behaviour, nrCpus: number, wakeUp: () => void) {
    this.unit = unit;
    this.behaviour = behaviour;
    this.ranOn = new Array<number>(nrCpus).fill(0);
    this.wakeUp = new Event(wakeUp);
  }
}

class Pcpu {
  readonly id: number;
  readonly sliceEnd: Event;
  online = false;
  current: SimUnit | null = null;
  /** When the current one was given it, and up to when it has been charged. */
  startedAt = 0;
  accountedAt = 0;
  until = Number.POSITIVE_INFINITY;
  busy = 0;
  idle = 0;
  constructor(id: number, expire: () => void) {
    this.id = id;
    this.sliceEnd = new Event(expire);
  }
}

export class Simulator<P extends SchedPolicy = SchedPolicy> {
  readonly policy: P;
  readonly nrCpus: number;
  now = 0;
  schedules = 0;
  switches = 0;
  migrations = 0;
  /** What `Decision.until` and the unit's own doing may not undercut; 0: not checked. */
  ratelimitNs = 0;
  /** A pCPU belongs to one unit and may idle while that one sleeps, whoever waits. */
  pcpusAreOwned = false;
  readonly units: SimUnit[] = [];
  private readonly pcpus: Pcpu[];
  private readonly events = new Heap<Event>();
  private readonly policyEvent: Event;
  private expected = 0;
  private readonly byUnit = new Map<SchedUnit, SimUnit>();
  private readonly idle: number[] = [];
  private idlePcpus = 0;
  private waitingUnits = 0;
  private yielding: SimUnit | null = null;

  constructor(policy: P, nrCpus: number) {
    this.policy = policy;
    this.nrCpus = nrCpus;
    this.pcpus = Array.from({ length: nrCpus }, (_, id) => new Pcpu(id, () => this.expire(this.pcpus[id]!)));
    this.policyEvent = new Event(() => policy.advance(this.now));
  }

  /** With all pCPUs on line. */
  static of<P extends SchedPolicy>(policy: P, nrCpus: number): Simulator<P> {
    const sim = new Simulator(policy, nrCpus);
    for (let cpu = 0; cpu < nrCpus; cpu++) sim.addCpu(cpu);
    return sim;
  }

  isOnline(cpu: number): boolean {
    return this.pcpus[cpu]!.online;
  }
  addCpu(cpu: number): void {
    const pcpu = this.pcpus[cpu]!;
    pcpu.online = true;
    pcpu.accountedAt = this.now;
    this.idlePcpus++;
    this.policy.addCpu(cpu, this.now);
    this.settle();
  }
  removeCpu(cpu: number): void {
    const pcpu = this.pcpus[cpu]!;
    this.charge(pcpu);
    if (pcpu.current !== null) this.release(pcpu);
    pcpu.online = false;
    this.idlePcpus--;
    this.forget(pcpu.sliceEnd);
    this.policy.removeCpu(cpu, this.now);
    this.settle();
  }
  /** It wakes after its first sleep. */
  add(domain: SchedDomain, behaviour: Behaviour, hard: CpuSet, soft: CpuSet, firstSleep = 0): SimUnit {
    const unit = this.policy.insert(domain, this.units.length, hard, soft, this.now);
    const sim: SimUnit = new SimUnit(unit, behaviour, this.nrCpus, () => this.wake(sim));
    sim.since = this.now;
    sim.addedAt = this.now;
    this.units.push(sim);
    this.byUnit.set(unit, sim);
    this.settle();
    this.expect(sim.wakeUp, this.now + firstSleep);
    return sim;
  }
  remove(sim: SimUnit): void {
    this.stopNow(sim);
    this.forget(sim.wakeUp);
    this.policy.remove(sim.unit, this.now);
    this.byUnit.delete(sim.unit);
    sim.removed = true;
    this.settle();
  }
  setAffinity(sim: SimUnit, hard: CpuSet, soft: CpuSet): void {
    if (sim.on >= 0) this.charge(this.pcpus[sim.on]!);
    this.policy.setAffinity(sim.unit, hard, soft, this.now);
    this.settle();
  }
  yield(sim: SimUnit): void {
    if (sim.on < 0) return;
    this.charge(this.pcpus[sim.on]!);
    this.yielding = sim;
    this.policy.yield(sim.unit, this.now);
    this.settle();
    this.yielding = null;
  }
  at(time: number, act: () => void): void {
    this.expect(new Event(act), time);
  }
  /** Let the pCPUs that are due decide, as after any call of the policy. */
  settle(): void {
    for (let cpu = this.policy.nextDue(); cpu >= 0; cpu = this.policy.nextDue()) this.decide(this.pcpus[cpu]!);
    const next = this.policy.nextEvent();
    if (this.policyEvent.pos >= 0 && this.policyEvent.key !== next) this.events.remove(this.policyEvent);
    if (this.policyEvent.pos < 0 && next < Number.POSITIVE_INFINITY) this.expect(this.policyEvent, next);
    this.checkNobodyIsForgotten();
  }
  run(forNs: number): void {
    const end = this.now + forNs;
    for (let event = this.events.first; event !== undefined && event.key <= end; event = this.events.first) {
      this.events.remove(event);
      this.now = Math.max(this.now, event.key);
      event.act();
      this.settle();
    }
    this.now = end;
    for (const pcpu of this.pcpus) if (pcpu.online) this.charge(pcpu);
    for (const sim of this.units) if (!sim.removed && sim.on < 0) this.passTime(sim);
    this.settle();
  }
  /** CPU time of a domain, whoever used it. */
  used(domain: SchedDomain): number {
    let sum = 0;
    for (const sim of this.units) if (sim.unit.domain === domain) sum += sim.charged;
    return sum;
  }
  get busyNs(): number {
    return this.pcpus.reduce((sum, pcpu) => sum + pcpu.busy, 0);
  }
  get idleNs(): number {
    return this.pcpus.reduce((sum, pcpu) => sum + pcpu.idle, 0);
  }

  private expect(event: Event, at: number): void {
    // Whole nanoseconds, never early: then all sums are exact.
    event.seq = this.expected++;
    event.key = Math.max(this.now, Math.ceil(at));
    this.events.push(event);
  }
  private forget(event: Event): void {
    if (event.pos >= 0) this.events.remove(event);
  }
  private wake(sim: SimUnit): void {
    this.passTime(sim);
    sim.remaining = Math.ceil(sim.behaviour.burst());
    sim.wants = true;
    sim.wokenAt = this.now;
    this.waitingUnits++;
    this.policy.wake(sim.unit, this.now);
  }
  private stopNow(sim: SimUnit): void {
    if (sim.on >= 0) {
      const pcpu = this.pcpus[sim.on]!;
      this.charge(pcpu);
      this.release(pcpu);
    }
    this.passTime(sim);
    if (sim.wants) this.waitingUnits--;
    sim.wants = false;
  }
  private expire(pcpu: Pcpu): void {
    const sim = pcpu.current!;
    this.charge(pcpu);
    if (sim.remaining > 0) {
      this.decide(pcpu);
      return;
    }
    this.stopNow(sim);
    this.policy.sleep(sim.unit, this.now);
    this.expect(sim.wakeUp, this.now + sim.behaviour.sleep());
  }
  /** Up to now: its sleep or its wait. */
  private passTime(sim: SimUnit): void {
    const passed = this.now - sim.since;
    if (sim.wants) {
      sim.waited += passed;
      if (!sim.limited) sim.maxWait = Math.max(sim.maxWait, passed);
    } else sim.slept += passed;
    sim.since = this.now;
  }
  private charge(pcpu: Pcpu): void {
    const sim = pcpu.current;
    const passed = this.now - pcpu.accountedAt;
    if (passed <= 0) return; // the one before still holds it, or it has just begun
    pcpu.accountedAt = this.now;
    if (sim === null) {
      pcpu.idle += passed;
      return;
    }
    const helped = Math.round(passed * (sim.behaviour.helpers ?? 0));
    pcpu.busy += passed;
    sim.ran += passed;
    sim.ranOn[pcpu.id]! += passed;
    sim.remaining -= passed;
    sim.since = this.now;
    sim.helped += helped;
    this.pay(sim, passed + helped);
  }
  private pay(sim: SimUnit, ns: number): void {
    sim.charged += ns;
    this.policy.charge(sim.unit, ns, this.now);
  }
  /** The current one goes; it still wants to run. */
  private release(pcpu: Pcpu): void {
    const sim = pcpu.current!;
    sim.on = -1;
    sim.since = this.now;
    pcpu.current = null;
    this.waitingUnits++;
    this.idlePcpus++;
  }
  private decide(pcpu: Pcpu): void {
    this.charge(pcpu);
    this.schedules++;
    const before = pcpu.current;
    const { unit, until } = this.policy.schedule(pcpu.id, this.now);
    const next = unit === null ? null : this.byUnit.get(unit)!;
    if (next !== before) {
      if (before !== null) this.release(pcpu);
      if (next !== null) this.start(pcpu, next);
      if (before !== null) this.checkRatelimit(pcpu, before, next);
      pcpu.startedAt = this.now;
      const grip = before?.behaviour.gripNs ?? 0;
      if (before !== null && grip > 0) {
        pcpu.accountedAt = this.now + grip;
        pcpu.busy += grip;
        before.gripped += grip;
        if (next !== null) next.kept += grip;
        this.pay(before, grip);
      }
    }
    if (next !== null && !next.unit.hard.has(pcpu.id)) this.fail(`unit ${next.unit.id} runs on pCPU ${pcpu.id}`);
    if (until <= this.now) this.fail(`pCPU ${pcpu.id} is to decide again at ${until}`);
    this.forget(pcpu.sliceEnd);
    const end = next === null ? Number.POSITIVE_INFINITY : Math.min(until, pcpu.accountedAt + next.remaining);
    if (end < Number.POSITIVE_INFINITY) this.expect(pcpu.sliceEnd, Math.max(end, pcpu.accountedAt));
  }
  private start(pcpu: Pcpu, sim: SimUnit): void {
    if (sim.on >= 0) this.fail(`unit ${sim.unit.id} runs on pCPUs ${sim.on} and ${pcpu.id}`);
    if (!sim.wants) this.fail(`unit ${sim.unit.id} sleeps and is run on pCPU ${pcpu.id}`);
    this.passTime(sim);
    if (sim.wokenAt >= 0) sim.latencies.push(this.now - sim.wokenAt);
    sim.wokenAt = -1;
    if (sim.lastOn >= 0 && sim.lastOn !== pcpu.id) this.migrations++;
    sim.on = pcpu.id;
    sim.lastOn = pcpu.id;
    pcpu.current = sim;
    this.waitingUnits--;
    this.idlePcpus--;
    this.switches++;
  }
  private checkRatelimit(pcpu: Pcpu, before: SimUnit, next: SimUnit | null): void {
    if (this.ratelimitNs === 0 || next === null || before.limited || before === this.yielding) return;
    if (!before.unit.hard.has(pcpu.id) || this.now - pcpu.startedAt >= this.ratelimitNs) return;
    this.fail(`unit ${before.unit.id} ran for ${this.now - pcpu.startedAt} ns only, then unit ${next.unit.id}`);
  }
  /** Work conservation: no pCPU idles while a unit that may run on it waits. */
  private checkNobodyIsForgotten(): void {
    if (this.idlePcpus === 0 || this.waitingUnits === 0) return;
    const { idle } = this;
    idle.length = 0;
    for (const pcpu of this.pcpus) if (pcpu.online && pcpu.current === null) idle.push(pcpu.id);
    if (this.pcpusAreOwned)
      for (const { unit, removed } of this.units)
        if (!removed && idle.includes(unit.cpu) && this.byUnit.get(unit)?.wants === false)
          idle.splice(idle.indexOf(unit.cpu), 1);
    if (idle.length === 0) return;
    for (const sim of this.units) {
      if (!sim.wants || sim.on >= 0 || sim.limited || sim.removed) continue;
      for (const cpu of idle) if (sim.unit.hard.has(cpu)) this.fail(`pCPU ${cpu} idles and unit ${sim.unit.id} waits`);
    }
  }
  private fail(what: string): never {
    throw new Error(`at ${this.now} ns, after ${this.schedules} schedules: ${what}`);
  }
}
