import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import { MonitorLog } from '../../../dom0/toolstack/monitor-log.ts';
import type { ScheduledBy } from '../../../tools/libxl-json.ts';
import { FakeToolstack } from '../../support/fake-toolstack.ts';
import { ListLog } from '../../support/xenstore-rig.ts';
import { xl } from '../../support/xl.ts';

const GOLDEN = readFileSync(join(import.meta.dirname, '../../vectors/xl-output/cmds2.txt'), 'utf8');

/** What the real xl printed for `command`, as recorded. */
function golden(command: string): string {
  const start = GOLDEN.indexOf(`$ ${command} -> rc 0\n`);
  expect(start, command).toBeGreaterThanOrEqual(0);
  const from = GOLDEN.indexOf('\n', start) + 1;
  const end = GOLDEN.indexOf('\n$ ', from);
  return GOLDEN.slice(from, end);
}

const PV_CFG = `name="pv1"
uuid="86d0a9d9-ffcd-41f8-b7a1-f481a7959163"
type="pv"
kernel="/srv/xtf/tests/example/test-pv64-example"
memory=64
vcpus=2
disk=["/srv/disk.img,raw,xvda,rw,script=block-dummy2"]
vif=["mac=00:16:3e:00:00:01,bridge=xenbr0,script=vif-dummy"]
on_reboot="restart"
on_crash="preserve"
`;

let host: FakeToolstack;
let cwd: string;
beforeEach(async () => {
  host = await FakeToolstack.start();
  cwd = mkdtempSync(join(tmpdir(), 'xl-cwd-'));
  writeFileSync(join(cwd, 'pv.cfg'), PV_CFG);
});
afterEach(async () => {
  await until(() => host.connections === 0); // a command leaves no connection
  await host.stop();
  rmSync(cwd, { recursive: true });
});
const on = (argv: string[], more: Parameters<typeof xl>[1] = {}) => xl(argv, { dir: host.dir, cwd, ...more });

/** The domains of the recorded host. */
function recordedDomains(): void {
  host.add({ domid: 1, name: 'web1', current_kb: 65536, blocked: true, cpu_time: 2e9 });
  host.add({ domid: 2, name: 'db1', current_kb: 131072, vcpu_online: 2, paused: true, cpu_time: 3e9 });
  host.add({ domid: 7, name: 'crashed-one', current_kb: 65536, shutdown: true, shutdown_reason: 3, cpu_time: 8e9 });
}

