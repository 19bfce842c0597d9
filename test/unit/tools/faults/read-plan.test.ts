import { expect, it } from 'vitest';
import { planOfWords } from '../../../../tools/faults/read-plan.ts';

const plan = { name: 'p', seed: 0, fault: 'fault-1' };
const refused = (...words: string[]): string => {
  try {
    planOfWords(words, plan);
    return 'taken';
  } catch (error) {
    return (error as Error).message;
  }
};

it('words are a fault, and a word without a value is true', () => {
  expect(planOfWords(['part=net', 'drop', 'nth=2,3'], plan).faults).toEqual([
    { name: 'fault-1', part: 'net', drop: true, nth: [2, 3] },
  ]);
});

it('a key that is given twice is refused, as in a file', () => {
  expect(refused('part=disk', 'error=EIO', 'error=ENOSPC')).toBe('error=ENOSPC: error is given already');
  expect(refused('name=a', 'part=disk', 'error=EIO')).toBe('taken');
  expect(refused('name=a', 'name=b', 'part=disk', 'error=EIO')).toBe('name=b: name is given already');
});
