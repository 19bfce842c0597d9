import { expect, it } from 'vitest';
import { Comeback, MAX_ENDS } from '../../../hypervisor/comeback.ts';

const SECOND = 1e9;
/** The delays after as many ends at `now` without a word. */
const delays = (comeback: Comeback, ends: number, now = 0): number[] =>
  Array.from({ length: ends }, () => comeback.ended(now, true) / SECOND);

it('fault 37: a program is started again at once the first times, then later and later, at most half a minute', () => {
  expect(delays(new Comeback(), 14)).toEqual([0, 0, 0, 0, 0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]);
});

it('one that has served for a while starts anew; one that ends as soon as it serves does not', () => {
  const comeback = new Comeback();
  delays(comeback, MAX_ENDS + 2);
  comeback.serves(10 * SECOND);
  expect(comeback.ended(10.01 * SECOND, true)).toBeGreaterThan(0);
  comeback.serves(20 * SECOND);
  expect(comeback.ended(20.1 * SECOND, true)).toBe(0);
  expect(delays(comeback, MAX_ENDS, 30 * SECOND)).toEqual([0, 0, 0, 0, 0.25]);
  // Of one that nobody has killed more is expected.
  comeback.serves(40 * SECOND);
  expect(comeback.ended(40.1 * SECOND, false)).toBeGreaterThan(0);
  comeback.serves(50 * SECOND);
  expect(comeback.ended(51.1 * SECOND, false)).toBe(0);
});

it('what is said of a loop of ends are the first and the powers of two', () => {
  const comeback = new Comeback();
  const said: number[] = [];
  for (let i = 1; i <= 70; i++) {
    comeback.ended(0, true);
    if (comeback.worthSaying) said.push(i);
  }
  expect(said).toEqual([1, 2, 3, 4, 5, 8, 16, 32, 64]);
});
