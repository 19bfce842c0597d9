// A process that runs out of descriptors on purpose, and those it has started meanwhile. They are real.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { XENOLITH_EXHAUST_descriptors as descriptors, setSoftLimit, softLimit } from '#pvbus';
import { Exhaustion } from '../../../hypervisor/exhaustion.ts';

let children: ChildProcess[];
beforeEach(async () => {
  // One that is still being loaded would end for want of descriptors: they say that they are there.
  children = Array.from({ length: 3 }, () => spawn('sh', ['-c', 'echo here; read end']));
  await Promise.all(children.map(child => once(child.stdout!, 'data')));
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
});
const limit = (pid: number): bigint => softLimit(pid, 'nofile');

it('those it has started get back what they could have, although one of them has ended', async () => {
  const [whose, first, last] = children.map(({ pid }) => pid!) as [number, number, number];
  const before = limit(whose);
  const exhaustion = new Exhaustion();
  expect(exhaustion.exhaust(whose, descriptors, 0)).toBe(0);
  const lowered = limit(whose);
  expect(lowered).toBeLessThan(before);
  setSoftLimit(last, 'nofile', lowered);
  children[1]!.kill('SIGKILL');
  await once(children[1]!, 'exit');
  expect(exhaustion.relieve(whose, descriptors, [first, last])).toBe(0);
  expect([limit(whose), limit(last)]).toEqual([before, before]);
});
