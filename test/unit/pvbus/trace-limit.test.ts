import { beforeEach, describe, expect, it } from 'vitest';
import { TOLD_PER_SPAN, TRACE_SPAN_NS, TraceLimit } from '#pvbus';

let now: number;
let looks: number;
let silences: [at: number, untold: number][];
let limit: TraceLimit;
const clock = {
  now: () => {
    looks++;
    return now;
  },
  wallMs: () => 0,
};
/** Something happens; was it told? */
const happens = (): boolean => {
  if (limit.skip() || !limit.admits()) return false;
  limit.told();
  return true;
};
const told = (events: number, every = 0): number => {
  let count = 0;
  for (let i = 0; i < events; i++, now += every) if (happens()) count++;
  return count;
};

beforeEach(() => {
  now = 5 * TRACE_SPAN_NS;
  looks = 0;
  silences = [];
  limit = new TraceLimit(clock, (at, untold) => silences.push([at, untold]));
});

describe('a limit of a trace', () => {
  it('lets the beginning of each span through, and says where it is silent and how much it has not told', () => {
    expect(told(10_000)).toBe(TOLD_PER_SPAN);
    expect(silences).toEqual([[now, 0]]);
    now += TRACE_SPAN_NS;
    limit.tick(now);
    expect(silences.slice(1)).toEqual([[now, 10_000 - TOLD_PER_SPAN]]);
    expect(told(1)).toBe(1);
  });
  it('lets everything through that is not more than it admits', () => {
    const every = Math.ceil(TRACE_SPAN_NS / TOLD_PER_SPAN);
    expect(told(20 * TOLD_PER_SPAN, every)).toBe(20 * TOLD_PER_SPAN);
    expect(silences).toEqual([]);
  });
  it('finds by itself that a span is over, without looking at the clock for each event', () => {
    const events = 100 * TOLD_PER_SPAN;
    const before = told(events, (4 * TRACE_SPAN_NS) / events);
    // The span it begins in, three more, and what is left when the last one ends where another begins.
    expect(before).toBeGreaterThanOrEqual(4 * TOLD_PER_SPAN);
    expect(before).toBeLessThanOrEqual(5 * TOLD_PER_SPAN);
    expect(looks).toBeLessThan(events / 32);
  });
  it('counts each event once, told or not, whenever somebody says what time it is', () => {
    let tally = 0;
    const events = 12_345;
    for (let i = 0; i < events; i++, now += 977) {
      if (happens()) tally++;
      if (i % 31 === 0) limit.tick(now);
    }
    now += TRACE_SPAN_NS;
    limit.tick(now);
    for (const [, untold] of silences) tally += untold;
    expect(tally).toBe(events);
    // They begin and end in turn.
    expect(silences.every(([, untold], i) => (i % 2 === 0) === (untold === 0))).toBe(true);
  });
  it('begins its spans when all others do', () => {
    now += TRACE_SPAN_NS / 3;
    told(TOLD_PER_SPAN + 1);
    now = 6 * TRACE_SPAN_NS - 1;
    limit.tick(now);
    expect(told(1000)).toBe(0);
    limit.tick(++now);
    expect(told(1000)).toBe(TOLD_PER_SPAN);
  });
  it('goes on under a clock that is behind the one before', () => {
    told(1000);
    now = 17;
    limit.tick(now);
    expect(told(1000)).toBe(TOLD_PER_SPAN);
  });
});
