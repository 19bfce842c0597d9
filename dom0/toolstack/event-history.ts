// The last things that happened: to domains, and of faults on purpose. Many of one kind do not push out the other.
import { EVENT_HISTORY, type HostEvent } from '#pvbus';
import type { Ledger, Table } from './ledger.ts';

export class EventHistory {
  readonly #ledger: Ledger;
  /** By number, in the order in which they happened. */
  readonly #table: Table<HostEvent>;
  /** The numbers of each kind, oldest first. */
  readonly #kinds = new Map<HostEvent['event'], number[]>();
  #next = 0;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    this.#table = ledger.table('events');
    for (const [number, event] of this.#table.entries()) this.#count(event, Number(number));
  }
  add(event: HostEvent): void {
    const number = this.#next;
    const same = this.#count(event, number);
    const oldest = same.length > EVENT_HISTORY ? same.shift() : undefined;
    this.#ledger.together(() => {
      this.#table.note(number, event);
      if (oldest !== undefined) this.#table.delete(oldest);
    });
  }
  /** Oldest first. */
  events(): HostEvent[] {
    return this.#table.values();
  }
  #count({ event }: HostEvent, number: number): number[] {
    const same = this.#kinds.get(event) ?? [];
    this.#kinds.set(event, same);
    same.push(number);
    this.#next = number + 1;
    return same;
  }
}
