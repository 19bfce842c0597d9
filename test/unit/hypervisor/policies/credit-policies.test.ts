// What credit and credit2 both promise.

import { describe, expect, test } from 'vitest';
import { XEN_EINVAL } from '#pvbus';
import { CpuSet } from '../../../../hypervisor/policies/cpu-set.ts';
import { Credit } from '../../../../hypervisor/policies/credit.ts';
import { Credit2 } from '../../../../hypervisor/policies/credit2.ts';
import type { SchedDomain } from '../../../../hypervisor/policies/policy.ts';
import { seeded } from '../../../support/random.ts';
import { type Behaviour, hog, type SimUnit, Simulator } from '../../../support/scheduler-simulator.ts';

const US = 1_000;
const MS = 1_000_000;
const S = 1_000_000_000;
const RATELIMIT = MS;

type Sim = Simulator<Credit | Credit2>;
function domainOf(sim: Sim, weight: number, cap = 0): SchedDomain {
  const domain = sim.policy.addDomain(weight);
  expect(sim.policy.setDomainParams(domain as never, { weight, cap }, sim.now)).toBe(0);
  return domain;
}
function add(sim: Sim, domain: SchedDomain, behaviour: Behaviour, hard = CpuSet.all(sim.nrCpus), soft = hard): SimUnit {
  // Who sleeps at all comes when the hogs are at work.
  return sim.add(domain, behaviour, hard, soft, behaviour === hog ? 0 : S);
}
/** It computes for about `burst`, then sleeps for about `sleep`. */
const sleeper = (burst: number, sleep: number, seed = 1): Behaviour => {
  const random = seeded(seed);
  return { burst: () => burst * (0.5 + random()), sleep: () => sleep * (0.5 + random()) };
};
const within = (percent: number, value: number, wanted: number): void => {
  expect(Math.abs(value / wanted - 1) * 100, `${value} for ${wanted}`).toBeLessThan(percent);
};

