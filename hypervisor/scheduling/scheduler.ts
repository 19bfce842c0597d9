// Which vCPU may run. The policies decide; this carries it out, with words in the vCPUs' pages, and with SIGSTOP for
// those who do not yield. Truth is the CPU time Linux has counted: what a guest says of itself is a hint.
import {
  type Clock,
  RUNSTATE_blocked,
  RUNSTATE_offline,
  RUNSTATE_runnable,
  RUNSTATE_running,
  XENOLITH_WANT_grant,
  XENOLITH_WANT_nothing,
} from '#pvbus';
import type { Domain, DomainProcesses, Vcpu } from '../domain.ts';
import { CpuSet } from '../policies/cpu-set.ts';
import type { Decision } from '../policies/policy.ts';
import { Timer, Timers } from '../timers.ts';
import { Cpupool, type OnSwitch, Pcpu } from './cpupool.ts';
import { ANYWHERE, type Member, Unit } from './unit.ts';

/**
 * Who is to yield may use this much CPU time on the way to a safe point; more, and it is stopped. Who had to be
 * stopped has half as much the next time, who has yielded twice as much.
 */
const GRACE_NS = 500_000;
const MIN_GRACE_NS = 50_000;
/** How often it is looked who runs: while somebody does, and at least. */
const LOOK_NS = 10e6;
const LOOK_IDLE_NS = 250e6;
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

export interface SchedulerParts {
  readonly clock: Clock;
  readonly processes: DomainProcesses;
  readonly nrCpus: number;
  /** Account for the vCPU's time up to now, of which it has used `cpuTimeNs` in all, and tell the guest. */
  readonly account: (vcpu: Vcpu, cpuTimeNs: number) => void;
  readonly enter: (vcpu: Vcpu, runstate: number) => void;
}

export class Scheduler {
  /** Called when a pCPU goes from one vCPU to another. */
  onSwitch: OnSwitch = () => {};
  readonly pcpus: readonly Pcpu[];
  private readonly parts: SchedulerParts;
  private readonly timers = new Timers();
  private readonly members = new Map<Domain, Member>();
  private readonly units = new Map<number, Unit>();
  private readonly pools = new Set<Cpupool>();
  private readonly look: Timer;
  private lookedAt = 0;
  private lookPeriodNs = LOOK_NS;
  private nextId = 0;
  private online = 0;
  /** The first of those whose CPU time is read at the next look. */
  private sampleFrom = 0;

  constructor(parts: SchedulerParts) {
    this.parts = parts;
    const now = parts.clock.now();
    this.pcpus = Array.from({ length: parts.nrCpus }, (_, id) => {
      const slice = new Timer(at => this.sliceEnds(id, at));
      return new Pcpu(id, slice, now);
    });
    this.look = new Timer(at => this.lookAround(at));
  }

  /** Slices, graces and looks that are due. */
  step(): 'progress' | 'idle' {
    return this.timers.runDue(this.parts.clock.now()) ? 'progress' : 'idle';
  }
  nextDeadline(): number | undefined {
    return this.timers.nextDeadline();
  }

  // ---- pools ----

  makePool(id: number, policy: Cpupool['policy']): Cpupool {
    const event: Timer = new Timer(at => {
      policy.advance(at);
      this.settle(pool, at);
    });
    const pool = new Cpupool(id, policy, this.parts.nrCpus, event);
    this.pools.add(pool);
    pool.contended = pool.strict;
    return pool;
  }
  /** It has no pCPU and no domain. */
  dropPool(pool: Cpupool): void {
    this.timers.stop(pool.event);
    this.pools.delete(pool);
  }
  addCpu(pool: Cpupool, cpu: number): void {
    const now = this.parts.clock.now();
    this.pcpus[cpu]!.pool = pool;
    pool.cpus.add(cpu);
    pool.nrCpus++;
    pool.policy.addCpu(cpu, now);
    this.settle(pool, now);
    this.allowAgain(pool);
  }
  removeCpu(pool: Cpupool, cpu: number): void {
    const now = this.parts.clock.now();
    const slot = this.pcpus[cpu]!;
    if (slot.current) this.charge(slot.current, now);
    pool.cpus.delete(cpu);
    pool.nrCpus--;
    pool.policy.removeCpu(cpu, now);
    this.switchTo(slot, undefined, now);
    this.revokeKept(slot);
    this.timers.stop(slot.slice);
    slot.pool = undefined;
    this.settle(pool, now);
    this.allowAgain(pool);
  }
  /** The pool's pCPUs are others now. */
  private allowAgain(pool: Cpupool): void {
    for (const unit of pool.units) this.setAllowed(unit);
    this.lookSoon();
  }

