import type { CreditParams, SchedDomain } from './policy.ts';

export const DEFAULT_WEIGHT = 256;

/**
 * Weight and cap. The cap is what the domain may use of all pCPUs together, in per cent of one, filled up once a
 * period. invariant: what was used beyond the budget is missing from the next ones, so that the average holds;
 * what was not used is lost.
 */
export class CreditDomain<U> implements SchedDomain {
  readonly domid: number;
  weight = DEFAULT_WEIGHT;
  cap = 0;
  /** Units that wait for the next budget. */
  readonly held: U[] = [];
  private left = 0;
  private refillAt = 0;
  private readonly periodNs: number;

  constructor(domid: number, periodNs: number) {
    this.domid = domid;
    this.periodNs = periodNs;
  }
  set(params: CreditParams, now: number): void {
    this.weight = params.weight;
    if (params.cap === this.cap) return;
    this.cap = params.cap;
    this.left = this.full;
    this.refillAt = now + this.periodNs;
  }
  spend(ns: number): void {
    if (this.cap > 0) this.left -= ns;
  }
  /** What is left at `now`, in ns; of no meaning without a cap. */
  leftAt(now: number): number {
    if (now >= this.refillAt) {
      const periods = Math.floor((now - this.refillAt) / this.periodNs) + 1;
      this.refillAt += periods * this.periodNs;
      this.left = Math.min(this.full, this.left + periods * this.full);
    }
    return this.left;
  }
  mayRun(now: number): boolean {
    return this.cap === 0 || this.leftAt(now) > 0;
  }
  /** When those who are held should be asked again. */
  get freeAt(): number {
    return this.cap === 0 || this.left > 0 ? 0 : this.refillAt;
  }
  private get full(): number {
    return (this.cap / 100) * this.periodNs;
  }
}
