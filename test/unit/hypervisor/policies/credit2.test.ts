import { expect, test } from 'vitest';
import { CpuSet } from '../../../../hypervisor/policies/cpu-set.ts';
import { Credit2 } from '../../../../hypervisor/policies/credit2.ts';
import { hog, Simulator } from '../../../support/scheduler-simulator.ts';

const MS = 1_000_000;
test.each([1, 2, 4, 64])('weights 256, 512 and 1024 share %i pCPUs as 1:2:4', nrCpus => {
  const sim = new Simulator(new Credit2(nrCpus), nrCpus);
  sim.ratelimitNs = MS;
  for (let cpu = 0; cpu < nrCpus; cpu++) sim.addCpu(cpu);
  const all = CpuSet.all(nrCpus);
  const domains = [256, 512, 1024].map((weight, domid) => {
    const domain = sim.policy.addDomain(domid);
    expect(sim.policy.setDomainParams(domain, { weight, cap: 0 }, 0)).toBe(0);
    for (let i = 0; i < (nrCpus === 1 ? 1 : 2 * nrCpus); i++) sim.add(domain, hog, all, all);
    return domain;
  });
  sim.run(20_000 * MS);
  domains.forEach((domain, i) => {
    expect(Math.abs((sim.used(domain) * 7) / sim.busyNs / 2 ** i - 1)).toBeLessThan(0.02);
  });
});
