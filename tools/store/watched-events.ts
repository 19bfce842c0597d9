// The events of some watches, in order, for one reader.

import type { XenError, XenstoreClient } from '#pvbus';
import { about } from './failure.ts';

export interface WatchedEvent {
  /** The path that was asked for. */
  readonly watch: string;
  readonly path: string;
  readonly time: Date;
}

/**
 * Further events wait only when the same one does not wait already, as the daemon has it for clients that do
 * not read: whoever is told of the first looks after both changes.
 */
const BACKLOG = 4096;

export class WatchedEvents {
  readonly #now: () => Date;
  readonly #waiting: WatchedEvent[] = [];
  /** How often each event is in #waiting. */
  readonly #counts = new Map<string, number>();
  #ended = false;
  #error: XenError | undefined;
  #wake: () => void = () => {};

  constructor(now: () => Date) {
    this.#now = now;
  }

  /** From here on; what is there already is the first event of each path. */
  async watch(store: XenstoreClient, paths: readonly string[]): Promise<void> {
    store.onClose(error => {
      this.#error = error;
      this.#wake();
    });
    const watches = paths.map((watch, i) =>
      about(
        watch,
        store.watch(watch, `${i}`, path => this.#push(watch, path)),
      ),
    );
    await Promise.all(watches);
  }

  /** Undefined after `end`. Rejects when the connection is over and nothing waits any more. */
  async next(): Promise<WatchedEvent | undefined> {
    while (!this.#ended && this.#waiting.length === 0) {
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
    const event = this.#ended ? undefined : this.#waiting.shift();
    if (event !== undefined) this.#count(event, -1);
    return event;
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  #push(watch: string, path: string): void {
    const event = { watch, path, time: this.#now() };
    if (this.#waiting.length >= BACKLOG && this.#counts.has(keyOf(event))) return;
    this.#waiting.push(event);
    this.#count(event, 1);
    this.#wake();
  }

  #count(event: WatchedEvent, change: number): void {
    const key = keyOf(event);
    const count = (this.#counts.get(key) ?? 0) + change;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }
}

const keyOf = ({ watch, path }: WatchedEvent): string => `${watch}\0${path}`;
