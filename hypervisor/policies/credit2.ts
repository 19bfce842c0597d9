// Credit2, Xen's default: who has the most credit runs, a weight says how slowly credit burns.
import { XEN_EINVAL, XEN_SCHEDULER_CREDIT2 } from '#pvbus';
import { CappedPolicy, isRatelimit } from './capped-policy.ts';
import { CreditDomain, DEFAULT_WEIGHT } from './credit-domain.ts';
import { type CreditPoolParams, UNIT_running } from './policy.ts';
import { type Affinity, QueuedUnit } from './run-queue.ts';

/** What a reset gives, in ns of the heaviest domain's time; also the longest turn, and the period of caps. */
const CREDIT_NS = 10_000_000;
const MIN_SLICE_NS = 500_000;

class Unit extends QueuedUnit<CreditDomain<Unit>> {
  /** CPU time used, in ns divided by (weight / 256). Its credit is `level - burnt`. */
  burnt = 0;
}

/**
 * A unit burns its credit as it runs: at weight 256 one for each ns, at weight 512 half. When nobody who might run has
 * any left, all get some more (a reset): the common `level` rises, and since credit is counted from there, the order of
 * the queue stays. Three rules keep credit within bounds:
 *
 * 1. Who has slept is one reset's worth ahead of the others at most. So it runs as soon as it wakes, but not for long.
 * 2. Time that nobody waited for costs nothing once there is no credit left: the level rises instead.
 * 3. Who runs all the time although its weight would give it more has two resets' worth at most.
 *
 * The others are those who wait for the same pCPU: pinned units may all be far ahead of the rest of the pool.
 */
export class Credit2 extends CappedPolicy<Unit, CreditDomain<Unit>> {
  readonly sched_id = XEN_SCHEDULER_CREDIT2;
  private level = 0;
  /** By pCPU: the most that one had burnt who was the best for it. Of no meaning while nobody waits for it. */
  private readonly levels: number[];
  /** CREDIT_NS in units of `burnt`. */
  private quantum = CREDIT_NS;

  constructor(nrCpus: number) {
    super(nrCpus);
    this.levels = new Array<number>(nrCpus).fill(0);
  }

  addDomain(domid: number): CreditDomain<Unit> {
    return new CreditDomain<Unit>(domid, CREDIT_NS);
  }
  poolParams(): CreditPoolParams {
    return { tslice_ms: 0, ratelimit_us: this.ratelimitNs / 1000, vcpu_migr_delay_us: 0 };
  }
  setPoolParams(params: CreditPoolParams): number {
    if (!isRatelimit(params.ratelimit_us)) return -XEN_EINVAL;
    this.ratelimitNs = params.ratelimit_us * 1000;
    return 0;
  }

  protected override makeUnit(id: number, domain: CreditDomain<Unit>, affinity: Affinity): Unit {
    const unit = new Unit(id, domain, affinity);
    unit.burnt = Number.NEGATIVE_INFINITY; // as if it had slept for long
    return unit;
  }
  override insert(...args: Parameters<CappedPolicy<Unit, CreditDomain<Unit>>['insert']>): Unit {
    const unit = super.insert(...args);
    this.weightsChanged();
    return unit;
  }
  override remove(unit: Unit, now: number): void {
    super.remove(unit, now);
    this.weightsChanged();
  }
  protected override weightsChanged(): void {
    let heaviest = 1;
    for (const { domain } of this.units) heaviest = Math.max(heaviest, domain.weight);
    this.quantum = (CREDIT_NS * DEFAULT_WEIGHT) / heaviest;
    this.queue.homePenalty = this.quantum / 20;
    this.queue.softPenalty = this.quantum / 2;
  }
  protected override burn(unit: Unit, ns: number): void {
    unit.domain.spend(ns);
    const before = unit.burnt;
    let burnt = before + (ns * DEFAULT_WEIGHT) / unit.domain.weight;
    if (this.isUnbounded(unit)) {
      if (burnt > this.level) this.level += Math.min(burnt - this.level, burnt - before);
      burnt = Math.max(burnt, this.level - this.quantum);
    } else if (burnt < this.level - 2 * this.quantum)
      burnt = Math.max(burnt, this.levelOn(unit.cpu) - 2 * this.quantum);
    unit.burnt = burnt;
  }
  protected override woken(unit: Unit): void {
    const level = unit.cpu >= 0 && this.isContended(unit.cpu) ? this.levels[unit.cpu]! : this.level;
    unit.burnt = Math.max(unit.burnt, level - this.quantum);
  }
  protected override rank(unit: Unit, now: number): void {
    unit.key = unit.burnt;
    if (unit.state !== UNIT_running) return;
    unit.key += ((now - unit.chargedAt) * DEFAULT_WEIGHT) / unit.domain.weight;
    if (this.isUnbounded(unit)) unit.key = Math.min(unit.key, Math.max(unit.burnt, this.level));
  }
  protected override sliceEnd(unit: Unit, now: number, contended: boolean): number {
    const cap = this.capEnd(unit.domain, now);
    this.levels[unit.cpu] = contended ? Math.min(this.level, Math.max(this.levels[unit.cpu]!, unit.burnt)) : this.level;
    if (!contended) return cap;
    this.resetFor(unit);
    let end = this.level;
    // Pinned ones may all have much more credit than a reset gives: a turn is no longer for that.
    if (end - unit.burnt > this.quantum) end = Math.min(end, this.levelOn(unit.cpu) + this.quantum);
    const credit = ((end - unit.burnt) * unit.domain.weight) / DEFAULT_WEIGHT;
    const slice = Math.max(MIN_SLICE_NS, Math.min(credit, CREDIT_NS));
    return Math.min(Math.max(now + slice, unit.startedAt + this.ratelimitNs), cap);
  }

  /** Nobody who might run on the unit's pCPU has any credit left: all get some. */
  private resetFor(unit: Unit): void {
    if (unit.burnt < this.level) return;
    const best = this.queue.best(unit.cpu);
    if (best !== null && best.burnt < this.level) return;
    this.level += (Math.floor((unit.burnt - this.level) / this.quantum) + 1) * this.quantum;
  }
  /** The least that one of those has burnt who wait for `cpu`, if that is before the level. */
  private levelOn(cpu: number): number {
    const best = cpu < 0 ? null : this.queue.best(cpu);
    return best === null ? this.level : Math.min(this.level, best.burnt);
  }
}
