// What the toolstack remembers for tools as long as the host runs: requests of toolstack-protocol.ts.
import { XenError } from './errors.ts';
import {
  integer,
  listOf,
  nothing,
  nullable,
  oneOf,
  quantity,
  record,
  type Shape,
  type Shaped,
  text,
} from './message-shape.ts';
import { type FaultEvent, faultEvent } from './toolstack-faults.ts';
import { anyName, domid, op } from './toolstack-op.ts';

/** Streamed to who subscribed, and remembered. */
export const domainEvent = record({
  event: oneOf('domain'),
  /** Wall clock, ms. */
  at: quantity,
  what: oneOf('created', 'shutdown', 'destroyed'),
  domid,
  name: nullable(anyName),
  reason: nullable(integer(0, 255)),
  /** Of a shutdown: what the domain's first program ended with, if it said so. */
  exitCode: nullable(integer(0, 255)),
});
export type DomainEvent = Shaped<typeof domainEvent>;

/** All that `xl events` shows. */
export type HostEvent = DomainEvent | FaultEvent;
export const hostEvent: Shape<HostEvent> = (value, where) =>
  (value as { event?: unknown } | null)?.event === 'fault' ? faultEvent(value, where) : domainEvent(value, where);

/** How many the toolstack remembers of each kind: of domains, injections of faults, their beginnings and ends, reactions. */
export const EVENT_HISTORY = 1000;
/** Each may be 5 KB, and a frame is a MiB. */
export const EVENT_PAGE = 200;

const REASONS = ['poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'soft reset'];

/** Xen: SHUTDOWN_*. */
export const reasonWord = (reason: number | null): string =>
  reason === null ? 'unknown' : (REASONS[reason] ?? `reason ${reason}`);

/** As `xl events --json` prints it, and the host's own file has it. */
export const hostEventJson = (event: HostEvent) =>
  event.event === 'fault' ? faultEventJson(event) : domainEventJson(event);

const times = (at: number) => ({ time: new Date(at).toISOString(), time_ms: at });
const domainEventJson = ({ at, what, domid, name, reason, exitCode }: DomainEvent) => ({
  ...{ ...times(at), event: what, domid, name },
  ...{ reason: what === 'shutdown' ? reasonWord(reason) : null, exit_code: exitCode },
});
export const faultEventJson = (event: FaultEvent) => {
  const { at, what, plan, fault, seed, occurrences, count, total, domid, text } = event;
  return {
    ...{ ...times(at), event: what === 'reaction' ? 'reaction' : `fault-${what}` },
    ...{ plan, fault, seed, occurrences, count, total, domid, text },
  };
};

/** Which domains `xl up` of a file has made or found. */
export const topologyNote = record({
  /** Of the file: absolute, symbolic links resolved. */
  path: text(4096),
  domains: listOf(record({ name: anyName, uuid: text(36) }), 4096),
});
export type TopologyNote = Shaped<typeof topologyNote>;

const MAX_TOPOLOGIES = 1024;

export const HISTORY_OPS = {
  /** Of the last EVENT_HISTORY of this host of each kind, oldest first, as many as a frame holds. `next`: where there are more. */
  history: op({ from: integer() }, record({ events: listOf(hostEvent, EVENT_PAGE), next: nullable(integer()) })),
  topologies: op({}, listOf(topologyNote, MAX_TOPOLOGIES)),
  /** In place of what was noted of this file before; without domains it is forgotten. ENOSPC. */
  noteTopology: { args: topologyNote, result: nothing },
  /** How often each domain the toolstack made took the place of one that had ended, in a row. */
  restarts: op({}, listOf(record({ domid, restarts: integer() }), 65_536)),
} as const;

/** Where notes are kept: a Map is one. */
export interface NoteKeeper {
  readonly size: number;
  has(path: string): boolean;
  set(path: string, note: TopologyNote): unknown;
  delete(path: string): unknown;
  values(): Iterable<TopologyNote>;
}

/** The notes of `xl up`, by file. */
export class TopologyNotes {
  readonly #notes: NoteKeeper;

  constructor(notes: NoteKeeper = new Map<string, TopologyNote>()) {
    this.#notes = notes;
  }

  all(): TopologyNote[] {
    return [...this.#notes.values()];
  }
  set(note: TopologyNote): void {
    if (note.domains.length === 0) this.#notes.delete(note.path);
    else if (this.#notes.has(note.path) || this.#notes.size < MAX_TOPOLOGIES) this.#notes.set(note.path, note);
    else throw new XenError('ENOSPC', `the host knows ${MAX_TOPOLOGIES} topologies already`);
  }
}
