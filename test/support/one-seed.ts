// Before any test: all of a run draw from one seed, another one in each run, which it begins with saying (in CI: see .ci/run).
import { seedOfThisRun } from './random.ts';

export default function setup(): void {
  if (process.env.XENOLITH_SEED !== undefined) return;
  console.log(`Draws are from seed ${seedOfThisRun()}: XENOLITH_SEED=${seedOfThisRun()} repeats them.`);
}
