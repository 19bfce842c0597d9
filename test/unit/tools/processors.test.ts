// The commands about processors: what they print, byte for byte, and what they ask for.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Cpupool, VcpuRecord } from '#pvbus';
import { FakeToolstack } from '../../support/fake-toolstack.ts';
import { xl } from '../../support/xl.ts';

let host: FakeToolstack;
let cwd: string;
beforeEach(async () => {
  host = await FakeToolstack.start();
  cwd = mkdtempSync(join(tmpdir(), 'xl-cwd-'));
  host.add({ domid: 1, name: 'web' });
  host.add({ domid: 2, name: 'rt' });
});
afterEach(async () => {
  await host.stop();
  rmSync(cwd, { recursive: true });
});
const on = (...argv: string[]) => xl(argv, { dir: host.dir, cwd });
const fine = { code: 0, stdout: '', stderr: '' };
const asked = (op: string) => host.requests.filter(request => request.op === op).map(({ args }) => args);

const pool = (over: Partial<Cpupool>): Cpupool => ({
  ...{ id: 0, name: 'Pool-0', scheduler: 'credit2', cpus: [0, 1], domains: 2 },
  ...{ params: { tslice_ms: 0, ratelimit_us: 1000, vcpu_migr_delay_us: 0 } },
  ...over,
});
function twoPools(): void {
  host.processors.pools = [
    pool({}),
    pool({ id: 1, name: 'rt-pool', scheduler: 'rtds', cpus: [2], domains: 1, params: null }),
  ];
  host.processors.free = [3];
  host.processors.shares = [
    { domid: 0, name: 'Domain-0', pool: 'Pool-0', scheduler: 'credit2', credit: { weight: 256, cap: 0 }, rtds: null },
    { domid: 1, name: 'web', pool: 'Pool-0', scheduler: 'credit2', credit: { weight: 512, cap: 25 }, rtds: null },
    {
      ...{ domid: 2, name: 'rt', pool: 'rt-pool', scheduler: 'rtds', credit: null },
      rtds: {
        default: { period: 10_000, budget: 4000, extratime: true },
        vcpus: [
          { period: 10_000, budget: 4000, extratime: true },
          { period: 20_000, budget: 8000, extratime: false },
        ],
      },
    },
  ];
}

describe('xl vcpu-list', () => {
  const vcpu = (over: Partial<VcpuRecord>): VcpuRecord => ({
    ...{ vcpu: 0, online: true, cpu: 0, running: false, blocked: true, cpu_time: 53.7e9, hard: [0, 1, 2, 3] },
    ...{ soft: [0, 1, 2, 3], ...over },
  });
  it('prints the columns of the real one', async () => {
    host.processors.vcpus = [
      { domid: 0, name: 'Domain-0', vcpus: [vcpu({ running: true, blocked: false })] },
      { domid: 1, name: 'web', vcpus: [vcpu({ cpu: 3, hard: [1, 3] }), vcpu({ vcpu: 1, online: false, soft: [] })] },
    ];
    const header = 'Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n';
    const web =
      'web                                  1     0    3   -b-      53.7  1,3 / all\n' +
      'web                                  1     1    -   --p      53.7  all / none\n';
    expect(await on('vcpu-list')).toEqual({
      ...fine,
      stdout: `${header}Domain-0                             0     0    0   r--      53.7  all / all\n${web}`,
    });
    expect((await on('vcpu-list', 'web')).stdout).toBe(header + web);
    expect((await on('vcpu-list', 'nosuch')).stderr).toBe('nosuch is an invalid domain identifier (rc=-6)\n');
  });
});

describe('xl vcpu-pin', () => {
  it('sends the maps, - for one that stays', async () => {
    expect(await on('vcpu-pin', 'web', '0', '1-3,^2', '-')).toEqual(fine);
    expect(await on('vcpu-pin', 'web', 'all', '-', 'all')).toEqual(fine);
    expect(await on('vcpu-pin', '-f', 'web', '1', '0')).toEqual(fine);
    expect(asked('pinVcpu')).toEqual([
      { domid: 1, vcpu: 0, hard: [1, 3], soft: null, force: false },
      { domid: 1, vcpu: null, hard: null, soft: [0, 1, 2, 3], force: false },
      { domid: 1, vcpu: 1, hard: [0], soft: null, force: true },
    ]);
  });
  it('says what is wrong', async () => {
    expect((await on('vcpu-pin', 'web', 'x', '0')).stderr).toBe('Error: Invalid argument x as VCPU.\n');
    expect((await on('vcpu-pin', '-f', 'web', 'all', '0')).stderr).toBe(
      "Error: --force and 'all' as VCPU not allowed.\n",
    );
    expect((await on('vcpu-pin', 'web', '0', '9')).code).toBe(1);
    host.failures.set('pinVcpu', { code: 'EINVAL', message: 'no pCPU of the pool', rc: -6 });
    expect(await on('vcpu-pin', 'web', '0', '3')).toEqual({
      ...{ code: 1, stdout: '' },
      stderr: "libxl: error: no pCPU of the pool\nCould not set affinity for vcpu `0'.\n",
    });
  });
});

