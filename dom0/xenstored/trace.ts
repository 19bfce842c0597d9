// What the daemon tells of every request, when it is asked to: CONTROL log and logfile.
import type { Log } from '#pvbus';

/** Xen: what can be traced by itself: requests and replies; what clients make and drop; waiting; quotas. */
export const traceSwitches = ['io', 'obj', 'wrl', 'acc'] as const;
export type TraceSwitch = (typeof traceSwitches)[number];

export class Trace {
  /** Off, nothing is traced whatever the switches are. */
  on = false;
  readonly #off = new Set<TraceSwitch>();
  #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Asked first where making the line costs something. */
  wants(about: TraceSwitch): boolean {
    return this.on && !this.#off.has(about);
  }
  tell(about: TraceSwitch, line: string): void {
    if (this.wants(about)) this.#log.info(line);
  }

  set(about: TraceSwitch, on: boolean): void {
    if (on) this.#off.delete(about);
    else this.#off.add(about);
  }
  /** From here on to another log. */
  to(log: Log): void {
    this.#log = log;
  }
}
