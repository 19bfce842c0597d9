// WebAssembly programs of anybody's: prepared so that they can be suspended.
import fc from '../../support/properties.ts';
import { seeded } from '../../support/random.ts';
import { randomModule } from '../../support/random-module.ts';
import { canBePrepared, damagedPrograms, sameHoweverSuspended, tapes } from '../../support/random-programs.ts';

export const suspendedPrograms = fc.property(tapes, fc.integer(), (tape, seed) => {
  sameHoweverSuspended(randomModule(tape), seeded(seed));
});

export const brokenPrograms = fc.property(damagedPrograms, bytes => {
  canBePrepared(bytes);
});