describe('xl list', () => {
  it('prints what the real one printed, byte for byte', async () => {
    recordedDomains();
    host.add({ domid: 20, name: 'pv1', current_kb: 65536, vcpu_online: 2, blocked: true, cpu_time: 21e9 });
    const run = await on(['list']);
    expect(run).toEqual({ code: 0, stdout: golden('xl list'), stderr: '' });
  });

  it('of one domain, by name, by number, by a prefix of the command', async () => {
    recordedDomains();
    const one = (await on(['list', 'db1'])).stdout;
    expect(one.split('\n')[1]).toBe('db1                                          2   128     2     --p---       3.0');
    expect((await on(['list', '2'])).stdout).toBe(one);
    expect((await on(['li', 'db1'])).stdout).toBe(one);
  });

  it('names each reason of a shutdown, and a dying domain without a name', async () => {
    const letters = ['-', 'r', 's', 'c', 'w', 'S', '?'];
    for (const reason of letters.keys()) {
      host.add({ domid: reason + 1, name: `d${reason}`, shutdown: true, shutdown_reason: reason });
    }
    host.add({ domid: 9, name: null, paused: true, dying: true });
    const rows = (await on(['list'])).stdout.split('\n').slice(2);
    expect(rows.slice(0, 7).map(row => row.slice(63, 69))).toEqual(letters.map(letter => `---s${letter}-`));
    expect(rows[7]).toMatch(/^\(null\) +9 {3}512 {5}1 {5}--p--d {7}0\.0$/);
  });

  it('-v adds uuid, reason and label, -c the pool', async () => {
    recordedDomains();
    const [header, , , , crashed] = (await on(['list', '-v', '-c'])).stdout.split('\n');
    expect(header).toBe(
      'Name                                        ID   Mem VCPUs\tState\tTime(s)' +
        '   UUID                            Reason-Code\tSecurity Label         Cpupool',
    );
    expect(crashed).toBe(
      'crashed-one                                  7    64     1     ---sc-       8.0' +
        ' 00000000-0000-0000-0000-000000000000        3                -          Pool-0',
    );
  });

  it('-l prints the stored configs as libxl does', async () => {
    host.add({ domid: 19, name: 'bare' });
    expect((await on(['create', 'pv.cfg'])).code).toBe(0);
    expect(host.domains.get(20)?.name).toBe('pv1');
    const shares = { domid: 20, name: 'pv1', pool: 'Pool-0' } as const;
    const credit = { weight: 256, cap: 0 };
    host.processors.shares = [{ ...shares, scheduler: 'credit2', credit, rtds: null }];
    const one = await on(['list', '-l', 'pv1']);
    expect(one.stdout).toBe(golden('xl list -l pv1'));
    const all = await on(['list', '-l']);
    expect(JSON.parse(all.stdout).map((entry: { domid: number }) => entry.domid)).toEqual([20]);
    expect(all.stderr).toBe('libxl: error: Domain 19:Fail to get domain configuration\n');
    const scheduled = async (by: ScheduledBy): Promise<unknown> => {
      host.processors.shares = [{ ...shares, ...by }];
      return JSON.parse((await on(['list', '-l', 'pv1'])).stdout)[0].config.b_info.sched_params;
    };
    const rtds = { default: { period: 10_000, budget: 4000, extratime: true }, vcpus: [] };
    expect(await scheduled({ scheduler: 'rtds', credit: null, rtds })).toEqual({
      ...{ sched: 'rtds', period: 10_000, budget: 4000 },
    });
    expect(await scheduled({ scheduler: 'null', credit: null, rtds: null })).toEqual({ sched: 'null' });
  });

  it('of what does not exist fails as the real one does', async () => {
    expect(await on(['list', 'nosuch'])).toEqual({
      ...{ code: 1, stdout: '', stderr: 'nosuch is an invalid domain identifier (rc=-6)\n' },
    });
    expect(await on(['list', '99'])).toEqual({ code: 1, stdout: '', stderr: "Error: Domain '99' does not exist.\n" });
  });

  it('takes options before the domain only', async () => {
    recordedDomains();
    const run = await on(['list', 'web1', '-l']);
    expect(run.code).toBe(1);
    expect(run.stdout).toMatch(/^Usage: xl \[-vtT\] list \[options\] \[Domain\]\n\n\nList information about all/);
    expect(run.stderr).toBe('');
  });
});

