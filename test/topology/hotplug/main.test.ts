// Disks and vifs that are plugged into a running domain by xl, and unplugged again.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runXentop } from '../../../tools/xentop/run.ts';
import { eventually } from '../../support/processes.ts';
import { xl, xlIo } from '../../support/xl.ts';
import { KERNEL, LifecycleHost } from '../lifecycle/host.ts';

const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'xenolith-hotplug-'));
let host: LifecycleHost;
let domid: number;
beforeAll(async () => {
  host = await LifecycleHost.start();
  domid = await host.create(host.config('web', '', { ramdisk: GUEST }));
  await host.up('web');
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});
const on = (...argv: string[]) => xl(argv, { dir: host.rig.runDir, cwd: dir });
const says = (text: string, times = 1) =>
  eventually(`the guest says ${text}`, () => host.rig.consoleLog('web').split(text).length > times);
const image = (name: string, bytes = 1 << 20): string => {
  writeFileSync(join(dir, name), '');
  truncateSync(join(dir, name), bytes);
  return join(dir, name);
};
const fine = { code: 0, stdout: '', stderr: '' };

describe('a disk', () => {
  it('comes, works, is listed, goes, leaves nothing, and comes again', async () => {
    const path = image('one.img');
    const before = await host.nodes();
    expect(await on('block-attach', 'web', 'one.img,raw,xvdb,rw')).toEqual(fine);
    await says('came: xvdb works, 2048 sectors');
    expect(readFileSync(path, 'latin1')).toContain('xvdb was here');
    expect((await on('block-list', 'web')).stdout).toMatch(
      /^51728 0 {3}\d+ +4 +\d+ +\d+ +\/local\/domain\/0\/backend\/vbd\/\d+\/51728/m,
    );
    expect((await on('list', '-l', 'web')).stdout).toContain(`"pdev_path": "${path}"`);
    expect(await on('block-detach', 'web', 'xvdb')).toEqual(fine);
    await says('went: xvdb');
    expect(await host.nodes()).toEqual(before);
    expect((await on('list', '-l', 'web')).stdout).not.toContain('pdev_path');
    expect(await on('block-attach', 'web', 'one.img', 'format=raw', 'vdev=xvdb', 'access=ro')).toEqual(fine);
    await says('came: xvdb is read-only, 2048 sectors');
    expect(await on('block-detach', 'web', '51728')).toEqual(fine);
    await says('went: xvdb', 2);
  });

  it('that has become larger is so for its guest at once, which writes to what is new', async () => {
    const path = image('growing.img');
    expect(await on('block-attach', 'web', 'growing.img,raw,xvdh,rw')).toEqual(fine);
    await says('came: xvdh works, 2048 sectors');
    for (const megabytes of [2, 5]) {
      truncateSync(path, megabytes << 20);
      const node = `/local/domain/0/backend/vbd/${domid}/51824/resize`;
      expect(await on('store', 'write', node, '1')).toEqual(fine);
      await says(`grew: xvdh works, ${megabytes * 2048} sectors`);
      expect(readFileSync(path, 'latin1').slice(-512).trimEnd()).toBe('the end of xvdh');
    }
    expect(readFileSync(path, 'latin1').slice((2 << 20) - 512, 2 << 20)).toContain('the end of xvdh');
    expect(host.rig.consoleLog('web')).not.toContain('went: xvdh');
    expect(await on('block-detach', 'web', 'xvdh')).toEqual(fine);
    await says('went: xvdh');
  });

  it('is counted for xentop', async () => {
    image('counted.img');
    expect(await on('block-attach', 'web', 'counted.img,raw,xvde,rw')).toEqual(fine);
    await says('came: xvde works');
    const { code, stdout } = await xlIo({ dir: host.rig.runDir }, io => runXentop('xentop', ['-bxni1'], io));
    expect(code).toBe(0);
    const vbd = / 51776 \[ca:40\] {2}OO: +\d+ {3}RD: +(\d+) {3}WR: +(\d+) {3}RSECT: +(\d+) {3}WSECT: +(\d+)$/m;
    expect(vbd.exec(stdout)?.slice(1).map(Number)).toEqual([1, 1, 1, 1]);
    expect(await on('block-detach', 'web', 'xvde')).toEqual(fine);
    await says('went: xvde');
  });

  it('that cannot be had fails with everything as it was', async () => {
    const before = await host.nodes();
    const why = async (...spec: string[]): Promise<string> => {
      const { code, stdout, stderr } = await on('block-attach', 'web', ...spec);
      expect([code, stdout]).toEqual([1, '']);
      return stderr;
    };
    expect(await why('nowhere.img,raw,xvdc,rw')).toMatch(
      /nowhere\.img does not exist\nlibxl_device_disk_add failed\.\n$/,
    );
    expect(await why('one.img,raw,nonsense,rw')).toContain('nonsense');
    image('twice.img');
    expect(await on('block-attach', 'web', 'twice.img,raw,xvdc,rw')).toEqual(fine);
    await says('came: xvdc works'); // a program that waits for a disk that is taken away waits for ever
    expect(await why('twice.img,raw,xvdd,rw')).toMatch(
      /in use: domain 'web' writes it as xvdc\nlibxl_device_disk_add failed/,
    );
    image('other.img');
    expect(await why('other.img,raw,xvdc,rw')).toMatch(/has one\nlibxl_device_disk_add failed/);
    expect(await on('block-detach', 'web', 'xvdc')).toEqual(fine);
    expect(await on('block-detach', 'web', 'xvdc')).toEqual({
      code: 1,
      stdout: '',
      stderr: 'Error: Device xvdc not connected.\n',
    });
    expect(await host.nodes()).toEqual(before);
  });

  it('-N says what it would be', async () => {
    const { code, stdout } = await on('-N', 'block-attach', 'web', 'one.img,raw,xvdb,r');
    expect(code).toBe(0);
    expect(JSON.parse(stdout.replace(/^disk: /, ''))).toMatchObject({ vdev: 'xvdb', format: 'raw' });
  });
});

