// Time, passed in wherever it is needed, so that a test can own it.

export interface Clock {
  /** Monotonic nanoseconds since boot, the same in every process of the machine. */
  now(): number;
  /** Milliseconds since 1970; may be stepped by an administrator. */
  wallMs(): number;
}

/** CLOCK_MONOTONIC and the wall clock. Past 104 days of uptime `now` is exact to 2 ns only. */
export const systemClock: Clock = {
  now() {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1e9 + nanoseconds;
  },
  wallMs() {
    return Date.now();
  },
};

/** Of two deadlines, of which either may be none. */
export const earlier = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || (b !== undefined && b < a) ? b : a;
