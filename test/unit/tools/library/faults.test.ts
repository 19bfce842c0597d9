import { expect, it } from 'vitest';
import { inject } from '../../../../tools/library/faults.ts';
import { expectInvariant } from '../../../../tools/library/invariants.ts';

const nowhere = { runDir: '/nowhere', pid: 1, domains: async () => [], events: async () => [], log: () => '' };
const refused = (what: unknown) =>
  inject(nowhere, what as object).then(
    () => 'taken',
    error => `${error.code} ${error.message}`,
  );

it('what is no plan is said to be none', async () => {
  const none = 'EINVAL expected a plan: a list of faults, or a map with name, seed, duration, faults';
  for (const what of [null, undefined, 7]) expect(await refused(what)).toBe(none);
});

it('an error names the key, and which fault where there are several', async () => {
  const bad = { part: 'disk', error: 'EIO', nth: 0 };
  const message = 'nth: expected the number of an occurrence, from 1 on, or a list of them';
  expect(await refused(bad)).toBe(`EINVAL ${message}`);
  expect(await refused([bad])).toBe(`EINVAL 0.${message}`);
  expect(await refused({ faults: [bad] })).toBe(`EINVAL faults.0.${message}`);
  expect(await refused({ part: 'disk' })).toMatch(/^EINVAL what happens is one of error, /);
});

it('an invariant that there is none of is refused', async () => {
  for (const number of ['I6', 'toString'])
    await expect(expectInvariant(nowhere, number as 'I7', {})).rejects.toMatchObject({
      code: 'EINVAL',
      message: `there is no invariant ${number}: I1, I2, I3, I4, I5, I7, I8, I9, I10`,
    });
});
