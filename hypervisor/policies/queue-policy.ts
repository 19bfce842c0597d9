// What credit, credit2 and RTDS have in common: who waits, who runs where, and which pCPUs must decide again.
import { CpuSet } from './cpu-set.ts';
import {
  type Decision,
  type SchedDomain,
  type SchedPolicy,
  UNIT_blocked,
  UNIT_runnable,
  UNIT_running,
} from './policy.ts';
import { type Affinity, type QueuedUnit, RunQueue } from './run-queue.ts';

/**
 * invariant: after the pCPUs that are due have decided, none idles while a unit that may run there waits in the queue.
 * A unit is in one of these states: blocked; running, `running[unit.cpu]` is it; waiting in the queue (`pos >= 0`);
 * held back by its policy (runnable, a cap or budget is used up); stranded (runnable, `cpu` is -1).
 */
export abstract class QueuePolicy<U extends QueuedUnit, D extends SchedDomain> implements SchedPolicy {
  abstract readonly sched_id: number;
  protected readonly queue: RunQueue<U>;
  protected readonly units = new Set<U>();
  protected readonly running: (U | null)[];
  /** These idle, and nobody has been sent there. */
  private readonly idle: CpuSet;
  /** What runs there has been told to go on for as long as it likes: nobody else waited. */
  private readonly unbounded: CpuSet;
  private readonly online: CpuSet;
  private readonly due: CpuSet;
  private readonly nrCpus: number;
  private readonly decision: { unit: U | null; until: number } = { unit: null, until: Number.POSITIVE_INFINITY };
  /** A unit runs for this long at least, if it wants to, before another one takes its place. */
  protected ratelimitNs = 0;
  /** `choose` left the current one where it is only until then. */
  private keptUntil = Number.POSITIVE_INFINITY;

  constructor(nrCpus: number, homePenalty: number, softPenalty: number) {
    this.nrCpus = nrCpus;
    this.queue = new RunQueue<U>(nrCpus, homePenalty, softPenalty);
    this.running = new Array<U | null>(nrCpus).fill(null);
    this.idle = new CpuSet(nrCpus);
    this.unbounded = new CpuSet(nrCpus);
    this.online = new CpuSet(nrCpus);
    this.due = new CpuSet(nrCpus);
  }

  abstract addDomain(domid: number): D;
  abstract nextEvent(): number;
  abstract advance(now: number): void;
  protected abstract makeUnit(id: number, domain: D, affinity: Affinity, now: number): U;
  /** It has used this much; it may be in any state, also in the queue. */
  protected abstract burn(unit: U, ns: number, now: number): void;
  /** The unit was asleep and is about to want a pCPU. */
  protected abstract woken(unit: U, now: number): void;
  /** Has it something left to run on? Its numbers are brought up to `now`. */
  protected abstract mayRun(unit: U, now: number): boolean;
  /** Set prio and key as they are at `now`, of one that runs as well as can be told before it is charged. */
  protected abstract rank(unit: U, now: number): void;
  /** `unit` may not run and is in no queue: keep it until it may, then `enqueue` it. */
  protected abstract hold(unit: U, now: number): void;
  protected abstract unhold(unit: U): void;
  /** `unit` is to run on its pCPU: until when? */
  protected abstract sliceEnd(unit: U, now: number, contended: boolean): number;

  addCpu(cpu: number, now: number): void {
    if (this.online.has(cpu)) return;
    this.online.add(cpu);
    this.due.add(cpu);
    for (const unit of this.units)
      if (unit.cpu < 0 && this.place(unit) && unit.state === UNIT_runnable) this.enqueue(unit, now);
  }
  removeCpu(cpu: number, now: number): void {
    if (!this.online.has(cpu)) return;
    const ran = this.running[cpu]!;
    if (ran !== null) this.stop(ran, UNIT_runnable);
    this.online.delete(cpu);
    this.idle.delete(cpu);
    this.unbounded.delete(cpu);
    this.due.delete(cpu);
    for (const unit of this.units) if (unit.cpu === cpu) this.placeAnew(unit, now);
  }

