// What the streams of a test have in common: when it began, how much is left to send, whether it is over.
import { clock } from 'xenolith';
import type { Parameters } from './parameters.ts';

export class Job {
  readonly parameters: Parameters;
  over = false;
  /** Counted from the first byte on, or from the end of `omit`. */
  began = 0;
  private virtual = 0;
  private left: number;

  constructor(parameters: Parameters) {
    this.parameters = parameters;
    this.left = parameters.num || Number.POSITIVE_INFINITY;
  }
  begin(): void {
    this.began = clock.now();
    this.virtual = clock.virtual();
  }
  /** True when another block may be sent, which is so taken from what is left. */
  takeBlock(): boolean {
    if (this.over || this.left <= 0) return false;
    this.left -= this.parameters.len;
    return true;
  }
  seconds(): number {
    return (clock.now() - this.began) / 1000;
  }
  /** Waits until a stream that has sent so many bytes since `from` may send more. */
  async pace(sent: number, from: number): Promise<void> {
    const { bandwidth } = this.parameters;
    if (bandwidth === 0) return;
    const early = (sent * 8000) / bandwidth - (clock.now() - from);
    if (early > 0) await clock.sleep(early);
  }
  /** Per cent of a processor that this domain has used. */
  cpu(): number {
    const passed = clock.now() - this.began;
    return passed > 0 ? ((clock.virtual() - this.virtual) * 100) / passed : 0;
  }
}

/** Of a stream, as results have them. */
export interface Figures {
  readonly id: number;
  readonly bytes: number;
  readonly retransmits: number;
  readonly jitter: number;
  readonly errors: number;
  readonly packets: number;
  readonly start_time: number;
  readonly end_time: number;
}

export interface Stream {
  readonly id: number;
  readonly sends: boolean;
  readonly bytes: number;
  /** Ends when the test does, or the peer. */
  run(): Promise<void>;
  /** What came before does not count. */
  restart(): void;
  figures(): Figures;
  close(): Promise<void>;
}

/** The streams of a test have these numbers on both sides. */
export const idOf = (index: number): number => (index === 0 ? 1 : index + 2);
