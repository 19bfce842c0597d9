// Event channels of a device with faults: what it sends and what it hears.
import type { Clock, EvtchnPort } from '#pvbus';
import type { DeviceFaults } from './device-faults.ts';
import type { LateWork } from './late-work.ts';

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

  constructor(plain: Notifier, parts: NotifierParts) {
    this.#plain = plain;
    this.#parts = parts;
  }
  notify(port: EvtchnPort): void {
    befall('send', this.#parts, () => this.#plain.notify(port));
  }
  /** The same for what is heard: `handler` with the faults before it. */
  hears(handler: () => void): () => void {
    return () => befall('receive', this.#parts, handler);
  }
}

function befall(op: 'send' | 'receive', { faults, late, clock }: NotifierParts, event: () => void): void {
  const hit = faults.befalls('event', op);
  const { drop, delay, duplicate, kill, stop } = hit?.fault ?? {};
  if (drop) return;
  if (delay !== undefined) {
    late.add(clock.now() + delay * 1e6, () => {
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
