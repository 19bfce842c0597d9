import { expect, test } from 'vitest';
import { rehearseCreation } from '../../../../dom0/toolstack/rehearsal.ts';

test('every domain of a rehearsal asks for its nodes and is introduced, and all of it is answered', async () => {
  const [one, three] = await Promise.all([rehearseCreation(1), rehearseCreation(3)]);
  // A transaction of some 50 nodes, an introduction, a transaction of removals.
  expect(one.answered).toBeGreaterThan(60);
  expect(three.answered).toBe(3 * one.answered);
});
