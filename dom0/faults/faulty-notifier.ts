// Event channels of a device with faults: what it sends and what it hears.
import type { Clock, EvtchnPort } from '#pvbus';
import type { DeviceFaults } from './device-faults.ts';
import type { LateWork } from './late-work.ts';

/** Events that are held back at once; what is more comes at once. */
const MAX_HELD = 256;

/** How a backend tells its frontend: its event channels, or what stands before them. */
export interface Notifier {
  notify(port: EvtchnPort): void;
}

export interface NotifierParts {
  readonly faults: DeviceFaults;
  readonly late: LateWork;
  readonly clock: Clock;
}

export class FaultyNotifier implements Notifier {
  readonly #plain: Notifier;
  readonly #parts: NotifierParts;
  #held = 0;

  constructor(plain: Notifier, parts: NotifierParts) {
    this.#plain = plain;
    this.#parts = parts;
  }
  notify(port: EvtchnPort): void {
    this.#befall('send', () => this.#plain.notify(port));
  }
  /** The same for what is heard: `handler` with the faults before it. */
  hears(handler: () => void): () => void {
    return () => this.#befall('receive', handler);
  }

  #befall(op: 'send' | 'receive', event: () => void): void {
    const { faults, late, clock } = this.#parts;
    const hit = faults.befalls('event', op);
    const { drop, delay, duplicate, kill, stop } = hit?.fault ?? {};
    if (drop) return;
    if (delay !== undefined && this.#held < MAX_HELD) {
      this.#held++;
      late.add(clock.now() + delay * 1e6, () => {
        this.#held--;
        try {
          event();
        } catch {
          // The channel was closed meanwhile: an event that comes too late for it is lost.
        }
      });
      return;
    }
    if (hit !== undefined && (kill !== undefined || stop !== undefined)) faults.strike(hit);
    if (kill === 'before') return;
    for (let i = 0; i <= (duplicate ?? 0); i++) event();
  }
}
