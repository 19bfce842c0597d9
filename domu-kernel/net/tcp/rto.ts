// How long to wait for an acknowledgement (RFC 6298).

const INITIAL_NS = 1e9;
/** RFC 6298 says a second; this is what Linux has: no path here has delayed acknowledgements of more. */
export const MIN_RTO_NS = 200e6;
export const MAX_RTO_NS = 60e9;
const GRANULARITY_NS = 1e6;

export class RetransmissionTimeout {
  /** Smoothed; 0 before the first sample. */
  srttNs = 0;
  private varNs = 0;
  private baseNs = INITIAL_NS;
  private backoff = 0;

  get ns(): number {
    return Math.min(MAX_RTO_NS, this.baseNs * 2 ** this.backoff);
  }
  sample(rttNs: number): void {
    if (this.srttNs === 0) {
      this.srttNs = Math.max(1, rttNs);
      this.varNs = rttNs / 2;
    } else {
      this.varNs += (Math.abs(this.srttNs - rttNs) - this.varNs) / 4;
      this.srttNs = Math.max(1, this.srttNs + (rttNs - this.srttNs) / 8);
    }
    const wanted = this.srttNs + Math.max(GRANULARITY_NS, 4 * this.varNs);
    this.baseNs = Math.min(MAX_RTO_NS, Math.max(MIN_RTO_NS, wanted));
    this.backoff = 0;
  }
  /** The timer has expired: twice as long next time. */
  backOff(): void {
    if (this.ns < MAX_RTO_NS) this.backoff++;
  }
  /** The peer is heard again. */
  resetBackoff(): void {
    this.backoff = 0;
  }
}