describe('the command line', () => {
  it('without a command is the help, with exit code 1', async () => {
    const run = await on([]);
    expect(run.code).toBe(1);
    expect(run.stdout).toContain('\n create              Create a domain from config file <filename>\n');
  });

  it.each([
    [['help'], 0, /^Usage xl \[-vfNtT\] <subcommand> \[args\]\n\nxl full list of subcommands:\n\n create /],
    [['help', 'shutdown'], 0, /^Usage: xl \[-vtTf\] shutdown \[options\] <-a\|Domain>\n\nIssue a shutdown signal/],
    [['help', 'list'], 0, /^Usage: xl \[-vtT\] list \[options\] \[Domain\]\n\n\nList information about all/],
    [['help', 'nosuch'], 0, /^command "nosuch" not implemented\n$/],
    [['create', '-h'], 0, /^Usage: xl \[-vtTfN\] create <ConfigFile> \[options\] \[vars\]\n\nCreate a domain from/],
    [['destroy', '--help'], 0, /^Usage: xl \[-vtTf\] destroy/],
  ])('%j prints help', async (argv, code, stdout) => {
    const run = await on(argv);
    expect([run.code, run.stderr]).toEqual([code, '']);
    expect(run.stdout).toMatch(stdout);
  });

  it.each([
    [['-Q', 'list'], 1, 'unknown global option\n'],
    [['v'], 1, 'command not implemented\n'],
    [['vcpu'], 1, 'command not implemented\n'],
    [['frobnicate'], 1, 'command not implemented\n'],
    [['do', 'x'], 1, 'command not implemented\n'],
    [['-N', 'list'], 1, 'command does not implement -N (dryrun) option\n'],
    [['destroy', '-x', 'web1'], 2, "option `x' not supported.\n"],
    [['list', '-Q'], 2, "option `Q' not supported.\n"],
    [['shutdown'], 1, 'You must specify -a or a domain id.\n\n'],
    [['shutdown', 'nosuch'], 1, 'nosuch is an invalid domain identifier (rc=-6)\n'],
    [['destroy', '0'], 1, 'Not destroying domain 0; use -f to force.\n'],
    [['domid', 'x'], 1, "Can't get domid of domain name 'x', maybe this domain does not exist.\n"],
    [['domname', '77'], 1, "Can't get domain name of domain id '77', maybe this domain does not exist.\n"],
    [['domname', 'web1'], 1, 'Invalid domain id.\n\n'],
    [['console', '-t', 'x', '0'], 2, 'console type supported are: pv, serial, vuart\n'],
    [['create', '-n'], 6, 'Config file not specified and none in save file\n'],
    [['create', '-n', '/dev/null'], 1, 'Parsing config from /dev/null\nDomain name must be specified.\n'],
  ])('%j fails with its own words and exit code', async (argv, code, stderr) => {
    expect(await on(argv)).toEqual({ code, stdout: '', stderr });
  });

  it.each([
    [['domid'], "'xl domid' requires at least 1 argument.\n\n", 'Usage: xl [-vtT] domid <DomainName>\n\n'],
    [['domname'], "'xl domname' requires at least 1 argument.\n\n", 'Usage: xl [-vtT] domname <DomainId>\n\n'],
    [
      ['console'],
      "'xl console' requires at least 1 argument.\n\n",
      'Usage: xl [-vtT] console [options] <Domain>\n-t <',
    ],
  ])('%j without its argument prints the usage', async (argv, stderr, stdout) => {
    const run = await on(argv);
    expect([run.code, run.stderr]).toEqual([2, stderr]);
    expect(run.stdout.startsWith(stdout)).toBe(true);
  });

  it('takes global options in any number before the command', async () => {
    expect((await on(['-v', '-vv', '-T', 'list', 'nosuch'])).stderr).toBe(
      'nosuch is an invalid domain identifier (rc=-6)\n',
    );
  });

  it('refuses arguments that a command of ours has no use for, options behind the first among them', async () => {
    const { code, stderr } = await on(['capture', '-b', 'office', '-s', '10', 'out.pcap']);
    expect([code, stderr]).toEqual([
      2,
      "'xl capture': '10' is an argument too many; options are before the first.\n\n",
    ]);
  });

  it('ignores arguments a command has no use for', async () => {
    recordedDomains();
    expect(await on(['pause', 'web1', 'extra', 'junk'])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(host.domains.get(1)?.paused).toBe(true);
  });

  it('says at once that no host runs', async () => {
    const run = await xl(['list'], { dir: '/nonexistent/xenolith' });
    expect(run.code).toBe(1);
    expect(run.stderr).toBe("xl: no xenolith host runs on /nonexistent/xenolith (`xl up FILE' starts one)\n");
  });
});

describe('xl create', () => {
  it('says what it reads, and builds the domain running', async () => {
    expect(await on(['create', 'pv.cfg'])).toEqual({ code: 0, stdout: '', stderr: 'Parsing config from pv.cfg\n' });
    expect(host.domains.get(1)).toMatchObject({ name: 'pv1', paused: false, vcpu_online: 2, current_kb: 65536 });
    expect(host.requests[0]).toMatchObject({ op: 'create', args: { paused: false, monitor: true } });
  });

  it('-p leaves it paused, -e without a monitor, -q in silence', async () => {
    expect(await on(['create', 'pv.cfg', '-p', '-q', '-e'])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(host.requests[0]).toMatchObject({ op: 'create', args: { paused: true, monitor: false } });
  });

  it.each([
    [['create', 'pv.cfg', '-n', 'name="zz"']],
    [['create', '-n', 'pv.cfg', 'name="zz"']],
    [['create', '-n', 'name="zz"', 'pv.cfg']],
    [['-N', 'create', 'pv.cfg', 'name="zz"']],
    [['create', '--dryrun', '--defconfig=pv.cfg', 'name="zz"']],
    [['create', '-nf', 'pv.cfg', 'name="zz"']],
  ])('%j prints the config and creates nothing', async argv => {
    const run = await on(argv);
    expect([run.code, run.stderr]).toEqual([0, 'Parsing config from pv.cfg\n']);
    expect(run.stdout).toMatch(/^\{\n {4}"c_info": \{\n {8}"type": "pv",\n {8}"name": "zz",\n {8}"uuid": "86d0/);
    expect(run.stdout.endsWith('}\n')).toBe(true);
    expect(host.requests).toEqual([]);
  });

  it('works without a file', async () => {
    const run = await on(['create', '-n', '/dev/null', 'name="q"', 'memory=16', 'kernel="k"']);
    const json = JSON.parse(run.stdout);
    expect(json.c_info.name).toBe('q');
    expect(json.b_info).toMatchObject({ max_memkb: 16384, kernel: 'k' });
  });

  it.each([
    [['create', 'pv.cfg', 'nosuchkey=1', '-n'], 2, /^$/],
    [['create', 'a', 'b', 'c'], 2, /^$/],
    [['create', 'nosuch.cfg'], 3, /^Failed to read config file: nosuch\.cfg: No such file or directory\n$/],
    [['create', '.'], 3, /^Failed to read config file: \.: Is a directory\n$/],
    [['create', '-q', 'pv.cfg', 'memory=512M'], 1, /^pv\.cfg:12: .* near `M': lexical error\nFailed to parse config/],
    [['create', '-q', 'pv.cfg', 'memory="lots"'], 1, /^pv\.cfg:12: parameter `memory' is not a valid number\n$/],
    [['create', '-q', 'pv.cfg', 'kernel=""'], 1, /^Neither kernel nor bootloader specified\n$/],
    [['create', '-q', 'pv.cfg', 'on_crash="sulk"'], 1, /^Unknown on_crash action "sulk" specified\n$/],
    [['create', '-q', 'pv.cfg', 'vif=["mac=zz"]'], 1, /^Invalid parameter `mac'\.\n$/],
    [['create', '-q', 'pv.cfg', 'disk=["/x,xvda"]'], 1, /^pv\.cfg: config parsing error in disk specification: /],
  ])('%j fails before anything is asked of the host', async (argv, code, stderr) => {
    const run = await on(argv);
    expect(run.code).toBe(code);
    expect(run.stderr).toMatch(stderr);
    expect(host.requests).toEqual([]);
  });

  it.each([
    ['ENOENT', 4, 'kernel: /nosuch does not exist', -3, 3],
    ['EEXIST', 1, "name: 'pv1' is in use", -6, 6],
  ])('that the host refuses with %s is one line and the exit code of libxl', async (code, line, message, rc, exit) => {
    host.failures.set('create', { code, message: `pv.cfg: ${message}`, rc });
    const run = await on(['create', '-q', 'pv.cfg']);
    expect(run).toEqual({ code: exit, stdout: '', stderr: `libxl: error: pv.cfg:${line}: ${message}\n` });
    expect([...host.domains.keys()]).toEqual([0]);
  });

  it('that the host has no memory for says so as xl does', async () => {
    const message = 'memory: 64 MiB asked for, 3 MiB of this host are free';
    host.failures.set('create', { code: 'ENOMEM', message: `pv.cfg: ${message}`, rc: -5 });
    const run = await on(['create', '-q', 'pv.cfg']);
    const stderr = `libxl: error: pv.cfg:5: ${message}\nfailed to free memory for the domain\n`;
    expect(run).toEqual({ code: 3, stdout: '', stderr });
  });

  it('-v tells the phases and their times', async () => {
    expect((await on(['-v', 'create', '-q', 'pv.cfg'])).stderr).toBe('domain 1.3 ms\nmemory 2.3 ms\ndevices 3.3 ms\n');
  });

  describe('-F', () => {
    let log: MonitorLog;
    beforeEach(() => {
      log = MonitorLog.begin(runPaths(host.dir).monitorLog('pv1'), new ListLog());
      log.line('Waiting for domain pv1 (domid 1) to die [pid 7]');
    });

    it.each([
      ['Done. Exiting now', 0],
      ['Domain 2 has been destroyed.', 0],
      ['libxl: error: pv.cfg: kernel: /k.js does not exist', 3],
    ])('prints what the monitor writes up to its last line: %s', async (last, code) => {
      let seen = '';
      const run = on(['create', '-qF', 'pv.cfg'], { onOutput: all => (seen = all) });
      await until(() => seen.endsWith('[pid 7]\n'));
      log.line('Done. Rebooting now');
      await until(() => seen.endsWith('Rebooting now\n'));
      log.line(last);
      const stderr = `Waiting for domain pv1 (domid 1) to die [pid 7]\nDone. Rebooting now\n${last}\n`;
      expect(await run).toEqual({ code, stdout: '', stderr });
    });

    it('ends with the host', async () => {
      let seen = '';
      const run = on(['create', '-qF', 'pv.cfg'], { onOutput: all => (seen = all) });
      await until(() => seen !== '');
      host.hangUp();
      expect(await run).toMatchObject({ code: 1, stderr: expect.stringContaining('closed the connection') });
    });

    it('with -e there is nobody to follow', async () => {
      expect(await on(['create', '-qFe', 'pv.cfg'])).toEqual({ code: 0, stdout: '', stderr: '' });
    });
  });
});

describe('xl vcpu-set', () => {
  it('says how many vCPUs are to be up, silently', async () => {
    const domain = host.add({ domid: 20, name: 'pv1', vcpu_online: 2, vcpu_max_id: 3 });
    expect(golden('xl vcpu-set pv1 1')).toBe('');
    expect(await on(['vcpu-set', 'pv1', '1'])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(domain.vcpu_online).toBe(1);
    expect((await on(['vcpu-set', '20', '2x'])).code).toBe(0); // Xen: as strtol reads it
    expect(domain.vcpu_online).toBe(2);
  });

  it('refuses more than the host has processors, but not with -i, and not what is there already', async () => {
    const domain = host.add({ domid: 20, name: 'pv1', vcpu_online: 9, vcpu_max_id: 98 });
    const stderr = // test/vectors/xl-output/errors.txt, of another host
      'You are overcommmitting! You have 2 physical CPUs and want 99 vCPUs! Aborting, use --ignore-host to continue\n';
    expect(await on(['vcpu-set', 'pv1', '99'])).toEqual({ code: 1, stdout: '', stderr });
    expect((await on(['vcpu-set', 'pv1', '8'])).code).toBe(0);
    expect((await on(['vcpu-set', '-i', 'pv1', '99'])).code).toBe(0);
    expect((await on(['vcpu-set', '--ignore-host', 'pv1', '98'])).code).toBe(0);
    expect(domain.vcpu_online).toBe(98);
  });

  it('says in the words of the real one what went wrong', async () => {
    host.add({ domid: 20, name: 'pv1', vcpu_online: 1, vcpu_max_id: 1 });
    const failed = (stderr: string) => ({ code: 1, stdout: '', stderr });
    expect(await on(['vcpu-set', 'pv1', 'x'])).toEqual(failed('Error: Invalid argument.\n'));
    expect(await on(['vcpu-set', '-i', 'pv1', '3'])).toEqual(
      failed(
        'libxl: error: Requested 3 VCPUs, however maxcpus is 2!\n' +
          'libxl_set_vcpuonline failed domid=20 max_vcpus=3, rc: -3\n',
      ),
    );
    host.failures.set('setVcpus', { code: 'ESRCH', message: 'there is no dom20', rc: -22 });
    expect(await on(['vcpu-set', 'pv1', '2'])).toEqual(failed('Domain 20 does not exist.\n'));
    expect((await on(['vcpu-set', 'pv1'])).code).toBe(2);
  });
});

describe('xl mem-set, mem-max', () => {
  it('say what the domain is to have, silently', async () => {
    host.add({ domid: 20, name: 'pv1', current_kb: 65_536, max_kb: 65_536 });
    expect(golden('xl mem-set pv1 48')).toBe('');
    expect(await on(['mem-set', 'pv1', '48'])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await on(['mem-max', '20', '96'])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(host.domains.get(20)).toMatchObject({ current_kb: 48 * 1024, max_kb: 96 * 1024 });
  });

  it('say in the words of the real one what went wrong', async () => {
    host.add({ domid: 20, name: 'pv1', current_kb: 65_536, max_kb: 65_536 });
    const invalid = 'invalid memory size: 12x\n'; // test/vectors/xl-output/errors.txt
    expect(await on(['mem-set', 'pv1', '12x'])).toEqual({ code: 1, stdout: '', stderr: invalid });
    expect(await on(['mem-set', 'pv1', '65m'])).toEqual({
      ...{ code: 1, stdout: '' },
      stderr:
        'libxl: error: memory_dynamic_max must be less than or equal to memory_static_max\n' +
        'cannot set domid 20 dynamic max memory to : 65m\n',
    });
    host.failures.set('setMaxMemory', { code: 'EINVAL', message: 'no', rc: -6 });
    expect(await on(['mem-max', 'pv1', '1'])).toEqual({
      ...{ code: 1, stdout: '', stderr: 'libxl: error: no\ncannot set domid 20 static max memory to : 1\n' },
    });
    expect((await on(['mem-max', 'nobody', '1'])).stderr).toBe('nobody is an invalid domain identifier (rc=-6)\n');
    expect((await on(['mem-set', 'pv1'])).code).toBe(2);
  });
});

describe('xl shutdown, reboot, destroy', () => {
  it('asks the guest and returns', async () => {
    recordedDomains();
    host.obedient = false;
    expect(await on(['shutdown', 'db1', '-w'])).toEqual({ code: 0, stdout: '', stderr: 'Shutting down domain 2\n' });
    expect(await on(['reboot', 'db1'])).toEqual({ code: 0, stdout: '', stderr: 'Rebooting domain 2\n' });
  });

  it('-w waits for the shutdown, in the words of the real one', async () => {
    host.add({ domid: 20, name: 'pv1' });
    const run = await on(['shutdown', '-w', 'pv1']);
    const recorded = golden('xl shutdown -w pv1').replaceAll('  !', ''); // marks stderr
    expect(run.stderr).toBe(`${recorded}\n`);
    expect(run.code).toBe(0);
  });

  it('-w -w waits for the destruction', async () => {
    host.add({ domid: 4, name: 'g' });
    const run = on(['shutdown', '-w', '--wait', 'g']);
    await until(() => host.domains.get(4)?.shutdown === true);
    host.end(4, 'destroyed');
    expect((await run).stderr.split('\n').slice(2, -1)).toEqual([
      'Domain 4 has been shut down, reason code 0',
      'Domain 4 continue waiting for death',
      'Domain 4 has been destroyed',
    ]);
  });

  it('-a asks every guest but domain 0', async () => {
    recordedDomains();
    const run = await on(['shutdown', '-aw']);
    expect(run.stderr.split('\n').filter(line => line.startsWith('Shutting'))).toHaveLength(3);
    expect(run.stderr).toContain('Waiting for 3 domains\n');
  });

  it('fails when the guest does not take note', async () => {
    recordedDomains();
    host.failures.set('shutdown', { code: 'ETIMEDOUT', message: 'dom1 did not take note', rc: -9 });
    expect(await on(['shutdown', '-w', 'web1'])).toEqual({
      ...{ code: 1, stdout: '' },
      stderr: 'Shutting down domain 1\nlibxl: error: dom1 did not take note\nshutdown failed (rc=-9)\n',
    });
  });

  it('destroy removes it, and says why when it cannot', async () => {
    recordedDomains();
    expect(await on(['destroy', 'web1'])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(host.domains.has(1)).toBe(false);
    expect(await on(['destroy', '1'])).toEqual({
      ...{ code: 1, stdout: '', stderr: 'libxl: error: there is no dom1\ndestroy failed (rc=-3)\n' },
    });
  });

  it('pause of what is gone complains and exits with 0, as the real one', async () => {
    expect(await on(['pause', '55'])).toEqual({ code: 0, stdout: '', stderr: 'libxl: error: there is no dom55\n' });
  });
});

describe('xl info, dmesg, domid, domname', () => {
  it('info prints its keys in their order', async () => {
    const { stdout } = await on(['info']);
    expect(stdout).toMatch(/^host {19}: \S+\nrelease {16}: /);
    expect(stdout).toContain('\ncpu_mhz                : 2400.012\n');
    expect(stdout).toContain(
      '\nhw_caps                : bfebfbff:77faf3ff:2c100800:00000121:0000000f:d39ffffb:00000008:',
    );
    expect(stdout).toContain('\nvirt_caps              : pv\ntotal_memory           : 8192\n');
    expect(stdout).toContain('\nxen_version            : 4.17.x\n');
    expect(stdout).toContain('\nplatform_params        : virt_start=0xffff8000\nxen_changeset          : \n');
    expect(stdout.endsWith('\nxend_config_format     : 4\n')).toBe(true);
  });

  it('info FIELD prints the values of the keys that begin so', async () => {
    expect((await on(['info', 'virt_caps'])).stdout).toBe('pv\n');
    expect((await on(['info', 'xen_m'])).stdout).toBe('4\n17\n');
  });

  it('info -n has the topology', async () => {
    expect((await on(['info', '-n'])).stdout).toContain(
      'cpu:    core    socket     node\n  0:       0        0        0\n  1:       0        0        0\n',
    );
  });

  it('dmesg prints the ring, -c empties it', async () => {
    expect((await on(['dmesg', '-c'])).stdout).toBe('(XEN) hello\n');
    expect((await on(['dmesg'])).stdout).toBe('');
  });

  it('debug-keys has the hypervisor print to the ring', async () => {
    expect(await on(['debug-keys', 'eg'])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await on(['dmesg', '-c'])).stdout).toContain("(XEN) 'e' pressed\n(XEN) 'g' pressed\n");
  });

  it('domid and domname translate', async () => {
    recordedDomains();
    expect(await on(['domid', 'db1'])).toEqual({ code: 0, stdout: '2\n', stderr: '' });
    expect(await on(['domname', '2'])).toEqual({ code: 0, stdout: 'db1\n', stderr: '' });
  });
});

describe('xl console', () => {
  it('joins stdin and stdout, and ends with the domain', async () => {
    host.add({ domid: 3, name: 'g' });
    await host.serveConsole(3, 'welcome\n');
    const stdin = new PassThrough();
    let seen = '';
    const run = on(['console', 'g'], { stdin, onOutput: all => (seen = all) });
    await until(() => seen === 'welcome\n');
    stdin.write('hello\n');
    await until(() => seen.endsWith('HELLO\n'));
    host.end(3, 'destroyed');
    expect(await run).toEqual({ code: 0, stdout: 'welcome\nHELLO\n', stderr: '' });
  });

  it('goes on after the end of stdin', async () => {
    host.add({ domid: 3, name: 'g' });
    await host.serveConsole(3, 'one\n', socket => setImmediate(() => socket.end('two\n')));
    expect((await on(['console', 'g'])).stdout).toBe('one\ntwo\n');
  });

  it('^] detaches; a terminal is raw in between', async () => {
    host.add({ domid: 3, name: 'g' });
    await host.serveConsole(3, '# ');
    const raw: boolean[] = [];
    const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (on: boolean) => raw.push(on) });
    let seen = '';
    const run = on(['console', 'g'], { stdin, onOutput: all => (seen = all) });
    await until(() => seen === '# ');
    stdin.write('ls\x1dnever sent');
    expect((await run).code).toBe(0);
    expect(raw).toEqual([true, false]);
    expect(host.domains.has(3)).toBe(true);
  });

  it('says so when there is none', async () => {
    host.add({ domid: 3, name: 'g' });
    expect(await on(['console', 'g'])).toEqual({
      ...{ code: 1, stdout: '', stderr: 'libxl: error: dom3 has no console\nUnable to attach console\n' },
    });
  });

  it('create -c attaches before the domain runs', async () => {
    host.domains.get(0)!.name = 'Domain-0';
    const run = on(['create', '-qc', 'pv.cfg']);
    await until(() => host.domains.has(1));
    expect(host.requests[0]).toMatchObject({ op: 'create', args: { paused: true } });
    // There is no console yet: the fake serves none. The domain was left paused, and the person is told.
    expect(await run).toMatchObject({
      code: 1,
      stderr: 'libxl: error: dom1 has no console\nUnable to attach console\n',
    });
    expect(host.domains.get(1)?.paused).toBe(true);
  });
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 1));
}

describe('xl claims and sharing', () => {
  it('print the recorded columns', async () => {
    host.add({ domid: 1, name: 'web1', current_kb: 65536, outstanding_kb: 16384, blocked: true, cpu_time: 2e9 });
    expect((await on(['claims'])).stdout.split('\n').slice(0, 3)).toEqual([
      'Name                                        ID   Mem VCPUs\tState\tTime(s)  Claimed',
      'Domain-0                                     0   512     2     r-----       1.1     0',
      'web1                                         1    64     1     -b----       2.0    16',
    ]);
    expect((await on(['sharing', 'web1'])).stdout).toBe(
      'Name                                        ID   Mem Shared\nweb1                                         1    64      0\n',
    );
  });
});
