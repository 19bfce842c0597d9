// What fault plans do to processes: they are killed, or stopped for a while.
import { type Clock, XEN_ESRCH } from '#pvbus';
import type { HostProcess } from './host-process.ts';

export class Strikes {
  private readonly clock: Clock;
  /** Those that are stopped, until then (monotonic ns). */
  private readonly held = new Map<HostProcess, number>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Kill it, or stop it for so long, or once it is there: 0 or -errno. */
  strike(process: HostProcess | undefined, stopMs: number): number {
    if (process === undefined) return -XEN_ESRCH;
    if (stopMs === 0) {
      process.kill();
      return 0;
    }
    process.hold();
    this.held.set(process, this.clock.now() + stopMs * 1e6);
    return 0;
  }
  get deadline(): number | undefined {
    return this.held.size === 0 ? undefined : Math.min(...this.held.values());
  }
  runDue(now: number): void {
    for (const [process, until] of this.held) {
      if (until > now) continue;
      this.held.delete(process);
      process.letGo();
    }
  }
}
