// A thousand operations in any order: domains that come and go, pause, move from pool to pool, are pinned and capped,
// and pCPUs that change their pool, while guests of every kind run. What must hold holds after each of them.
import { expect, it } from 'vitest';
import {
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_SCHEDOP_putinfo,
  XEN_DOMCTL_scheduler_op,
  XEN_DOMCTL_setvcpuaffinity,
  XEN_DOMCTL_unpausedomain,
  XEN_SCHEDULER_CREDIT,
  XEN_SCHEDULER_CREDIT2,
  XEN_SCHEDULER_NULL,
  XEN_SCHEDULER_RTDS,
  XEN_VCPUAFFINITY_HARD,
  xen_domctl_scheduler_op,
  xen_domctl_vcpuaffinity,
} from '#pvbus';
import { seeded, seededRandom } from '../../../support/random.ts';
import { type Behaviour, SimulatedCpus, type SimulatedThread } from '../../../support/simulated-cpus.ts';

const NR_CPUS = 4;
const OPERATIONS = Number(process.env.XENOLITH_TEST_OPERATIONS ?? 1000);
const BEHAVIOURS: readonly Behaviour[] = [
  { kind: 'hog' },
  { kind: 'hog' },
  { kind: 'hostile' },
  { kind: 'liar' },
  { kind: 'periodic', periodMs: 3, workMs: 1 },
  { kind: 'idle' },
];

class Operations {
  readonly machine = new SimulatedCpus(NR_CPUS);
  private readonly random: () => number;
  private readonly paused = new Set<SimulatedThread>();

  constructor(seed: number) {
    this.random = seeded(seed);
  }
  private below(n: number): number {
    return Math.floor(this.random() * n);
  }
  private one<T>(list: readonly T[]): T | undefined {
    return list[this.below(list.length)];
  }
  private get pools(): number[] {
    return [0, 1, 2, 3].filter(id => this.machine.rig.hypervisor.cpupools.byId(id));
  }
  private domctl(cmd: number, { guest }: SimulatedThread): number {
    return this.machine.rig.dom0.reset().domctl(cmd, guest.domid).rc;
  }
  next(): string {
    const { machine } = this;
    const { cpupools } = machine.rig.hypervisor;
    const thread = this.one(machine.threads);
    const pool = this.one(this.pools)!;
    const cpu = this.below(NR_CPUS);
    const what = this.below(12);
    if (what === 0 && machine.threads.length < 10) {
      machine.guest(this.one(BEHAVIOURS)!);
      return 'create';
    }
    if (what === 1 && thread) {
      this.domctl(XEN_DOMCTL_destroydomain, thread);
      machine.threads.splice(machine.threads.indexOf(thread), 1);
      this.paused.delete(thread);
      if (this.random() < 0.5) machine.rig.settle();
      return `destroy ${thread.key}`;
    }
    if (what === 2 && thread) {
      const was = this.paused.delete(thread);
      expect(this.domctl(was ? XEN_DOMCTL_unpausedomain : XEN_DOMCTL_pausedomain, thread)).toBe(0);
      if (!was) this.paused.add(thread);
      return `pause or unpause ${thread.key}`;
    }
    if (what <= 5 && thread) return `move ${thread.key} to ${pool}: ${cpupools.moveDomain(pool, thread.guest.domain)}`;
    if (what === 6 && thread) {
      const { dom0 } = machine.rig;
      const bitmap = dom0.reset().alloc(8);
      dom0.bytes[bitmap] = 1 + this.below(15);
      const fields = { vcpu: 0, flags: XEN_VCPUAFFINITY_HARD, cpumap_hard: { bitmap, nr_bits: 8 } };
      return `pin ${thread.key}: ${dom0.domctl(XEN_DOMCTL_setvcpuaffinity, thread.guest.domid, xen_domctl_vcpuaffinity, fields).rc}`;
    }
    if (what === 7 && thread) {
      const fields = {
        sched_id: cpupools.of(thread.guest.domain).policy.sched_id,
        cmd: XEN_DOMCTL_SCHEDOP_putinfo,
        u: { credit2: { weight: 1 + this.below(1024), cap: this.random() < 0.7 ? 0 : 20 + this.below(80) } },
      };
      const { dom0 } = machine.rig;
      return `weight of ${thread.key}: ${dom0.reset().domctl(XEN_DOMCTL_scheduler_op, thread.guest.domid, xen_domctl_scheduler_op, fields).rc}`;
    }
    if (what === 8) {
      const sched = this.one([XEN_SCHEDULER_CREDIT2, XEN_SCHEDULER_CREDIT, XEN_SCHEDULER_RTDS, XEN_SCHEDULER_NULL])!;
      return `create pool: ${cpupools.create(1 + this.below(3), sched)}`;
    }
    if (what === 9) return `destroy pool ${pool}: ${cpupools.destroy(pool)}`;
    if (what === 10) return `remove ${cpu} from ${pool}: ${cpupools.removeCpu(pool, cpu)}`;
    return `add ${cpu} to ${pool}: ${cpupools.addCpu(pool, cpu)}`;
  }

