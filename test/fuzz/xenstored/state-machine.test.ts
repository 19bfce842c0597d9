// The daemon against the model: a short slice of what `npm run fuzz` does for hours.
import { expect, test } from 'vitest';
import { MemoryDisk } from '../../support/memory-journal.ts';
import { seedOfThisRun } from '../../support/random.ts';
import { type ReceivedFrame, SocketClient, XenstoreRig } from '../../support/xenstore-rig.ts';
import { type Explored, explore, replay } from './explore.ts';
import { parseSteps } from './notation.ts';
import { Run } from './run.ts';

function expectNothing({ failure }: Explored): void {
  if (failure !== undefined) throw new Error(`save this and \`npm run fuzz -- --replay FILE\`:\n${failure}`);
}

test('the daemon does as the model says, with a seed of always', () => {
  const outcomes = new Map<string, number>();
  expectNothing(explore(1, 150, () => new Run(undefined, outcomes)));
  // It would do so too if all were refused.
  const seen = [...outcomes.keys()];
  const succeeded = seen.filter(outcome => outcome.endsWith('=')).map(outcome => Number(outcome.split(' ')[0]));
  const types = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 18, 19, 21, 22, 23, 24, 25, 26];
  expect(types.filter(type => !succeeded.includes(type))).toEqual([]);
  const errors = new Set(seen.filter(outcome => outcome.includes('!')).map(outcome => outcome.split('!')[1]));
  for (const error of ['EINVAL', 'EACCES', 'ENOENT', 'EEXIST', 'ENOSPC', 'ENOSYS', 'EBUSY', 'EAGAIN', 'EPERM']) {
    expect([...errors]).toContain(error);
  }
  expect(outcomes.get('7 =')).toBeGreaterThan(outcomes.get('7 !EAGAIN') ?? 0);
});

const seed = seedOfThisRun();
test(`and with one of today (XENOLITH_SEED=${seed})`, () => {
  expectNothing(explore(seed, 100));
});

/** A daemon with clients of dom0 that are not told of one node. */
class DeafToOne extends XenstoreRig {
  override dom0(): SocketClient {
    return new (class extends SocketClient {
      override take(): ReceivedFrame[] {
        return super.take().filter(({ payload }) => !payload.toString().startsWith('/d/a/x\0'));
      }
    })(this);
  }
}

test('a daemon that is wrong is found out, and what it did is short and can be done again', () => {
  const wrong = (): Run => new Run(new DeafToOne(new MemoryDisk()));
  const { failure = '' } = explore(1, 500, wrong);
  expect(failure).toContain('# seed 1\n');
  expect(failure).toMatch(/was not told of|at place/);
  const steps = parseSteps(failure);
  expect(steps.length).toBeLessThan(20);
  const { text } = replay(steps, wrong());
  expect(`# seed 1\n${text}`).toBe(failure);
  expect(replay(steps)).toEqual({ text: expect.stringContaining('EVENT /d/a/x|'), wrong: false });
});
