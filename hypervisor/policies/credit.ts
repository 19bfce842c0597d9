// Credit, the older default: a turn each, those with credit first, and first of all those that have just woken.
import {
  XEN_EINVAL,
  XEN_SCHEDULER_CREDIT,
  XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US,
  XEN_SYSCTL_CSCHED_TSLICE_MAX,
  XEN_SYSCTL_CSCHED_TSLICE_MIN,
} from '#pvbus';
import { CappedPolicy, isRatelimit } from './capped-policy.ts';
import { CreditDomain } from './credit-domain.ts';
import { type CreditPoolParams, UNIT_running } from './policy.ts';
import { type Affinity, QueuedUnit } from './run-queue.ts';

/** The CPU time of this long is dealt out at a time; also the period of caps. */
const ACCOUNTING_NS = 30_000_000;
const DEFAULT_TSLICE_NS = 30_000_000;
/** How long one that has just woken goes before everybody else. */
const BOOST_NS = 10_000_000;
/** Credit that a unit may save up while it waits, and while it sleeps. */
const MAX_WAITING_NS = 10 * ACCOUNTING_NS;
const MAX_SLEEPING_NS = ACCOUNTING_NS;
/** Who has waited this long goes first whatever its credit, or those that wake could keep it waiting for ever. */
const LONGEST_WAIT_NS = 1_000_000_000;
/** A preference of a pCPU is worth this much of somebody else's longer wait. */
const SOFT_NS = 30_000_000;

const BOOST = 0;
const UNDER = 1;
const OVER = 2;

class Unit extends QueuedUnit<CreditDomain<Unit>> {
  /** CPU time it is owed, in ns. */
  credit = 0;
  /** What is left of its boost. */
  boost = 0;
  /** It has run or waited since the last accounting. */
  active = false;
  /** When its current turn began. */
  turnAt = 0;
}

export class Credit extends CappedPolicy<Unit, CreditDomain<Unit>> {
  readonly sched_id = XEN_SCHEDULER_CREDIT;
  private tsliceNs = DEFAULT_TSLICE_NS;
  private accountedAt = 0;
  /** CPU time that has been charged since then. */
  private used = 0;

  constructor(nrCpus: number) {
    super(nrCpus);
    this.queue.softPenalty = SOFT_NS;
  }

  addDomain(domid: number): CreditDomain<Unit> {
    return new CreditDomain<Unit>(domid, ACCOUNTING_NS);
  }
  poolParams(): CreditPoolParams {
    return {
      tslice_ms: this.tsliceNs / 1_000_000,
      ratelimit_us: this.ratelimitNs / 1000,
      vcpu_migr_delay_us: this.queue.homePenalty / 1000,
    };
  }
  setPoolParams({ tslice_ms, ratelimit_us, vcpu_migr_delay_us }: CreditPoolParams): number {
    if (tslice_ms < XEN_SYSCTL_CSCHED_TSLICE_MIN || tslice_ms > XEN_SYSCTL_CSCHED_TSLICE_MAX) return -XEN_EINVAL;
    if (!isRatelimit(ratelimit_us) || ratelimit_us > tslice_ms * 1000) return -XEN_EINVAL;
    if (vcpu_migr_delay_us > XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US) return -XEN_EINVAL;
    this.tsliceNs = tslice_ms * 1_000_000;
    this.ratelimitNs = ratelimit_us * 1000;
    // Its place is the pCPU where it ran last; elsewhere it counts as having come this much later.
    this.queue.homePenalty = vcpu_migr_delay_us * 1000;
    return 0;
  }

  override nextEvent(): number {
    // With nobody waiting there is nothing to share out: the first who waits makes up for it.
    return Math.min(
      super.nextEvent(),
      this.queue.isEmpty ? Number.POSITIVE_INFINITY : this.accountedAt + ACCOUNTING_NS,
    );
  }
  override advance(now: number): void {
    this.account(now);
    super.advance(now);
  }

  protected override makeUnit(id: number, domain: CreditDomain<Unit>, affinity: Affinity): Unit {
    return new Unit(id, domain, affinity);
  }
  protected override weightsChanged(): void {}
  protected override burn(unit: Unit, ns: number): void {
    unit.domain.spend(ns);
    this.used += ns;
    // Time that nobody waited for costs nothing once there is no credit left.
    unit.credit = this.isUnbounded(unit) ? Math.max(unit.credit - ns, Math.min(unit.credit, 0)) : unit.credit - ns;
    unit.boost = unit.credit > 0 ? Math.max(0, unit.boost - ns) : 0;
    unit.active = true;
  }
  protected override woken(unit: Unit, now: number): void {
    this.account(now);
    unit.credit = Math.min(unit.credit, MAX_SLEEPING_NS);
    unit.active = true;
    if (unit.credit >= 0) unit.boost = BOOST_NS;
  }
  protected override rank(unit: Unit, now: number): void {
    unit.prio = unit.boost > 0 ? BOOST : unit.credit > 0 ? UNDER : OVER;
    // In the middle of its turn it goes before all of its kind, at the end it queues up behind them.
    const inTurn = unit.state === UNIT_running && now < unit.turnAt + this.tsliceNs;
    unit.key = inTurn ? Number.NEGATIVE_INFINITY : now;
  }
  protected override sliceEnd(unit: Unit, now: number, contended: boolean): number {
    const cap = this.capEnd(unit.domain, now);
    if (unit.startedAt === now || now >= unit.turnAt + this.tsliceNs) unit.turnAt = now;
    return contended ? Math.min(cap, unit.turnAt + this.tsliceNs) : cap;
  }

  /** Deal out what the pCPUs can do in the time since the last account, by the weights of those who want it. */
  private account(now: number): void {
    if (now < this.accountedAt + ACCOUNTING_NS) return;
    const passed = Math.floor((now - this.accountedAt) / ACCOUNTING_NS) * ACCOUNTING_NS;
    this.accountedAt += passed;
    const possible = (this.queue.isEmpty ? ACCOUNTING_NS : Math.min(passed, MAX_WAITING_NS)) * this.nrOnline;
    // Time that was used beyond that (an overrun) is dealt out as well: who overran owes it to the others.
    const credit = this.queue.isEmpty ? possible : Math.max(possible, this.used);
    this.used = 0;
    let weights = 0;
    for (const unit of this.units) if (this.isActive(unit)) weights += unit.domain.weight;
    for (const unit of this.units) {
      if (!this.isActive(unit)) continue;
      unit.credit = Math.min(unit.credit + (credit * unit.domain.weight) / weights, MAX_WAITING_NS);
      unit.active = false;
      if (unit.pos < 0) continue;
      const prio = now - unit.key >= LONGEST_WAIT_NS ? BOOST : unit.credit > 0 ? UNDER : OVER;
      if (prio >= unit.prio) continue;
      this.queue.remove(unit);
      unit.prio = prio;
      this.queue.add(unit);
      this.seek(unit, now);
    }
  }
  private isActive(unit: Unit): boolean {
    return unit.active || unit.pos >= 0 || unit.state === UNIT_running;
  }
}
