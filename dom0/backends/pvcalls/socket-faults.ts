// The faults of one pvcalls device: of its commands, and of the bytes of its connections.
import type { Clock, Injected, Planted, Trigger } from '#pvbus';
import { DeviceFaults } from '../../faults/device-faults.ts';
import { HeldWork } from '../../faults/held-work.ts';

export type CommandOp = 'connect' | 'listen' | 'accept';
export type StreamOp = 'send' | 'receive';

export interface SocketFaultsParts {
  readonly clock: Clock;
  readonly tell: (injected: Injected) => void;
  /** Have `step` run soon. */
  readonly wake: () => void;
}

export class SocketFaults {
  readonly #parts: SocketFaultsParts;
  readonly #faults: DeviceFaults;
  readonly #held = new HeldWork();
  #soon: (() => void)[] = [];

  /** `label`: how events name the device. */
  constructor(label: string, parts: SocketFaultsParts) {
    this.#parts = parts;
    this.#faults = new DeviceFaults(label, parts.clock, parts.tell);
  }

  /** These are there from now on. What others have held back goes on. */
  plant(planted: readonly Planted[]): void {
    this.#faults.flush();
    this.#faults.plant(planted);
    this.#held.letGo(trigger => !this.#faults.isPlanted(trigger));
  }
  /** One more occurrence: the fault that befalls it. */
  befalls(op: CommandOp | StreamOp): Trigger | undefined {
    const isStream = op === 'send' || op === 'receive';
    const hit = this.#faults.befalls('pvcalls', op, ({ short }) => short === undefined || isStream);
    if (hit !== undefined) this.#parts.wake();
    return hit;
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
    const progress = this.#held.step(this.#parts.clock.now()) || soon.length > 0;
    this.#faults.flush();
    return progress ? 'progress' : 'idle';
  }
  get deadline(): number | undefined {
    const times = [this.#held.deadline, this.#faults.deadline].filter(at => at !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }
}
