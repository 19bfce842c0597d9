// RTDS: every unit has a budget each period; earliest deadline first over all pCPUs of the pool.
import { XEN_EINVAL, XEN_SCHEDULER_RTDS } from '#pvbus';
import { Heap, type HeapNode } from './heap.ts';
import { type RtdsParams, type RtdsPolicy, type SchedDomain, UNIT_runnable, UNIT_running } from './policy.ts';
import { QueuePolicy } from './queue-policy.ts';
import { type Affinity, QueuedUnit } from './run-queue.ts';

const DEFAULT_PERIOD_US = 10_000;
const DEFAULT_BUDGET_US = 4_000;
/** Of both period and budget. */
const MIN_US = 10;

/** A unit's place among the deadlines to come. */
class Deadline implements HeapNode {
  readonly prio = 0;
  key = 0;
  seq = 0;
  pos = -1;
  readonly unit: Unit;
  constructor(unit: Unit) {
    this.unit = unit;
  }
}

class Unit extends QueuedUnit {
  period = DEFAULT_PERIOD_US * 1000;
  budget = DEFAULT_BUDGET_US * 1000;
  extratime = false;
  /** The end of its current period. */
  deadline = 0;
  /** Of the budget of this period; negative: of those to come. */
  left = 0;
  /** 0: it runs on its budget. Above: on time nobody has reserved, of which it has had so many budgets. */
  level = 0;
  extraLeft = 0;
  readonly timer = new Deadline(this);
}

/**
 * Budgets are hard: who has used one up waits for the next period, or with extratime runs behind all who have not. A
 * unit that wakes takes up its period where it left off, unless what is left of budget and period would together
 * exceed the unit's share: then a new period begins (the wake-up rule of the constant bandwidth server). So a unit that
 * sleeps whenever it likes never takes from the others what they have reserved.
 */
export class Rtds extends QueuePolicy<Unit, SchedDomain> implements RtdsPolicy {
  readonly sched_id = XEN_SCHEDULER_RTDS;
  readonly defaultParams: RtdsParams = { period: DEFAULT_PERIOD_US, budget: DEFAULT_BUDGET_US, extratime: false };
  /** Of all who wait or are held. One that runs looks at its own. */
  private readonly deadlines = new Heap<Deadline>();

  constructor(nrCpus: number) {
    super(nrCpus, 0, 0);
  }

  addDomain(domid: number): SchedDomain {
    return { domid };
  }
  unitParams({ period, budget, extratime }: Unit): RtdsParams {
    return { period: period / 1000, budget: budget / 1000, extratime };
  }
  setUnitParams(unit: Unit, params: RtdsParams, now: number): number {
    if (!isValid(params)) return -XEN_EINVAL;
    this.apply(unit, params, now);
    return 0;
  }
  setDomainParams(domain: SchedDomain, params: RtdsParams, now: number): number {
    if (!isValid(params)) return -XEN_EINVAL;
    for (const unit of this.units) if (unit.domain === domain) this.apply(unit, params, now);
    return 0;
  }

  override sleep(unit: Unit, now: number): void {
    super.sleep(unit, now);
    if (unit.timer.pos >= 0) this.deadlines.remove(unit.timer);
  }
  nextEvent(): number {
    return this.deadlines.first?.key ?? Number.POSITIVE_INFINITY;
  }
  advance(now: number): void {
    for (let first = this.deadlines.first; first !== undefined && first.key <= now; first = this.deadlines.first) {
      const { unit } = first;
      if (unit.state === UNIT_running) {
        // order: it is charged for the old period before the new one begins, in `mayRun`.
        this.deadlines.remove(first);
        this.decideAgain(unit.cpu);
        continue;
      }
      if (unit.pos >= 0) this.queue.remove(unit);
      this.nextPeriod(unit, now);
      this.enqueue(unit, now);
    }
  }

  protected override makeUnit(id: number, domain: SchedDomain, affinity: Affinity): Unit {
    return new Unit(id, domain, affinity);
  }
  protected override burn(unit: Unit, ns: number): void {
    if (unit.state === UNIT_running && unit.level > 0) unit.extraLeft -= ns;
    else unit.left -= ns;
  }
  protected override woken(unit: Unit, now: number): void {
    const { budget, period } = unit;
    if (now >= unit.deadline) {
      this.nextPeriod(unit, now);
      unit.deadline = now + period;
    } else if (unit.left * period > (unit.deadline - now) * budget) {
      unit.left = budget;
      unit.deadline = now + period;
    }
    this.expect(unit);
  }
  protected override mayRun(unit: Unit, now: number): boolean {
    if (now >= unit.deadline) this.nextPeriod(unit, now);
    if (unit.left > 0) return true;
    if (!unit.extratime) return false;
    if (unit.level === 0) unit.extraLeft = 0;
    while (unit.extraLeft <= 0) {
      unit.level++;
      unit.extraLeft += unit.budget;
    }
    return true;
  }
  protected override rank(unit: Unit): void {
    unit.prio = unit.level;
    unit.key = unit.deadline;
  }
  protected override hold(): void {} // `deadlines` has it
  protected override unhold(): void {}
  protected override sliceEnd(unit: Unit, now: number): number {
    return now + (unit.level > 0 ? unit.extraLeft : unit.left);
  }

  private nextPeriod(unit: Unit, now: number): void {
    const periods = Math.floor((now - unit.deadline) / unit.period) + 1;
    unit.deadline += periods * unit.period;
    unit.left = Math.min(unit.budget, unit.left + periods * unit.budget);
    if (unit.left > 0) unit.level = 0;
    this.expect(unit);
  }
  private expect(unit: Unit): void {
    if (unit.timer.pos >= 0) this.deadlines.remove(unit.timer);
    unit.timer.key = unit.deadline;
    this.deadlines.push(unit.timer);
  }
  /** From its next period on, but never more than the new budget in this one. */
  private apply(unit: Unit, params: RtdsParams, now: number): void {
    unit.period = params.period * 1000;
    unit.budget = params.budget * 1000;
    unit.extratime = params.extratime;
    unit.left = Math.min(unit.left, unit.budget);
    if (!unit.extratime) unit.level = 0;
    if (unit.state === UNIT_running) this.decideAgain(unit.cpu);
    else if (unit.state === UNIT_runnable) {
      if (unit.pos >= 0) this.queue.remove(unit);
      this.enqueue(unit, now);
    }
  }
}

const isValid = ({ period, budget }: RtdsParams): boolean =>
  Number.isInteger(period) && Number.isInteger(budget) && budget >= MIN_US && budget <= period && period <= 0xffffffff;
