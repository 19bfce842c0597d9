// What credit and credit2 have in common: weights, caps and a rate limit.
import {
  XEN_EINVAL,
  type XEN_SCHEDULER_CREDIT,
  type XEN_SCHEDULER_CREDIT2,
  XEN_SYSCTL_SCHED_RATELIMIT_MAX,
  XEN_SYSCTL_SCHED_RATELIMIT_MIN,
} from '#pvbus';
import type { CreditDomain } from './credit-domain.ts';
import { type CreditParams, type CreditPolicy, type CreditPoolParams, UNIT_running } from './policy.ts';
import { QueuePolicy } from './queue-policy.ts';
import type { QueuedUnit } from './run-queue.ts';

const DEFAULT_RATELIMIT_US = 1000;
/** Of a budget that several units use at once, and that may be gone any moment, each takes this much at least. */
const MIN_CAPPED_SLICE_NS = 50_000;

export const isRatelimit = (us: number): boolean =>
  us === 0 || (us >= XEN_SYSCTL_SCHED_RATELIMIT_MIN && us <= XEN_SYSCTL_SCHED_RATELIMIT_MAX);

export abstract class CappedPolicy<U extends QueuedUnit<D>, D extends CreditDomain<U>>
  extends QueuePolicy<U, D>
  implements CreditPolicy
{
  abstract override readonly sched_id: typeof XEN_SCHEDULER_CREDIT | typeof XEN_SCHEDULER_CREDIT2;
  abstract poolParams(): CreditPoolParams;
  abstract setPoolParams(params: CreditPoolParams): number;
  /** Those of which a unit is held. */
  private readonly exhausted: D[] = [];

  constructor(nrCpus: number) {
    super(nrCpus, 0, 0);
    this.ratelimitNs = DEFAULT_RATELIMIT_US * 1000;
  }

  domainParams(domain: D): CreditParams {
    return { weight: domain.weight, cap: domain.cap };
  }
  setDomainParams(domain: D, params: CreditParams, now: number): number {
    const { weight, cap } = params;
    if (!Number.isInteger(weight) || weight < 1 || weight > 0xffff) return -XEN_EINVAL;
    if (!Number.isInteger(cap) || cap < 0 || cap >= 0xffff) return -XEN_EINVAL;
    domain.set(params, now);
    this.weightsChanged();
    this.release(now);
    // order: who runs has been told how long without knowing of the cap.
    for (const unit of this.units)
      if (unit.domain === domain && unit.state === UNIT_running) this.decideAgain(unit.cpu);
    return 0;
  }
  nextEvent(): number {
    let at = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.exhausted.length; i++) at = Math.min(at, this.exhausted[i]!.freeAt);
    return at;
  }
  advance(now: number): void {
    this.release(now);
  }

  protected abstract weightsChanged(): void;
  protected mayRun(unit: U, now: number): boolean {
    return unit.domain.mayRun(now);
  }
  protected hold(unit: U): void {
    if (unit.domain.held.length === 0) this.exhausted.push(unit.domain);
    unit.domain.held.push(unit);
  }
  protected unhold(unit: U): void {
    const { held } = unit.domain;
    const at = held.indexOf(unit);
    if (at < 0) return; // stranded
    held[at] = held[held.length - 1]!;
    held.pop();
    if (held.length === 0) this.forget(unit.domain);
  }
  /** When the cap ends the turn of one who starts now, at the latest. */
  protected capEnd(domain: D, now: number): number {
    if (domain.cap === 0) return Number.POSITIVE_INFINITY;
    let left = domain.leftAt(now);
    let sharers = 0;
    for (let cpu = 0; cpu < this.running.length; cpu++) {
      const unit = this.running[cpu]!;
      if (unit === null || unit.domain !== domain) continue;
      sharers++;
      left -= now - unit.chargedAt;
    }
    return now + Math.max(left / sharers, MIN_CAPPED_SLICE_NS);
  }

  private release(now: number): void {
    for (let i = this.exhausted.length - 1; i >= 0; i--) {
      const domain = this.exhausted[i]!;
      if (!domain.mayRun(now)) continue;
      this.exhausted[i] = this.exhausted[this.exhausted.length - 1]!;
      this.exhausted.pop();
      for (let unit = domain.held.pop(); unit !== undefined; unit = domain.held.pop()) this.enqueue(unit, now);
    }
  }
  private forget(domain: D): void {
    const at = this.exhausted.indexOf(domain);
    this.exhausted[at] = this.exhausted[this.exhausted.length - 1]!;
    this.exhausted.pop();
  }
}
