// Time as the daemon's work sees it: it stands during a turn, so that looking at it costs nothing.
import type { Clock } from '#pvbus';

export class TurnClock implements Clock {
  readonly #clock: Clock;
  #now: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#now = clock.now();
  }
  now(): number {
    return this.#now;
  }
  wallMs(): number {
    return this.#clock.wallMs();
  }
  /** A turn begins. */
  tick(): number {
    this.#now = this.#clock.now();
    return this.#now;
  }
}
