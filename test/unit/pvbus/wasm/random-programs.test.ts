import { expect, test } from 'vitest';
import fc from '../../../support/properties.ts';
import { seeded } from '../../../support/random.ts';
import { randomModule } from '../../../support/random-module.ts';
import { canBePrepared, damagedPrograms, sameHoweverSuspended, tapes } from '../../../support/random-programs.ts';

test('a random program says the same however it is suspended', () => {
  let [ended, suspensions] = [0, 0];
  fc.assert(
    fc.property(tapes, fc.integer(), (tape, seed) => {
      const said = sameHoweverSuspended(randomModule(tape), seeded(seed));
      if (said.ended) ended++;
      suspensions += said.suspensions;
    }),
    { numRuns: 30 },
  );
  // Of 150 seeds the least were 19 and 160.
  expect(ended).toBeGreaterThan(10);
  expect(suspensions).toBeGreaterThan(30);
});

test('a loop that begins with a constant and goes on with another value has that one when it is resumed', () => {
  // As it was found, of a random tape: (loop (param i32 i32) ... (call $tick) (i32.const 0) ... (br_if 0)) after an i32.const.
  const binary = `
    AGFzbQEAAAABIgdgAX8Bf2ABfgBgA398fgF8YAF/AGACfnwAYAJ/fwBgAAACIwMDZW52BHRpY2sAAANlbnYEbm90ZQABA2VudgV3
    ZWlnaAACAwMCBgYEBAFwAAQFBAEBAQQNBQIAAwAEBhwEfwFBPAt/AUEHC34BQgcLfAFEAAAAAAAAHEALBxMCBl9zdGFydAAEBm1l
    bW9yeQIACQoBAEEACwQAAQIDClwCVQMBfwF/AX8jAEEBayQAIwBBAEgEQA8LQQACf0EAIQEDQCABQQFqIgFBAUkNAAtBACECQQAL
    QQAhAAMFIQIhAiACEABBACAAQQFqIgBBAkkNABoaCwsEABADCw==`;
  const { suspensions } = sameHoweverSuspended(Buffer.from(binary, 'base64'), seeded(0));
  expect(suspensions).toBeGreaterThan(0);
});

test('a binary with bytes changed, cut out or put in is prepared or refused with ENOEXEC, nothing else', () => {
  const counts = { true: 0, false: 0 };
  fc.assert(
    fc.property(damagedPrograms, bytes => {
      counts[`${canBePrepared(bytes)}`]++;
    }),
    { numRuns: 300 },
  );
  expect(counts.false).toBeGreaterThan(60);
  expect(counts.true).toBeGreaterThan(10);
});

test('a program that is cut off anywhere is refused', () => {
  const bytes = randomModule(Array.from({ length: 400 }, (_, i) => (i * 37) % 251));
  for (let length = 0; length < bytes.length; length++) expect(canBePrepared(bytes.subarray(0, length))).toBe(false);
});
