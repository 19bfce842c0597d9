// set_timer_op(timeout): VIRQ_TIMER at an absolute system time in ns.
import type { Clock } from '#pvbus';
import type { Vcpu } from '../domain.ts';
import { NOWHERE } from '../guest-memory.ts';
import type { VcpuTimers } from '../vcpu-timers.ts';

/** Xen: a deadline this far ahead is taken for an overflow in the guest's arithmetic; it is tried again soon. */
const FAR_NS = 2 ** 50;
const SOON_NS = 100e6;

export class SetTimerOp {
  private readonly timers: VcpuTimers;
  private readonly clock: Clock;

  constructor(timers: VcpuTimers, clock: Clock) {
    this.timers = timers;
    this.clock = clock;
  }

  call(caller: Vcpu, timeout: number): number {
    const now = this.clock.now();
    if (timeout === 0) this.timers.stopSingleshot(caller);
    else if (timeout < 0 || timeout >= NOWHERE || timeout - now > FAR_NS)
      this.timers.setSingleshot(caller, now + SOON_NS);
    else this.timers.setSingleshot(caller, timeout);
    return 0;
  }
}
