// Which vCPU may run. The policies decide; this carries it out, with words in the vCPUs' pages, and with SIGSTOP for
// those who do not yield. Truth is the CPU time Linux has counted: what a guest says of itself is a hint.
import { XEN_SCHEDULER_RTDS, XENOLITH_WANT_grant, XENOLITH_WANT_nothing } from '#pvbus';
import type { Domain, Vcpu } from '../domain.ts';
import { CpuSet } from '../policies/cpu-set.ts';
import { Timer } from '../timers.ts';
import { Cpupool, type OnSwitch, type Pcpu } from './cpupool.ts';
import { Dispatcher, type SchedulerParts } from './dispatcher.ts';
import { Lookout } from './lookout.ts';
import type { Placement } from './placement.ts';
import { ANYWHERE, type Member, Unit } from './unit.ts';

export class Scheduler {
  private readonly parts: SchedulerParts;
  private readonly dispatcher: Dispatcher;
  private readonly placement: Placement;
  private readonly lookout: Lookout;
  private readonly members = new Map<Domain, Member>();
  private readonly pools = new Set<Cpupool>();
  private nextId = 0;
  /**
   * Called when the pCPUs change that nobody keeps deadlines on: all, when there are no others. Who carries out what this
   * decides is to run there: beside a guest that computes, Linux lets it wait for milliseconds.
   */
  onLeisurely: (pcpus: readonly number[]) => void = () => {};

  constructor(parts: SchedulerParts) {
    this.parts = parts;
    this.dispatcher = new Dispatcher(parts);
    this.placement = this.dispatcher.placement;
    this.lookout = new Lookout(this.dispatcher, this.pools);
  }
  get pcpus(): readonly Pcpu[] {
    return this.dispatcher.pcpus;
  }
  /** Called when a pCPU goes from one vCPU to another. */
  set onSwitch(handler: OnSwitch) {
    this.dispatcher.onSwitch = handler;
  }

  /** Slices, graces and looks that are due. */
  step(): 'progress' | 'idle' {
    return this.dispatcher.timers.runDue(this.parts.clock.now()) ? 'progress' : 'idle';
  }
  nextDeadline(): number | undefined {
    return this.dispatcher.timers.nextDeadline();
  }

  // ---- pools ----

