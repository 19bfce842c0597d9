// Where the bits of a domain's ports are, and how its vCPUs find those that are set. Xen: evtchn_port_ops.
import type { Port } from './port-table.ts';

/** It was not pending before: pollers want to hear of it. */
export const NEWLY_PENDING = 1;
/** Its vCPU is to be told. */
export const TELL = 2;

/** untrusted: the guest shares every bit, and may change any of them at any time. It loses its own events by that. */
export interface EventAbi {
  /** Numbers that ports can have. */
  readonly nrPorts: number;
  /** Make a port pending: NEWLY_PENDING and TELL, or'ed. */
  setPending(port: number, here: Port): number;
  /** The same when the vCPU may not have been told the last time. True when it is to be told. */
  setPendingAgain(port: number, here: Port): boolean;
  clearPending(port: number, here: Port): void;
  pending(port: number, here: Port): boolean;
  masked(port: number): boolean;
  /** True when the vCPU is to be told: it was pending. */
  unmask(port: number, here: Port): boolean;
  /** A closed port that cannot be given out again yet: it lies in a queue of the guest's. */
  lingers(port: number): boolean;
}
