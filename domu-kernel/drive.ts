// The loop of a vCPU: steps, then a turn of promise jobs, and sleep when neither left anything to do.

// Taken before the program's globals replace it.
const nextTurn = setImmediate;

export interface Driven {
  step(): 'progress' | 'idle';
  /** Sleep until the next event or deadline. */
  block(): void;
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

/** True when there was anything to do. */
function stepUntilIdle(kernel: Driven): boolean {
  let progress = false;
  while (kernel.step() === 'progress') progress = true;
  return progress;
}
