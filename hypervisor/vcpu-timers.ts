// VIRQ_TIMER: at one time, or in a rhythm. set_timer_op and the singleshot timer are one timer.
import { type Clock, VIRQ_TIMER } from '#pvbus';
import type { Vcpu } from './domain.ts';
import { Timer, type Timers } from './timers.ts';
import type { Virqs } from './virq.ts';

/** What a vCPU's timers have to go, in ns of system time; null: stopped. */
export interface VcpuTime {
  readonly singleshotIn: number | null;
  readonly periodNs: number;
  readonly tickIn: number | null;
}

export class VcpuTimers {
  private readonly timers: Timers;
  private readonly virqs: Virqs;
  private readonly clock: Clock;

  constructor(timers: Timers, virqs: Virqs, clock: Clock) {
    this.timers = timers;
    this.virqs = virqs;
    this.clock = clock;
  }

  /** Fire once at `deadline` (ns of system time), at once when it has passed. */
  setSingleshot(vcpu: Vcpu, deadline: number): void {
    vcpu.singleshot ??= new Timer(() => this.virqs.raiseVcpu(vcpu, VIRQ_TIMER));
    if (deadline > this.clock.now()) this.timers.set(vcpu.singleshot, deadline);
    else {
      this.timers.stop(vcpu.singleshot);
      this.virqs.raiseVcpu(vcpu, VIRQ_TIMER);
    }
  }
  stopSingleshot(vcpu: Vcpu): void {
    if (vcpu.singleshot) this.timers.stop(vcpu.singleshot);
  }

  /** Fire every `periodNs` from `first` on. */
  setPeriodic(vcpu: Vcpu, periodNs: number, first = this.clock.now() + periodNs): void {
    vcpu.periodic ??= new Timer(now => {
      this.virqs.raiseVcpu(vcpu, VIRQ_TIMER);
      // Ticks that nobody had time for are not made up for: one tells of them all, and the next one is in step.
      const { deadline } = vcpu.periodic!;
      const late = Math.floor((now - deadline) / vcpu.periodNs);
      this.timers.set(vcpu.periodic!, deadline + (late + 1) * vcpu.periodNs);
    });
    vcpu.periodNs = periodNs;
    this.timers.set(vcpu.periodic, first);
  }
  stopPeriodic(vcpu: Vcpu): void {
    if (vcpu.periodic) this.timers.stop(vcpu.periodic);
    vcpu.periodNs = 0;
  }

  /** For `restore`, of this vCPU's later self. */
  save(vcpu: Vcpu): VcpuTime {
    const { singleshot, periodic, periodNs } = vcpu;
    return { singleshotIn: this.left(singleshot), periodNs, tickIn: this.left(periodic) };
  }
  restore(vcpu: Vcpu, { singleshotIn, periodNs, tickIn }: VcpuTime): void {
    const now = this.clock.now();
    if (singleshotIn !== null) this.setSingleshot(vcpu, now + singleshotIn);
    if (tickIn !== null) this.setPeriodic(vcpu, periodNs, now + tickIn);
  }
  private left(timer: Timer | undefined): number | null {
    return timer?.pending ? timer.deadline - this.clock.now() : null;
  }

  stopAll(vcpu: Vcpu): void {
    this.stopSingleshot(vcpu);
    this.stopPeriodic(vcpu);
    if (vcpu.pollTimer) this.timers.stop(vcpu.pollTimer);
  }
}
