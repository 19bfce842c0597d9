// Fault 56: a filter that denies what this Node needs. It is to be noticed by a shell that waits, not by a domain later.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { whyNoSeccomp } from '#pvbus';
import { runningPolicy, waitingPolicy } from '../../../../domu-kernel/confinement/policy.ts';
import { SYSCALLS_X64 } from '../../../../pvbus/syscalls-x64.ts';

const shell = fileURLToPath(new URL('filtered-shell.ts', import.meta.url));
const run = (without: string): ReturnType<typeof spawnSync> =>
  spawnSync(process.execPath, ['--expose-gc', '--import', 'tsx', shell, without], {
    encoding: 'utf8',
    timeout: 60_000,
  });

describe.skipIf(whyNoSeccomp() !== undefined)('fault 56: a shell under its filter', () => {
  it('finds that this Node does with what it has', () => {
    expect(run('')).toMatchObject({ status: 0, stdout: 'good\n' });
  });
  it.each(['futex', 'madvise', 'mprotect'])('ends at once when the filter has no %s', name => {
    expect(run(name)).toMatchObject({ signal: 'SIGSYS', stdout: '' });
  });
});

it('every call that a policy names is one of the table', () => {
  for (const policy of [waitingPolicy(1), runningPolicy])
    for (const name of Object.keys(policy.rules)) expect(SYSCALLS_X64).toHaveProperty(name);
});