  makePool(id: number, policy: Cpupool['policy']): Cpupool {
    const event: Timer = new Timer(at => {
      policy.advance(at);
      this.dispatcher.settle(pool, at);
    });
    const pool = new Cpupool(id, policy, this.parts.nrCpus, event);
    this.pools.add(pool);
    pool.contended = pool.strict;
    return pool;
  }
  /** It has no pCPU and no domain. */
  dropPool(pool: Cpupool): void {
    this.dispatcher.timers.stop(pool.event);
    this.pools.delete(pool);
  }
  addCpu(pool: Cpupool, cpu: number): void {
    const now = this.parts.clock.now();
    this.pcpus[cpu]!.pool = pool;
    pool.cpus.add(cpu);
    pool.nrCpus++;
    pool.policy.addCpu(cpu, now);
    this.dispatcher.settle(pool, now);
    this.allowAgain(pool);
    this.tellLeisurely();
  }
  removeCpu(pool: Cpupool, cpu: number): void {
    const now = this.parts.clock.now();
    const slot = this.pcpus[cpu]!;
    if (slot.current) this.dispatcher.charge(slot.current, now);
    pool.cpus.delete(cpu);
    pool.nrCpus--;
    pool.policy.removeCpu(cpu, now);
    this.dispatcher.switchTo(slot, undefined, now);
    this.dispatcher.revokeKept(slot);
    this.dispatcher.timers.stop(slot.slice);
    slot.pool = undefined;
    this.dispatcher.settle(pool, now);
    this.allowAgain(pool);
    this.tellLeisurely();
  }
  private tellLeisurely(): void {
    const others = this.pcpus.filter(({ pool }) => pool?.policy.sched_id !== XEN_SCHEDULER_RTDS);
    this.onLeisurely((others.length > 0 ? others : this.pcpus).map(({ id }) => id));
  }
  /** The pool's pCPUs are others now. */
  private allowAgain(pool: Cpupool): void {
    for (const unit of pool.units) this.setAllowed(unit);
    this.lookout.lookSoon();
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
    const allowed = this.placement.allowed(vcpu, pool);
    const entity = pool.policy.insert(member.entry, id, allowed, softOf(vcpu), now);
    const unit = new Unit(vcpu, member, id, entity, allowed, this.dispatcher.preemption);
    member.units.push(unit);
    this.dispatcher.units.set(id, unit);
    pool.units.add(unit);
    vcpu.onWake = () => this.woken(unit);
    this.dispatcher.settle(pool, now);
    this.begin(unit);
    if (!this.placement.isFree(unit)) this.placement.placeAgain(unit);
  }
  /** The domain has its memory, and with it the words of its vCPUs. */
  memoryMade(domain: Domain): void {
    for (const unit of this.members.get(domain)?.units ?? []) this.begin(unit);
  }
  /** Linux has not heard yet where it may run. */
  processStarted(domain: Domain): void {
    for (const unit of this.members.get(domain)?.units ?? [])
      if (unit.placed !== ANYWHERE || !this.placement.isFree(unit)) this.placement.placeAgain(unit);
  }
  private begin(unit: Unit): void {
    if (unit.member.pool.contended) unit.take();
    else unit.give(this.dispatcher.homeOf(unit), false);
  }
  /** Nothing of it runs any more. */
  removeDomain(domain: Domain): void {
    const member = this.members.get(domain);
    if (!member) return;
    this.members.delete(domain);
    for (const unit of member.units) {
      this.setOnline(unit.vcpu, false);
      this.leave(unit);
      this.dispatcher.units.delete(unit.id);
    }
    this.dispatcher.settle(member.pool, this.parts.clock.now());
  }
  private leave(unit: Unit): void {
    const { pool } = unit.member;
    for (const slot of this.pcpus) if (slot.kept === unit) slot.kept = undefined;
    this.dispatcher.timers.stop(unit.grace);
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
      this.dispatcher.charge(unit, now);
      this.setOnline(unit.vcpu, false);
    }
    for (const unit of member.units) this.leave(unit);
    this.dispatcher.settle(from, now);
    member.pool = to;
    member.entry = to.policy.addDomain(domain.domid);
    for (const unit of member.units) {
      unit.vcpu.hardAffinity.fill(true);
      unit.vcpu.softAffinity.fill(true);
      unit.allowed = this.placement.allowed(unit.vcpu, to);
      unit.entity = to.policy.insert(member.entry, unit.id, unit.allowed, softOf(unit.vcpu), now);
      to.units.add(unit);
    }
    this.dispatcher.settle(to, now);
    for (const unit of member.units) {
      this.begin(unit);
      this.placement.placeAgain(unit);
    }
    for (const unit of running) {
      this.setOnline(unit.vcpu, true);
      this.dispatcher.enter(unit);
    }
  }
  memberOf(domain: Domain): Member | undefined {
    return this.members.get(domain);
  }
  affinityChanged(vcpu: Vcpu): void {
    const unit = this.unitOf(vcpu);
    if (!unit) return;
    this.setAllowed(unit);
    this.lookout.lookSoon();
  }
  private setAllowed(unit: Unit): void {
    const { pool } = unit.member;
    unit.allowed = this.placement.allowed(unit.vcpu, pool);
    const now = this.parts.clock.now();
    if (unit.slot) this.dispatcher.charge(unit, now);
    pool.policy.setAffinity(unit.entity, unit.allowed, softOf(unit.vcpu), now);
    this.dispatcher.settle(pool, now);
    if (!pool.contended) unit.give(this.dispatcher.homeOf(unit), false);
    this.placement.placeAgain(unit);
  }
  /** Parameters of the pool's policy have changed. */
  changed(pool: Cpupool): void {
    this.dispatcher.settle(pool, this.now);
  }
  /** So many domains of the pool have a cap. */
  setCapped(pool: Cpupool, capped: number): void {
    pool.capped = capped;
    if (pool.strict && !pool.contended) this.lookout.contend(pool, this.now);
    else this.lookout.lookSoon();
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
    return unit ? this.dispatcher.homeOf(unit) : Math.max(0, vcpu.hardAffinity.indexOf(true));
  }

  // ---- what vCPUs do ----

  /** The domain runs or stops, or the vCPU goes up or down. */
  setOnline(vcpu: Vcpu, online: boolean): void {
    const unit = this.unitOf(vcpu);
    if (!unit || unit.online === online) return;
    unit.online = online;
    const { pool } = unit.member;
    const now = this.parts.clock.now();
    if (!online && pool.contended) this.dispatcher.charge(unit, now);
    else unit.chargedNs = this.parts.processes.cpuTimeNs(unit.domain, vcpu.id);
    for (const slot of this.pcpus) if (slot.kept === unit) this.dispatcher.revokeKept(slot);
    if (!pool.contended) {
      if (online) {
        this.dispatcher.preemption.release(unit.member);
        unit.give(this.dispatcher.homeOf(unit), false);
        this.lookout.lookSoon();
      }
      return;
    }
    if (online) {
      this.lookout.lookSoon();
      this.dispatcher.wake(unit, now);
    } else this.dispatcher.sleep(unit, now, false);
  }
  /** untrusted: a vCPU has said what it wants. */
  noted(vcpu: Vcpu, want: number): void {
    const unit = this.unitOf(vcpu);
    if (!unit?.online || !unit.member.pool.contended) return;
    unit.expected = false;
    unit.waits = want === XENOLITH_WANT_grant && unit.slot === undefined;
    const now = this.parts.clock.now();
    if (want === XENOLITH_WANT_nothing) this.dispatcher.sleep(unit, now, true);
    else {
      if (want === XENOLITH_WANT_grant) this.dispatcher.preemption.yielded(unit);
      this.dispatcher.wake(unit, now);
    }
  }
  /** It sleeps in a hypercall. Coming back from that it asks for a grant, since it has none. */
  blocked(vcpu: Vcpu): void {
    const unit = this.unitOf(vcpu);
    if (unit?.online && unit.member.pool.contended) this.dispatcher.sleep(unit, this.parts.clock.now(), false);
  }
  /**
   * The hypervisor has woken its thread, which asks for a pCPU as soon as Linux runs it; who has that pCPU is asked to
   * leave it before.
   */
  private woken(unit: Unit): void {
    if (!unit.online || unit.wants || !unit.member.pool.contended || !unit.vcpu.blocked) return;
    unit.expected = true;
    this.dispatcher.wake(unit, this.now);
  }
  /** SCHEDOP_yield */
  yield(vcpu: Vcpu): void {
    const unit = this.unitOf(vcpu);
    if (!unit?.slot) return;
    const now = this.parts.clock.now();
    unit.member.pool.policy.yield(unit.entity, now);
    this.dispatcher.settle(unit.member.pool, now);
  }

  /** The state of a vCPU that is on line; undefined: the scheduler does not know it. */
  runstate(vcpu: Vcpu): number | undefined {
    const unit = this.unitOf(vcpu);
    return unit && this.dispatcher.runstateOf(unit);
  }
  /** Does the hypervisor decide when it runs? Else whatever it does not use is sleep. */
  isContended(vcpu: Vcpu): boolean {
    return this.members.get(vcpu.domain)?.pool.contended ?? false;
  }
}

const softOf = (vcpu: Vcpu): CpuSet => CpuSet.from(vcpu.softAffinity);