describe.each([
  ['credit2', Credit2],
  ['credit', Credit],
] as const)('%s', (_, Policy) => {
  function machine(nrCpus: number): Sim {
    const sim: Sim = Simulator.of<Credit | Credit2>(new Policy(nrCpus), nrCpus);
    sim.ratelimitNs = RATELIMIT;
    return sim;
  }

  test.each([
    [1, 1],
    [2, 3],
    [4, 5],
    [64, 100],
  ])('CPU-bound domains of weights 256, 512 and 1024 share %i pCPUs as 1:2:4 (%i vCPUs each)', (nrCpus, nrVcpus) => {
    const sim = machine(nrCpus);
    const domains = [256, 512, 1024].map(weight => domainOf(sim, weight));
    for (const domain of domains) for (let i = 0; i < nrVcpus; i++) add(sim, domain, hog);
    sim.run(20 * S);
    expect(sim.idleNs).toBe(0);
    for (const [i, domain] of domains.entries()) within(2, sim.used(domain), (sim.busyNs / 7) * 2 ** i);
  });

  test('a weight that changes at run time changes the shares', () => {
    const sim = machine(1);
    const a = domainOf(sim, 256);
    const b = domainOf(sim, 512);
    const [one, two] = [add(sim, a, hog), add(sim, b, hog)];
    sim.run(10 * S);
    within(2, two.ran / one.ran, 2);
    const before = [one.ran, two.ran] as const;
    sim.policy.setDomainParams(a as never, { weight: 1024, cap: 0 }, sim.now);
    sim.run(20 * S);
    within(2, (one.ran - before[0]) / (two.ran - before[1]), 2);
  });

  test.each([
    [5, 0],
    [25, 0],
    [25, 3],
    [150, 0],
  ])('a cap of %i per cent holds for all vCPUs of a domain together, beside %i hogs', (cap, others) => {
    const sim = machine(2);
    const capped = domainOf(sim, 1024, cap);
    for (let i = 0; i < 3; i++) add(sim, capped, hog).limited = true;
    const rest = domainOf(sim, 256);
    for (let i = 0; i < others; i++) add(sim, rest, hog);
    sim.run(20 * S);
    within(2, sim.used(capped), (20 * S * cap) / 100);
    if (others > 0) expect(sim.idleNs).toBe(0);
  });

  test('a cap set on a domain that runs holds from then on, and one taken away ends at once', () => {
    const sim = machine(1);
    const domain = domainOf(sim, 256);
    const unit = add(sim, domain, hog);
    sim.run(S);
    expect(unit.ran).toBe(S);
    unit.limited = true;
    sim.policy.setDomainParams(domain as never, { weight: 256, cap: 50 }, sim.now);
    sim.settle();
    sim.run(10 * S);
    within(2, unit.ran, 6 * S);
    const before = unit.ran;
    sim.policy.setDomainParams(domain as never, { weight: 256, cap: 0 }, sim.now);
    sim.settle();
    sim.run(S);
    expect(unit.ran - before).toBe(S);
  });

  test('one that mostly sleeps runs within the rate limit of its wake-up, beside any number of hogs', () => {
    for (const hogs of [1, 2, 8]) {
      const sim = machine(1);
      const unit = add(sim, domainOf(sim, 256), sleeper(MS, 60 * MS));
      const rest = domainOf(sim, 256);
      for (let i = 0; i < hogs; i++) add(sim, rest, hog);
      sim.run(60 * S);
      expect(unit.latencies.length).toBeGreaterThan(900);
      expect(Math.max(...unit.latencies)).toBeLessThanOrEqual(RATELIMIT);
    }
  });

  test('a rate limit of 0 lets who wakes run at once', () => {
    const sim = machine(1);
    sim.ratelimitNs = 0;
    expect(sim.policy.setPoolParams({ ...sim.policy.poolParams(), ratelimit_us: 0 })).toBe(0);
    const unit = add(sim, domainOf(sim, 256), sleeper(MS, 60 * MS));
    for (let i = 0; i < 2; i++) add(sim, domainOf(sim, 256), hog);
    sim.run(20 * S);
    expect(Math.max(...unit.latencies)).toBe(0);
  });

  test.each([
    ['does not stop when told', { ...hog, gripNs: 3 * MS }],
    ['has helper threads on other pCPUs', { ...hog, helpers: 1.5 }],
    ['sleeps for a moment before each turn ends', { burst: (): number => 9.9 * MS, sleep: (): number => US }],
  ])('one that %s gets no more than its share in all', (_what, hostile) => {
    const sim = machine(1);
    sim.ratelimitNs = 0; // it takes the time that others are said to have
    const bad = add(sim, domainOf(sim, 256), hostile);
    const good = [256, 256].map(weight => add(sim, domainOf(sim, weight), hog));
    sim.run(20 * S);
    const all = bad.charged + good[0]!.charged + good[1]!.charged;
    expect(bad.charged / all).toBeLessThan(Policy === Credit2 ? 0.34 : 0.355);
    within(2, good[0]!.ran, good[1]!.ran);
  });

  test('time that nobody waited for is not held against one who had it', () => {
    const sim = machine(2);
    const hogs = [0, 1].map(() => add(sim, domainOf(sim, 256), hog));
    sim.run(3600 * S);
    expect(sim.schedules).toBeLessThan(20); // and needs no decisions
    const before = hogs.map(unit => unit.ran);
    const late = add(sim, domainOf(sim, 256), hog);
    sim.run(3 * S);
    within(5, late.ran, 2 * S);
    for (const [i, unit] of hogs.entries()) within(5, unit.ran - before[i]!, 2 * S);
  });

  test('who yields lets the others go first, once', () => {
    const sim = machine(1);
    const one = add(sim, domainOf(sim, 256), hog);
    const two = add(sim, domainOf(sim, 256), hog);
    sim.run(MS / 2);
    const first = one.on >= 0 ? one : two;
    const second = first === one ? two : one;
    sim.yield(first);
    expect([first.on, second.on]).toEqual([-1, 0]);
    sim.run(10 * S);
    within(2, one.ran, two.ran);
  });

  test('who yields with nobody waiting goes on', () => {
    const sim = machine(1);
    const one = add(sim, domainOf(sim, 256), hog);
    sim.run(MS);
    sim.yield(one);
    expect(one.on).toBe(0);
  });

  test('soft affinity is where one runs as long as there is as much room', () => {
    const sim = machine(4);
    const left = CpuSet.of(4, 0, 1);
    const right = CpuSet.of(4, 2, 3);
    const units = Array.from({ length: 8 }, (_, i) =>
      add(sim, domainOf(sim, 256), hog, CpuSet.all(4), i % 2 === 0 ? left : right),
    );
    sim.run(20 * S);
    for (const [i, unit] of units.entries()) {
      const [a, b, c, d] = unit.ranOn as [number, number, number, number];
      expect((i % 2 === 0 ? a + b : c + d) / unit.ran).toBeGreaterThan(0.9);
    }
  });

  test('soft affinity costs nobody a share of the pool', () => {
    const sim = machine(2);
    const crowded = Array.from({ length: 3 }, () => add(sim, domainOf(sim, 256), hog, CpuSet.all(2), CpuSet.of(2, 0)));
    const alone = add(sim, domainOf(sim, 256), hog, CpuSet.all(2), CpuSet.of(2, 1));
    sim.run(20 * S);
    for (const unit of [...crowded, alone]) within(5, unit.ran, 10 * S);
  });

  test('the units of a pCPU that goes run on the others, and come back with it', () => {
    const sim = machine(2);
    const units = Array.from({ length: 4 }, () => add(sim, domainOf(sim, 256), hog));
    const pinned = add(sim, domainOf(sim, 256), hog, CpuSet.of(2, 1));
    sim.run(S);
    sim.removeCpu(1);
    expect(pinned.unit.cpu).toBe(-1);
    pinned.limited = true;
    const ran = pinned.ran;
    const before = units.map(unit => unit.ran);
    sim.run(10 * S);
    expect(pinned.ran).toBe(ran);
    for (const [i, unit] of units.entries()) within(5, unit.ran - before[i]!, 2.5 * S);
    sim.addCpu(1);
    sim.run(10 * S);
    expect(pinned.ran).toBeGreaterThan(ran + S);
  });

  test("parameters out of Xen's ranges are refused and change nothing", () => {
    const policy = new Policy(1);
    const domain = policy.addDomain(1);
    const params = policy.domainParams(domain as never);
    expect(params).toEqual({ weight: 256, cap: 0 });
    for (const bad of [
      { weight: 0, cap: 0 },
      { weight: 65536, cap: 0 },
      { weight: 256, cap: -1 },
      { weight: 256, cap: 65535 },
      { weight: 1.5, cap: 0 },
    ])
      expect(policy.setDomainParams(domain as never, bad, 0)).toBe(-XEN_EINVAL);
    expect(policy.domainParams(domain as never)).toEqual(params);
    const pool = policy.poolParams();
    expect(pool.ratelimit_us).toBe(1000);
    for (const ratelimit_us of [99, 500_001, -1])
      expect(policy.setPoolParams({ ...pool, ratelimit_us })).toBe(-XEN_EINVAL);
    expect(policy.poolParams()).toEqual(pool);
  });
});

