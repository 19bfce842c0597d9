// The faults of one console: of what its guest writes, and of what is typed.
import type { Clock, Injected, Planted, Trigger } from '#pvbus';
import { FaultsWithEvents } from '../../faults/faults-with-events.ts';
import type { FaultyNotifier, Notifier } from '../../faults/faulty-notifier.ts';

/** `read` is the guest's output, which consoled reads; `write` its input. */
type ConsoleOp = 'read' | 'write';

interface Held {
  readonly trigger: Trigger;
  readonly untilNs: number;
}

export class ConsoleFaults {
  readonly #clock: Clock;
  readonly #faults: FaultsWithEvents;
  readonly #held = new Map<ConsoleOp, Held>();

  /** `label`: how events name the console. */
  constructor(label: string, clock: Clock, notifier: Notifier, tell: (injected: Injected) => void) {
    this.#clock = clock;
    this.#faults = new FaultsWithEvents(label, { clock, tell, notifier });
  }
  /** Its event channel. */
  get events(): FaultyNotifier {
    return this.#faults.events;
  }
  plant(planted: readonly Planted[]): void {
    this.#faults.plant(planted);
  }
  /** There are bytes to be moved: are they, now? What is held is asked for again, and is no other occurrence. */
  fate(op: ConsoleOp): 'pass' | 'drop' | 'hold' {
    const now = this.#clock.now();
    const held = this.#held.get(op);
    if (held !== undefined) {
      if (now < held.untilNs && this.#faults.isPlanted(held.trigger)) return 'hold';
      this.#held.delete(op);
      return 'pass';
    }
    if (this.#faults.dying !== undefined) return 'hold';
    const hit = this.#faults.befalls('console', op);
    if (hit === undefined) return 'pass';
    const { drop, delay, kill, stop } = hit.fault;
    if (drop) return 'drop';
    if (kill !== undefined || stop !== undefined) this.#faults.strike(hit);
    if (kill === 'after' || stop !== undefined) return 'pass';
    const untilNs = delay === undefined ? Number.POSITIVE_INFINITY : now + delay * 1e6;
    this.#held.set(op, { trigger: hit, untilNs });
    return 'hold';
  }
  /** Let late events happen, and tell what has. */
  step(): void {
    this.#faults.step();
  }
  /** When what is held goes on by itself, or there is something to tell. */
  get deadline(): number | undefined {
    const deadline = this.#faults.deadline ?? Number.POSITIVE_INFINITY;
    const first = Math.min(deadline, ...[...this.#held.values()].map(({ untilNs }) => untilNs));
    return Number.isFinite(first) ? first : undefined;
  }
}
