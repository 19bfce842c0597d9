// Processes that have taken the place of others, for a control domain that wants to tell of it.
import type { Domain } from './domain.ts';

export interface Replacement {
  /** From 1 on. */
  readonly number: number;
  readonly domid: number;
  /** The first one of its vCPUs. */
  readonly vcpu: number;
  readonly pid: number;
  /** Processes that ended before this one served: 1, or those that never did besides. */
  readonly ends: number;
  /** When the first of them was known to have ended, and when this one said that it serves: monotonic ns. */
  readonly endedNs: number;
  readonly servedNs: number;
}

/** Who asks later than that has missed the oldest. */
const KEPT = 64;

export class Replacements {
  private readonly kept: Replacement[] = [];
  /** Whose place nobody has taken yet who serves: by domain and first vCPU. */
  private readonly vacant = new WeakMap<Domain, Map<number, { ends: number; readonly endedNs: number }>>();
  private last = 0;

  ended(domain: Domain, vcpu: number, now: number): void {
    const places = this.vacant.get(domain) ?? new Map<number, { ends: number; readonly endedNs: number }>();
    this.vacant.set(domain, places);
    const place = places.get(vcpu);
    if (place) place.ends++;
    else places.set(vcpu, { ends: 1, endedNs: now });
  }
  /** True when it does so in the place of another one. */
  serves(domain: Domain, vcpu: number, pid: number, now: number): boolean {
    const place = this.vacant.get(domain)?.get(vcpu);
    if (place === undefined) return false;
    this.vacant.get(domain)!.delete(vcpu);
    this.kept.push({ number: ++this.last, domid: domain.domid, vcpu, pid, ...place, servedNs: now });
    if (this.kept.length > KEPT) this.kept.shift();
    return true;
  }
  /** The oldest one with this number or a higher one. */
  from(number: number): Replacement | undefined {
    return this.kept.find(one => one.number >= number);
  }
}
