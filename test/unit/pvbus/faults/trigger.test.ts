import { describe, expect, it } from 'vitest';
import { draw, type Fault, Trigger } from '#pvbus';

const fault = (when: Partial<Fault>): Fault => ({ name: 'f', part: 'disk', error: 'EIO', ...when });
/** Numbers of the occurrences that are befallen; `ms` is when each of them is. */
function befallen(when: Partial<Fault>, occurrences: number, seed = 0, ms = (n: number): number => n): number[] {
  const trigger = new Trigger(fault(when), seed, 1000e6);
  const all = Array.from({ length: occurrences }, (_, i) => i + 1);
  return all.filter(n => trigger.decide(1000e6 + ms(n) * 1e6));
}

describe('a trigger', () => {
  it('without a when befalls every occurrence, and with times the first of them', () => {
    expect(befallen({}, 4)).toEqual([1, 2, 3, 4]);
    expect(befallen({ times: 2 }, 4)).toEqual([1, 2]);
  });
  it('befalls the nth, or every nth from one on', () => {
    expect(befallen({ nth: [2, 5] }, 8)).toEqual([2, 5]);
    expect(befallen({ every: 3 }, 8)).toEqual([1, 4, 7]);
    expect(befallen({ every: 3, from: 3 }, 9)).toEqual([3, 6, 9]);
    expect(befallen({ from: 6 }, 8)).toEqual([6, 7, 8]);
  });
  it('is open after a time and for a time; what comes before and after is counted', () => {
    expect(befallen({ after: 3, for: 4 }, 12)).toEqual([3, 4, 5, 6]);
    expect(befallen({ after: 3, nth: [2, 7] }, 12)).toEqual([7]);
  });
  it('chooses by probability the same occurrences from the same seed, and others from another', () => {
    const first = befallen({ probability: 0.3 }, 1000, 7);
    expect(befallen({ probability: 0.3 }, 1000, 7)).toEqual(first);
    expect(befallen({ probability: 0.3 }, 1000, 8)).not.toEqual(first);
    expect(first.length).toBeGreaterThan(230);
    expect(first.length).toBeLessThan(370);
    expect(befallen({ probability: 0 }, 100)).toEqual([]);
    expect(befallen({ probability: 1 }, 3)).toEqual([1, 2, 3]);
  });
  it('that goes on from counts chooses as if it had never stopped', () => {
    const whole = befallen({ probability: 0.5, times: 40 }, 100, 3);
    const one = new Trigger(fault({ probability: 0.5, times: 40 }), 3, 0);
    const early = Array.from({ length: 50 }, (_, i) => i + 1).filter(() => one.decide(0));
    const two = new Trigger(fault({ probability: 0.5, times: 40 }), 3, 0, { ...one.counts });
    const late = Array.from({ length: 50 }, (_, i) => i + 51).filter(() => two.decide(0));
    expect([...early, ...late]).toEqual(whole);
  });
  it('is over after its last occurrence', () => {
    const trigger = new Trigger(fault({ nth: [2] }), 0, 0);
    expect([trigger.decide(0), trigger.decide(0)]).toEqual([false, true]);
    expect(trigger.isOver).toBe(false);
    trigger.decide(0);
    expect(trigger.isOver).toBe(true);
  });
  it('of time says when its next occurrence is', () => {
    const kill: Fault = {
      name: 'k',
      part: 'process',
      process: 'xenstored',
      kill: 'before',
      after: 10,
      every: 5,
      for: 11,
    };
    const trigger = new Trigger(kill, 0, 0);
    const times: number[] = [];
    for (let next = trigger.nextNs; next !== undefined; next = trigger.nextNs) {
      times.push(next / 1e6);
      expect(trigger.decide(next)).toBe(true);
    }
    expect(times).toEqual([10, 15, 20]);
    const { every: _, ...once } = kill;
    const single = new Trigger(once, 0, 0);
    single.decide(10e6);
    expect(single.nextNs).toBeUndefined();
  });
  it('draws numbers below a bound that depend on the occurrence and on which number it is', () => {
    const trigger = new Trigger(fault({}), 9, 0);
    const rows = Array.from({ length: 200 }, () => {
      trigger.decide(0);
      return [trigger.random(0, 512), trigger.random(1, 8)];
    });
    expect(rows.every(([byte, bit]) => byte! >= 0 && byte! < 512 && bit! >= 0 && bit! < 8)).toBe(true);
    expect(new Set(rows.map(([byte]) => byte)).size).toBeGreaterThan(100);
    expect(draw(1, 'a', 1)).not.toBe(draw(1, 'b', 1));
  });
});
