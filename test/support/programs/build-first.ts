// Programs that tests need, built before the first of them: clang takes minutes for SQLite, which is no part of a test's time.
import { beforeAll } from 'vitest';

const BUILD_MS = 900_000;

/** A test that needs one still asks for it, by `orSkip`, and says why where it cannot be had. */
export function buildFirst(...builds: readonly (() => Promise<string>)[]): void {
  beforeAll(async () => {
    await Promise.all(builds.map(build => build().catch(() => {})));
  }, BUILD_MS);
}
