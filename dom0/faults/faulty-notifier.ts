// Event channels of a device with faults: what it sends and what it hears.
import type { Clock, EvtchnPort, Trigger } from '#pvbus';
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
  /** The other end's number of each channel. */
  readonly #remotes = new Map<EvtchnPort, number>();
  /** Events that the next one overtakes. */
  #overtaken: (() => void)[] = [];

  constructor(plain: Notifier, parts: NotifierParts) {
    this.#plain = plain;
    this.#parts = parts;
  }
  notify(port: EvtchnPort): void {
    this.#befall('send', this.#remotes.get(port), () => this.#plain.notify(port));
  }
  /** The same for what is heard by `port`, which is the other end's `remote`: `handler` with the faults before it. */
  hears(handler: () => void, port: EvtchnPort, remote: number): () => void {
    this.#remotes.set(port, remote);
    return () => this.#befall('receive', remote, handler);
  }
  /** Another plan, or none: what waits to be overtaken has waited for long enough. */
  letGo(): void {
    const overtaken = this.#overtaken;
    this.#overtaken = [];
    for (const run of overtaken) run();
  }

  #befall(op: 'send' | 'receive', remote: number | undefined, event: () => void): void {
    const hit = this.#parts.faults.befalls('event', op, ({ port }) => port === undefined || port === remote);
    if (hit?.fault.reorder && this.#held < MAX_HELD) {
      this.#keep(event, run => this.#overtaken.push(run));
      return;
    }
    this.#happen(hit, event);
    if (this.#overtaken.length > 0) this.letGo();
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
