// The toolstack's limit on what a vif may send. Xen: the key `rate`, "bytes,microseconds".
import { parseDecimal } from '#pvbus';

/** As much credit is kept as one long packet needs, however small the interval's share is. */
const MIN_BURST_BYTES = 131_072;

export class RateLimit {
  private readonly bytes: number;
  private readonly intervalNs: number;
  private readonly burst: number;
  private credit: number;
  private windowNs: number;

  /** `bytes` more every `intervalNs`, from `nowNs` on. */
  constructor(bytes: number, intervalNs: number, nowNs: number) {
    this.bytes = bytes;
    this.intervalNs = intervalNs;
    this.burst = Math.max(bytes, MIN_BURST_BYTES);
    this.credit = bytes;
    this.windowNs = nowNs;
  }

  /** Undefined when there is a credit; otherwise when there will be. */
  blockedUntil(nowNs: number): number | undefined {
    const windows = Math.floor((nowNs - this.windowNs) / this.intervalNs);
    if (windows > 0) {
      this.credit = Math.min(this.burst, this.credit + windows * this.bytes);
      this.windowNs += windows * this.intervalNs;
    }
    if (this.credit > 0) return undefined;
    return this.windowNs + this.intervalNs * Math.ceil((1 - this.credit) / this.bytes);
  }
  /** Credit may go below 0: a packet is sent whole. */
  spend(bytes: number): void {
    this.credit -= bytes;
  }
}

export interface Rate {
  readonly bytes: number;
  readonly intervalUs: number;
}

/** Undefined for no limit. Xen: a rate that cannot be parsed is none. */
export function parseRate(value: string | undefined): Rate | undefined {
  const [bytes, intervalUs] = (value ?? '').split(',').map(part => parseDecimal(part));
  return bytes && intervalUs ? { bytes, intervalUs } : undefined;
}
