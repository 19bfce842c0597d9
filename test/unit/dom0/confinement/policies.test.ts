// The lists of those who are trusted: names that exist, nobody is killed, and nothing that makes a process or a network.
import { constants } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { XEN_EPERM } from '#pvbus';
import { driverDomainPolicy, xenstoredPolicy } from '../../../../dom0/confinement/policies.ts';
import { hostPolicy } from '../../../../hypervisor/confinement/host-policy.ts';
import { SYSCALLS_X64 } from '../../../../pvbus/syscalls-x64.ts';

const { O_CREAT, O_TRUNC, O_DIRECTORY } = constants;
/** Linux's has O_DIRECTORY in it, which says nothing by itself. */
const O_TMPFILE = 0o20200000 & ~O_DIRECTORY;

describe.each([
  ['the whole host', hostPolicy],
  ['xenstored', xenstoredPolicy(1)],
  ['a driver domain', driverDomainPolicy(1)],
])('what %s may call', (_who, { rules, otherwise }) => {
  it('is calls of the table, and what is denied is an error', () => {
    for (const [name, rule] of Object.entries(rules)) {
      expect(SYSCALLS_X64).toHaveProperty(name);
      expect(typeof rule === 'object' ? rule.otherwise : rule).not.toBe('kill');
    }
    expect(otherwise).not.toBe('kill');
  });
});

it.each([xenstoredPolicy(1), driverDomainPolicy(1)])('has no programs, no processes, nobody else', ({ rules }) => {
  for (const name of [
    'execve',
    'execveat',
    'fork',
    'vfork',
    'kill',
    'ptrace',
    'mount',
    'unshare',
    'setns',
    'bpf',
  ] as const)
    expect(rules).not.toHaveProperty(name);
});
it('a driver domain makes no socket, and makes, empties, renames and removes no file', () => {
  for (const name of ['socket', 'connect', 'bind', 'sendto', 'sendmsg'] as const)
    expect(driverDomainPolicy(1).rules).not.toHaveProperty(name);
  for (const name of [
    'creat',
    'openat2',
    'mkdir',
    'mkdirat',
    'mknod',
    'mknodat',
    'rename',
    'renameat',
    'renameat2',
  ] as const)
    expect(driverDomainPolicy(1).rules).not.toHaveProperty(name);
  for (const name of [
    'link',
    'linkat',
    'symlink',
    'symlinkat',
    'unlink',
    'unlinkat',
    'rmdir',
    'truncate',
    'ftruncate',
  ] as const)
    expect(driverDomainPolicy(1).rules).not.toHaveProperty(name);
  const { open, openat } = driverDomainPolicy(1).rules;
  const made = O_CREAT | O_TRUNC | O_TMPFILE;
  expect([open, openat]).toEqual([1, 2].map(arg => ({ arg, without: made, otherwise: XEN_EPERM })));
});
it.each([xenstoredPolicy(1), driverDomainPolicy(1)])('takes its death with its host back by no prctl', ({ rules }) => {
  const PR_SET_PDEATHSIG = 1;
  expect(rules.prctl).toMatchObject({ arg: 0, oneOf: expect.not.arrayContaining([PR_SET_PDEATHSIG]) });
});
