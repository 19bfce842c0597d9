// One thing that is kept as others want it, by turns of a routine: however often it is poked, one turn runs at a
// time, and one more runs after a poke that came during a turn. Twin of pvbus/reconciler.ts, without promises below.
// untrusted: who pokes may be a peer that flaps. Turns are free as far as an allowance goes, which fills up again
// with time; beyond that they wait.
import { type Clock, type Routine, run } from '#pvbus';

/** A whole life of a device takes a dozen. */
const MAX_ALLOWANCE = 64;
/** And then one in this time: 50 a second cost a guest about a hundredth of a CPU. */
const REFILL_NS = 20e6;

export class Turns {
  readonly #turn: () => Routine<void>;
  readonly #failed: (error: unknown) => void;
  readonly #clock: Clock;
  #wanted = false;
  #running = false;
  #allowance = MAX_ALLOWANCE;
  #filled: number;
  /** When the next turn may begin, while there is one that has to wait. */
  #later: number | undefined;
  readonly #waiting: (() => void)[] = [];

  /** `failed` hears what a turn threw; the next poke starts afresh. */
  constructor(turn: () => Routine<void>, failed: (error: unknown) => void, clock: Clock) {
    this.#turn = turn;
    this.#failed = failed;
    this.#clock = clock;
    this.#filled = clock.now();
  }

  /** Have a turn begin after now. */
  poke(): void {
    this.#wanted = true;
    if (!this.#running && this.#later === undefined) this.#run();
  }
  /** True when another turn follows the one that runs. */
  get wanted(): boolean {
    return this.#wanted;
  }
  /** When `tick` is to be called; undefined while nothing waits for time to pass. */
  get deadline(): number | undefined {
    return this.#later;
  }
  /** Time has passed. */
  tick(now: number): void {
    if (this.#later === undefined || now < this.#later) return;
    this.#later = undefined;
    this.#run();
  }

  /** Resolves when no turn runs, and none is wanted that need not wait. */
  async settled(): Promise<void> {
    while (this.#running) await new Promise<void>(resolve => this.#waiting.push(resolve));
  }

  #run(): void {
    this.#running = true;
    run(
      this.#all(),
      () => this.#rest(),
      error => {
        this.#failed(error);
        this.#rest();
      },
    );
  }
  #rest(): void {
    this.#running = false;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
  *#all(): Routine<void> {
    while (this.#wanted && this.#allowed()) {
      this.#wanted = false;
      try {
        yield* this.#turn();
      } catch (error) {
        this.#failed(error);
      }
    }
  }
  #allowed(): boolean {
    if (this.#allowance === 0) this.#refill();
    if (this.#allowance === 0) {
      this.#later = this.#filled + REFILL_NS;
      return false;
    }
    this.#allowance--;
    return true;
  }
  #refill(): void {
    const more = Math.floor((this.#clock.now() - this.#filled) / REFILL_NS);
    if (more <= 0) return;
    this.#allowance = Math.min(MAX_ALLOWANCE, more);
    this.#filled += more * REFILL_NS;
  }
}
