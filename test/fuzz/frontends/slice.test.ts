// A slice of what `npm run fuzz -- --only frontends` does at length.
import { afterAll, expect, it } from 'vitest';
import { seedOfThisRun } from '../../support/random.ts';
import { removeScratchFolders } from '../../support/scratch-folder.ts';
import { exploreFrontend, FRONTEND_PARTS } from './explore.ts';

afterAll(removeScratchFolders);

const seed = seedOfThisRun();
it.each(FRONTEND_PARTS)(`no backend makes its frontend fall over: %s (XENOLITH_SEED=${seed})`, async part => {
  expect(await exploreFrontend(part, seed, part.startsWith('keys') ? 40 : 150)).toBeUndefined();
});