describe('xl sched-credit2', () => {
  const header = 'Name                                ID Weight  Cap\n';
  const web = 'web                                  1    512   25\n';
  it('prints pools with their domains, one domain, the parameters alone', async () => {
    twoPools();
    const dom0 = 'Domain-0                             0    256    0\n';
    const cpupool = 'Cpupool Pool-0: ratelimit=1000us\n';
    expect(await on('sched-credit2')).toEqual({ ...fine, stdout: cpupool + header + dom0 + web });
    expect(await on('sched-credit2', '-d', 'web')).toEqual({ ...fine, stdout: header + web });
    expect(await on('sched-credit2', '-s')).toEqual({ ...fine, stdout: cpupool });
    expect(await on('sched-credit2', '-p', 'rt-pool')).toEqual(fine);
    expect(await on('sched-credit')).toEqual(fine);
  });
  it('sets', async () => {
    twoPools();
    expect(await on('sched-credit2', '-d', 'web', '-w', '1024')).toEqual(fine);
    expect(await on('sched-credit2', '-d', 'web', '--cap=50')).toEqual(fine);
    expect(await on('sched-credit2', '-s', '-r', '2000')).toEqual(fine);
    expect(asked('setCredit')).toEqual([
      { domid: 1, scheduler: 'credit2', weight: 1024, cap: null },
      { domid: 1, scheduler: 'credit2', weight: null, cap: 50 },
    ]);
    const params = { tslice_ms: null, ratelimit_us: 2000, vcpu_migr_delay_us: null };
    expect(asked('setPoolParams')).toEqual([{ pool: 'Pool-0', scheduler: 'credit2', ...params }]);
  });
  it.each([
    [['-w', '3'], 'Must specify a domain.\n'],
    [['-r', '3'], 'Must specify schedparam to set schedule parameter values.\n'],
    [['-d', 'web', '-s'], 'Specifying a cpupool or schedparam is not allowed with domain options.\n'],
    [['-p', 'x'], "unknown cpupool 'x'\n"],
    [['-d', 'nosuch'], 'nosuch is an invalid domain identifier (rc=-6)\n'],
  ])('%j fails', async (args, stderr) => {
    expect(await on('sched-credit2', ...args)).toEqual({ code: 1, stdout: '', stderr });
  });
});

describe('xl sched-credit', () => {
  it('has more parameters', async () => {
    const params = { tslice_ms: 30, ratelimit_us: 1000, vcpu_migr_delay_us: 0 };
    host.processors.pools = [pool({ scheduler: 'credit', params })];
    expect((await on('sched-credit', '-s')).stdout).toBe(
      'Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n',
    );
    expect(await on('sched-credit', '-s', '-t', '10', '-m', '50')).toEqual(fine);
    expect(asked('setPoolParams')).toEqual([
      { pool: 'Pool-0', scheduler: 'credit', tslice_ms: 10, ratelimit_us: null, vcpu_migr_delay_us: 50 },
    ]);
  });
});

