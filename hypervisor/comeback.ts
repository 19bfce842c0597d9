// When a program that has ended is started again: at once, unless its processes keep ending without having served.

/** A process has served once it has said so and has lived on for as long: one that was killed, */
const SERVED_NS = 50e6;
/** and one that ended by itself, be it because of what it was asked. */
const LASTED_NS = 1e9;
/** So many in a row may end without having served before the next one has to wait, */
export const MAX_ENDS = 5;
/** first so long, then each time twice as long. */
const FIRST_DELAY_NS = 250e6;
const LONGEST_DELAY_NS = 30e9;

export class Comeback {
  /** Ends in a row of processes that did not serve. */
  failures = 0;
  /** A process of this program has served here before: the place is not misconfigured from the start. */
  everServed = false;
  #servingSince: number | undefined;

  /** The process has said that it serves. */
  serves(now: number): void {
    this.everServed = true;
    this.#servingSince = now;
  }
  /** The process has ended, by itself or killed: ns until the next one is due. */
  ended(now: number, killed: boolean): number {
    const since = this.#servingSince;
    this.#servingSince = undefined;
    const served = since !== undefined && now - since >= (killed ? SERVED_NS : LASTED_NS);
    this.failures = served ? 0 : this.failures + 1;
    if (this.failures < MAX_ENDS) return 0;
    return Math.min(FIRST_DELAY_NS * 2 ** (this.failures - MAX_ENDS), LONGEST_DELAY_NS);
  }
  /** Those failures, if they were so many that the next one had to wait. */
  get waited(): number {
    return this.failures < MAX_ENDS ? 0 : this.failures;
  }
  /** Is this end worth a line in the log? The first ones, then every power of two. */
  get worthSaying(): boolean {
    return this.failures <= MAX_ENDS || Number.isInteger(Math.log2(this.failures));
  }
}
