// What the toolstack remembers of domains' lives: requests of toolstack-protocol.ts.
import { integer, listOf, nullable, oneOf, quantity, record, type Shaped, text } from './message-shape.ts';

const domid = integer(0, 0x7fef);

/** Streamed to who subscribed, and remembered. */
export const domainEvent = record({
  event: oneOf('domain'),
  /** Wall clock, ms. */
  at: quantity,
  what: oneOf('created', 'shutdown', 'destroyed'),
  domid,
  name: nullable(text(255)),
  reason: nullable(integer(0, 255)),
});
export type DomainEvent = Shaped<typeof domainEvent>;

/** How many the toolstack remembers. */
export const EVENT_HISTORY = 1000;

export const HISTORY_OPS = {
  /** The last EVENT_HISTORY of this host, oldest first. */
  history: { args: record({}), result: listOf(domainEvent, EVENT_HISTORY) },
  /** How often each domain the toolstack made took the place of one that had ended, in a row. */
  restarts: { args: record({}), result: listOf(record({ domid, restarts: integer() }), 65_536) },
} as const;