test('credit2: pinned vCPUs share their pCPU by weight, however fast the rest of the pool goes', () => {
  const sim: Sim = Simulator.of<Credit | Credit2>(new Credit2(4), 4);
  sim.ratelimitNs = RATELIMIT;
  const crowded = CpuSet.of(4, 1);
  const pinned = [256, 512, 1024].map(weight => add(sim, domainOf(sim, weight), hog, crowded));
  const light = add(sim, domainOf(sim, 256), sleeper(MS, 60 * MS), crowded);
  for (let i = 0; i < 2; i++) add(sim, domainOf(sim, 256), hog, CpuSet.of(4, 0));
  sim.run(20 * S);
  const all = pinned.reduce((sum, unit) => sum + unit.ran, 0);
  for (const [i, unit] of pinned.entries()) within(2, unit.ran, (all / 7) * 2 ** i);
  expect(Math.max(...light.latencies)).toBeLessThanOrEqual(RATELIMIT);
});

test('credit2: a crowd that has slept and wakes at once keeps a hog waiting for two turns each, whatever their number', () => {
  const sim: Sim = Simulator.of<Credit | Credit2>(new Credit2(1), 1);
  const worker = add(sim, domainOf(sim, 256), hog);
  const other = add(sim, domainOf(sim, 256), hog);
  const domain = domainOf(sim, 256);
  const crowd = Array.from({ length: 50 }, (_, i) => sim.add(domain, hog, worker.unit.hard, worker.unit.hard, S + i));
  sim.run(S);
  const before = worker.ran;
  sim.run(30 * S);
  expect(worker.maxWait).toBeLessThanOrEqual(2 * (crowd.length + 1) * 10 * MS);
  within(5, worker.ran - before, (30 * S) / 52);
  within(5, other.ran - before, (30 * S) / 52);
});

