// The last things that happened: to domains, of faults on purpose, and what the host did by itself. Many of one kind do not push out the others.
import { EVENT_HISTORY, EVENT_PAGE, type HostEvent } from '#pvbus';
import type { Ledger, Table } from './ledger.ts';

export class EventHistory {
  readonly #ledger: Ledger;
  /** By number, in the order in which they happened. */
  readonly #table: Table<HostEvent>;
  /** The numbers of each kind, oldest first. */
  readonly #kinds = new Map<string, number[]>();
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
  /** Those from this number on, oldest first. */
  page(from: number): { events: HostEvent[]; next: number | null } {
    const left = this.#table.entries().filter(([number]) => Number(number) >= from);
    const [over] = left.splice(EVENT_PAGE);
    return { events: left.map(([, event]) => event), next: over === undefined ? null : Number(over[0]) };
  }
  #count(event: HostEvent, number: number): number[] {
    const kind = kindOf(event);
    const same = this.#kinds.get(kind) ?? [];
    this.#kinds.set(kind, same);
    same.push(number);
    this.#next = number + 1;
    return same;
  }
}

/** A disk that fails every other request has hundreds of injections in a second, and one beginning. */
const kindOf = (event: HostEvent): string =>
  event.event === 'fault' && (event.what === 'injected' || event.what === 'reaction') ? event.what : event.event;
