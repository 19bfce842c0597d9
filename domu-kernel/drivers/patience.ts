// How long a backend that owes answers is waited for. Counted in looks, not in time: while the whole machine was
// stopped, nobody looked.

/** How often everything that is waited for is looked at, whether or not somebody notifies. */
export const LOOK_NS = 1e9;
/** In looks. */
const UNEASY = 10;
const OUT = 60;

export class Patience {
  /** Whether the last look has seen answers. */
  answered = false;
  #seen = 0;
  #looks = 0;

  /** `waits`: something is owed. `answers`: how many there have been. 'uneasy' and 'out' are said once each. */
  look(waits: boolean, answers: number): 'patient' | 'uneasy' | 'out' {
    this.answered = answers !== this.#seen;
    this.#seen = answers;
    if (!waits || this.answered) {
      this.#looks = 0;
      return 'patient';
    }
    this.#looks++;
    if (this.#looks === UNEASY) return 'uneasy';
    if (this.#looks < OUT) return 'patient';
    this.#looks = 0;
    return 'out';
  }
}