  // ---- domains and their vCPUs ----

  addDomain(domain: Domain, pool: Cpupool): void {
    if (domain.isPrivileged) return;
    const entry = pool.policy.addDomain(domain.domid);
    this.members.set(domain, { domain, units: [], pool, entry, offender: undefined });
  }
  /** The vCPU exists, with its affinity. */
  addVcpu(vcpu: Vcpu): void {
    const member = this.members.get(vcpu.domain);
    if (!member) return;
    const id = this.nextId++;
    const now = this.parts.clock.now();
    const { pool } = member;
    const allowed = effective(vcpu, pool, this.parts.nrCpus);
    const entity = pool.policy.insert(member.entry, id, allowed, softOf(vcpu), now);
    const grace = new Timer(at => this.graceEnds(unit, at));
    const unit: Unit = new Unit(vcpu, member, id, entity, allowed, grace);
    unit.graceNs = GRACE_NS;
    member.units.push(unit);
    this.units.set(id, unit);
    pool.units.add(unit);
    vcpu.onWake = () => this.woken(unit);
    this.settle(pool, now);
    this.begin(unit);
    if (!this.isFree(unit)) this.placeAgain(unit);
  }
  /** The domain has its memory, and with it the words of its vCPUs. */
  memoryMade(domain: Domain): void {
    for (const unit of this.members.get(domain)?.units ?? []) this.begin(unit);
  }
  /** Linux has not heard yet where it may run. */
  processStarted(domain: Domain): void {
    for (const unit of this.members.get(domain)?.units ?? [])
      if (unit.placed !== ANYWHERE || !this.isFree(unit)) this.placeAgain(unit);
  }
  /** It may run on every pCPU there is. */
  private isFree(unit: Unit): boolean {
    return members(unit.allowed, this.parts.nrCpus).length === this.parts.nrCpus;
  }
  private begin(unit: Unit): void {
    if (unit.member.pool.contended) unit.take();
    else unit.give(this.homeOf(unit), false);
  }
  /** Nothing of it runs any more. */
  removeDomain(domain: Domain): void {
    const member = this.members.get(domain);
    if (!member) return;
    this.members.delete(domain);
    for (const unit of member.units) {
      this.setOnline(unit.vcpu, false);
      this.leave(unit);
      this.units.delete(unit.id);
    }
    this.settle(member.pool, this.parts.clock.now());
  }
  private leave(unit: Unit): void {
    const { pool } = unit.member;
    for (const slot of this.pcpus) if (slot.kept === unit) slot.kept = undefined;
    this.timers.stop(unit.grace);
    pool.policy.remove(unit.entity, this.parts.clock.now());
    pool.units.delete(unit);
  }
  /** Xen: in its new pool a domain may run everywhere. */
  moveDomain(domain: Domain, to: Cpupool): void {
    const member = this.members.get(domain);
    if (!member) return;
    const from = member.pool;
    const running = member.units.filter(unit => unit.online);
    const now = this.parts.clock.now();
    for (const unit of running) {
      this.charge(unit, now);
      this.setOnline(unit.vcpu, false);
    }
    for (const unit of member.units) this.leave(unit);
    this.settle(from, now);
    member.pool = to;
    member.entry = to.policy.addDomain(domain.domid);
    for (const unit of member.units) {
      unit.vcpu.hardAffinity.fill(true);
      unit.vcpu.softAffinity.fill(true);
      unit.allowed = effective(unit.vcpu, to, this.parts.nrCpus);
      unit.entity = to.policy.insert(member.entry, unit.id, unit.allowed, softOf(unit.vcpu), now);
      to.units.add(unit);
    }
    this.settle(to, now);
    for (const unit of member.units) {
      this.begin(unit);
      this.placeAgain(unit);
    }
    for (const unit of running) {
      this.setOnline(unit.vcpu, true);
      this.enter(unit);
    }
  }
  memberOf(domain: Domain): Member | undefined {
    return this.members.get(domain);
  }
  affinityChanged(vcpu: Vcpu): void {
    const unit = this.unitOf(vcpu);
    if (!unit) return;
    this.setAllowed(unit);
    this.lookSoon();
  }
  private setAllowed(unit: Unit): void {
    const { pool } = unit.member;
    unit.allowed = effective(unit.vcpu, pool, this.parts.nrCpus);
    const now = this.parts.clock.now();
    if (unit.slot) this.charge(unit, now);
    pool.policy.setAffinity(unit.entity, unit.allowed, softOf(unit.vcpu), now);
    this.settle(pool, now);
    if (!pool.contended) unit.give(this.homeOf(unit), false);
    this.placeAgain(unit);
  }
  /** Parameters of the pool's policy have changed. */
  changed(pool: Cpupool): void {
    this.settle(pool, this.now);
  }
  /** So many domains of the pool have a cap. */
  setCapped(pool: Cpupool, capped: number): void {
    pool.capped = capped;
    if (pool.strict && !pool.contended) this.contend(pool, this.now);
    else this.lookSoon();
  }
  get now(): number {
    return this.parts.clock.now();
  }
  private unitOf(vcpu: Vcpu): Unit | undefined {
    return this.members.get(vcpu.domain)?.units.find(unit => unit.vcpu === vcpu);
  }
  /** Where it runs, or ran last. */
  cpuOf(vcpu: Vcpu): number {
    const unit = this.unitOf(vcpu);
    return unit ? this.homeOf(unit) : Math.max(0, vcpu.hardAffinity.indexOf(true));
  }
  private homeOf(unit: Unit): number {
    return Math.max(0, unit.slot?.id ?? unit.entity.cpu);
  }

