// How often errors are sent to anybody: a burst, and then so many a second (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f).
import type { Clock } from '#pvbus';

const INTERVAL_NS = 100e6;
const BURST = 10;

export class Complaints {
  private readonly clock: Clock;
  private tokens = BURST;
  private refilledNs: number;

  constructor(clock: Clock) {
    this.clock = clock;
    this.refilledNs = clock.now();
  }
  take(): boolean {
    const earned = Math.floor((this.clock.now() - this.refilledNs) / INTERVAL_NS);
    if (earned > 0) {
      this.tokens = Math.min(BURST, this.tokens + earned);
      this.refilledNs += earned * INTERVAL_NS;
    }
    if (this.tokens === 0) return false;
    this.tokens--;
    return true;
  }
}
