import { expect, test } from 'vitest';
import { XEN_EINVAL } from '#pvbus';
import { CpuSet } from '../../../../hypervisor/policies/cpu-set.ts';
import { Rtds } from '../../../../hypervisor/policies/rtds.ts';
import { seeded } from '../../../support/random.ts';
import { type Behaviour, hog, type SimUnit, Simulator } from '../../../support/scheduler-simulator.ts';

const US = 1_000;
const MS = 1_000_000;
const S = 1_000_000_000;

interface Reserved {
  readonly unit: SimUnit;
  readonly periods: () => { readonly checked: number; readonly missed: number; readonly exceeded: number };
}

/** Its periods begin when it wakes for the first time; at the end of each, what it got is compared with its budget. */
function reserve(sim: Simulator<Rtds>, period: number, budget: number, behaviour: Behaviour = hog): Reserved {
  const all = CpuSet.all(sim.nrCpus);
  const unit = sim.add(sim.policy.addDomain(1), behaviour, all, all, 1);
  unit.limited = true;
  expect(sim.policy.setUnitParams(unit.unit as never, { period, budget, extratime: false }, sim.now)).toBe(0);
  let checked = 0;
  let missed = 0;
  let exceeded = 0;
  let before = 0;
  const check = (): void => {
    const ran = unit.ran + (unit.on >= 0 ? sim.now - unit.since : 0);
    checked++;
    if (ran - before < budget * US) missed++;
    if (ran - before > budget * US) exceeded++;
    before = ran;
    sim.at(sim.now + period * US, check);
  };
  sim.at(sim.now + 1 + period * US, check);
  return { unit, periods: () => ({ checked, missed, exceeded }) };
}

test('one pCPU reserved to 90 per cent: no deadline is missed in 10,000 periods of each, whoever uses the rest', () => {
  const sim = Simulator.of(new Rtds(1), 1);
  const all = CpuSet.all(1);
  const rest = sim.add(sim.policy.addDomain(2), hog, all, all);
  rest.limited = true;
  sim.policy.setUnitParams(rest.unit as never, { period: 100_000, budget: 100, extratime: true }, 0);
  const reserved = [
    [3000, 600],
    [5000, 1000],
    [7000, 1400],
    [10_000, 2990],
  ].map(([period, budget]) => reserve(sim, period!, budget!));
  sim.run(101 * S);
  for (const { periods } of reserved) {
    const { checked, missed, exceeded } = periods();
    expect(checked).toBeGreaterThanOrEqual(10_000);
    expect({ missed, exceeded }).toEqual({ missed: 0, exceeded: 0 });
  }
  expect(sim.idleNs).toBe(0);
});

test('three of four pCPUs reserved: global EDF misses no deadline, within the bound 4 - 3 * the largest share', () => {
  const sim = Simulator.of(new Rtds(4), 4);
  const random = seeded(5);
  const reserved = Array.from({ length: 12 }, () => {
    const period = 1000 * Math.floor(5 + 30 * random());
    return reserve(sim, period, Math.floor(period / 4));
  });
  sim.run(20 * S);
  for (const { periods } of reserved) expect(periods()).toMatchObject({ missed: 0, exceeded: 0 });
});

test('who sleeps and wakes at will takes nothing from what others have reserved', () => {
  for (let seed = 1; seed <= 5; seed++) {
    const sim = Simulator.of(new Rtds(1), 1);
    const random = seeded(seed);
    const steady = [reserve(sim, 5000, 1500), reserve(sim, 11_000, 3300)];
    const restless = [7000, 13_000].map(period =>
      reserve(sim, period, Math.floor(period * 0.2), {
        burst: () => 3 * MS * random(),
        sleep: () => 9 * MS * random(),
      }),
    );
    sim.run(20 * S);
    for (const { periods } of steady) expect(periods()).toMatchObject({ missed: 0 });
    for (const { unit } of restless) expect(unit.charged).toBeLessThanOrEqual(0.2 * 20 * S * 1.001);
  }
});

test('one that runs on when told to stop, or has helper threads, gets its budget and no more in all', () => {
  for (const hostile of [
    { ...hog, helpers: 2 },
    { ...hog, gripNs: MS },
  ]) {
    const sim = Simulator.of(new Rtds(1), 1);
    const bad = reserve(sim, 10_000, 3000, hostile);
    sim.run(20 * S);
    expect(bad.unit.charged / (20 * S)).toBeGreaterThan(0.29);
    expect(bad.unit.charged / (20 * S)).toBeLessThan(0.302);
  }
});

test('extratime shares what nobody has reserved, one budget each in turn', () => {
  const sim = Simulator.of(new Rtds(1), 1);
  const fixed = reserve(sim, 10_000, 4000);
  const all = CpuSet.all(1);
  const greedy = [0, 1].map(() => {
    const unit = sim.add(sim.policy.addDomain(2), hog, all, all);
    sim.policy.setUnitParams(unit.unit as never, { period: 10_000, budget: 1000, extratime: true }, 0);
    return unit;
  });
  sim.run(20 * S);
  expect(fixed.periods()).toMatchObject({ missed: 0, exceeded: 0 });
  for (const unit of greedy) expect(Math.abs(unit.ran / (6 * S) - 1)).toBeLessThan(0.02);
  expect(sim.idleNs).toBe(0);
});

test('without extratime a pCPU idles rather than give more than the budget', () => {
  const sim = Simulator.of(new Rtds(1), 1);
  const one = reserve(sim, 10_000, 4000);
  sim.run(10 * S);
  expect(one.unit.ran).toBe(4 * S);
});

test('parameters can be changed while it runs, and take effect with its next period', () => {
  const sim = Simulator.of(new Rtds(1), 1);
  const all = CpuSet.all(1);
  const unit = sim.add(sim.policy.addDomain(1), hog, all, all);
  unit.limited = true;
  sim.run(S);
  expect(unit.ran).toBe(0.4 * S);
  sim.policy.setUnitParams(unit.unit as never, { period: 20_000, budget: 2000, extratime: false }, sim.now);
  sim.settle();
  sim.run(S);
  expect(unit.ran).toBeCloseTo(0.5 * S, -7);
  sim.policy.setUnitParams(unit.unit as never, { period: 20_000, budget: 2000, extratime: true }, sim.now);
  sim.settle();
  const before = unit.ran;
  sim.run(S);
  expect(unit.ran - before).toBe(S);
});

test("parameters out of Xen's ranges are refused; putinfo sets all vCPUs of a domain and of no other", () => {
  const policy = new Rtds(1);
  const all = CpuSet.all(1);
  const domain = policy.addDomain(1);
  const units = [0, 1].map(id => policy.insert(domain, id, all, all, 0));
  const other = policy.insert(policy.addDomain(2), 2, all, all, 0);
  expect(policy.defaultParams).toEqual({ period: 10_000, budget: 4000, extratime: false });
  for (const bad of [
    { period: 9, budget: 9, extratime: false },
    { period: 10_000, budget: 9, extratime: false },
    { period: 10_000, budget: 10_001, extratime: false },
    { period: 10_000.5, budget: 4000, extratime: false },
  ]) {
    expect(policy.setUnitParams(other, bad, 0)).toBe(-XEN_EINVAL);
    expect(policy.setDomainParams(domain, bad, 0)).toBe(-XEN_EINVAL);
  }
  const good = { period: 10, budget: 10, extratime: true };
  expect(policy.setDomainParams(domain, good, 0)).toBe(0);
  for (const unit of units) expect(policy.unitParams(unit)).toEqual(good);
  expect(policy.unitParams(other)).toEqual(policy.defaultParams);
});
