// What has to be undone, in reverse. Every acquisition adds its undo step at once.

import { XenError } from './errors.ts';

interface Step {
  readonly what: string;
  readonly undo: () => void | Promise<void>;
}

export class Cleanup {
  #steps: Step[] = [];
  #running: Promise<void> | undefined;

  /** `what` names the thing in an error message: "event channel port 5". */
  add(what: string, undo: () => void | Promise<void>): void {
    this.#steps.push({ what, undo });
  }

  /** Forget every step: what was acquired has found another owner. */
  disarm(): void {
    this.#steps = [];
  }

  /**
   * Undo every step, the last added first, one after the other. A step that fails does not stop the others;
   * the failures are reported together at the end. Each step runs once, however often this is called;
   * a call during a run waits for that run.
   */
  run(): Promise<void> {
    this.#running ??= this.#undoAll().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #undoAll(): Promise<void> {
    const failures: string[] = [];
    const causes: unknown[] = [];
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (cause) {
        failures.push(`${step.what}: ${cause instanceof Error ? cause.message : String(cause)}`);
        causes.push(cause);
      }
    }
    if (failures.length > 0) {
      throw new XenError('EIO', `could not undo ${failures.join('; ')}`, new AggregateError(causes));
    }
  }
}
