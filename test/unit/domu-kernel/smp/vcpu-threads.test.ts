import { expect, it } from 'vitest';
import { awaitThreads } from '../../../../domu-kernel/smp/vcpu-threads.ts';

const LOOK_MS = 1;
const words = () => new Int32Array(new SharedArrayBuffer(4));

it('threads that are given little time are waited for, however long it takes', () => {
  const ready = words();
  let used = 0;
  const slowly = (): number => {
    if (used === 100_000) Atomics.store(ready, 0, 1);
    used += 1000;
    return used;
  };
  awaitThreads(ready, 1, slowly, LOOK_MS);
  expect(used).toBeGreaterThan(100_000);
});
it.each([3, 4])('so are those of a process that was stopped meanwhile for longer than that, by look %i', last => {
  const ready = words();
  let looks = 0;
  awaitThreads(
    ready,
    1,
    () => {
      if (++looks === last) Atomics.store(ready, 0, 1);
      return 0;
    },
    LOOK_MS,
  );
  expect(looks).toBe(last);
});
it('those for which nothing is done any more are not', () => {
  expect(() => awaitThreads(words(), 2, () => 0, LOOK_MS)).toThrow('0 of 2 vCPU threads have started');
});
