// --json of every listing, as docs/xl-json.md promises it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../tools/commands/table.ts';
import { FakeToolstack } from '../../support/fake-toolstack.ts';
import { xl } from '../../support/xl.ts';

let host: FakeToolstack;
beforeEach(async () => {
  host = await FakeToolstack.start();
  host.add({ domid: 1, name: 'web', uuid: '86d0a9d9-ffcd-41f8-b7a1-f481a7959163', current_kb: 65536, blocked: true });
  host.add({ domid: 2, name: 'old', shutdown: true, shutdown_reason: 3, cpu_time: 8e9 });
});
afterEach(() => host.stop());

/** Exactly one line, and nothing else said. */
async function json(...argv: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await xl(argv, { dir: host.dir });
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout.endsWith('\n')).toBe(true);
  expect(stdout.trimEnd()).not.toContain('\n');
  return JSON.parse(stdout);
}

const WEB = {
  ...{ domid: 1, name: 'web', uuid: '86d0a9d9-ffcd-41f8-b7a1-f481a7959163', memory_kib: 65536, claimed_kib: 0 },
  ...{ max_memory_kib: 524288, vcpus: 1, max_vcpus: 2, cpu_time_ns: 0, state: 'blocked', flags: '-b----' },
  ...{ shutdown_reason: null, cpupool: 'Pool-0', security_label: null },
};

