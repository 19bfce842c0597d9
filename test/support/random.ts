// Random numbers that a run can be repeated with: XENOLITH_SEED names a run.
import { randomInt } from 'node:crypto';

/** In [0, 1), from a seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** XENOLITH_SEED, or a new one, which the processes that this one starts have too. */
export function seedOfThisRun(): number {
  process.env.XENOLITH_SEED ??= String(randomInt(2 ** 31));
  const seed = Number(process.env.XENOLITH_SEED);
  if (!Number.isSafeInteger(seed)) throw new Error(`XENOLITH_SEED is ${process.env.XENOLITH_SEED}, expected a number`);
  return seed;
}

/** Random numbers from the seed of this run, which a test is to name when it fails. */
export function seededRandom(): { readonly seed: number; readonly random: () => number } {
  const seed = seedOfThisRun();
  return { seed, random: seeded(seed) };
}
