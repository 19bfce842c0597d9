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
it('so are those of a process that was stopped meanwhile for longer than that', () => {
  const ready = words();
  let looks = 0;
  awaitThreads(
    ready,
    1,
    () => {
      if (++looks === 3) Atomics.store(ready, 0, 1);
      return 0;
    },
    LOOK_MS,
  );
  expect(looks).toBe(3);
});
it('those for which nothing is done any more are not', () => {
  expect(() => awaitThreads(words(), 2, () => 0, LOOK_MS)).toThrow('0 of 2 vCPU threads have started');
});