describe('xl sched-rtds', () => {
  it('prints defaults, and vCPUs', async () => {
    twoPools();
    expect((await on('sched-rtds')).stdout).toBe(
      'Cpupool rt-pool: sched=RTDS\n' +
        'Name                                ID    Period    Budget  Extratime\n' +
        'rt                                   2     10000      4000        yes\n',
    );
    expect((await on('sched-rtds', '-d', 'rt', '-v', 'all')).stdout).toBe(
      'Name                                ID VCPU    Period    Budget  Extratime\n' +
        'rt                                   2    0     10000      4000        yes\n' +
        'rt                                   2    1     20000      8000         no\n',
    );
    expect((await on('sched-rtds', '-d', 'rt', '-v', '1')).stdout.split('\n')[1]).toContain('2    1     20000');
  });
  it('sets a domain, or vCPUs one by one', async () => {
    twoPools();
    expect(await on('sched-rtds', '-d', 'rt', '-p', '5000', '-b', '1000', '-e', '1')).toEqual(fine);
    expect(
      await on('sched-rtds', '-d', 'rt', '-v', '0', '-p', '5', '-b', '1', '-v', '1', '-p', '6', '-b', '2'),
    ).toEqual(fine);
    expect(asked('setRtds')).toEqual([
      { domid: 2, vcpu: null, period: 5000, budget: 1000, extratime: true },
      { domid: 2, vcpu: 0, period: 5, budget: 1, extratime: null },
      { domid: 2, vcpu: 1, period: 6, budget: 2, extratime: null },
    ]);
  });
  it.each([
    [['-p', '3'], 'Must specify a domain.\n'],
    [['-c', 'rt-pool', '-d', 'rt'], 'Specifying a cpupool is not allowed with other options.\n'],
    [['-d', 'rt', '-v', 'x', '-p', '1'], 'Incorrect VCPU IDs.\n'],
    [['-d', 'rt', '-v', '0', '-p', '1', '-p', '2', '-b', '1'], 'Missing parameters.\n'],
    [['-d', 'rt', '-e', 'maybe'], 'Invalid extratime.\n'],
  ])('%j fails', async (args, stderr) => {
    expect(await on('sched-rtds', ...args)).toEqual({ code: 1, stdout: '', stderr });
  });
});

describe('xl cpupool-…', () => {
  it('list', async () => {
    twoPools();
    expect((await on('cpupool-list')).stdout).toBe(
      'Name               CPUs   Sched     Active   Domain count\n' +
        'Pool-0               2   credit2       y          2\n' +
        'rt-pool              1      rtds       y          1\n',
    );
    expect((await on('cpupool-list', '-c', 'Pool-0')).stdout).toBe(
      'Name               CPU list\nPool-0             0,1\n',
    );
    expect(await on('cpupool-list', 'x')).toEqual({ code: 1, stdout: '', stderr: "Pool 'x' does not exist\n" });
  });
  it('create, from a file and from words', async () => {
    twoPools();
    writeFileSync(join(cwd, 'fast.cfg'), 'name="fast"\nsched="null"\ncpus="3"\n');
    const stdout = 'Using config file "fast.cfg"\ncpupool name:   fast\nscheduler:      null\nnumber of cpus: 1\n';
    expect(await on('cpupool-create', 'fast.cfg')).toEqual({ ...fine, stdout });
    expect((await on('cpupool-create', '-n', 'name="dry"')).stdout).toContain(
      'scheduler:      credit2\nnumber of cpus: 1\n',
    );
    expect(asked('createPool')).toEqual([{ name: 'fast', scheduler: 'null', cpus: [3] }]);
    expect((await on('cpupool-create', 'name="a"', 'cpus="0"')).stderr).toBe('cpu 0 illegal or not free\n');
    expect((await on('cpupool-create', 'name="rt-pool"')).stderr).toBe('Pool name "rt-pool" already exists\n');
    expect((await on('cpupool-create', 'sched="credit"')).stderr).toBe('Missing cpupool name!\n');
    expect((await on('cpupool-create', 'name="a"', 'sched="x"')).stderr).toBe('Unknown scheduler\n');
  });
  it('destroy, rename, cpu-add, cpu-remove, migrate', async () => {
    twoPools();
    expect(await on('cpupool-destroy', 'rt-pool')).toEqual(fine);
    expect(await on('cpupool-rename', 'rt-pool', 'x')).toEqual(fine);
    expect(await on('cpupool-cpu-add', 'rt-pool', '3')).toEqual(fine);
    expect(await on('cpupool-cpu-remove', 'Pool-0', '0-1')).toEqual(fine);
    expect(await on('cpupool-migrate', 'web', 'rt-pool')).toEqual(fine);
    expect(asked('removePoolCpu')).toEqual([0, 1].map(cpu => ({ pool: 'Pool-0', cpu })));
    expect(asked('moveToPool')).toEqual([{ domid: 1, pool: 'rt-pool' }]);
    expect((await on('cpupool-destroy', 'x')).stderr).toBe("unknown cpupool 'x'\n");
    host.failures.set('destroyPool', { code: 'EBUSY', message: 'it has 1 domains', rc: -3 });
    expect((await on('cpupool-destroy', 'rt-pool')).stderr).toContain("Can't destroy cpupool 'rt-pool'\n");
    expect((await on('cpupool-numa-split')).code).toBe(1);
  });
});
