// How a vCPU has spent its time: real nanoseconds, split into Xen's four states.
import { RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running } from '#pvbus';

/**
 * invariant: the sum of `time` is the time since the vCPU was made, up to the last account.
 * How much of the time a vCPU ran is Linux's account of its CPU time, whatever else is known of it. What it did with
 * the rest the scheduler knows in a contended pool: it slept, or waited for a pCPU or, having one, for Linux to run it.
 * In a free pool nobody waits for the hypervisor, and the rest counts as blocked.
 */
export class Runstate {
  state: number = RUNSTATE_offline;
  enteredAt: number;
  readonly time = [0, 0, 0, 0];
  private accountedAt: number;
  private cpuTimeNs = 0;

  constructor(now: number) {
    this.enteredAt = now;
    this.accountedAt = now;
  }

  /** Account for the time since the last account, of which the vCPU has used up to `cpuTimeNs` in all. */
  account(now: number, cpuTimeNs: number, contended = false): void {
    const elapsed = Math.max(0, now - this.accountedAt);
    if (this.state === RUNSTATE_offline) this.time[RUNSTATE_offline]! += elapsed;
    else {
      const ran = Math.min(Math.max(0, cpuTimeNs - this.cpuTimeNs), elapsed);
      this.time[RUNSTATE_running]! += ran;
      const waited = this.state === RUNSTATE_runnable || (this.state === RUNSTATE_running && contended);
      this.time[waited ? RUNSTATE_runnable : RUNSTATE_blocked]! += elapsed - ran;
    }
    this.accountedAt += elapsed;
    this.cpuTimeNs = cpuTimeNs;
  }
  /** The state to show: a vCPU that is on line and sleeps is blocked. */
  stateFor(sleeping: boolean): number {
    return this.state === RUNSTATE_running && sleeping ? RUNSTATE_blocked : this.state;
  }
  enter(state: number, now: number): void {
    if (state === this.state) return;
    this.state = state;
    this.enteredAt = now;
  }
}
