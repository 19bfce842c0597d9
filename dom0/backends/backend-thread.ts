// A backend's worker in a thread of its own, on a vCPU of its own: what a worker is, and how dom0's main
// thread starts one and talks to it. The thread's side of it is in backend-loop.ts.
import { Worker } from 'node:worker_threads';
import type { Clock, Log, Vcpu } from '#pvbus';

/** What the driver of the thread hands to a worker. */
export interface BackendContext {
  readonly vcpu: Vcpu;
  readonly log: Log;
  readonly clock: Clock;
  /** Tell the main thread something it did not ask for; it arrives at BackendThread.onEvent. */
  tell(event: unknown): void;
}

/**
 * A backend's ring loops: one worker serves every ring of its kind. Nothing in it blocks.
 * Messages come from dom0's main thread and are plain data.
 */
export interface BackendWorker {
  /** Answer one call; a throw or a rejection is the caller's error. */
  handle(message: unknown): Promise<unknown> | unknown;
  /** One turn over all rings, a bounded budget each. 'idle': nothing to do before the next event. */
  step(): 'progress' | 'idle';
  /** When step() must run again although nothing happened (monotonic ns). */
  deadline?(): number | undefined;
}

/** Named so that one bundle holds every worker: see backend-thread-main.ts. */
export type BackendName = 'blkback' | 'netback' | 'pvcalls';

/** A running backend thread, as dom0's main thread sees it. */
export interface BackendThread {
  readonly name: BackendName;
  readonly vcpu: number;
  /** Ask the worker; resolves with what its handle() answered. Rejects when the thread ends first. */
  call(message: unknown): Promise<unknown>;
  /** What the worker tells unasked. */
  onEvent(listener: (event: unknown) => void): void;
  /** The thread finishes its turn and ends. */
  stop(): Promise<void>;
}