describe('a vif', () => {
  it('comes with the lowest free number, connects, and goes by mac or number', async () => {
    const before = await host.nodes();
    expect(await on('network-attach', 'web', 'mac=00:16:3e:01:02:03', 'bridge=xenbr0')).toEqual(fine);
    expect(await on('network-attach', 'web')).toEqual(fine);
    await eventually('both are connected', async () => {
      const rows = (await on('network-list', 'web')).stdout.trim().split('\n').slice(1);
      return rows.length === 2 && rows.every(row => /^[01] +0 +00:16:3e:\S+ +[01] +4 /.test(row));
    });
    const twin = await on('network-attach', 'web', 'mac=00:16:3e:01:02:03');
    expect([twin.code, twin.stderr]).toEqual([
      1,
      expect.stringMatching(/has one .*\nlibxl_device_nic_add failed\.\n$/),
    ]);
    expect(await on('network-detach', 'web', '00:16:3E:01:02:03')).toEqual(fine);
    expect(await on('network-detach', 'web', '1')).toEqual(fine);
    expect(await on('network-detach', 'web', '1')).toEqual({ code: 1, stdout: '', stderr: 'Unknown device 1.\n' });
    expect(await host.nodes()).toEqual(before);
  });
});

describe('a domain that is renamed', () => {
  it('is found by its new name, and its old one is free', async () => {
    expect(await on('rename', 'web', 'www')).toEqual(fine);
    expect((await on('domname', String(domid))).stdout).toBe('www\n');
    expect((await on('list', '-l', 'www')).stdout).toContain('"name": "www"');
    expect((await on('rename', 'www', 'Domain-0')).stderr).toContain("Can't rename domain 'www'.");
    expect(await on('rename', 'www', 'web')).toEqual(fine);
  });
});

describe.skipIf(!existsSync('/usr/bin/xenstore-read'))('a script of a device (skipped without xenstore-utils)', () => {
  const script = join(dir, 'my-script');
  const log = (): string[] => {
    const text = readFileSync(join(dir, 'hotplug.log'), 'utf8');
    rmSync(join(dir, 'hotplug.log'));
    return text.trim().split('\n');
  };
  beforeAll(() => {
    copyFileSync(fileURLToPath(new URL('script.sh', import.meta.url)), script);
    chmodSync(script, 0o755);
  });

  it('is run with the environment of Xen when a disk comes and goes, and says what its image is', async () => {
    const path = image('made.img');
    const spec = `vdev=xvdf,access=rw,script=${script},target=image:${path}`;
    expect(await on('block-attach', 'web', spec)).toEqual(fine);
    await says('came: xvdf works');
    expect(readFileSync(path, 'latin1')).toContain('xvdf was here');
    expect(log()).toEqual([`my-script add backend/vbd/${domid}/51792 vbd backend`]);
    expect(await on('block-detach', 'web', 'xvdf')).toEqual(fine);
    expect(log()).toEqual([`my-script remove backend/vbd/${domid}/51792 vbd backend`]);
  });
  it('is run when a vif comes and goes', async () => {
    expect(await on('network-attach', 'web', 'mac=00:16:3e:00:00:99', `script=${script}`)).toEqual(fine);
    const [came, ...more] = log();
    expect([came, more]).toEqual([
      expect.stringMatching(/^my-script online type_if=vif backend\/vif\/\d+\/\d vif backend vif\d+\.\d$/),
      [],
    ]);
    expect(await on('network-detach', 'web', '00:16:3e:00:00:99')).toEqual(fine);
    expect(log()).toEqual([came!.replace('online', 'offline')]);
  });
  it.each([
    ['fail', 'no such portal'],
    ['error', 'the portal is closed'],
  ])('that fails (%s) is quoted, and nothing is left', async (target, why) => {
    const before = await host.nodes();
    const { code, stderr } = await on('block-attach', 'web', `vdev=xvdg,access=rw,script=${script},target=${target}`);
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`vbd 51808: script ${script}: ${why}\nlibxl_device_disk_add failed\\.\n$`));
    expect(await host.nodes()).toEqual(before);
    expect(log().map(line => line.split(' ')[1])).toEqual(['add', 'remove']);
  });
  it('fails the creation of its domain, of which nothing is left', async () => {
    const before = await host.nodes();
    const lines = ['name = "scripted"', 'memory = 16', `kernel = "${KERNEL}"`, `ramdisk = "${GUEST}"`];
    lines.push(`disk = ["vdev=xvda,access=rw,script=${script},target=fail"]`);
    writeFileSync(join(dir, 'scripted.cfg'), `${lines.join('\n')}\n`);
    const { code, stderr } = await on('create', 'scripted.cfg');
    expect(code).toBe(3);
    expect(stderr).toContain(`vbd 51712: script ${script}: no such portal\n`);
    expect(await host.nodes()).toEqual(before);
    expect((await on('list', 'scripted')).code).toBe(1);
    log();
  });
  it('that does not exist, or may not be executed, is not run', async () => {
    chmodSync(script, 0o644);
    const added = await on('network-attach', 'web', 'mac=00:16:3e:00:00:98', `script=${script}`);
    expect(added).toEqual(fine);
    expect(existsSync(join(dir, 'hotplug.log'))).toBe(false);
    expect(await on('network-detach', 'web', '00:16:3e:00:00:98')).toEqual(fine);
  });
});
