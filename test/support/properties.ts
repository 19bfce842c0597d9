// fast-check, from the seed of this run: a verdict on a change must not depend on luck, and a failing run
// can be repeated. `npm run fuzz` is where new seeds are tried.
import fc from 'fast-check';
import { seedOfThisRun } from './random.ts';

fc.configureGlobal({ seed: seedOfThisRun() });

export default fc;
