// What descriptors refer to: one or several, of one or several processes.
import type { WaitQueue } from '../wait-queue.ts';
import type { Wait } from './wait.ts';

/**
 * Counted: who makes one has the first reference, `release` of the last one closes it. Calls throw a XenError, and
 * ProcessExit where the caller's process is to end (a pipe that nobody reads).
 */
export interface OpenFile {
  readonly kind: 'file' | 'directory' | 'pipe' | 'terminal' | 'socket' | 'device';
  retain(): void;
  release(): void;
  /** How many bytes there were, at most as many as `into` holds; 0 is the end. */
  read(into: Uint8Array): number | Wait;
  /** How many bytes were taken, at least one. */
  write(from: Uint8Array): number | Wait;
  /** What a `read` would bring without waiting; an end that has come, or an error, counts as one byte. */
  readable(): number;
  /** What a `write` would take without waiting; an error counts as one byte. */
  writable(): number;
  /** Nothing more will come or go: the other end is closed. */
  hungUp(): boolean;
  /** Wakes when any of these answers may have changed. Undefined: they never make anybody wait. */
  readonly queue: WaitQueue | undefined;
}
