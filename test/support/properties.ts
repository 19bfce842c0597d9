// fast-check, from the seed of this run: each run of the suite tries other cases, and a failure, which names its seed, can be
// repeated. Where that is not a test's own, `XENOLITH_SEED` is what repeats it.
import fc from 'fast-check';
import { seedOfThisRun } from './random.ts';

fc.configureGlobal({ seed: seedOfThisRun() });

export default fc;
