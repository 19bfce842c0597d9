// A slice of what `npm run fuzz` does at length.
import { afterAll, describe, expect, it } from 'vitest';
import { seedOfThisRun } from '../support/random.ts';
import { removeScratchFolders } from '../support/scratch-folder.ts';
import { BACKENDS } from './backends/explore.ts';
import { HYPERCALLS } from './hypercalls/explore.ts';
import { INPUTS } from './inputs/explore.ts';
import { NET } from './net/explore.ts';
import { exploreFamily, explorePart } from './parts.ts';
import { TCP } from './tcp/explore.ts';
import { EXT4, whyNoExt4 } from './volumes/ext4.ts';
import { WASI } from './wasi/explore.ts';

afterAll(removeScratchFolders);

const seed = seedOfThisRun();

describe.each([
  ['inputs', INPUTS, 150],
  ['backends', BACKENDS, 100],
  ['hypercalls', HYPERCALLS, 4],
  ['packets and answers', NET, 150],
  ['tcp', TCP, 100],
  ['calls of WASI programs', WASI, 200],
] as const)(`arbitrary %s (XENOLITH_SEED=${seed})`, (_, family, cases) => {
  it.each(Object.entries(family))('do no harm: %s', async (part, { share }) => {
    // The dear ones, which have a small share, get fewer here as well.
    const some = Math.ceil(cases * Math.min(1, share / 5));
    expect(await explorePart(family, part, seed, some)).toBeUndefined();
  });
});

it.skipIf(whyNoExt4)(`damaged ext4 volumes do no harm${whyNoExt4 ? ` (${whyNoExt4})` : ''}`, async () => {
  expect(await exploreFamily(EXT4, seed, 40)).toBeUndefined();
});
