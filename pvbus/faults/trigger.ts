// When a fault happens: a pure function of how many occurrences there were, of the time, and of the plan's seed.
// The same objects decide in a simulation and beside real rings.
import { type Fault, isTimed } from './fault.ts';
import { draw } from './random.ts';

/** How far a fault has come. */
export interface TriggerCounts {
  /** Occurrences that it could have befallen. */
  seen: number;
  /** Those that it has. */
  injected: number;
}

const NS_PER_MS = 1e6;

export class Trigger {
  readonly fault: Fault;
  readonly seed: number;
  readonly counts: TriggerCounts;
  readonly #startedNs: number;

  /** `startedNs`: when the plan began, on the clock that `decide` is told. */
  constructor(fault: Fault, seed: number, startedNs: number, counts: TriggerCounts = { seen: 0, injected: 0 }) {
    this.fault = fault;
    this.seed = seed;
    this.counts = counts;
    this.#startedNs = startedNs;
  }

  /** There is one more occurrence: does the fault befall it? */
  decide(nowNs: number): boolean {
    const n = ++this.counts.seen;
    if (!this.isOpen(nowNs) || !this.#isChosen(n)) return false;
    this.counts.injected++;
    return true;
  }

  /** False before its time, after it, and when it has happened often enough. */
  isOpen(nowNs: number): boolean {
    const { after = 0, for: length = Number.POSITIVE_INFINITY } = this.fault;
    const ms = (nowNs - this.#startedNs) / NS_PER_MS;
    return ms >= after && ms < after + length && !this.isOver;
  }

  /** It has happened as often as it may. */
  get isOver(): boolean {
    const { times, nth } = this.fault;
    const { seen, injected } = this.counts;
    if (times !== undefined && injected >= times) return true;
    return nth !== undefined && seen > Math.max(...nth);
  }

  #isChosen(n: number): boolean {
    const { name, nth, every, from = 1, probability } = this.fault;
    if (n < from) return false;
    if (nth !== undefined && !nth.includes(n)) return false;
    if (every !== undefined && !isTimed(this.fault) && (n - from) % every !== 0) return false;
    return probability === undefined || draw(this.seed, name, n) < probability * 2 ** 32;
  }

  /** Of a fault that happens by time: when its next occurrence is. undefined: there is none. */
  get nextNs(): number | undefined {
    const { after = 0, every } = this.fault;
    const { seen } = this.counts;
    if (this.isOver || (every === undefined && seen > 0)) return undefined;
    const ms = after + seen * (every ?? 0);
    return ms >= after + (this.fault.for ?? Number.POSITIVE_INFINITY) ? undefined : this.#startedNs + ms * NS_PER_MS;
  }

  /** A number for the occurrence of now, the `k`th one that it needs: below `below`. */
  random(k: number, below: number): number {
    return Math.floor((draw(this.seed, this.fault.name, this.counts.seen, k + 1) / 2 ** 32) * below);
  }
}
