// Events with faults: some are lost, late, many, or in another order.
import type { Clock, Trigger } from '#pvbus';
import type { DeviceFaults } from './device-faults.ts';
import type { LateWork } from './late-work.ts';

/** Events that are held back at once; what is more comes at once. */
const MAX_HELD = 256;

export interface FaultyEventsParts {
  readonly faults: Pick<DeviceFaults, 'befalls' | 'strike'>;
  readonly late: LateWork;
  readonly clock: Clock;
}

export class FaultyEvents {
  readonly #parts: FaultyEventsParts;
  #held = 0;
  /** Events that the next one overtakes. */
  #overtaken: (() => void)[] = [];

  constructor(parts: FaultyEventsParts) {
    this.#parts = parts;
  }
  /** `event` happens to a channel that is the other end's `remote`. */
  pass(op: 'send' | 'receive', remote: number | undefined, event: () => void): void {
    const hit = this.#parts.faults.befalls('event', op, ({ port }) => port === undefined || port === remote);
    if (hit?.fault.reorder && this.#held < MAX_HELD) {
      this.#keep(event, run => this.#overtaken.push(run));
      return;
    }
    this.#happen(hit, event);
    if (this.#overtaken.length > 0) this.letGo();
  }
  /** Another plan, or none: what waits to be overtaken has waited for long enough. */
  letGo(): void {
    const overtaken = this.#overtaken;
    this.#overtaken = [];
    for (const run of overtaken) run();
  }

  #happen(hit: Trigger | undefined, event: () => void): void {
    const { faults, late, clock } = this.#parts;
    const { drop, delay, duplicate, kill, stop } = hit?.fault ?? {};
    if (drop) return;
    if (delay !== undefined && this.#held < MAX_HELD) {
      this.#keep(event, run => late.add(clock.now() + delay * 1e6, run));
      return;
    }
    if (hit !== undefined && (kill !== undefined || stop !== undefined)) faults.strike(hit);
    if (kill === 'before') return;
    for (let i = 0; i <= (duplicate ?? 0); i++) event();
  }
  #keep(event: () => void, later: (run: () => void) => void): void {
    this.#held++;
    later(() => {
      this.#held--;
      try {
        event();
      } catch {
        // The channel was closed meanwhile: an event that comes too late for it is lost.
      }
    });
  }
}
