// The faults of one pvcalls device: of its commands, and of the bytes of its connections.
import { earlier, type Planted, type Trigger } from '#pvbus';
import { FaultsWithEvents, type FaultsWithEventsParts } from '../../faults/faults-with-events.ts';
import type { FaultyNotifier } from '../../faults/faulty-notifier.ts';
import { HeldWork } from '../../faults/held-work.ts';

export type CommandOp = 'connect' | 'listen' | 'accept';
export type StreamOp = 'send' | 'receive';

/** What befalls an occurrence: it fails as its fault says, has few bytes, or is held as long as that says. */
export interface Hit {
  readonly trigger: Trigger;
  /** When it is done, `strike` is next. */
  readonly ends: boolean;
}

export class SocketFaults {
  readonly #parts: Required<FaultsWithEventsParts>;
  readonly #faults: FaultsWithEvents;
  readonly #held = new HeldWork();
  #soon: (() => void)[] = [];

  /** `label`: how events name the device. */
  constructor(label: string, parts: Required<FaultsWithEventsParts>) {
    this.#parts = parts;
    this.#faults = new FaultsWithEvents(label, parts);
  }
  /** Its event channels. */
  get events(): FaultyNotifier {
    return this.#faults.events;
  }

  /** These are there from now on. What others have held back goes on. */
  plant(planted: readonly Planted[]): void {
    this.#faults.plant(planted);
    this.#held.letGo(trigger => !this.#faults.isPlanted(trigger));
    // Nobody has this one step again.
    if (planted.length === 0) this.step();
  }
  /** One more occurrence: the fault that befalls it. What comes while a kill is under way waits for that, and is none. */
  befalls(op: CommandOp | StreamOp): Hit | undefined {
    const { dying } = this.#faults;
    if (dying !== undefined) return { trigger: dying, ends: false };
    const isStream = op === 'send' || op === 'receive';
    const hit = this.#faults.befalls('pvcalls', op, ({ short }) => short === undefined || isStream);
    if (hit === undefined) return undefined;
    this.#parts.wake();
    const { kill, stop } = hit.fault;
    if (kill === 'before' || stop !== undefined) this.strike(hit);
    return { trigger: hit, ends: kill === 'after' };
  }
  /** The process is to end, or to be stopped. False: its fault has gone meanwhile. */
  strike(trigger: Trigger): boolean {
    this.#faults.strike(trigger);
    this.#parts.wake();
    return this.#faults.isPlanted(trigger);
  }
  /** For as long as `trigger` says. */
  hold(trigger: Trigger, run: () => void): void {
    this.#held.add(trigger, this.#parts.clock.now(), run);
    this.#parts.wake();
  }
  /** In the next step. */
  soon(run: () => void): void {
    this.#soon.push(run);
    this.#parts.wake();
  }

  step(): 'progress' | 'idle' {
    const soon = this.#soon;
    this.#soon = [];
    for (const run of soon) run();
    const [held, late] = [this.#held.step(this.#parts.clock.now()), this.#faults.step()];
    return held || late || soon.length > 0 ? 'progress' : 'idle';
  }
  get deadline(): number | undefined {
    return earlier(this.#held.deadline, this.#faults.deadline);
  }
}