  // ---- what vCPUs do ----

  /** The domain runs or stops, or the vCPU goes up or down. */
  setOnline(vcpu: Vcpu, online: boolean): void {
    const unit = this.unitOf(vcpu);
    if (!unit || unit.online === online) return;
    unit.online = online;
    this.online += online ? 1 : -1;
    const { pool } = unit.member;
    const now = this.parts.clock.now();
    unit.chargedNs = this.parts.processes.cpuTimeNs(unit.domain, vcpu.id);
    for (const slot of this.pcpus) if (slot.kept === unit) this.revokeKept(slot);
    if (!pool.contended) {
      if (online) {
        this.release(unit.member);
        unit.give(this.homeOf(unit), false);
        this.lookSoon();
      }
      return;
    }
    if (online) {
      this.lookSoon();
      this.wake(unit, now);
    } else this.sleep(unit, now, false);
  }
  /** untrusted: a vCPU has said what it wants. */
  noted(vcpu: Vcpu, want: number): void {
    const unit = this.unitOf(vcpu);
    if (!unit?.online || !unit.member.pool.contended) return;
    unit.expected = false;
    unit.waits = want === XENOLITH_WANT_grant && unit.slot === undefined;
    const now = this.parts.clock.now();
    if (want === XENOLITH_WANT_nothing) this.sleep(unit, now, true);
    else {
      if (want === XENOLITH_WANT_grant && unit.grace.pending) {
        this.timers.stop(unit.grace);
        unit.graceNs = Math.min(2 * unit.graceNs, GRACE_NS);
      }
      this.wake(unit, now);
    }
  }
  /** It sleeps in a hypercall. Coming back from that it asks for a grant, since it has none. */
  blocked(vcpu: Vcpu): void {
    const unit = this.unitOf(vcpu);
    if (unit?.online && unit.member.pool.contended) this.sleep(unit, this.parts.clock.now(), false);
  }
  /**
   * The hypervisor has woken its thread, which asks for a pCPU as soon as Linux runs it; who has that pCPU is asked to
   * leave it before.
   */
  private woken(unit: Unit): void {
    if (!unit.online || unit.wants || !unit.member.pool.contended || !unit.vcpu.blocked) return;
    unit.expected = true;
    this.wake(unit, this.now);
  }
  /** SCHEDOP_yield */
  yield(vcpu: Vcpu): void {
    const unit = this.unitOf(vcpu);
    if (!unit?.slot) return;
    const now = this.parts.clock.now();
    unit.member.pool.policy.yield(unit.entity, now);
    this.settle(unit.member.pool, now);
  }

