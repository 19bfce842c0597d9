// xl's commands about processors on a real host: what they set is what they show, and guests go on meanwhile.
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cpuRangeText } from '#pvbus';
import { xl } from '../../support/xl.ts';
import { LifecycleHost } from '../lifecycle/host.ts';

const CPUS = availableParallelism();
let host: LifecycleHost;
let domid: number;
beforeAll(async () => {
  host = await LifecycleHost.start();
  domid = await host.create(host.config('web', 'echo', { maxvcpus: 2, cpu_weight: 512, cap: 80, cpus: '0' }));
  await host.up('web');
});
afterAll(() => host?.stop());
const on = (...argv: string[]) => xl(argv, { dir: host.rig.runDir });
const fine = { code: 0, stdout: '', stderr: '' };
const out = async (...argv: string[]): Promise<string> => {
  const { code, stdout, stderr } = await on(...argv);
  expect([code, stderr]).toEqual([0, '']);
  return stdout;
};
/** Columns of the lines of a listing, without the header. */
const rows = (text: string): string[][] =>
  text
    .trim()
    .split('\n')
    .slice(1)
    .map(line => line.trim().split(/\s+/));

describe('what a config says', () => {
  it('is how the domain is scheduled', async () => {
    expect(rows(await out('sched-credit2', '-d', 'web'))).toEqual([['web', String(domid), '512', '80']]);
    const vcpus = rows(await out('vcpu-list', 'web'));
    expect(vcpus.map(row => [row.at(-3), row.at(-1)])).toEqual([0, 1].map(() => [cpuRangeText([0], CPUS), 'all']));
    expect(vcpus[1]!.slice(2, 5)).toEqual(['1', '-', '--p']); // maxvcpus=2, vcpus=1
  });
  it('is refused where it cannot be, with nothing left', async () => {
    const before = await host.nodes();
    const refused = (over: object) => host.create(host.config('no', 'idle', over)).catch(error => error.message);
    expect(await refused({ pool: 'nowhere' })).toMatch(/^no\.cfg: pool: there is no cpupool 'nowhere'/);
    expect(await refused({ cpus: '0-4095' })).toMatch(/^no\.cfg: cpus: there is no CPU/);
    expect(await refused({ cpus: '0,^0' })).toMatch(/^no\.cfg: cpus: no CPU is left/);
    expect(await host.nodes()).toEqual(before);
  });
});

describe('xl vcpu-pin', () => {
  it('moves a vCPU, which shows', async () => {
    expect(await on('vcpu-pin', 'web', '0', 'all', '0')).toEqual(fine);
    expect(rows(await out('vcpu-list', 'web'))[0]!.slice(-3)).toEqual(['all', '/', cpuRangeText([0], CPUS)]);
    expect(await on('vcpu-pin', 'web', 'all', '0', '-')).toEqual(fine);
    expect(rows(await out('vcpu-list', 'web')).map(row => row.at(-3))).toEqual(
      [0, 1].map(() => cpuRangeText([0], CPUS)),
    );
    expect((await on('vcpu-pin', 'web', '7', '0')).code).toBe(1);
    expect(await on('vcpu-pin', 'web', 'all', 'all', 'all')).toEqual(fine);
  });
});

