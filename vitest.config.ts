import { defineConfig } from 'vitest/config';

/** Says the same on every Node: numbers out of numbers, C against tables, and others' programs that see what xl prints. */
const ONCE = [
  ...['abi', 'consumers', 'simulation', 'topology/bad-configs', 'topology/trace', 'transcripts'],
  'unit/hypervisor/policies',
];
/** Parts of the system that have everything passed in. */
const PARTS = ['fuzz', 'unit'];
const below = (folders: readonly string[]): string[] => folders.map(folder => `test/${folder}/**/*.test.ts`);

export default defineConfig({
  test: {
    globalSetup: ['test/support/fresh-build.ts'],
    // Only for what hangs; `eventually` gives up first, with its reason.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: 'once', include: below(ONCE) } },
      // Those that one worker runs share their modules: loading them for each file was a tenth of a run.
      { extends: true, test: { name: 'parts', include: below(PARTS), exclude: below(ONCE), isolate: false } },
      { extends: true, test: { name: 'hosts', include: ['test/**/*.test.ts'], exclude: below([...ONCE, ...PARTS]) } },
    ],
  },
});
