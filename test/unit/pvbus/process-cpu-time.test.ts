import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { processCpuTime } from '#pvbus';

it('is the time that all threads of a process have used', () => {
  const from = processCpuTime(process.pid)!;
  for (const end = performance.now() + 30; performance.now() < end; );
  const used = processCpuTime(process.pid)! - from;
  const [, , , , , , , , , , , , , user, system] = readFileSync('/proc/self/stat', 'utf8').split(' ');
  expect(used).toBeGreaterThan(0);
  // A tick is 10 ms; either may have been read in the middle of one.
  expect(Math.abs(processCpuTime(process.pid)! / 1e7 - Number(user) - Number(system))).toBeLessThan(100);
});

it('is unknown of a process that is gone', () => {
  const { pid } = spawnSync('true');
  expect(processCpuTime(pid)).toBeUndefined();
});
