// What faults hold back: until a time, or until the fault goes.
import type { Trigger } from '#pvbus';

interface Held {
  readonly trigger: Trigger;
  /** undefined: until the fault goes. */
  readonly untilNs: number | undefined;
  readonly run: () => void;
}

/** What is more comes at once. */
const MAX_HELD = 1024;

export class HeldWork {
  #held: Held[] = [];

  /** What `trigger` says befalls `run`: a delay, a stop of the process, or a stall. */
  add(trigger: Trigger, nowNs: number, run: () => void): void {
    const { delay, stop } = trigger.fault;
    const ms = delay ?? stop;
    const untilNs = ms === undefined ? undefined : nowNs + ms * 1e6;
    if (this.#held.length >= MAX_HELD) run();
    else this.#held.push({ trigger, untilNs, run });
  }
  get deadline(): number | undefined {
    let first: number | undefined;
    for (const { untilNs } of this.#held)
      if (untilNs !== undefined && (first === undefined || untilNs < first)) first = untilNs;
    return first;
  }
  /** True when something was due. */
  step(nowNs: number): boolean {
    return this.#letGo(({ untilNs }) => untilNs !== undefined && untilNs <= nowNs);
  }
  /** Of these faults nothing is held back any longer. */
  letGo(isGone: (trigger: Trigger) => boolean): void {
    this.#letGo(({ trigger }) => isGone(trigger));
  }
  /** In the order in which they came. */
  #letGo(isDue: (held: Held) => boolean): boolean {
    const due = this.#held.filter(isDue);
    if (due.length === 0) return false;
    this.#held = this.#held.filter(held => !due.includes(held));
    for (const { run } of due) run();
    return true;
  }
}
