// fast-check, from the seed of this run: each run of the suite tries other cases, and a failure, which names its seed, can be
// repeated. Where that is not a test's own, `XENOLITH_SEED` is what repeats it. Cases, as tests, leave no memory's descriptor.
import fc from 'fast-check';
import { closeArenas, notedArenas } from './arenas.ts';
import { seedOfThisRun } from './random.ts';

let before = 0;
fc.configureGlobal({
  seed: seedOfThisRun(),
  beforeEach: () => {
    before = notedArenas();
  },
  afterEach: () => closeArenas(before),
});

export default fc;
