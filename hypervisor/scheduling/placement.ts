// On which CPUs Linux may run the threads of vCPUs.
import type { DomainProcesses, Vcpu } from '../domain.ts';
import { CpuSet } from '../policies/cpu-set.ts';
import type { Cpupool } from './cpupool.ts';
import { ANYWHERE, type Unit } from './unit.ts';

export class Placement {
  private readonly processes: DomainProcesses;
  private readonly nrCpus: number;

  constructor(processes: DomainProcesses, nrCpus: number) {
    this.processes = processes;
    this.nrCpus = nrCpus;
  }
  /** It may run on every pCPU there is. */
  isFree(unit: Unit): boolean {
    return members(unit.allowed, this.nrCpus).length === this.nrCpus;
  }
  /** Where its hard affinity and `pool` let it run; Xen: everywhere in the pool when that is nowhere. */
  allowed(vcpu: Vcpu, pool: Cpupool): CpuSet {
    const hard = CpuSet.from(vcpu.hardAffinity);
    const both = new CpuSet(this.nrCpus);
    for (let cpu = pool.cpus.nextIn(hard, 0); cpu >= 0; cpu = pool.cpus.nextIn(hard, cpu + 1)) both.add(cpu);
    if (both.isEmpty) for (const cpu of pool.list) both.add(cpu);
    return both;
  }
  /** Have Linux run it where it is to run: on its pCPU, or in a free pool anywhere it may. */
  place(unit: Unit): void {
    const { contended } = unit.member.pool;
    if (contended && unit.placed === unit.slot?.id) return;
    const list = contended && unit.slot ? [unit.slot.id] : members(unit.allowed, this.nrCpus);
    // One that waits stays where it is: it will hardly run.
    if (contended && !unit.slot && list.length > 1 && !Number.isNaN(unit.placed)) return;
    const where = list.length === 1 ? list[0]! : ANYWHERE;
    if (unit.placed === where) return;
    unit.placed = where;
    this.processes.place(unit.domain, unit.vcpu.id, list);
  }
  /** What Linux was told is not so any more. */
  placeAgain(unit: Unit): void {
    unit.placed = NaN;
    this.place(unit);
  }
}

const members = (set: CpuSet, nrCpus: number): number[] =>
  Array.from({ length: nrCpus }, (_, cpu) => cpu).filter(cpu => set.has(cpu));