test('credit2: a weight that no pCPU can satisfy takes no more than its pCPU, and gives it back when it sleeps', () => {
  const sim: Sim = Simulator.of<Credit | Credit2>(new Credit2(2), 2);
  const heavy = add(sim, domainOf(sim, 65535), hog);
  const light = [1, 1, 1].map(() => add(sim, domainOf(sim, 1), hog));
  sim.run(60 * S);
  expect(heavy.ran / (60 * S)).toBeGreaterThan(0.999);
  for (const unit of light) within(5, unit.ran, 20 * S);
});

test("credit: time slice and migration delay have Xen's ranges", () => {
  const policy = new Credit(1);
  const pool = policy.poolParams();
  expect(pool).toEqual({ tslice_ms: 30, ratelimit_us: 1000, vcpu_migr_delay_us: 0 });
  for (const bad of [{ tslice_ms: 0 }, { tslice_ms: 1001 }, { vcpu_migr_delay_us: 100_001 }, { ratelimit_us: 31_000 }])
    expect(policy.setPoolParams({ ...pool, ...bad })).toBe(-XEN_EINVAL);
  const good = { tslice_ms: 5, ratelimit_us: 0, vcpu_migr_delay_us: 100_000 };
  expect(policy.setPoolParams(good)).toBe(0);
  expect(policy.poolParams()).toEqual(good);
});

test('credit: the time slice is how long a turn lasts', () => {
  for (const tslice_ms of [5, 30]) {
    const sim: Sim = Simulator.of<Credit | Credit2>(new Credit(1), 1);
    sim.policy.setPoolParams({ tslice_ms, ratelimit_us: 1000, vcpu_migr_delay_us: 0 });
    for (let i = 0; i < 2; i++) add(sim, domainOf(sim, 256), hog);
    sim.run(3 * S);
    within(10, sim.switches, 3000 / tslice_ms);
  }
});

test('credit: a migration delay keeps vCPUs where their caches are warm', () => {
  const moves = [0, 100_000].map(vcpu_migr_delay_us => {
    const sim: Sim = Simulator.of<Credit | Credit2>(new Credit(4), 4);
    sim.policy.setPoolParams({ tslice_ms: 30, ratelimit_us: 1000, vcpu_migr_delay_us });
    for (let i = 0; i < 11; i++) add(sim, domainOf(sim, 256), hog);
    sim.run(20 * S);
    return sim.migrations / sim.switches;
  });
  expect(moves[1]!).toBeLessThan(moves[0]! / 2);
});
