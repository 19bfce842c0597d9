// The loop of a vCPU: steps, then a turn of promise jobs, and sleep when neither left anything to do.

// Taken before the program's globals replace it.
const nextTurn = setImmediate;

export interface Driven {
  step(): 'progress' | 'idle';
  /** Sleep until the next event or deadline. */
  block(): void;
  /** After a step: promise jobs are to have their turn now, whatever else there is to do. */
  endsTurn?(): boolean;
}

/** Returns at once: the thread's event loop goes on with it for ever. */
export function drive(kernel: Driven, crash: (error: unknown) => never): void {
  const turn = (): void => {
    try {
      if (!stepUntilIdle(kernel)) {
        kernel.block();
        stepUntilIdle(kernel);
      }
    } catch (error) {
      crash(error);
    }
    nextTurn(turn);
  };
  turn();
}

/** untrusted: peers that never stop bringing something to do must not keep the program from its promises. */
const STEPS_PER_TURN = 256;

/** True when there was anything to do. */
export function stepUntilIdle(kernel: Driven): boolean {
  for (let n = 0; n < STEPS_PER_TURN; n++) {
    if (kernel.step() === 'idle') return n > 0;
    if (kernel.endsTurn?.()) return true;
  }
  return true;
}
