import { expect, test } from 'vitest';
import { CpuSet } from '../../../../hypervisor/policies/cpu-set.ts';
import { QueuedUnit, RunQueue } from '../../../../hypervisor/policies/run-queue.ts';
import fc from '../../../support/properties.ts';

const NR_CPUS = 40; // more than one word of a set

test('a set of pCPUs is the set of its members', () => {
  const members = fc.uniqueArray(fc.nat(NR_CPUS - 1));
  fc.assert(
    fc.property(members, members, fc.nat(NR_CPUS), (a, b, from) => {
      const one = CpuSet.of(NR_CPUS, ...a);
      const other = CpuSet.from(Array.from({ length: NR_CPUS }, (_, cpu) => b.includes(cpu)));
      const both = a.filter(cpu => b.includes(cpu)).sort((x, y) => x - y);
      expect(one.size).toBe(a.length);
      expect(one.isEmpty).toBe(a.length === 0);
      expect(one.first()).toBe(a.length === 0 ? -1 : Math.min(...a));
      expect(one.nextIn(other, from)).toBe(both.find(cpu => cpu >= from) ?? -1);
      expect(one.intersects(other)).toBe(both.length > 0);
      expect(one.and(other).name).toBe(CpuSet.of(NR_CPUS, ...both).name);
      expect(one.copy().name).toBe(one.name);
      for (const cpu of a) one.delete(cpu);
      expect(one.isEmpty).toBe(true);
    }),
  );
});

test('the best unit for a pCPU is the one that a look at all of them finds', () => {
  const affinity = fc.uniqueArray(fc.nat(NR_CPUS - 1), { minLength: 1, maxLength: 3 });
  const arrival = fc.record({
    hard: affinity,
    soft: affinity,
    place: fc.nat(2),
    prio: fc.nat(2),
    key: fc.nat(50),
    leave: fc.nat(30),
  });
  const nobodys = { domid: 0 };
  fc.assert(
    fc.property(fc.array(arrival, { maxLength: 60 }), fc.nat(20), fc.nat(20), (arrivals, homePenalty, softPenalty) => {
      const queue = new RunQueue<QueuedUnit>(NR_CPUS, homePenalty, softPenalty);
      const waiting: QueuedUnit[] = [];
      const keyOn = (cpu: number, unit: QueuedUnit): number => {
        const possible = unit.hard.and(unit.soft);
        const soft = possible.isEmpty || possible.has(cpu) ? 0 : softPenalty;
        return unit.key + soft + (unit.cpu === cpu ? 0 : homePenalty);
      };
      arrivals.forEach(({ hard, soft, place, prio, key, leave }, id) => {
        const unit = new QueuedUnit(
          id,
          nobodys,
          queue.useAffinity(CpuSet.of(NR_CPUS, ...hard), CpuSet.of(NR_CPUS, ...soft)),
        );
        unit.cpu = hard[place % hard.length]!;
        unit.prio = prio;
        unit.key = key;
        queue.add(unit);
        waiting.push(unit);
        if (leave < 10) {
          const gone = waiting.splice(leave % waiting.length, 1)[0]!;
          queue.remove(gone);
          queue.dropAffinity(gone.affinity);
        }
        for (const cpu of hard) {
          const may = waiting.filter(({ affinity: { hard: set } }) => set.has(cpu));
          const best = queue.best(cpu);
          expect(queue.hasFor(cpu)).toBe(may.length > 0);
          expect(best === null).toBe(may.length === 0);
          if (best === null) continue;
          expect(may).toContain(best);
          for (const other of may) expect(queue.prefers(other, best, cpu)).toBe(false);
          const first = Math.min(...may.map(other => other.prio));
          expect(best.prio).toBe(first);
          expect(keyOn(cpu, best)).toBe(
            Math.min(...may.filter(other => other.prio === first).map(other => keyOn(cpu, other))),
          );
        }
      });
      for (const unit of waiting) queue.remove(unit);
      expect(queue.isEmpty).toBe(true);
    }),
  );
});

test('who comes first goes first among equals', () => {
  const queue = new RunQueue<QueuedUnit>(1, 0, 0);
  const all = CpuSet.all(1);
  const units = Array.from({ length: 20 }, (_, id) => new QueuedUnit(id, { domid: 0 }, queue.useAffinity(all, all)));
  for (const unit of units) {
    unit.cpu = 0;
    queue.add(unit);
  }
  for (const unit of units) {
    expect(queue.best(0)).toBe(unit);
    queue.remove(unit);
  }
});
