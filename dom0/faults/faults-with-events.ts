// The faults of one device, those of its event channels among them. What these hold back happens when the last of them goes.
import { type Clock, earlier, type Injected, type Planted } from '#pvbus';
import { DeviceFaults } from './device-faults.ts';
import type { FaultyEventsParts } from './faulty-events.ts';
import { FaultyNotifier, type Notifier } from './faulty-notifier.ts';
import { LateWork } from './late-work.ts';

export interface FaultsWithEventsParts {
  readonly clock: Clock;
  readonly tell: (injected: Injected) => void;
  /** Its event channels, without faults. */
  readonly notifier: Notifier;
  /** Have `step` run soon, for who does not after each event. */
  readonly wake?: () => void;
}

export class FaultsWithEvents extends DeviceFaults {
  readonly #clock: Clock;
  readonly #late = new LateWork();
  /** Its event channels. */
  readonly events: FaultyNotifier;

  /** `label`: how events name the device. */
  constructor(label: string, { clock, tell, notifier, wake = () => {} }: FaultsWithEventsParts) {
    super(label, clock, tell);
    this.#clock = clock;
    const faults: FaultyEventsParts['faults'] = {
      befalls: (...asked) => {
        const hit = this.befalls(...asked);
        if (hit !== undefined) wake(); // for what is told, or late
        return hit;
      },
      strike: trigger => {
        this.strike(trigger);
        wake();
      },
    };
    this.events = new FaultyNotifier(notifier, { faults, late: this.#late, clock });
  }
  override plant(planted: readonly Planted[]): void {
    super.plant(planted);
    this.events.letGo();
    // Nobody has this one step again.
    if (planted.length === 0) this.#late.step(Number.POSITIVE_INFINITY);
  }
  /** Let late events happen, and tell what has. True when there was one. */
  step(): boolean {
    const late = this.#late.step(this.#clock.now());
    this.flush();
    return late;
  }
  /** When there is something to do for `step`. */
  override get deadline(): number | undefined {
    return earlier(super.deadline, this.#late.deadline);
  }
}
