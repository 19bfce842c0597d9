// What a process runs, a slice at a time.
import { ProcessExit } from './process.ts';
import type { Wait } from './wait.ts';

export interface Body {
  /** Goes on until it waits, or, where that is undefined, its slice is over. Throws ProcessExit when it has ended. */
  run(untilNs: number): Wait | undefined;
  /** It does not run again. */
  release(): void;
  /** What runs it without `run` stops, or goes on. */
  pause?(on: boolean): void;
}

/**
 * A program of the kernel's own: yields what it waits for, and looks again when it goes on. Returns the code it ends
 * with, or what the process runs from here on.
 */
export type Routine = Generator<Wait, number | Body, void>;

export class RoutineBody implements Body {
  readonly #routine: Routine;
  #next: Body | undefined;

  constructor(routine: Routine) {
    this.#routine = routine;
  }
  run(untilNs: number): Wait | undefined {
    if (this.#next) return this.#next.run(untilNs);
    const { done, value } = this.#routine.next();
    if (!done) return value;
    if (typeof value === 'number') throw new ProcessExit({ code: value });
    this.#next = value;
    return value.run(untilNs);
  }
  pause(on: boolean): void {
    this.#next?.pause?.(on);
  }
  /** What the routine has opened is closed by its finally blocks, which do not wait. */
  release(): void {
    if (this.#next) this.#next.release();
    else this.#routine.return(0);
  }
}
