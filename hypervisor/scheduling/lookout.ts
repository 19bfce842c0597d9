// Looking around: who runs, by what Linux has counted, and whether a pool is contended or free.
import { Timer } from '../timers.ts';
import type { Cpupool } from './cpupool.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Unit } from './unit.ts';

/** How often it is looked who runs: while somebody does, and at least. */
const LOOK_NS = 10e6;
const LOOK_IDLE_NS = 1e9;
/** A pool that looks contended is looked at again so soon, so often in a row, before it is. */
const DOUBT_NS = 1e6;
const DOUBTS = 3;
/** So many looks in a row at a contended pool in which nobody would have to wait make it free. */
const CALM_LOOKS = 10;
/** vCPUs whose CPU time is read at one look: the others' at later ones. */
const SAMPLED = 64;
/** Who says that it sleeps, and uses this much of the time between two looks, does not. */
const AWAKE_SHARE = 0.2;
/** CPU time without a grant that a helping thread may use between two looks without its domain being stopped. */
const OVERRUN_NS = 500_000;

export class Lookout {
  private readonly dispatcher: Dispatcher;
  private readonly pools: ReadonlySet<Cpupool>;
  private readonly look = new Timer(at => this.lookAround(at));
  private lookedAt = 0;
  private lookPeriodNs = LOOK_NS;
  /** The first of those whose CPU time is read at the next look. */
  private sampleFrom = 0;