describe('--json', () => {
  it('of list and claims: domains whole', async () => {
    expect(await json('list', '--json', 'web')).toEqual([WEB]);
    expect(await json('claims', '--json')).toEqual(await json('list', '--json'));
    expect(await json('list', '--json')).toMatchObject([
      { domid: 0, state: 'running' },
      { state: 'blocked' },
      { name: 'old', state: 'crashed', flags: '---sc-', shutdown_reason: 'crash', cpu_time_ns: 8e9 },
    ]);
    expect(await json('list', '-l', '--json', '0')).toEqual([]);
  });

  it('of vm-list, domid, domname, sharing: what they list', async () => {
    const { uuid } = WEB;
    expect(((await json('vm-list', '--json')) as unknown[])[1]).toEqual({ domid: 1, name: 'web', uuid });
    expect(await json('domid', '--json', 'web')).toEqual({ domid: 1, name: 'web' });
    expect(await json('domname', '--json', '1')).toEqual({ domid: 1, name: 'web' });
    const shared = { domid: 1, name: 'web', memory_kib: 65536, shared_kib: 0 };
    expect(await json('sharing', '--json', 'web')).toEqual([shared]);
    expect(await json('channel-list', '--json', 'web')).toEqual([]);
  });

  it('of info: every key of the text, numbers as numbers', async () => {
    const text = (await xl(['info'], { dir: host.dir })).stdout.trimEnd().split('\n');
    const info = (await json('info', '--json')) as Record<string, unknown>;
    expect(Object.keys(info)).toEqual(text.map(line => line.split(':')[0]!.trim()));
    expect(info).toMatchObject({ nr_cpus: 2, cpu_mhz: 2400.012, total_memory: 8192, virt_caps: ['pv'], xen_major: 4 });
    expect(await json('info', '--json', 'xen_ma')).toEqual({ xen_major: 4 });
    expect(await json('info', '--json', '-n', 'numa')).toEqual({
      numa_info: [{ node: 0, memory: 8192, free: 7000, distances: [10] }],
    });
  });

  it('of vcpu-list and cpupool-list', async () => {
    host.processors.vcpus.push({
      ...{ domid: 1, name: 'web' },
      vcpus: [
        { vcpu: 0, online: true, cpu: 3, running: false, blocked: true, cpu_time: 5e8, hard: [0, 3], soft: [0] },
        { vcpu: 1, online: false, cpu: 0, running: false, blocked: false, cpu_time: 0, hard: [0], soft: [0] },
      ],
    });
    host.processors.pools.push({
      ...{ id: 0, name: 'Pool-0', scheduler: 'credit2', cpus: [0, 3], domains: 2 },
      params: { tslice_ms: 0, ratelimit_us: 1000, vcpu_migr_delay_us: 0 },
    });
    const first = { domid: 1, name: 'web', vcpu: 0, online: true, cpu: 3, state: 'blocked', cpu_time_ns: 5e8 };
    const vcpus = await json('vcpu-list', '--json');
    expect(vcpus).toEqual([
      { ...first, hard_affinity: [0, 3], soft_affinity: [0] },
      expect.objectContaining({ vcpu: 1, online: false, cpu: null, state: 'offline' }),
    ]);
    expect(await json('vcpu-list', '--json', 'web')).toEqual(vcpus);
    const pool = { id: 0, name: 'Pool-0', scheduler: 'credit2', cpus: [0, 3], active: true, domains: 2 };
    expect(await json('cpupool-list', '--json')).toEqual([pool]);
    expect(await json('cpupool-list', '-c', '--json', 'Pool-0')).toEqual([pool]);
  });

  it('of sched-credit2 and sched-rtds: pools with their domains, or the domain', async () => {
    const rtds = { period: 10_000, budget: 4000, extratime: true };
    const pool = { cpus: [0], domains: 1, params: { tslice_ms: 30, ratelimit_us: 1000, vcpu_migr_delay_us: 0 } };
    host.processors.pools.push({ id: 0, name: 'Pool-0', scheduler: 'credit2', ...pool });
    host.processors.pools.push({ id: 1, name: 'real', scheduler: 'rtds', ...pool, params: null });
    host.processors.shares.push(
      { domid: 1, name: 'web', pool: 'Pool-0', scheduler: 'credit2', credit: { weight: 512, cap: 20 }, rtds: null },
      { domid: 2, name: 'old', pool: 'real', scheduler: 'rtds', credit: null, rtds: { default: rtds, vcpus: [rtds] } },
    );
    const web = { domid: 1, name: 'web', cpupool: 'Pool-0', weight: 512, cap: 20 };
    const params = { cpupool: 'Pool-0', scheduler: 'credit2', ratelimit_us: 1000 };
    expect(await json('sched-credit2', '--json')).toEqual([{ ...params, domains: [web] }]);
    expect(await json('sched-credit2', '--json', '-s')).toEqual([params]);
    expect(await json('sched-credit2', '-d', 'web', '--json')).toEqual([web]);
    expect(await json('sched-credit', '--json')).toEqual([]);
    const old = { domid: 2, name: 'old', cpupool: 'real' };
    const values = { period_us: 10_000, budget_us: 4000, extratime: true };
    expect(await json('sched-rtds', '--json')).toEqual([
      { cpupool: 'real', scheduler: 'rtds', domains: [{ ...old, ...values }] },
    ]);
    expect(await json('sched-rtds', '-d', 'old', '--json', '-v', '0')).toEqual([
      { ...old, vcpus: [{ vcpu: 0, ...values }] },
    ]);
  });

  it('changes nothing about failures, and is no option of others', async () => {
    expect(await xl(['list', '--json', '99'], { dir: host.dir })).toEqual({
      ...{ code: 1, stdout: '', stderr: "Error: Domain '99' does not exist.\n" },
    });
    const pause = await xl(['pause', '--json', 'web'], { dir: host.dir });
    expect([pause.code, pause.stderr]).toEqual([2, "option `json' not supported.\n"]);
  });

  it('is in the help of every command that has it, and each is documented', async () => {
    const documented = readFileSync(join(import.meta.dirname, '../../../docs/xl-json.md'), 'utf8');
    const having = COMMANDS.filter(({ json }) => json);
    expect(having.length).toBeGreaterThanOrEqual(16);
    for (const { name } of having) {
      expect((await xl(['help', name])).stdout).toContain('\n--json ');
      expect(documented, name).toMatch(new RegExp(`^\\| .*\`${name}\``, 'm'));
    }
  });
});
