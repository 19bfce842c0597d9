// dump-core, config-update, set-parameters, devd: what they print and what they ask for.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeToolstack } from '../../support/fake-toolstack.ts';
import { xl } from '../../support/xl.ts';

let host: FakeToolstack;
let cwd: string;
beforeEach(async () => {
  host = await FakeToolstack.start();
  cwd = mkdtempSync(join(tmpdir(), 'xl-cwd-'));
  host.add({ domid: 20, name: 'pv1' });
});
afterEach(async () => {
  await host.stop();
  rmSync(cwd, { recursive: true });
});
const on = (...argv: string[]) => xl(argv, { dir: host.dir, cwd });
const asked = (op: string) => host.requests.filter(request => request.op === op).map(({ args }) => args);
const WARNING =
  'WARNING: xl now has better capability to manage domain configuration, avoid using this command when possible\n';

describe('xl dump-core', () => {
  it('says nothing; the file is below the folder of who asked', async () => {
    expect(await on('dump-core', 'pv1', 'core')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(asked('dumpCore')).toEqual([{ domid: 20, path: join(cwd, 'core') }]);
  });
  it('fails with the code of libxl', async () => {
    host.failures.set('dumpCore', { code: 'EACCES', message: 'core of dom20: permission denied', rc: -3 });
    expect(await on('dump-core', 'pv1', '/core')).toEqual({
      ...{ code: 1, stdout: '' },
      stderr: 'libxl: error: core of dom20: permission denied\ncore dump failed (rc=-3)\n',
    });
  });
  it('needs a domain and a file', async () => {
    const { code, stderr } = await on('dump-core', 'pv1');
    expect([code, stderr]).toEqual([2, "'xl dump-core' requires at least 2 arguments.\n\n"]);
  });
});

describe('xl block-export', () => {
  it('names the disk that is not there as who asked has named it', async () => {
    host.failures.set('exportDisk', { code: 'ENODEV', message: 'dom20 has no disk 268441856', rc: -3 });
    const stderr = 'Error: Device xvdz not connected.\n';
    expect(await on('block-export', 'pv1', 'xvdz', 'socket')).toEqual({ code: 1, stdout: '', stderr });
  });
});

describe('xl config-update', () => {
  it('says what the real one says, and sends what it read', async () => {
    writeFileSync(join(cwd, 'pv.cfg'), 'name = "pv1"\nkernel = "/k"\nmemory = 64\n');
    expect(await on('config-update', 'pv1', 'pv.cfg', 'memory=128')).toEqual({
      ...{ code: 0, stdout: '', stderr: `${WARNING}setting dom20 configuration\n` },
    });
    expect(asked('updateConfig')).toMatchObject([{ domid: 20, config: { name: 'pv1', memory: 128, kernel: '/k' } }]);
  });
  it('changes nothing without a file, a domain, or with an error in it', async () => {
    expect(await on('config-update', 'pv1')).toMatchObject({
      code: 1,
      stderr: `${WARNING}Config file not specified\n`,
    });
    expect(await on('config-update')).toMatchObject({ code: 1 });
    expect((await on('config-update', 'nobody', 'pv.cfg')).stderr).toContain('nobody is an invalid domain identifier');
    writeFileSync(join(cwd, 'bad.cfg'), 'name = \n');
    const { code, stderr } = await on('config-update', 'pv1', 'bad.cfg');
    expect([code, stderr.includes('config parsing error')]).toEqual([1, true]);
    expect(asked('updateConfig')).toEqual([]);
  });
});

describe('a command that has nothing to do', () => {
  it('set-parameters fails with the words of the real one', async () => {
    const { code, stdout, stderr } = await on('set-parameters', 'ept=exec-sp');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^libxl: error: .*Function not implemented\ncannot set parameters: ept=exec-sp\n$/);
  });
  it.each([[['devd']], [['devd', '-F']], [['devd', '-p', '/run/x.pid']]])('%j says what serves devices', async argv => {
    const { code, stdout, stderr } = await on(...argv);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^xl devd: [^\n]*driver_domain=1[^\n]*\n$/);
  });
});

describe('the JSON of xl create -n', () => {
  const buildInfo = async (...lines: string[]) => {
    writeFileSync(join(cwd, 'a.cfg'), `name = "a"\nkernel = "/k"\nvcpus = 2\n${lines.join('\n')}\n`);
    const { code, stdout } = await on('create', '-qn', 'a.cfg');
    expect(code).toBe(0);
    return JSON.parse(stdout).b_info;
  };
  it('has the affinity of each vCPU, in the place that libxl gives it', async () => {
    const info = await buildInfo('memory = 64', 'cpus = "0-2,^1"', 'cpus_soft = ["1", "3"]');
    expect(Object.keys(info).slice(0, 6)).toEqual([
      ...['max_vcpus', 'avail_vcpus', 'vcpu_hard_affinity', 'vcpu_soft_affinity', 'numa_placement', 'max_memkb'],
    ]);
    expect(info).toMatchObject({
      vcpu_hard_affinity: [
        [0, 2],
        [0, 2],
      ],
      ...{ vcpu_soft_affinity: [[1], [3]], numa_placement: 'False' },
    });
  });
  it('has what rtds is told', async () => {
    const info = await buildInfo('period = 10000', 'budget = 4000', 'extratime = 1');
    expect(info.sched_params).toEqual({ period: 10_000, extratime: 1, budget: 4000 });
  });
});
