// One thing that is kept as others want it: however often it is poked, one turn runs at a time, and one
// more runs after a poke that came during a turn. Many events cost at most one waiting turn, never a queue.

export class Reconciler {
  readonly #turn: () => Promise<void>;
  readonly #failed: (error: unknown) => void;
  #wanted = false;
  #running: Promise<void> | null = null;

  /** `failed` hears what a turn threw; the next poke starts afresh. */
  constructor(turn: () => Promise<void>, failed: (error: unknown) => void) {
    this.#turn = turn;
    this.#failed = failed;
  }

  /** Have a turn begin after now. */
  poke(): void {
    this.#wanted = true;
    this.#running ??= this.#run();
  }

  /** True when another turn follows the one that runs. */
  get wanted(): boolean {
    return this.#wanted;
  }

  /** Resolves when no turn runs and none is wanted. */
  async settled(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#wanted) {
      this.#wanted = false;
      try {
        await this.#turn();
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#running = null;
  }
}
