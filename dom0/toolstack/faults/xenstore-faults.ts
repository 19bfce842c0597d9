// Faults of xenstore's requests: given to xenstored, which counts and carries them out, and asked what has come of them.
import type { InjectedRequests, XenstoreClient } from '#pvbus';
import type { FaultLog } from './fault-log.ts';
import type { RunningFault } from './running-fault.ts';

interface XenstoreFaultsParts {
  readonly xs: XenstoreClient;
  readonly log: FaultLog;
  readonly running: () => readonly RunningFault[];
}

/** How often xenstored is asked while there are some. */
const LOOK_MS = 250;

export class XenstoreFaults {
  readonly #parts: XenstoreFaultsParts;
  readonly #planted = new Set<RunningFault>();
  #timer: NodeJS.Timeout | undefined;
  /** The last that has begun, or is to begin after it. */
  #looking: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(parts: XenstoreFaultsParts) {
    this.#parts = parts;
  }
  stop(): void {
    clearInterval(this.#timer);
  }

  async plant(fault: RunningFault): Promise<void> {
    await this.#parts.xs.control('fault', 'add', JSON.stringify(fault.node));
    this.#planted.add(fault);
    this.#timer ??= setInterval(() => void this.look().catch(() => {}), LOOK_MS); // xenstore is gone: so are we
  }
  async uproot(fault: RunningFault): Promise<void> {
    if (!this.#planted.has(fault)) return;
    await this.look();
    this.#planted.delete(fault);
    await this.#parts.xs.control('fault', 'remove', fault.name);
    if (this.#planted.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** xenstored is about to end: who comes after it counts on from here. */
  async keep(): Promise<void> {
    if (this.#planted.size > 0) await this.#parts.xs.control('fault', 'keep');
  }

  /** Tell what has happened since the last time. A look that is under way may have asked too early: there is one more. */
  look(): Promise<void> {
    if (this.#planted.size === 0) return Promise.resolve();
    this.#next ??= this.#looking
      .catch(() => {}) // said to those who asked for that one
      .then(() => {
        this.#next = undefined;
        return this.#look();
      });
    this.#looking = this.#next;
    return this.#looking;
  }
  async #look(): Promise<void> {
    await Promise.all([...this.#planted].map(fault => this.#lookAt(fault)));
  }
  async #lookAt(fault: RunningFault): Promise<void> {
    const { xs, log } = this.#parts;
    const now = JSON.parse(await xs.control('fault', 'show', fault.name)) as InjectedRequests;
    const count = now.injected - fault.injected;
    fault.seen = now.seen;
    fault.injected = now.injected;
    if (count <= 0) return;
    const occurrences = now.last.slice(-count);
    log.of(fault, 'injected', now.where, { occurrences, count, total: now.injected, domid: now.domid });
  }
}
