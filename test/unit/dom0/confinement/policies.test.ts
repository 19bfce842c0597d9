// The lists of those who are trusted: names that exist, nobody is killed, and nothing that makes a process or a network.
import { describe, expect, it } from 'vitest';
import { driverDomainPolicy, xenstoredPolicy } from '../../../../dom0/confinement/policies.ts';
import { hostPolicy } from '../../../../hypervisor/confinement/host-policy.ts';
import { SYSCALLS_X64 } from '../../../../pvbus/syscalls-x64.ts';

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
it('a driver domain makes no socket', () => {
  for (const name of ['socket', 'connect', 'bind', 'sendto', 'sendmsg'] as const)
    expect(driverDomainPolicy(1).rules).not.toHaveProperty(name);
});
