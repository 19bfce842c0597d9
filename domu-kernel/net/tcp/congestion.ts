// How much may be on its way (RFC 5681, with the initial window of RFC 6928 and byte counting of RFC 3465).

const INITIAL_SEGMENTS = 10;

export class Congestion {
  mss: number;
  cwnd: number;
  ssthresh = Number.POSITIVE_INFINITY;
  /** Bytes acknowledged towards the next segment of congestion avoidance. */
  private counted = 0;

  constructor(mss: number) {
    this.mss = mss;
    this.cwnd = initialWindow(mss);
  }
  /** `bytes` more have been acknowledged, of a flight that used the whole window. */
  acknowledged(bytes: number): void {
    const { mss } = this;
    if (this.cwnd < this.ssthresh) {
      this.cwnd = Math.min(this.cwnd + bytes, Math.max(this.ssthresh, this.cwnd + mss));
      return;
    }
    this.counted += bytes;
    if (this.counted < this.cwnd) return;
    this.counted -= this.cwnd;
    this.cwnd += mss;
  }
  /** Segments were lost of `flight` bytes, others arrived. */
  lost(flight: number): void {
    this.ssthresh = Math.max(Math.floor(flight / 2), 2 * this.mss);
    this.cwnd = this.ssthresh;
    this.counted = 0;
  }
  /** Nothing arrived of `flight` bytes. */
  timedOut(flight: number): void {
    this.ssthresh = Math.max(Math.floor(flight / 2), 2 * this.mss);
    this.cwnd = this.mss;
    this.counted = 0;
  }
  /** Nothing was sent for longer than a timeout (RFC 5681, 4.1). */
  idle(): void {
    this.cwnd = Math.min(this.cwnd, initialWindow(this.mss));
  }
}

const initialWindow = (mss: number): number => Math.min(INITIAL_SEGMENTS * mss, Math.max(2 * mss, 14600));
