import { expect, it } from 'vitest';
import { Timer, Timers } from '../../../hypervisor/timers.ts';
import fc from '../../support/properties.ts';

it('timers fire in the order of their deadlines, each once, however they were set, moved and stopped', () => {
  const operation = fc.record({ timer: fc.nat(9), at: fc.nat(50), stop: fc.boolean() });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), operations => {
      const timers = new Timers();
      const fired: number[] = [];
      const all = Array.from({ length: 10 }, (_, i) => new Timer(() => fired.push(i)));
      const model = new Map<number, number>();
      for (const { timer, at, stop } of operations) {
        if (stop) {
          timers.stop(all[timer]!);
          model.delete(timer);
        } else {
          timers.set(all[timer]!, at);
          model.set(timer, at);
        }
        expect(timers.size).toBe(model.size);
        expect(timers.nextDeadline()).toBe(model.size === 0 ? undefined : Math.min(...model.values()));
      }
      timers.runDue(25);
      const due = [...model].filter(([, at]) => at <= 25);
      expect([...fired].sort()).toEqual(due.map(([timer]) => timer).sort());
      const deadlines = fired.map(timer => model.get(timer)!);
      expect(deadlines).toEqual([...deadlines].sort((x, y) => x - y));
      expect(timers.size).toBe(model.size - due.length);
    }),
  );
});

it('a timer that arms itself in the past does not keep the others waiting for ever', () => {
  const timers = new Timers();
  let fired = 0;
  const greedy = new Timer(() => {
    fired++;
    timers.set(greedy, 0);
  });
  timers.set(greedy, 0);
  expect(timers.runDue(1, 10)).toBe(true);
  expect(fired).toBe(10);
  expect(greedy.pending).toBe(true);
});