  check(): void {
    const { scheduler, cpupools } = this.machine.rig.hypervisor;
    const kept = new Set(scheduler.pcpus.map(slot => slot.kept));
    for (const slot of scheduler.pcpus) {
      if (!slot.current) continue;
      expect([slot.current.slot, slot.current.member.pool, slot.current.online]).toEqual([slot, slot.pool, true]);
      expect(slot.current.allowed.has(slot.id)).toBe(true);
    }
    for (const thread of this.machine.threads) {
      const { domain } = thread.guest;
      const pool = cpupools.of(domain);
      const unit = scheduler.memberOf(domain)!.units[0]!;
      expect([unit.member.pool, pool.units.has(unit), unit.online]).toEqual([pool, true, !domain.isPaused]);
      // A paused domain that was stopped before is let go when it is unpaused.
      const preempted = domain.preempted && !domain.isPaused;
      if (!pool.contended) expect([unit.slot, thread.grant !== 0, preempted]).toEqual([undefined, true, false]);
      else {
        if (unit.slot) expect(unit.slot.current).toBe(unit);
        expect(thread.grant !== 0).toBe(unit.slot !== undefined || kept.has(unit));
      }
      expect(this.machine.processes.stopped.has(domain)).toBe(domain.isPaused || domain.preempted);
    }
  }
  /** No pCPU idles while somebody waits who may run there: asked after a while in which nothing was changed. */
  checkWork(): void {
    const { scheduler, cpupools } = this.machine.rig.hypervisor;
    for (const slot of scheduler.pcpus) {
      const { pool } = slot;
      if (slot.current || !pool?.contended || pool.strict) continue;
      const waiting = [...pool.units].filter(unit => unit.wants && !unit.slot && unit.allowed.has(slot.id));
      expect([cpupools.byId(pool.id), waiting]).toEqual([pool, []]);
    }
  }
  /** The four times of each vCPU add up to how long it has been there. */
  checkTimes(): void {
    for (const { guest } of this.machine.threads) {
      const [vcpu] = guest.domain.vcpus;
      this.machine.rig.hypervisor.life.refreshRunstate(vcpu!);
      const sum = vcpu!.runstate.time.reduce((a, b) => a + b);
      expect(sum).toBe(this.machine.rig.clock.now() - guest.domain.createdAt);
    }
  }
}

it.each([1, 2, seededRandom().seed])(`${OPERATIONS} operations at random, seed %i`, seed => {
  const operations = new Operations(seed);
  const { machine } = operations;
  const done: string[] = [];
  try {
    for (let i = 0; i < OPERATIONS; i++) {
      done.push(operations.next());
      operations.check();
      machine.run(1);
      operations.check();
      operations.checkWork();
      if (i % 20 === 0) operations.checkTimes();
    }
    for (const { guest } of machine.threads.splice(0))
      machine.rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, guest.domid);
    machine.rig.settle();
    machine.run(500);
    expect(machine.rig.internalErrors).toEqual([]);
    expect(machine.rig.hypervisor.scheduler.pcpus.every(({ current, kept }) => !current && !kept)).toBe(true);
  } catch (error) {
    throw new Error(`after ${done.slice(-12).join('; ')}`, { cause: error });
  }
});
