// All policies at once: a machine of 64 pCPUs and 1,000 vCPUs, and small ones to which anything may happen.

import { describe, expect, test } from 'vitest';
import { XEN_SCHEDULER_CREDIT, XEN_SCHEDULER_CREDIT2, XEN_SCHEDULER_NULL, XEN_SCHEDULER_RTDS } from '#pvbus';
import { CpuSet } from '../../../../hypervisor/policies/cpu-set.ts';
import { makePolicy } from '../../../../hypervisor/policies/make-policy.ts';
import type { Policy, SchedDomain } from '../../../../hypervisor/policies/policy.ts';
import fc from '../../../support/properties.ts';
import { seeded } from '../../../support/random.ts';
import { type Behaviour, hog, type SimUnit, Simulator } from '../../../support/scheduler-simulator.ts';

const US = 1_000;
const MS = 1_000_000;
const S = 1_000_000_000;
const NAMES = {
  credit2: XEN_SCHEDULER_CREDIT2,
  credit: XEN_SCHEDULER_CREDIT,
  rtds: XEN_SCHEDULER_RTDS,
  null: XEN_SCHEDULER_NULL,
};

function machine(sched_id: number, nrCpus: number): Simulator<Policy> {
  const sim = Simulator.of(makePolicy(sched_id, nrCpus)!, nrCpus);
  sim.pcpusAreOwned = sched_id === XEN_SCHEDULER_NULL;
  if (sched_id === XEN_SCHEDULER_CREDIT || sched_id === XEN_SCHEDULER_CREDIT2) sim.ratelimitNs = MS;
  return sim;
}

/** Every nanosecond of every vCPU and pCPU is accounted for, once. */
function checkAccounts(sim: Simulator<Policy>, onlineNs: number): void {
  let ran = 0;
  for (const unit of sim.units) {
    ran += unit.ran + unit.gripped;
    expect(unit.charged).toBe(unit.ran + unit.gripped + unit.helped);
    expect(unit.ranOn.reduce((sum, ns) => sum + ns, 0)).toBe(unit.ran);
    // Who was told to run on a pCPU that another had not left yet did neither.
    if (!unit.removed) expect(unit.ran + unit.waited + unit.slept + unit.kept).toBe(sim.now - unit.addedAt);
  }
  expect(ran).toBe(sim.busyNs);
  expect(sim.busyNs + sim.idleNs).toBe(onlineNs);
}

describe('64 pCPUs and 1,000 vCPUs, pCPUs and parameters changing', () => {
  // In all more than a million.
  test.each([
    ['credit2', 400_000, 14 * S],
    ['credit', 100_000, 8 * S],
    ['rtds', 500_000, 16 * S],
    ['null', 10_000, 8 * S],
  ] as const)('%s: %i schedules, each pCPU always at work, nobody forgotten', (name, wanted, time) => {
    const nrCpus = 64;
    const sched_id = NAMES[name];
    const sim = machine(sched_id, nrCpus);
    const { policy } = sim;
    const random = seeded(7);
    const below = (n: number): number => Math.floor(random() * n);
    const all = CpuSet.all(nrCpus);
    const range = (from: number, to: number, step = 1): CpuSet => {
      const set = new CpuSet(nrCpus);
      for (let cpu = from; cpu < to; cpu += step) set.add(cpu);
      return set;
    };
    const sets = [all, all, all, all, range(0, 16), range(0, 64, 2), range(40, 64)];
    const anySet = (): CpuSet => sets[below(sets.length)]!;
    const domains = Array.from({ length: 50 }, (_, domid) => policy.addDomain(domid));
    /** The first ten may be capped, or have hard reservations. */
    const setAny = (which: number): void => {
      const domain = domains[which]! as never;
      if (policy.sched_id === XEN_SCHEDULER_RTDS) {
        const params = { period: 10_000 + below(50_000), budget: 1000 + below(3000), extratime: which >= 10 };
        expect(policy.setDomainParams(domain, params, sim.now)).toBe(0);
      } else if (policy.sched_id !== XEN_SCHEDULER_NULL) {
        const params = { weight: [128, 256, 512, 1024][below(4)]!, cap: which < 10 ? 20 * below(20) : 0 };
        expect(policy.setDomainParams(domain, params, sim.now)).toBe(0);
      }
      sim.settle();
    };
    for (let i = 0; i < 1000; i++) {
      const burst = (1 + 20 * random()) * MS;
      const sleep = burst * (1 + 20 * random());
      const behaviour: Behaviour =
        i % 10 === 0 ? hog : { burst: () => 2 * burst * random() + US, sleep: () => 2 * sleep * random() + US };
      const unit = sim.add(domains[i % 50]!, behaviour, anySet(), anySet(), random() * 20 * MS);
      unit.limited = i % 50 < 10 || name === 'null';
    }
    for (let domain = 0; domain < 50; domain++) setAny(domain);

    let onlineNs = 0;
    let online = nrCpus;
    let since = 0;
    const plug = (): void => {
      onlineNs += online * (sim.now - since);
      since = sim.now;
      const cpu = below(nrCpus);
      if (!sim.isOnline(cpu)) sim.addCpu(cpu);
      else if (online > 48) sim.removeCpu(cpu);
      online = Array.from({ length: nrCpus }, (_, id) => sim.isOnline(id)).filter(Boolean).length;
      setAny(below(50));
      sim.setAffinity(sim.units[below(1000)]!, anySet(), anySet());
      sim.at(sim.now + 20 * MS, plug);
    };
    sim.at(100 * MS, plug);
    sim.run(time);

    onlineNs += online * (sim.now - since);
    checkAccounts(sim, onlineNs);
    expect(sim.schedules).toBeGreaterThan(wanted);
    if (name === 'null') return;
    for (const unit of sim.units) if (!unit.limited) expect(unit.maxWait, `unit ${unit.unit.id}`).toBeLessThan(4 * S);
  });
});