  insert(domain: D, id: number, hard: CpuSet, soft: CpuSet, now: number): U {
    const unit = this.makeUnit(id, domain, this.queue.useAffinity(hard, soft), now);
    this.units.add(unit);
    this.place(unit);
    return unit;
  }
  remove(unit: U, now: number): void {
    this.sleep(unit, now);
    this.units.delete(unit);
    this.queue.dropAffinity(unit.affinity);
  }
  setAffinity(unit: U, hard: CpuSet, soft: CpuSet, now: number): void {
    const affinity = this.queue.useAffinity(hard, soft);
    const old = unit.affinity;
    if (unit.pos >= 0) this.queue.remove(unit);
    else if (unit.state === UNIT_runnable) this.unhold(unit);
    unit.affinity = affinity;
    this.queue.dropAffinity(old);
    if (unit.state === UNIT_running) this.due.add(unit.cpu);
    else this.placeAnew(unit, now);
  }

  wake(unit: U, now: number): void {
    if (unit.state !== UNIT_blocked) return;
    unit.state = UNIT_runnable;
    this.woken(unit, now);
    this.enqueue(unit, now);
  }
  sleep(unit: U, _now: number): void {
    if (unit.state === UNIT_running) {
      this.due.add(unit.cpu);
      this.stop(unit, UNIT_blocked);
    } else if (unit.pos >= 0) this.queue.remove(unit);
    else if (unit.state === UNIT_runnable) this.unhold(unit);
    unit.state = UNIT_blocked;
  }
  yield(unit: U, _now: number): void {
    if (unit.state !== UNIT_running) return;
    unit.yielded = true;
    this.due.add(unit.cpu);
  }
  charge(unit: U, ns: number, now: number): void {
    this.burn(unit, ns, now);
    unit.chargedAt = now;
    if (unit.pos < 0) return;
    this.queue.remove(unit);
    if (!this.mayRun(unit, now)) this.hold(unit, now);
    else {
      this.rank(unit, now);
      this.queue.add(unit);
    }
  }

  schedule(cpu: number, now: number): Decision {
    this.due.delete(cpu);
    const { decision } = this;
    const current = this.running[cpu] ?? null;
    const next = this.online.has(cpu) ? this.choose(cpu, current, now) : null;
    if (current !== null && next !== current) {
      this.stop(current, UNIT_runnable);
      if (next !== null) this.start(next, cpu, now);
      if (current.affinity.hard.has(cpu)) this.enqueue(current, now);
      else this.placeAnew(current, now);
    } else if (next !== null && next !== current) this.start(next, cpu, now);
    decision.unit = next;
    decision.until = Number.POSITIVE_INFINITY;
    this.idle.delete(cpu);
    this.unbounded.delete(cpu);
    if (next === null) {
      if (this.online.has(cpu)) this.idle.add(cpu);
      return decision;
    }
    const contended = this.queue.hasFor(cpu);
    if (!contended) this.unbounded.add(cpu);
    decision.until = Math.min(this.sliceEnd(next, now, contended), this.keptUntil);
    return decision;
  }
  nextDue(): number {
    const cpu = this.due.first();
    if (cpu >= 0) this.due.delete(cpu);
    return cpu;
  }

  /** `unit` is runnable and in no queue. */
  protected enqueue(unit: U, now: number): void {
    if (unit.cpu < 0) return;
    if (!this.mayRun(unit, now)) {
      this.hold(unit, now);
      return;
    }
    this.rank(unit, now);
    this.queue.add(unit);
    this.seek(unit, now);
  }
  protected decideAgain(cpu: number): void {
    this.due.add(cpu);
  }
  /** It runs, and had been told to go on for as long as it likes: nobody else waited. */
  protected isUnbounded(unit: U): boolean {
    return unit.state === UNIT_running && this.unbounded.has(unit.cpu);
  }
  /** Somebody runs there and somebody else waits. */
  protected isContended(cpu: number): boolean {
    return this.running[cpu] !== null && !this.unbounded.has(cpu);
  }
  protected get nrOnline(): number {
    return this.online.size;
  }

