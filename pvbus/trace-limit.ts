// How much a trace is told where it is not to be told everything: of every 10 ms the beginning in full, of the rest how
// much it was. All who tell begin at the same moments, so that what is told of one has its causes in what is told of
// others.
import type { Clock } from './clock.ts';

export const TRACE_SPAN_NS = 10_000_000;
/** Records told of each span. */
export const TOLD_PER_SPAN = 128;
/** The clock costs as much as a record: of what is not told, one in so many looks whether the span is over. */
const LOOK_EVERY = 64;

export class TraceLimit {
  private readonly clock: Clock;
  /** Called where a silence begins, and where it ends: with how much has not been told. */
  private readonly tellSilence: (now: number, untold: number) => void;
  private left = 0;
  /** Of the span at hand. */
  private end = 0;
  private untold = 0;
  /** So many of them are still to happen. */
  private skips = 0;

  constructor(clock: Clock, tellSilence: (now: number, untold: number) => void) {
    this.clock = clock;
    this.tellSilence = tellSilence;
  }
  /** Is what happens now not to be told? Ask before anything else: it is quicker than the question whether it is on. */
  skip(): boolean {
    if (this.skips === 0) return false;
    this.skips--;
    return true;
  }
  /** May it be told? Who is told so tells it, and says `told`. */
  admits(): boolean {
    return this.left > 0 || this.admitsNow();
  }
  told(): void {
    this.left--;
  }
  private admitsNow(): boolean {
    const now = this.clock.now();
    this.tick(now);
    if (this.left > 0) return true;
    if (this.untold === 0) this.tellSilence(now, 0);
    this.untold += LOOK_EVERY;
    this.skips = LOOK_EVERY - 1;
    return false;
  }
  /** Who knows the time anyway says so: a new span, perhaps. */
  tick(now: number): void {
    // Before the span: this is another machine's clock.
    if (now < this.end && now >= this.end - TRACE_SPAN_NS) return;
    this.end = (Math.floor(now / TRACE_SPAN_NS) + 1) * TRACE_SPAN_NS;
    this.left = TOLD_PER_SPAN;
    if (this.untold > 0) this.tellSilence(now, this.untold - this.skips);
    this.untold = 0;
    this.skips = 0;
  }
}
