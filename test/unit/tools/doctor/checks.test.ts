// xl doctor on machines of every kind, and on this one: as root, as nobody, where nothing may be written.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Check, runChecks } from '../../../../tools/doctor/checks.ts';
import type { Machine } from '../../../../tools/doctor/machine.ts';
import { NOBODY, whyNotAsNobody } from '../../../support/nobody.ts';
import { xl } from '../../../support/xl.ts';

const FILES: Record<string, string> = {
  '/proc/self/limits':
    'Limit                     Soft Limit           Hard Limit           Units     \n' +
    'Max processes             unlimited            unlimited            processes \n' +
    'Max open files            1024                 4096                 files     \n',
  '/proc/sys/vm/max_map_count': '65530\n',
  '/proc/meminfo': 'MemTotal:       8000000 kB\nMemAvailable:    4096000 kB\n',
  '/sys/fs/cgroup/memory.max': 'max\n',
  '/proc/sys/kernel/seccomp/actions_avail': 'kill_process allow\n',
  '/proc/self/status': 'Name:\tnode\nSeccomp:\t0\n',
};
const good: Machine = {
  ...{ platform: 'linux', arch: 'x64', nodeVersion: '20.19.2', glibc: '2.36', kernel: '6.1.0-28-amd64' },
  readFile: path => FILES[path] ?? null,
  openError: () => null,
  writable: () => true,
  program: () => true,
  ext4: () => true,
  packageError: async () => null,
  call: async name => (name === 'landlock' ? 3 : 0),
  userNamespace: () => true,
  shell: () => 'fit',
};
const withFile = (path: string, text: string): Partial<Machine> => ({
  readFile: asked => (asked === path ? text : (FILES[asked] ?? null)),
});
const failing = (name: string, error: string): Partial<Machine> => ({
  call: async asked => (asked === name ? error : 3),
});

/** What is not ok. */
async function found(changes: Partial<Machine>): Promise<Check[]> {
  const checks = await runChecks({ ...good, ...changes }, '/run/x');
  return checks.filter(({ status }) => status !== 'ok');
}

describe('xl doctor', () => {
  it('finds nothing on a machine where nothing is missing', async () => {
    expect(await found({})).toEqual([]);
  });

  it.each([
    ['system', { arch: 'arm64' }],
    ['system', { glibc: null }],
    ['node', { nodeVersion: '20.18.1' }],
    ['koffi', { packageError: async (name: string) => (name === 'koffi' ? 'no such module' : null) }],
    ['memfd_seals', failing('memfd_seals', 'ENOSYS')],
    ['pidfd', failing('pidfd_open', 'EPERM')],
    ['run_directory', { writable: () => false }],
  ])('%s missing: no host', async (name, changes) => {
    const [check, ...others] = await found(changes);
    expect(others).toEqual([]);
    expect(check).toMatchObject({ name, status: 'fail', lost: 'a host does not start', advice: expect.any(String) });
  });

  it.each([
    ['kernel', { kernel: '5.10.0' }, 'speed'],
    ['esbuild', { packageError: async (name: string) => (name === 'esbuild' ? 'wrong platform' : null) }, 'TypeScript'],
    ['futex_waitv', failing('futex_waitv', 'EPERM'), 'speed'],
    ['landlock', failing('landlock', 'EOPNOTSUPP'), 'without landlock'],
    ['ptmx', { openError: () => 'ENOENT' }, 'xenconsole'],
    [
      'nofile',
      withFile('/proc/self/limits', 'Max processes  9999\nMax open files   256   256 files\n'),
      'many domains',
    ],
    ['nproc', withFile('/proc/self/limits', 'Max processes  64 64\nMax open files   4096 \n'), 'many domains'],
    ['pids', withFile('/sys/fs/cgroup/pids.max', '100\n'), 'many domains'],
    ['max_map_count', withFile('/proc/sys/vm/max_map_count', '1000\n'), 'many domains'],
    ['memory', withFile('/sys/fs/cgroup/memory.max', '134217728\n'), 'small domains'],
    ['user_namespaces', { userNamespace: () => false }, 'without namespaces'],
    ['ext4', { ext4: () => false }, 'ext4'],
    ['qemu-utils', { program: (name: string) => name !== 'qemu-nbd' }, 'disk images'],
  ] as [string, Partial<Machine>, string][])(
    '%s missing: says what is lost, and what to do',
    async (name, changes, lost) => {
      const [check, ...others] = await found(changes);
      expect(others).toEqual([]);
      expect(check).toMatchObject({ name, status: 'warn', advice: expect.any(String) });
      expect(check!.lost).toContain(lost);
    },
  );

  it('says that a filter forbids a call', async () => {
    expect((await found(failing('pidfd_open', 'EPERM')))[0]!.found).toContain('seccomp');
    const filtered = await runChecks({ ...good, ...withFile('/proc/self/status', 'Seccomp:\t2\n') }, '/run/x');
    expect(filtered.find(({ name }) => name === 'seccomp')?.found).toContain('filtered');
    const container = { ...withFile('/proc/self/status', 'Seccomp:\t2\n'), userNamespace: () => false };
    expect((await found(container))[0]!.advice).toContain('seccomp=unconfined');
    expect((await found({ userNamespace: () => false }))[0]!.advice).toContain('sysctl');
  });

  it('runs here, as text and as JSON, with the exit code that it says', async () => {
    const json = await xl(['doctor', '--json'], { env: { PATH: process.env.PATH } });
    const { ok, checks } = JSON.parse(json.stdout) as { ok: boolean; checks: Check[] };
    expect(checks.find(({ name }) => name === 'memfd_seals')).toMatchObject({ status: 'ok' });
    expect(checks.find(({ name }) => name === 'run_directory')?.found).toContain('/nonexistent/xenolith');
    expect(json.code).toBe(ok ? 0 : 1);
    const text = await xl(['doctor'], { dir: '/tmp/xenolith-doctor' });
    expect([text.code, text.stderr]).toEqual([0, '']);
    expect(text.stdout).toMatch(/^ ok {3}node +2\d\./m);
    expect(text.stdout.trimEnd()).toMatch(/\nA host can run here[^\n]*\.$/);
  });

  const why = whyNotAsNobody();
  it.skipIf(why)(`runs as a user who may do nothing${why ? `: ${why}` : ''}`, () => {
    const program = join(import.meta.dirname, '../../../../dist/xl.js');
    const run = spawnSync(process.execPath, [program, 'doctor', '--json'], {
      ...{ uid: NOBODY, gid: NOBODY, encoding: 'utf8' },
      env: { PATH: process.env.PATH, XENOLITH_RUN_DIR: '/proc/none' },
    });
    expect(run.stderr).toBe('');
    const { checks } = JSON.parse(run.stdout) as { checks: Check[] };
    expect(checks.filter(({ status }) => status === 'fail').map(({ name }) => name)).toEqual(['run_directory']);
    expect(run.status).toBe(1);
  });
});
