import { expect, test } from 'vitest';
import { CpuSet } from '../../../../hypervisor/policies/cpu-set.ts';
import { Null } from '../../../../hypervisor/policies/null.ts';
import { hog, type SimUnit, Simulator } from '../../../support/scheduler-simulator.ts';

const MS = 1_000_000;
const machine = (nrCpus: number): Simulator<Null> => {
  const sim = Simulator.of(new Null(nrCpus), nrCpus);
  sim.pcpusAreOwned = true;
  return sim;
};
const add = (sim: Simulator<Null>, hard = CpuSet.all(sim.nrCpus), soft = hard): SimUnit =>
  sim.add(sim.policy.addDomain(1), hog, hard, soft);

test('each vCPU has a pCPU of its own and runs there all the time; the rest wait', () => {
  const sim = machine(2);
  const [one, two, three] = [add(sim), add(sim), add(sim)];
  sim.run(100 * MS);
  expect([one.ran, two.ran, three.ran]).toEqual([100 * MS, 100 * MS, 0]);
  expect([one.unit.cpu, two.unit.cpu, three.unit.cpu]).toEqual([0, 1, -1]);
  expect(sim.switches).toBe(2);
});

test('who has waited longest gets a pCPU that becomes free, if it may run there', () => {
  const sim = machine(2);
  const [one, two] = [add(sim), add(sim)];
  const [pinned, any] = [add(sim, CpuSet.of(2, 0)), add(sim)];
  sim.run(MS);
  sim.remove(two);
  expect([pinned.on, any.on]).toEqual([-1, 1]);
  sim.remove(one);
  expect([pinned.on, any.on]).toEqual([0, 1]);
});

test('a pCPU that is owned by one who sleeps stays free for it', () => {
  const sim = machine(1);
  const all = CpuSet.all(1);
  const owner = sim.add(sim.policy.addDomain(1), { burst: () => MS, sleep: () => 9 * MS }, all, all);
  const other = add(sim);
  sim.run(100 * MS);
  expect([owner.ran, other.ran]).toEqual([10 * MS, 0]);
});

test('soft affinity decides which free pCPU a vCPU gets', () => {
  const sim = machine(4);
  const units = [3, 2].map(cpu => add(sim, CpuSet.all(4), CpuSet.of(4, cpu)));
  expect(units.map(unit => unit.unit.cpu)).toEqual([3, 2]);
});

test('affinity and pCPUs that come and go move a vCPU, and what it leaves is given away', () => {
  const sim = machine(2);
  const [one, two, three] = [add(sim), add(sim), add(sim)];
  sim.run(MS);
  sim.removeCpu(1);
  expect([one.on, two.on, three.on]).toEqual([0, -1, -1]);
  sim.addCpu(1); // `three` has been on the list for longer
  expect([one.on, two.on, three.on]).toEqual([0, -1, 1]);
  sim.setAffinity(one, CpuSet.of(2, 1), CpuSet.all(2));
  expect([one.on, two.on, three.on]).toEqual([-1, 0, 1]);
});
