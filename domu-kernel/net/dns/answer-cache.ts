// What names were answered with, for as long as their servers say (RFC 1035, 3.2.1), within bounds.
import type { Clock } from '#pvbus';
import type { IpAddress } from '../ip-address.ts';

export const MAX_ANSWERS = 256;
/** Nobody's word is kept longer. */
const LONGEST_S = 3600;

interface Answer {
  readonly addresses: readonly IpAddress[];
  readonly untilNs: number;
}

export class AnswerCache {
  private readonly clock: Clock;
  /** The one that was told first, first. */
  private readonly answers = new Map<string, Answer>();

  constructor(clock: Clock) {
    this.clock = clock;
  }
  get size(): number {
    return this.answers.size;
  }
  find(name: string, type: number): readonly IpAddress[] | undefined {
    const answer = this.answers.get(`${type} ${name}`);
    return answer !== undefined && answer.untilNs > this.clock.now() ? answer.addresses : undefined;
  }
  keep(name: string, type: number, addresses: readonly IpAddress[], seconds: number): void {
    const key = `${type} ${name}`;
    this.answers.delete(key);
    if (seconds === 0) return;
    for (const [oldest] of this.answers) {
      if (this.answers.size < MAX_ANSWERS) break;
      this.answers.delete(oldest);
    }
    this.answers.set(key, { addresses, untilNs: this.clock.now() + Math.min(seconds, LONGEST_S) * 1e9 });
  }
  clear(): void {
    this.answers.clear();
  }
}
