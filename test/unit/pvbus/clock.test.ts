import { expect, it } from 'vitest';
import { systemClock } from '#pvbus';

it('the system clock counts nanoseconds that never go back', () => {
  let last = systemClock.now();
  for (let i = 0; i < 1000; i++) {
    const now = systemClock.now();
    expect(now).toBeGreaterThanOrEqual(last);
    last = now;
  }
  expect(Math.abs(last - Number(process.hrtime.bigint()))).toBeLessThan(60e9);
});

it('the wall clock is milliseconds since 1970', () => {
  expect(Math.abs(systemClock.wallMs() - Date.now())).toBeLessThan(60_000);
});
