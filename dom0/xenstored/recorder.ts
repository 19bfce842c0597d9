// What the daemon tells its journal: everything its state depends on and could not be found out again.
import type { Domid } from '#pvbus';
import type { Connection } from './connection.ts';
import type { DomainInfo } from './domains.ts';
import type { Operation } from './store.ts';

/** What is told is kept by the next `flush`; replies wait until then. Nothing here throws. */
export interface Recorder {
  /** A domain's next request bytes, and how much of its input was used then (see DomainRing.answer). */
  ring(client: Connection, chunk: Uint8Array, used: number): void;
  /** So many reply bytes are in a domain's page. */
  given(domid: number, bytes: number): void;
  /** A domain's ring is begun anew, or ignored because of an error (XENSTORE_ERROR_*). */
  reset(domid: number, bad: number): void;
  /** A request of a socket has changed what outlives its connection, or has asked the hypervisor. */
  request(type: number, payload: Uint8Array): void;
  /** A transaction of a socket has done this. */
  commit(operations: readonly Operation[]): void;
  /** What the hypervisor has answered while a request was done. */
  asked(outcome: Outcome): void;
  /** What has become of domains; undefined: gone. */
  domains(seen: readonly DomainSeen[]): void;
  flush(): void;
  /** A slice of what can be done between requests. */
  step(): 'progress' | 'idle';
}

/** An answer of the hypervisor as plain data, or how it refused. */
export type Outcome = { readonly answer: unknown } | { readonly refused: string; readonly why: string };

export type DomainSeen = readonly [domid: Domid, info: DomainInfo | null];

/** A daemon that keeps nothing. */
export const noRecorder: Recorder = {
  ring: () => {},
  given: () => {},
  reset: () => {},
  request: () => {},
  commit: () => {},
  asked: () => {},
  domains: () => {},
  flush: () => {},
  step: () => 'idle',
};
