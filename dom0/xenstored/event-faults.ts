// Faults of the events between the daemon and its domains: of what it sends them, and of what it hears.
import type { Clock, Domid } from '#pvbus';
import { FaultyEvents } from '../faults/faulty-events.ts';
import { LateWork } from '../faults/late-work.ts';
import type { RequestFaults } from './faults.ts';

/** How events come to pass. */
export type PassEvent = (op: 'send' | 'receive', domid: Domid, event: () => void) => void;

export interface EventFaultsParts {
  readonly clock: Clock;
  readonly faults: Pick<RequestFaults, 'befallsEvent'>;
  /** The domain's number of its channel. */
  readonly portOf: (domid: Domid) => number | undefined;
}

export class EventFaults {
  readonly #parts: EventFaultsParts;
  readonly #late = new LateWork();
  readonly #channels = new Map<Domid, FaultyEvents>();

  constructor(parts: EventFaultsParts) {
    this.#parts = parts;
  }
  readonly pass: PassEvent = (op, domid, event) => {
    const { clock, faults, portOf } = this.#parts;
    let channel = this.#channels.get(domid);
    if (channel === undefined) {
      const own = {
        befalls: (_part: string, which: string, matches: Parameters<RequestFaults['befallsEvent']>[2] = () => true) =>
          faults.befallsEvent(domid, which, matches),
        strike: () => {}, // none of these kills
      };
      channel = new FaultyEvents({ faults: own, late: this.#late, clock });
      this.#channels.set(domid, channel);
    }
    channel.pass(op, portOf(domid), event);
  };
  /** The domain is gone: nothing that waits for its next event is for who has its number then. */
  forget(domid: Domid): void {
    this.#channels.delete(domid);
  }
  /** The faults are others now. */
  letGo(): void {
    for (const channel of this.#channels.values()) channel.letGo();
    this.#channels.clear();
  }
  /** Let late ones happen. */
  step(): void {
    this.#late.step(this.#parts.clock.now());
  }
  get deadline(): number {
    return this.#late.deadline ?? Number.POSITIVE_INFINITY;
  }
}