  private choose(cpu: number, current: U | null, now: number): U | null {
    this.keptUntil = Number.POSITIVE_INFINITY;
    if (current === null) {
      const next = this.bestThatMayRun(cpu, now);
      // order: this one may have been sent here by another's wake-up, who then has to go elsewhere.
      if (next !== null) this.sendToIdle();
      return next;
    }
    const { yielded } = current;
    current.yielded = false;
    const stays = current.affinity.hard.has(cpu) && this.mayRun(current, now);
    const best = this.bestThatMayRun(cpu, now);
    if (!stays) return best;
    if (best === null) return current;
    this.rank(current, now);
    if (yielded) return best;
    if (!this.queue.prefers(best, current, cpu)) return current;
    const mayGoAt = current.startedAt + this.ratelimitNs;
    if (now >= mayGoAt) return best;
    this.keptUntil = mayGoAt;
    return current;
  }
  /** Stays in the queue. Those whose cap has been used up since they were queued are taken out. */
  private bestThatMayRun(cpu: number, now: number): U | null {
    for (;;) {
      const unit = this.queue.best(cpu);
      if (unit === null || this.mayRun(unit, now)) return unit;
      this.queue.remove(unit);
      this.hold(unit, now);
    }
  }
  private sendToIdle(): void {
    for (let cpu = this.idle.first(); cpu >= 0; cpu = this.idle.nextIn(this.idle, cpu + 1))
      if (this.queue.hasFor(cpu)) this.due.add(cpu);
  }
  private start(unit: U, cpu: number, now: number): void {
    this.queue.remove(unit);
    unit.cpu = cpu;
    unit.state = UNIT_running;
    unit.startedAt = now;
    unit.chargedAt = now;
    this.running[cpu] = unit;
  }
  private stop(unit: U, state: number): void {
    this.running[unit.cpu] = null;
    this.unbounded.delete(unit.cpu);
    unit.state = state;
    unit.yielded = false;
  }

  /** Find a pCPU for one that has come to wait: an idle one, else one that runs what matters less. */
  protected seek(unit: U, now: number): void {
    const { hard, preferred } = unit.affinity;
    const { idle } = this;
    let cpu = idle.has(unit.cpu) && preferred.has(unit.cpu) ? unit.cpu : idle.nextIn(preferred, 0);
    if (cpu < 0) cpu = idle.has(unit.cpu) && hard.has(unit.cpu) ? unit.cpu : idle.nextIn(hard, 0);
    if (cpu >= 0) {
      idle.delete(cpu);
      this.due.add(cpu);
      return;
    }
    let victim: U | null = null;
    for (let at = this.online.nextIn(hard, 0); at >= 0; at = this.online.nextIn(hard, at + 1)) {
      const running = this.running[at]!;
      if (running === null) continue;
      this.rank(running, now);
      if (!this.queue.prefers(unit, running, at)) continue;
      if (victim === null || running.prio > victim.prio || (running.prio === victim.prio && running.key > victim.key))
        victim = running;
    }
    if (victim !== null) this.due.add(victim.cpu);
    for (let at = this.unbounded.nextIn(hard, 0); at >= 0; at = this.unbounded.nextIn(hard, at + 1)) this.due.add(at);
  }

  /** Its place is gone or may be: choose again. It does not run. */
  private placeAnew(unit: U, now: number): void {
    if (unit.pos >= 0) this.queue.remove(unit);
    else if (unit.state === UNIT_runnable) this.unhold(unit);
    this.place(unit);
    if (unit.state === UNIT_runnable) this.enqueue(unit, now);
  }
  /** Where the fewest units are, of what it prefers, else of what it may use; -1 if there is nothing. */
  private place(unit: U): boolean {
    const { hard, preferred } = unit.affinity;
    unit.cpu = -1;
    const wanted = this.online.intersects(preferred) ? preferred : hard;
    const placed = new Array<number>(this.nrCpus).fill(0);
    for (const other of this.units) if (other.cpu >= 0) placed[other.cpu]!++;
    for (let cpu = this.online.nextIn(wanted, 0); cpu >= 0; cpu = this.online.nextIn(wanted, cpu + 1))
      if (unit.cpu < 0 || placed[cpu]! < placed[unit.cpu]!) unit.cpu = cpu;
    return unit.cpu >= 0;
  }
}
