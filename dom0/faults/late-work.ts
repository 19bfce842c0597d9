// What a fault holds back until a time: done by the worker's own step, in order of time.

interface Late {
  readonly atNs: number;
  readonly run: () => void;
}

export class LateWork {
  #late: Late[] = [];

  /** In the order in which they came, where times are equal. */
  add(atNs: number, run: () => void): void {
    // From the end: what comes last is nearly always due last.
    let at = this.#late.length;
    while (at > 0 && this.#late[at - 1]!.atNs > atNs) at--;
    this.#late.splice(at, 0, { atNs, run });
  }
  get length(): number {
    return this.#late.length;
  }
  get deadline(): number | undefined {
    return this.#late[0]?.atNs;
  }
  /** True when something was due. */
  step(nowNs: number): boolean {
    let progress = false;
    for (let first = this.#late[0]; first !== undefined && first.atNs <= nowNs; first = this.#late[0]) {
      this.#late.shift();
      first.run();
      progress = true;
    }
    return progress;
  }
}