/** What may happen to a small machine. Numbers are taken modulo what there is. */
type Happening = readonly [
  what: 'run' | 'plug' | 'pin' | 'add' | 'remove' | 'yield' | 'set',
  which: number,
  hard: number,
  soft: number,
];
const happening: fc.Arbitrary<Happening> = fc.tuple(
  fc.constantFrom('run', 'run', 'run', 'plug', 'pin', 'add', 'remove', 'yield', 'set'),
  fc.nat(1000),
  fc.nat(15),
  fc.nat(15),
);

describe.each(Object.entries(NAMES))('%s', (name, sched_id) => {
  test('whatever happens, affinity holds, no pCPU idles while a unit that may run there waits, and the accounts agree', () => {
    fc.assert(
      fc.property(fc.integer(), fc.array(happening, { minLength: 10, maxLength: 120 }), (seed, happenings) => {
        const nrCpus = 4;
        const sim = machine(sched_id, nrCpus);
        const { policy } = sim;
        const random = seeded(seed);
        const set = (bits: number): CpuSet =>
          CpuSet.from(Array.from({ length: nrCpus }, (_, cpu) => (bits & (1 << cpu)) !== 0));
        const domains: SchedDomain[] = [1, 2, 3].map(domid => policy.addDomain(domid));
        let onlineNs = 0;
        const run = (ns: number): void => {
          for (let cpu = 0; cpu < nrCpus; cpu++) if (sim.isOnline(cpu)) onlineNs += ns;
          sim.run(ns);
        };
        const alive = (which: number): SimUnit | undefined => {
          const units = sim.units.filter(unit => !unit.removed);
          return units[which % units.length];
        };
        for (const [what, which, hard, soft] of happenings) {
          const unit = alive(which);
          if (what === 'run') run(1 + which * 50 * US);
          else if (what === 'plug') {
            if (sim.isOnline(which % nrCpus)) sim.removeCpu(which % nrCpus);
            else sim.addCpu(which % nrCpus);
          } else if (what === 'add') {
            const burst = MS * (1 + (which % 30));
            const behaviour: Behaviour =
              which % 4 === 0 ? hog : { burst: () => burst * random() + 1, sleep: () => 2 * burst * random() };
            const added = sim.add(domains[which % 3]!, behaviour, set(hard), set(soft), which * US);
            // The first domain is the one that is capped, or has no extra time.
            added.limited = which % 3 === 0;
            if (policy.sched_id === XEN_SCHEDULER_RTDS)
              policy.setUnitParams(added.unit, { period: 10_000, budget: 2000, extratime: which % 3 > 0 }, sim.now);
          } else if (unit === undefined) continue;
          else if (what === 'pin') sim.setAffinity(unit, set(hard), set(soft));
          else if (what === 'remove') sim.remove(unit);
          else if (what === 'yield') sim.yield(unit);
          else {
            const domain = which % 3;
            if (policy.sched_id === XEN_SCHEDULER_RTDS) {
              const params = { period: 1000 * (1 + hard), budget: 10 + 50 * soft, extratime: domain > 0 };
              expect(policy.setDomainParams(domains[domain]!, params, sim.now)).toBe(0);
            } else if (policy.sched_id !== XEN_SCHEDULER_NULL) {
              const params = { weight: 1 + 64 * hard, cap: domain === 0 ? 10 * soft : 0 };
              expect(policy.setDomainParams(domains[domain]!, params, sim.now)).toBe(0);
            }
            sim.settle();
          }
        }
        run(50 * MS);
        checkAccounts(sim, onlineNs);
      }),
      { numRuns: name === 'null' ? 100 : 300 },
    );
  });
});
