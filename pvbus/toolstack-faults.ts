// What tools and the toolstack say to each other about faults: requests of toolstack-protocol.ts, and events.
import { type FaultPlan, MAX_FAULTS, planShape } from './faults/index.ts';
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
import { domid, op } from './toolstack-op.ts';

/** Of what an event says, in characters. */
export const MAX_FAULT_TEXT = 1024;

/** Streamed to who subscribed, and remembered beside the events of domains. */
export const faultEvent = record({
  event: oneOf('fault'),
  /** Wall clock, ms. */
  at: quantity,
  /** `missed`: what it was to befall was not there. `reaction`: what the host has done by itself, with a plan or without. */
  what: oneOf('began', 'ended', 'injected', 'missed', 'reaction'),
  plan: nullable(text(64)),
  fault: nullable(text(64)),
  seed: nullable(integer()),
  /** Numbers of the occurrences that were befallen: the last of them when there are more than these. */
  occurrences: listOf(integer(), 256),
  /** How many were befallen since the last event, and since the plan began. */
  count: integer(),
  total: integer(),
  /** The domain it befell, or whose device it was. */
  domid: nullable(domid),
  /** For a person. */
  text: text(MAX_FAULT_TEXT),
});
export type FaultEvent = Shaped<typeof faultEvent>;

export const faultStatus = record({
  plan: text(64),
  seed: integer(),
  fault: text(64),
  part: text(32),
  text: text(1024),
  /** Devices where it is planted; null when it is of none. */
  devices: nullable(integer()),
  /** Occurrences up to the last that was befallen. */
  seen: quantity,
  injected: quantity,
  /** `waits`: for its condition. `over`: it has happened as often as it may. */
  state: oneOf('on', 'waits', 'over'),
});
export type FaultStatus = Shaped<typeof faultStatus>;

const plan: Shape<FaultPlan> = planShape;

export const FAULT_OPS = {
  /** The plan begins. EEXIST when one of its name has a fault of the same name. */
  addFaults: op({ plan }, nothing),
  /** The same, and the plan ends with the connection of who asks. */
  runFaults: op({ plan }, nothing),
  /** null: all. ENOENT when there is none of the name. What each had done at its end. */
  removeFaults: op({ plan: nullable(text(64)), fault: nullable(text(64)) }, listOf(faultStatus, 64 * MAX_FAULTS)),
  faults: op({}, listOf(faultStatus, 64 * MAX_FAULTS)),
} as const;
