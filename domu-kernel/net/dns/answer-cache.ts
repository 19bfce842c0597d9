// What was answered for names, that they do not exist included, for as long as their servers say (RFC 1035, 3.2.1;
// RFC 2308), within bounds.
import type { Clock } from '#pvbus';
import type { Answer } from './message.ts';

export const MAX_ANSWERS = 256;
/** Nobody's word is kept longer. */
const LONGEST_S = 3600;
/** That something is not there is soon untrue. */
const LONGEST_NOTHING_S = 300;

export class AnswerCache {
  private readonly clock: Clock;
  /** The one that was told first, first. */
  private readonly answers = new Map<string, { readonly answer: Answer; readonly untilNs: number }>();

  constructor(clock: Clock) {
    this.clock = clock;
  }
  get size(): number {
    return this.answers.size;
  }
  find(name: string, type: number): Answer | undefined {
    const kept = this.answers.get(`${type} ${name}`);
    return kept !== undefined && kept.untilNs > this.clock.now() ? kept.answer : undefined;
  }
  keep(name: string, type: number, answer: Answer): void {
    const key = `${type} ${name}`;
    this.answers.delete(key);
    const seconds = Math.min(answer.ttl, answer.addresses.length > 0 ? LONGEST_S : LONGEST_NOTHING_S);
    if (seconds === 0) return;
    for (const [oldest] of this.answers) {
      if (this.answers.size < MAX_ANSWERS) break;
      this.answers.delete(oldest);
    }
    this.answers.set(key, { answer, untilNs: this.clock.now() + seconds * 1e9 });
  }
  clear(): void {
    this.answers.clear();
  }
}
