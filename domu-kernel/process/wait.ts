// What a process waits for. A call that cannot be done now returns one, and is made again from the start when one of
// the queues wakes or the deadline has passed.
import type { WaitQueue } from '../wait-queue.ts';

export class Wait {
  readonly queues: readonly WaitQueue[];
  /** System time, ns: it is over then whatever the queues say. */
  readonly deadlineNs: number | undefined;
  /** So long after the call's first wait it is made once more, and is out of time. */
  readonly limitMs: number | undefined;

  constructor(queues: readonly WaitQueue[], deadlineNs?: number, limitMs?: number) {
    this.queues = queues;
    this.deadlineNs = deadlineNs;
    this.limitMs = limitMs;
  }
}

/** Waits for nothing: everybody else who is ready has a turn before. */
export const YIELD = new Wait([], 0);