  private wake(unit: Unit, now: number): void {
    if (!unit.wants) {
      // What it has used asleep is its helpers', and before it came on line the builder's.
      this.charge(unit, now);
      unit.wants = true;
      const { member } = unit;
      if (member.offender === undefined || member.offender === unit) member.pool.policy.wake(unit.entity, now);
      this.settle(member.pool, now);
    } else if (unit.slot) unit.give(unit.slot.id, !unit.member.pool.partitioned); // it was about to sleep, perhaps
    if (unit.slot) return;
    // It may run on without a grant, or on one that it has kept and that is another's now.
    for (const slot of this.pcpus) if (slot.kept === unit) slot.kept = undefined;
    unit.take();
    this.enter(unit);
    if (!unit.waits && !unit.expected && !unit.grace.pending) this.startGrace(unit, now);
  }
  /** `keep`: it says so itself, and will say when it wakes. */
  private sleep(unit: Unit, now: number, keep: boolean): void {
    this.timers.stop(unit.grace);
    unit.expected = false;
    if (!unit.wants) return;
    this.charge(unit, now);
    unit.wants = false;
    const { slot, member } = unit;
    member.pool.policy.sleep(unit.entity, now);
    if (keep && slot) slot.kept = unit;
    else unit.take();
    this.settle(member.pool, now);
    this.enter(unit);
  }

  // ---- decisions ----

  /** Have the policy decide about every pCPU that it wants to decide about. */
  private settle(pool: Cpupool, now: number): void {
    const { policy } = pool;
    for (let cpu = policy.nextDue(); cpu >= 0; cpu = policy.nextDue()) {
      const slot = this.pcpus[cpu]!;
      if (slot.current) this.charge(slot.current, now);
      this.decided(slot, policy.schedule(cpu, now), now);
    }
    const event = policy.nextEvent();
    if (event === Number.POSITIVE_INFINITY) this.timers.stop(pool.event);
    else this.timers.set(pool.event, event);
  }
  private sliceEnds(cpu: number, now: number): void {
    const slot = this.pcpus[cpu]!;
    const { pool } = slot;
    if (!pool) return;
    if (slot.current) this.charge(slot.current, now);
    this.decided(slot, pool.policy.schedule(cpu, now), now);
    this.settle(pool, now);
  }
  private decided(slot: Pcpu, { unit: entity, until }: Decision, now: number): void {
    this.switchTo(slot, entity === null ? undefined : this.units.get(entity.id), now);
    if (until === Number.POSITIVE_INFINITY) this.timers.stop(slot.slice);
    else this.timers.set(slot.slice, until);
  }
  private switchTo(slot: Pcpu, next: Unit | undefined, now: number): void {
    const prev = slot.current;
    if (next === prev) return;
    if (prev === undefined) slot.idleNs += now - slot.idleSince;
    if (next === undefined) slot.idleSince = now;
    slot.current = next;
    this.onSwitch(slot.id, prev?.vcpu, next?.vcpu, now);
    // One that the policy has moved has its new place already.
    if (prev?.slot === slot) {
      prev.slot = undefined;
      if (prev.wants) this.takeBack(prev, now);
    }
    if (next === undefined) return;
    if (next.slot !== undefined && next.slot.current === next && next.slot !== slot) {
      next.slot.current = undefined;
      next.slot.idleSince = now;
    }
    next.slot = slot;
    if (slot.kept !== next) this.revokeKept(slot);
    for (const other of this.pcpus) if (other.kept === next) other.kept = undefined;
    this.timers.stop(next.grace);
    this.place(next);
    next.give(slot.id, !next.member.pool.partitioned);
    this.release(next.member);
    this.enter(next);
  }
  private revokeKept(slot: Pcpu): void {
    const { kept } = slot;
    slot.kept = undefined;
    kept?.take();
  }
  private takeBack(unit: Unit, now: number): void {
    unit.take();
    this.enter(unit);
    if (!unit.waits) this.startGrace(unit, now);
  }
  private startGrace(unit: Unit, now: number): void {
    unit.tookBackAt = unit.chargedNs;
    unit.graceGrew = false;
    this.timers.set(unit.grace, now + unit.graceNs);
  }
  private graceEnds(unit: Unit, now: number): void {
    if (unit.slot || !unit.online || unit.waits) return;
    this.charge(unit, now);
    const left = unit.graceNs - (unit.chargedNs - unit.tookBackAt);
    // It sleeps until an event; it had not seen yet that it is to say so.
    if (unit.vcpu.blocked && left > unit.graceNs * (1 - AWAKE_SHARE)) this.sleep(unit, now, false);
    // Linux has run others meanwhile, perhaps, and it had no time to yield. But Linux brings the clock of a process that
    // runs up to date at its ticks only, some ms apart: it is believed once.
    else if (left > MIN_GRACE_NS / 2 && !unit.graceGrew) {
      unit.graceGrew = true;
      this.timers.set(unit.grace, now + left);
    } else {
      unit.graceNs = Math.max(unit.graceNs / 2, MIN_GRACE_NS);
      this.stop(unit, now);
    }
  }
  /** It runs and may not, and does not yield: its process stops, and stays so until this vCPU has a grant again. */
  private stop(unit: Unit, now: number): void {
    const { member } = unit;
    if (member.offender) return;
    member.offender = unit;
    member.domain.preempted = true;
    this.parts.processes.stop(member.domain);
    for (const other of member.units)
      if (other !== unit && other.wants) {
        this.charge(other, now);
        member.pool.policy.sleep(other.entity, now);
      }
    if (member.units.length > 1) this.settle(member.pool, now);
  }
  /** The offender has its grant, or nobody needs one. */
  private release(member: Member): void {
    const { domain, offender } = member;
    if (!offender) return;
    if (member.pool.contended && !offender.slot && offender.wants) return;
    member.offender = undefined;
    domain.preempted = false;
    if (!domain.isPaused && !domain.isShutDown) this.parts.processes.cont(domain);
    if (!member.pool.contended) return;
    const now = this.parts.clock.now();
    for (const other of member.units) if (other !== offender && other.wants) member.pool.policy.wake(other.entity, now);
  }
  private charge(unit: Unit, now: number): void {
    const used = this.parts.processes.cpuTimeNs(unit.domain, unit.vcpu.id);
    const ns = used - unit.chargedNs;
    unit.chargedNs = used;
    this.parts.account(unit.vcpu, used);
    if (ns > 0) unit.member.pool.policy.charge(unit.entity, ns, now);
  }
  private enter(unit: Unit): void {
    this.parts.enter(unit.vcpu, this.runstateOf(unit));
  }
  private runstateOf(unit: Unit): number {
    if (!unit.online) return RUNSTATE_offline;
    if (!unit.member.pool.contended || unit.slot) return RUNSTATE_running;
    return unit.wants ? RUNSTATE_runnable : RUNSTATE_blocked;
  }
  /** The state of a vCPU that is on line; undefined: the scheduler does not know it. */
  runstate(vcpu: Vcpu): number | undefined {
    const unit = this.unitOf(vcpu);
    return unit && this.runstateOf(unit);
  }
  /** Does the hypervisor decide when it runs? Else whatever it does not use is sleep. */
  isContended(vcpu: Vcpu): boolean {
    return this.members.get(vcpu.domain)?.pool.contended ?? false;
  }

