// What programs find under the names of JavaScript's usual globals: the kernel's time and console.
import type { Clock } from '#pvbus';
import { guestDate } from './guest-clock.ts';
import type { Tasks } from './tasks.ts';
import type { Timer, Timers } from './timers.ts';

/** Browsers and Node bound delays so. */
const MAX_DELAY = 2 ** 31 - 1;

/** What setTimeout returns; a number where a number is wanted, as in Node. */
class Timeout {
  timer: Timer;
  readonly id: number;
  constructor(id: number, timer: Timer) {
    this.id = id;
    this.timer = timer;
  }
  // A guest ends when its program says so, not when nothing is left to wait for.
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
  hasRef(): boolean {
    return true;
  }
  [Symbol.toPrimitive](): number {
    return this.id;
  }
}

type Callback = (...args: unknown[]) => void;

export const GUEST_GLOBALS = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'clearImmediate',
  'Date',
  'console',
  'performance',
  'process',
  'fetch',
] as const;

export function guestGlobals(parts: {
  clock: Clock;
  timers: Timers;
  tasks: Tasks;
  console: Console;
}): Record<(typeof GUEST_GLOBALS)[number], unknown> {
  const { clock, timers, tasks } = parts;
  const live = new Map<number, Timeout>();
  let nextId = 1;
  const delayOf = (ms: unknown): number => {
    const n = Number(ms);
    return n >= 1 && n <= MAX_DELAY ? n : 1;
  };
  const start = (ms: number, run: () => void): Timeout => {
    const timeout = new Timeout(nextId++, timers.after(ms, run));
    live.set(timeout.id, timeout);
    return timeout;
  };
  const clear = (which: unknown): void => {
    const timeout = which instanceof Timeout ? which : live.get(Number(which));
    if (!timeout) return;
    timers.cancel(timeout.timer);
    live.delete(timeout.id);
  };
  const origin = clock.now();
  const timeOrigin = clock.wallMs();
  return {
    setTimeout(run: Callback, ms?: number, ...args: unknown[]): Timeout {
      const timeout = start(delayOf(ms), () => {
        live.delete(timeout.id);
        run(...args);
      });
      return timeout;
    },
    setInterval(run: Callback, ms?: number, ...args: unknown[]): Timeout {
      const period = delayOf(ms);
      const timeout = start(period, function again() {
        // Beats that nobody had time for are skipped, not made up for, and the next one is in step.
        const { deadline } = timeout.timer;
        const late = Math.max(0, Math.floor((clock.now() - deadline) / (period * 1e6)));
        timeout.timer = timers.set(deadline + (late + 1) * period * 1e6, again);
        run(...args);
      });
      return timeout;
    },
    setImmediate(run: Callback, ...args: unknown[]): object {
      const immediate = { cancelled: false };
      tasks.add(() => {
        if (!immediate.cancelled) run(...args);
      });
      return immediate;
    },
    clearTimeout: clear,
    clearInterval: clear,
    clearImmediate(immediate?: { cancelled: boolean }): void {
      if (immediate) immediate.cancelled = true;
    },
    Date: guestDate(clock),
    console: parts.console,
    performance: { now: () => (clock.now() - origin) / 1e6, timeOrigin },
    // What Node has and a guest has not: better missing than half there.
    process: undefined,
    fetch: undefined,
  };
}