  constructor(dispatcher: Dispatcher, pools: ReadonlySet<Cpupool>) {
    this.dispatcher = dispatcher;
    this.pools = pools;
  }
  /** Something has changed that may have changed who runs. */
  lookSoon(): void {
    this.lookPeriodNs = LOOK_NS;
    const now = this.dispatcher.parts.clock.now();
    if (!this.look.pending || this.look.deadline > now + LOOK_NS) this.lookIn(LOOK_NS, now);
  }
  private lookIn(ns: number, now: number): void {
    if (!this.look.pending) this.lookedAt = now;
    this.dispatcher.timers.set(this.look, now + ns);
  }
  private lookAround(now: number): void {
    const elapsed = now - this.lookedAt;
    this.lookedAt = now;
    let anybody = false;
    let doubt = false;
    let online = false;
    const { units } = this.dispatcher;
    const first = this.sampleFrom;
    this.sampleFrom = units.size <= SAMPLED ? 0 : (first + SAMPLED) % units.size;
    const sinceSample = elapsed * Math.ceil(units.size / SAMPLED);
    let at = 0;
    for (const pool of this.pools) {
      const awake: Unit[] = [];
      for (const unit of pool.units) {
        const sampled = (at++ - first + units.size) % units.size < SAMPLED;
        if (unit.online) online = true;
        if (unit.online && this.isAwake(unit, sampled, sinceSample, now)) awake.push(unit);
      }
      if (awake.length > 0) anybody = true;
      if (this.judge(pool, awake, now)) doubt = true;
    }
    if (!online) return;
    this.lookPeriodNs = anybody ? LOOK_NS : Math.min(2 * this.lookPeriodNs, LOOK_IDLE_NS);
    this.lookIn(doubt ? DOUBT_NS : this.lookPeriodNs, now);
  }
  /** Also sets right what a contended pool believes of it. */
  private isAwake(unit: Unit, sampled: boolean, elapsed: number, now: number): boolean {
    const { dispatcher } = this;
    const { processes } = dispatcher.parts;
    const { contended, partitioned, policy } = unit.member.pool;
    const says = !unit.vcpu.blocked;
    // untrusted: it may say that it runs and sleep, or say that it sleeps and run.
    const doubted = sampled && !partitioned;
    const own = sampled ? processes.cpuTimeNs(unit.domain, unit.vcpu.id) - unit.chargedNs : 0;
    const stray = sampled ? this.strayNs(unit) : 0;
    const used = own + stray;
    const runs = used > elapsed * AWAKE_SHARE;
    const awake = runs || (says && !(doubted && processes.sleeps(unit.domain, unit.vcpu.id)));
    if (!contended) {
      unit.chargedNs += own;
      return awake;
    }
    const held = now - Math.max(unit.chargedAt, unit.hasSince);
    if (sampled) dispatcher.charge(unit, now);
    if (stray > 0) policy.charge(unit.entity, stray, now);
    if (unit.slot) {
      if (awake || !sampled || !unit.wants || partitioned) return true;
      // Linux has not run it yet, perhaps: it has until the next look.
      if (unit.expected) unit.expected = false;
      else {
        // It went to sleep without saying so. Who even says that it runs pays for the pCPU that nobody else could have.
        if (says && held > used) policy.charge(unit.entity, held - used, now);
        dispatcher.sleep(unit, now, false);
      }
    } else if (used > OVERRUN_NS && !unit.grace.pending && unit.member.offender === undefined) {
      // It runs on, whatever it says.
      if (unit.wants) dispatcher.preemption.stop(unit, now);
      else dispatcher.wake(unit, now);
      // It cannot yield for the one that runs.
      if (stray > OVERRUN_NS && !unit.slot) dispatcher.preemption.stop(unit, now);
    } else if (says && awake && !unit.wants && !unit.domain.preempted) dispatcher.wake(unit, now);
    return unit.wants;
  }
  /**
   * CPU time since the last look that no vCPU on line has used, for the first one that is: the threads of vCPUs that are
   * down may run on. Linux's account has it with vCPU 0 (DomainProcesses.cpuTimeNs), which may be down itself.
   */
  private strayNs(unit: Unit): number {
    const { units } = unit.member;
    const [first] = units;
    if (first!.online || units.find(({ online }) => online) !== unit) return 0;
    const before = first!.chargedNs;
    first!.chargedNs = this.dispatcher.parts.processes.cpuTimeNs(unit.domain, first!.vcpu.id);
    return first!.chargedNs - before;
  }
  /** Is the pool what it seems to be? True: look again soon. */
  private judge(pool: Cpupool, awake: readonly Unit[], now: number): boolean {
    const fits = pool.fits(awake);
    if (!pool.contended) {
      pool.doubts = fits ? 0 : pool.doubts + 1;
      if (pool.doubts < DOUBTS) return pool.doubts > 0;
      this.contend(pool, now);
      return false;
    }
    pool.doubts = fits && !pool.strict ? pool.doubts + 1 : 0;
    if (pool.doubts >= CALM_LOOKS) this.free(pool, now);
    return false;
  }
  /** From now on only those run that the policy has given a pCPU to. */
  contend(pool: Cpupool, now: number): void {
    for (const unit of pool.units) {
      if (!unit.online) continue;
      this.dispatcher.parts.account(unit.vcpu, this.dispatcher.parts.processes.cpuTimeNs(unit.domain, unit.vcpu.id));
      unit.chargedNs = this.dispatcher.parts.processes.cpuTimeNs(unit.domain, unit.vcpu.id);
    }
    pool.contended = true;
    pool.doubts = 0;
    for (const unit of pool.units) {
      unit.wants = unit.online && !unit.vcpu.blocked;
      if (unit.wants) pool.policy.wake(unit.entity, now);
    }
    this.dispatcher.settle(pool, now);
    for (const unit of pool.units) {
      if (unit.slot) continue;
      unit.take();
      this.dispatcher.enter(unit);
      // It may have woken since: it has until the next look to say so.
      if (unit.wants) this.dispatcher.takeBack(unit, now);
    }
  }
  private free(pool: Cpupool, now: number): void {
    for (const unit of pool.units) {
      this.dispatcher.timers.stop(unit.grace);
      if (unit.online) this.dispatcher.charge(unit, now);
      if (unit.wants) pool.policy.sleep(unit.entity, now);
      unit.wants = false;
    }
    this.dispatcher.settle(pool, now);
    pool.contended = false;
    pool.doubts = 0;
    for (const cpu of pool.list) this.dispatcher.pcpus[cpu]!.kept = undefined;
    for (const unit of pool.units) {
      unit.give(this.dispatcher.homeOf(unit), false);
      this.dispatcher.placement.place(unit);
      this.dispatcher.preemption.release(unit.member);
      this.dispatcher.enter(unit);
    }
  }
}
