// Who does not leave its pCPU when it is to: it has a while to come to a safe point, then its process is stopped.
import { Timer } from '../timers.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Member, Unit } from './unit.ts';

/**
 * Who is to yield may use this much CPU time on the way to a safe point; more, and it is stopped. Who had to be
 * stopped has half as much the next time, who has yielded twice as much.
 */
const GRACE_NS = 500_000;
const MIN_GRACE_NS = 50_000;
/** Who sleeps may have used this much of its grace. */
const AWAKE_SHARE = 0.2;

export class Preemption {
  private readonly dispatcher: Dispatcher;

  constructor(dispatcher: Dispatcher) {
    this.dispatcher = dispatcher;
  }
  /** For a vCPU that is new. */
  makeGrace(unit: Unit): Timer {
    unit.graceNs = GRACE_NS;
    return new Timer(at => this.graceEnds(unit, at));
  }
  /** Its grant was taken. */
  begin(unit: Unit, now: number): void {
    // Its process is stopped: it has no chance to yield until it is released.
    if (unit.domain.preempted) return;
    unit.tookBackAt = unit.chargedNs;
    unit.graceGrew = false;
    this.dispatcher.timers.set(unit.grace, now + unit.graceNs);
  }
  /** It has said that it waits for a grant. */
  yielded(unit: Unit): void {
    if (!unit.grace.pending) return;
    this.dispatcher.timers.stop(unit.grace);
    unit.graceNs = Math.min(2 * unit.graceNs, GRACE_NS);
  }
  private graceEnds(unit: Unit, now: number): void {
    if (unit.slot || !unit.online || unit.waits) return;
    this.dispatcher.charge(unit, now);
    const left = unit.graceNs - (unit.chargedNs - unit.tookBackAt);
    // It sleeps until an event; it had not seen yet that it is to say so.
    if (unit.vcpu.blocked && left > unit.graceNs * (1 - AWAKE_SHARE)) this.dispatcher.sleep(unit, now, false);
    // Linux has run others meanwhile, perhaps, and it had no time to yield. But Linux brings the clock of a process that
    // runs up to date at its ticks only, some ms apart: it is believed once.
    else if (left > MIN_GRACE_NS / 2 && !unit.graceGrew) {
      unit.graceGrew = true;
      this.dispatcher.timers.set(unit.grace, now + left);
    } else {
      unit.graceNs = Math.max(unit.graceNs / 2, MIN_GRACE_NS);
      this.stop(unit, now);
    }
  }
  /** It runs and may not, and does not yield: its process stops, and stays so until this vCPU has a grant again. */
  stop(unit: Unit, now: number): void {
    const { member } = unit;
    if (member.offender) return;
    this.dispatcher.timers.stop(unit.grace);
    member.offender = unit;
    member.domain.preempted = true;
    this.dispatcher.parts.processes.stop(member.domain);
    for (const other of member.units)
      if (other !== unit && other.wants) {
        this.dispatcher.charge(other, now);
        member.pool.policy.sleep(other.entity, now);
      }
    if (member.units.length > 1) this.dispatcher.settle(member.pool, now);
  }
  /** If the offender has its grant, or wants none. */
  release(member: Member): void {
    const { domain, offender } = member;
    if (!offender) return;
    if (member.pool.contended && !offender.slot && offender.wants) return;
    member.offender = undefined;
    domain.preempted = false;
    if (!domain.isPaused && !domain.isShutDown) this.dispatcher.parts.processes.cont(domain);
    if (!member.pool.contended) return;
    const now = this.dispatcher.parts.clock.now();
    // Who of them runs without a grant is found at the next look: no sooner, lest two of one domain that never yield
    // have it stopped and continued all the time.
    for (const other of member.units) if (other !== offender && other.wants) member.pool.policy.wake(other.entity, now);
  }
}