describe('xl sched-credit2', () => {
  it('sets weight and cap of a domain, the rate limit of a pool', async () => {
    expect(await on('sched-credit2', '-d', 'web', '-w', '1024', '-c', '50')).toEqual(fine);
    expect(rows(await out('sched-credit2', '-d', 'web'))).toEqual([['web', String(domid), '1024', '50']]);
    expect(await on('sched-credit2', '-d', 'web', '-c', '0')).toEqual(fine);
    expect(rows(await out('sched-credit2', '-d', 'web'))).toEqual([['web', String(domid), '1024', '0']]);
    expect(await on('sched-credit2', '-s', '-r', '2000')).toEqual(fine);
    expect(await out('sched-credit2', '-s')).toBe('Cpupool Pool-0: ratelimit=2000us\n');
    const bad = await on('sched-credit2', '-d', 'web', '-w', '0x');
    expect(bad.code).toBe(1);
    expect((await on('sched-credit2', '-s', '-r', '1')).stderr).toContain('libxl_sched_credit2_params_set failed.');
  });
  it('refuses a weight and a cap that the fields of a domctl do not hold, or that mean nothing, and changes neither', async () => {
    const shares = rows(await out('sched-credit2', '-d', 'web'));
    const weights = ['0', '65536', '70000'].map(weight => ['-w', weight, `weight ${weight}: it is from 1 to 65535`]);
    const caps = ['201', '65535', '70000'].map(cap => ['-c', cap, `cap ${cap}: it is from 0 to 200, with 2 vCPUs`]);
    for (const [option, value, said] of [...weights, ...caps] as [string, string, string][])
      expect(await on('sched-credit2', '-d', 'web', option, value)).toEqual({
        ...{ code: 1, stdout: '' },
        stderr: `libxl: error: dom${domid}: ${said}\nlibxl_domain_sched_params_set failed.\n`,
      });
    expect(rows(await out('sched-credit2', '-d', 'web'))).toEqual(shares);
    await expect(host.create(host.config('more', 'echo', { cap: 101 }))).rejects.toThrow(
      /cap 101: it is from 0 to 100/,
    );
  });
});

describe.skipIf(CPUS < 2)('a cpupool', () => {
  it('is made of a free pCPU, has a domain moved in that goes on there, and is given up', async () => {
    const last = String(CPUS - 1);
    expect(await on('cpupool-cpu-remove', 'Pool-0', last)).toEqual(fine);
    expect(await out('cpupool-create', 'name="rt"', 'sched="rtds"')).toContain(
      'scheduler:      rtds\nnumber of cpus: 1\n',
    );
    expect(rows(await out('cpupool-list'))).toEqual([
      ['Pool-0', String(CPUS - 1), 'credit2', 'y', '2'],
      ['rt', '1', 'rtds', 'y', '0'],
    ]);
    expect(await on('cpupool-migrate', 'web', 'rt')).toEqual(fine);
    expect((await out('list', '-c', 'web')).trimEnd()).toMatch(/ rt$/);
    expect(await on('sched-rtds', '-d', 'web', '-p', '20000', '-b', '10000', '-e', '1')).toEqual(fine);
    expect(rows(await out('sched-rtds', '-d', 'web', '-v', 'all'))).toEqual(
      ['0', '1'].map(vcpu => ['web', String(domid), vcpu, '20000', '10000', 'yes']),
    );
    expect(rows(await out('vcpu-list', 'web'))[0]!.slice(2, 4)).toEqual([`0`, last]);
    expect((await on('cpupool-destroy', 'rt')).stderr).toContain("Can't destroy cpupool 'rt'");
    expect(await on('cpupool-rename', 'rt', 'fast')).toEqual(fine);
    expect(await on('cpupool-migrate', 'web', 'Pool-0')).toEqual(fine);
    expect(await on('cpupool-destroy', 'fast')).toEqual(fine);
    expect(await on('cpupool-cpu-add', 'Pool-0', last)).toEqual(fine);
    expect(rows(await out('cpupool-list'))).toEqual([['Pool-0', String(CPUS), 'credit2', 'y', '2']]);
  });
  it('named in a config has the domain from its beginning', async () => {
    const last = String(CPUS - 1);
    expect(await on('cpupool-cpu-remove', 'Pool-0', last)).toEqual(fine);
    await out('cpupool-create', 'name="own"', 'sched="null"');
    const inside = await host.create(host.config('inside', 'idle', { pool: 'own' }));
    await host.up('inside');
    expect((await out('list', '-c', 'inside')).trimEnd()).toMatch(/ own$/);
    await host.destroy(inside);
    expect(await on('cpupool-destroy', 'own')).toEqual(fine);
    expect(await on('cpupool-cpu-add', 'Pool-0', last)).toEqual(fine);
  });
});
