import { defineConfig } from 'vitest/config';

/** Says the same on every Node: numbers out of numbers, C against tables, and others' programs that see what xl prints. */
const ONCE = [
  ...['abi', 'consumers', 'simulation', 'topology/bad-configs', 'topology/trace', 'transcripts'],
  'unit/hypervisor/policies',
];
/** Parts of the system that have everything passed in. */
const PARTS = ['fuzz', 'unit'];
/** Of those, what says the same on every Node. */
const ONCE_PARTS = [
  ...['fuzz', 'unit/domu-kernel/fs', 'unit/domu-kernel/net', 'unit/hypervisor/scheduling'],
  ...['completion', 'config', 'graph', 'beside-real-xl.test.ts', 'store/beside-c-clients.test.ts'].map(
    name => `unit/tools/${name}`,
  ),
];
const below = (paths: readonly string[]): string[] =>
  paths.map(path => (path.endsWith('.ts') ? `test/${path}` : `test/${path}/**/*.test.ts`));

export default defineConfig({
  test: {
    globalSetup: ['test/support/one-seed.ts', 'test/support/left-folders.ts', 'test/support/fresh-build.ts'],
    // Only for what hangs; `eventually` gives up first, with its reason.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: 'once', include: below(ONCE) } },
      // Those that one worker runs share their modules: loading them for each file was a tenth of a run.
      { extends: true, test: { name: 'once-parts', include: below(ONCE_PARTS), isolate: false } },
      {
        extends: true,
        test: {
          ...{ name: 'parts', include: below(PARTS), exclude: below([...ONCE, ...ONCE_PARTS]), isolate: false },
          setupFiles: ['test/support/arenas-of-a-test.ts'],
        },
      },
      { extends: true, test: { name: 'hosts', include: ['test/**/*.test.ts'], exclude: below([...ONCE, ...PARTS]) } },
    ],
  },
});
