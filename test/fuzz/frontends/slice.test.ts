// A slice of what `npm run fuzz -- --only frontends` does at length.
import { expect, it } from 'vitest';
import { exploreFrontend, FRONTEND_PARTS } from './explore.ts';

it.each(FRONTEND_PARTS)('no backend makes its frontend fall over: %s', async part => {
  const seed = Number(process.env.XENOLITH_FUZZ_SEED ?? Date.now() % 2 ** 31);
  expect(await exploreFrontend(part, seed, part === 'keys of a disk' ? 20 : 150)).toBeUndefined();
});