  /** Have Linux run it where it is to run: on its pCPU, or in a free pool anywhere it may. */
  private place(unit: Unit): void {
    const { contended } = unit.member.pool;
    if (contended && unit.placed === unit.slot?.id) return;
    const list = contended && unit.slot ? [unit.slot.id] : members(unit.allowed, this.parts.nrCpus);
    // One that waits stays where it is: it will hardly run.
    if (contended && !unit.slot && list.length > 1 && !Number.isNaN(unit.placed)) return;
    const where = list.length === 1 ? list[0]! : ANYWHERE;
    if (unit.placed === where) return;
    unit.placed = where;
    this.parts.processes.place(unit.domain, unit.vcpu.id, list);
  }
  private placeAgain(unit: Unit): void {
    unit.placed = NaN;
    this.place(unit);
  }

  // ---- looking around ----

  private lookSoon(): void {
    this.lookPeriodNs = LOOK_NS;
    const now = this.parts.clock.now();
    if (!this.look.pending || this.look.deadline > now + LOOK_NS) this.lookIn(LOOK_NS, now);
  }
  private lookIn(ns: number, now: number): void {
    if (!this.look.pending) this.lookedAt = now;
    this.timers.set(this.look, now + ns);
  }
  private lookAround(now: number): void {
    const elapsed = now - this.lookedAt;
    this.lookedAt = now;
    let anybody = false;
    let doubt = false;
    const { units } = this;
    const first = this.sampleFrom;
    this.sampleFrom = units.size <= SAMPLED ? 0 : (first + SAMPLED) % units.size;
    let at = 0;
    for (const pool of this.pools) {
      const awake: Unit[] = [];
      for (const unit of pool.units) {
        const sampled = (at++ - first + units.size) % units.size < SAMPLED;
        if (unit.online && this.isAwake(unit, sampled, elapsed, now)) awake.push(unit);
      }
      if (awake.length > 0) anybody = true;
      if (this.judge(pool, awake, now)) doubt = true;
    }
    if (this.online === 0) return;
    this.lookPeriodNs = anybody ? LOOK_NS : Math.min(2 * this.lookPeriodNs, LOOK_IDLE_NS);
    this.lookIn(doubt ? DOUBT_NS : this.lookPeriodNs, now);
  }
  /** Also sets right what a contended pool believes of it. */
  private isAwake(unit: Unit, sampled: boolean, elapsed: number, now: number): boolean {
    const says = !unit.vcpu.blocked;
    const { contended } = unit.member.pool;
    let used = 0;
    if (sampled) {
      const before = unit.chargedNs;
      if (contended) this.charge(unit, now);
      else unit.chargedNs = this.parts.processes.cpuTimeNs(unit.domain, unit.vcpu.id);
      used = unit.chargedNs - before;
    }
    const awake = says || used > elapsed * AWAKE_SHARE;
    if (!contended) return awake;
    if (unit.slot) {
      // It went to sleep without saying so.
      if (awake || !sampled || !unit.wants || unit.member.pool.partitioned) return true;
      // Linux has not run it yet, perhaps: it has until the next look.
      if (unit.expected) unit.expected = false;
      else this.sleep(unit, now, false);
    } else if (used > OVERRUN_NS && !unit.grace.pending && unit.member.offender === undefined) {
      // It runs on, whatever it says.
      unit.wants ? this.stop(unit, now) : this.wake(unit, now);
    } else if (says && !unit.wants && !unit.domain.preempted) this.wake(unit, now);
    return unit.wants;
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
  private contend(pool: Cpupool, now: number): void {
    for (const unit of pool.units) {
      if (!unit.online) continue;
      this.parts.account(unit.vcpu, this.parts.processes.cpuTimeNs(unit.domain, unit.vcpu.id));
      unit.chargedNs = this.parts.processes.cpuTimeNs(unit.domain, unit.vcpu.id);
    }
    pool.contended = true;
    pool.doubts = 0;
    for (const unit of pool.units) {
      unit.wants = unit.online && !unit.vcpu.blocked;
      if (unit.wants) pool.policy.wake(unit.entity, now);
    }
    this.settle(pool, now);
    for (const unit of pool.units) {
      if (unit.slot) continue;
      unit.take();
      this.enter(unit);
      // It may have woken since: it has until the next look to say so.
      if (unit.wants) this.takeBack(unit, now);
    }
  }
  private free(pool: Cpupool, now: number): void {
    for (const unit of pool.units) {
      this.timers.stop(unit.grace);
      if (unit.online) this.charge(unit, now);
      if (unit.wants) pool.policy.sleep(unit.entity, now);
      unit.wants = false;
    }
    this.settle(pool, now);
    pool.contended = false;
    pool.doubts = 0;
    for (const cpu of pool.list) this.pcpus[cpu]!.kept = undefined;
    for (const unit of pool.units) {
      unit.give(this.homeOf(unit), false);
      this.place(unit);
      this.release(unit.member);
      this.enter(unit);
    }
  }
}

const members = (set: CpuSet, nrCpus: number): number[] =>
  Array.from({ length: nrCpus }, (_, cpu) => cpu).filter(cpu => set.has(cpu));
const softOf = (vcpu: Vcpu): CpuSet => CpuSet.from(vcpu.softAffinity);
/** Where it may run: its hard affinity in its pool; Xen: all of the pool when that is nowhere. */
function effective(vcpu: Vcpu, pool: Cpupool, nrCpus: number): CpuSet {
  const hard = CpuSet.from(vcpu.hardAffinity);
  const both = new CpuSet(nrCpus);
  for (let cpu = pool.cpus.nextIn(hard, 0); cpu >= 0; cpu = pool.cpus.nextIn(hard, cpu + 1)) both.add(cpu);
  if (!both.isEmpty) return both;
  for (const cpu of pool.list) both.add(cpu);
  return both;
}
