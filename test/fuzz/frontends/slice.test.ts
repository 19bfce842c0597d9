// A slice of what `npm run fuzz -- --only frontends` does at length.
import { afterAll, expect, it } from 'vitest';
import { seedOfThisRun } from '../../support/random.ts';
import { removeScratchFolders } from '../../support/scratch-folder.ts';
import { explorePart } from '../parts.ts';
import { FRONTENDS } from './explore.ts';

afterAll(removeScratchFolders);

const seed = seedOfThisRun();
it.each(Object.keys(FRONTENDS))(`no backend makes its frontend fall over: %s (XENOLITH_SEED=${seed})`, async part => {
  expect(await explorePart(FRONTENDS, part, seed, part.startsWith('keys') ? 40 : 150)).toBeUndefined();
});
