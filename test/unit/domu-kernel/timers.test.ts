import { describe, expect, it } from 'vitest';
import { guestGlobals } from '../../../domu-kernel/globals.ts';
import { Tasks } from '../../../domu-kernel/tasks.ts';
import { Timers } from '../../../domu-kernel/timers.ts';
import type { Clock } from '../../../pvbus/clock.ts';

class HandClock implements Clock {
  ns = 1_000_000;
  now(): number {
    return this.ns;
  }
  wallMs(): number {
    return 1_700_000_000_000 + this.ns / 1e6;
  }
}
function rig() {
  const clock = new HandClock();
  const alarms: number[] = [];
  const timers = new Timers(clock, deadline => alarms.push(deadline));
  return { clock, alarms, timers };
}

describe('timers', () => {
  it('run in the order of their deadlines, and those of one moment in the order they were set', () => {
    const { clock, timers } = rig();
    const ran: string[] = [];
    for (const [name, at] of [
      ['c', 30],
      ['a', 10],
      ['b1', 20],
      ['b2', 20],
      ['b3', 20],
    ] as const) {
      timers.set(clock.ns + at, () => ran.push(name));
    }
    clock.ns += 25;
    expect(timers.expire()).toBe(true);
    expect(ran).toEqual(['a', 'b1', 'b2', 'b3']);
    expect(timers.expire()).toBe(false);
    clock.ns += 5;
    timers.expire();
    expect(ran.at(-1)).toBe('c');
  });

  it('keep their order through thousands of random sets and cancels', () => {
    const { clock, timers } = rig();
    let seed = 7;
    const random = (n: number): number => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed % n;
    };
    const ran: number[] = [];
    const expected: [deadline: number, id: number][] = [];
    for (let id = 0; id < 3000; id++) {
      const deadline = clock.ns + 1 + random(500);
      const timer = timers.set(deadline, () => ran.push(id));
      if (random(3) === 0) timers.cancel(timer);
      else expected.push([deadline, id]);
    }
    expect(timers.pending).toBe(expected.length);
    expected.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (let i = 0; i < 600; i++) {
      clock.ns++;
      timers.expire();
    }
    expect(ran).toEqual(expected.map(([, id]) => id));
  });

  it('set for now by a timer wait for the next turn, so a timer that sets itself starves nobody', () => {
    const { clock, timers } = rig();
    let runs = 0;
    const again = (): void => {
      runs++;
      timers.set(clock.ns, again);
    };
    timers.set(clock.ns, again);
    timers.expire();
    expect(runs).toBe(1);
    timers.expire();
    expect(runs).toBe(2);
  });

  it('ask the hypervisor only when the earliest deadline is earlier than what it was asked for', () => {
    const { clock, alarms, timers } = rig();
    timers.arm();
    expect(alarms).toEqual([]);
    const first = timers.after(10, () => {});
    timers.arm();
    timers.arm();
    timers.after(20, () => {});
    timers.arm();
    expect(alarms).toEqual([clock.ns + 10e6]);
    timers.after(5, () => {});
    timers.arm();
    expect(alarms).toEqual([clock.ns + 10e6, clock.ns + 5e6]);
    timers.cancel(first);
    timers.arm();
    expect(alarms).toHaveLength(2);
    clock.ns += 5e6;
    timers.fired();
    timers.expire();
    timers.arm();
    expect(alarms.at(-1)).toBe(clock.ns + 15e6);
    timers.arm(clock.ns + 1);
    expect(alarms.at(-1)).toBe(clock.ns + 1);
  });
});

describe("a program's globals", () => {
  const api = (): { clock: HandClock; timers: Timers; tasks: Tasks; globals: Record<string, never> } => {
    const { clock, timers } = rig();
    const tasks = new Tasks();
    // Their types are those of the real globals; a test calls them as such.
    const globals = guestGlobals({ clock, timers, tasks, console }) as Record<string, never>;
    return { clock, timers, tasks, globals };
  };
  const use = (g: Record<string, never>) =>
    g as unknown as {
      setTimeout: typeof setTimeout;
      clearTimeout: typeof clearTimeout;
      setInterval: typeof setInterval;
      clearInterval: typeof clearInterval;
      setImmediate: typeof setImmediate;
      Date: DateConstructor;
      performance: { now(): number };
    };

  it('have time-outs and intervals on the guest clock', () => {
    const { clock, timers, globals } = api();
    const g = use(globals);
    const ran: string[] = [];
    g.setTimeout((word: string) => ran.push(word), 5, 'once');
    const beat = g.setInterval(() => {
      ran.push('beat');
      if (ran.length === 4) g.clearInterval(beat);
    }, 2);
    g.clearTimeout(g.setTimeout(() => ran.push('never'), 1));
    for (let i = 0; i < 20; i++) {
      clock.ns += 1e6;
      timers.expire();
    }
    expect(ran).toEqual(['beat', 'beat', 'once', 'beat']);
  });

  it('have Date and performance on the guest clock, and Date otherwise as it is', () => {
    const { clock, globals } = api();
    const { Date: GuestDate, performance } = use(globals);
    expect(GuestDate.now()).toBe(Math.floor(clock.wallMs()));
    expect(new GuestDate().getTime()).toBe(Math.floor(clock.wallMs()));
    expect(new GuestDate(5).getTime()).toBe(5);
    expect(new GuestDate() instanceof GuestDate).toBe(true);
    expect(GuestDate.UTC(1970, 0, 1)).toBe(0);
    expect(typeof (GuestDate as unknown as () => string)()).toBe('string');
    clock.ns += 3e6;
    expect(performance.now()).toBe(3);
  });
});

describe('tasks', () => {
  it('run what was there, keep what a task adds for the next step, and keep the rest after a throw', () => {
    const tasks = new Tasks();
    const ran: number[] = [];
    tasks.add(() => {
      ran.push(1);
      tasks.add(() => ran.push(4));
    });
    tasks.add(() => {
      ran.push(2);
      throw new Error('a program failed');
    });
    tasks.add(() => ran.push(3));
    expect(() => tasks.step()).toThrow('a program failed');
    expect(ran).toEqual([1, 2]);
    expect(tasks.step()).toBe('progress');
    expect(ran).toEqual([1, 2, 3, 4]);
    expect(tasks.step()).toBe('idle');
  });
});
