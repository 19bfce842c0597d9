// What the hypervisor's core thread and its main thread say to one another. The main thread spawns and
// reaps: a child dies with the thread that spawned it, and only an event loop hears of its end.

export type ToMain =
  | {
      readonly op: 'spawn';
      readonly id: number;
      readonly program: Program;
      readonly sockets: readonly number[];
      readonly vcpus: string;
      readonly start: Start;
      /** So many before it have ended in a row without having served: why a successor comes late. */
      readonly failures: number;
    }
  | { readonly op: 'host-down'; readonly status: number; readonly why: string };

export type ToCore =
  /** `pidfd`: a descriptor of the process, the core thread's from here on; -1: there is none, and it is killed. */
  | { readonly op: 'spawned'; readonly id: number; readonly pid: number; readonly pidfd: number }
  /** It has said that it serves. */
  | { readonly op: 'served'; readonly id: number }
  /** The self-test of a shell went well. */
  | { readonly op: 'fit'; readonly id: number }
  /** A line that a shell has printed, or the domain it has become; or a driver domain. */
  | { readonly op: 'said'; readonly id: number; readonly line: string }
  | {
      readonly op: 'exited';
      readonly id: number;
      readonly code: number | undefined;
      readonly signal: string | undefined;
      /** Why it has not come to be. */
      readonly failure?: string | undefined;
      /** What is known of how it came to that. */
      readonly detail?: string | undefined;
      /** By one whose lines are not told one by one. */
      readonly printed?: string | undefined;
    };

/**
 * Why a process of the host is started: with the host; in the place of one that has ended; to wait for that; or to wait
 * until it takes over from the one that is there.
 */
export type Start = 'first' | 'successor' | 'heir' | 'take-over';

/** A built file of dist/. */
export type Program = 'dom0.js' | 'xenstored.js' | 'driver-domain.js' | 'domain-shell.cjs';
