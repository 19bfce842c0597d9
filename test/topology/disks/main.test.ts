// Disks that are no raw files: images of QEMU's formats, what an NBD server has; and servers that die.
import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../../support/processes.ts';
import { xl } from '../../support/xl.ts';
import { LifecycleHost } from '../lifecycle/host.ts';

const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));
const MIB = 1 << 20;
const has = (program: string): boolean => existsSync(join('/usr/bin', program));
const noQemu = !has('qemu-nbd') || !has('qemu-img') || !has('qemu-io') ? 'skipped: qemu-utils is not installed' : '';
const noLibnbd = has('nbdinfo') && has('nbdcopy') ? '' : 'skipped: libnbd-bin is not installed';
const noNbdkit = has('nbdkit') ? '' : 'skipped: nbdkit is not installed';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-disks-'));
let host: LifecycleHost;
const servers: ChildProcess[] = [];
beforeAll(async () => {
  host = await LifecycleHost.start();
  await host.create(host.config('web', '', { ramdisk: GUEST }));
  await host.up('web');
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.kill('SIGKILL');
  expect(host.rig.consoleLog('web')).not.toContain('WRONG');
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const on = (...argv: string[]) => xl(argv, { dir: host.rig.runDir, cwd: dir });
const fine = { code: 0, stdout: '', stderr: '' };
const heard = (text: string): number => host.rig.consoleLog('web').split(text).length - 1;
const says = (text: string, times = 1) => eventually(`the guest says ${text}`, () => heard(text) >= times);
const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { cwd: dir, encoding: 'utf8' });
/** The qemu-nbd of the host under test. */
const qemuNbds = (): number[] =>
  host.rig.processes().filter(pid => {
    try {
      return readFileSync(`/proc/${pid}/comm`, 'utf8') === 'qemu-nbd\n';
    } catch {
      return false; // it has just ended
    }
  });
function nbdkit(socket: string, ...args: string[]): ChildProcess {
  rmSync(socket, { force: true });
  const child = spawn('nbdkit', ['-f', '--exit-with-parent', '-U', socket, ...args], { stdio: 'ignore', cwd: dir });
  servers.push(child);
  return child;
}

describe.skipIf(noQemu !== '')(`an image of QEMU's ${noQemu}`, () => {
  it.each(['qcow2', 'vhd', 'qed', 'qcow'])(
    'of format %s is written by the guest, and is one that QEMU reads',
    async format => {
      const driver = format === 'vhd' ? 'vpc' : format;
      const image = `${format}.img`;
      qemuImg('create', '-q', '-f', driver, image, '4M');
      const sectors = JSON.parse(qemuImg('info', '--output=json', '-f', driver, image))['virtual-size'] / 512;
      const before = heard('xvdb works');
      expect(await on('block-attach', 'web', `${image},${format},xvdb,rw`)).toEqual(fine);
      await says(`came: xvdb works, ${sectors} sectors`, 1);
      await eventually('the guest has used it', () => heard('xvdb works') > before);
      expect(qemuNbds()).toHaveLength(1);
      const gone = heard('went: xvdb');
      expect(await on('block-detach', 'web', 'xvdb')).toEqual(fine);
      await says('went: xvdb', gone + 1);
      await eventually('its qemu-nbd has ended', () => qemuNbds().length === 0);
      if (format === 'qcow2' || format === 'qed') qemuImg('check', '-q', '-f', driver, image);
      const read = ['-r', '-f', driver, '-c', 'read -v 512 16', join(dir, image)];
      expect(execFileSync('qemu-io', read, { encoding: 'utf8' })).toContain('xvdb.was.here...');
    },
  );

  it('is made larger while its guest writes to it', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', 'grows.qcow2', '4M');
    expect(await on('block-attach', 'web', 'grows.qcow2,qcow2,xvdc,rw')).toEqual(fine);
    await says('came: xvdc works, 8192 sectors');
    const [pid] = qemuNbds();
    const began = host.rig.log().length;
    const node = async () => `/local/domain/0/backend/vbd/${(await on('domid', 'web')).stdout.trim()}/51744/resize`;
    for (const [wrong, why] of [
      ['much', /51744 of dom\d+: resize: "much" is no size/],
      ['1M', /51744 of dom\d+: resize: .*--shrink/],
    ] as const) {
      expect(await on('store', 'write', await node(), wrong)).toEqual(fine);
      await eventually('it is refused', () => why.test(host.rig.log()));
    }
    expect(await on('store', 'write', await node(), '16M')).toEqual(fine);
    await says('grew: xvdc works, 32768 sectors');
    const rounds = (): number => heard('times all rounds');
    const before = rounds();
    await eventually('the guest goes on', () => rounds() > before);
    expect(qemuNbds()).not.toContain(pid);
    expect(host.rig.log().slice(began)).not.toMatch(/the server is (lost|back)/);
    await on('destroy', 'web');
    await eventually('its qemu-nbd has ended', () => qemuNbds().length === 0);
    qemuImg('check', '-q', '-f', 'qcow2', 'grows.qcow2');
    const read = ['-r', '-f', 'qcow2', '-c', `read -v ${16 * MIB - 512} 16`, join(dir, 'grows.qcow2')];
    expect(execFileSync('qemu-io', read, { encoding: 'utf8' })).toContain('the.end.of.xvdc');
    await host.create(host.config('web', '', { ramdisk: GUEST }));
    await host.up('web');
  });

  it('is served on by another qemu-nbd when its own is killed, and nothing of it is lost', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', 'killed.qcow2', '4M');
    expect(await on('block-attach', 'web', 'killed.qcow2,qcow2,xvdc,rw')).toEqual(fine);
    const rounds = (): number => heard('times all rounds');
    const start = rounds();
    for (let kills = 0; kills < 4; kills++) {
      const before = rounds();
      await eventually('the guest goes on', () => rounds() > before && qemuNbds().length > 0);
      for (const pid of qemuNbds()) process.kill(pid, 'SIGKILL');
    }
    await eventually('the guest goes on', () => rounds() > start + 5);
    expect(host.rig.log()).toContain('qemu-nbd has ended, another one is started');
    // The guest's program does not stop: its domain does.
    await on('destroy', 'web');
    await eventually('its qemu-nbd has ended', () => qemuNbds().length === 0);
    // 3: clusters that nothing refers to, which a QEMU that is killed between two writes of its own leaves behind. 2: damage.
    const check = spawnSync('qemu-img', ['check', '-q', '-f', 'qcow2', 'killed.qcow2'], { cwd: dir, encoding: 'utf8' });
    expect([0, 3], check.stderr).toContain(check.status);
    expect(readdirSync(host.rig.runDir).filter(name => name.startsWith('nbd-'))).toEqual([]);
    await host.create(host.config('web', '', { ramdisk: GUEST }));
    await host.up('web');
  });

  it('refers to files beside it only, of a format that it names', async () => {
    const why = async (spec: string): Promise<string> => {
      const { code, stderr } = await on('block-attach', 'web', spec);
      expect(code).toBe(1);
      return stderr;
    };
    const secret = mkdtempSync(join(tmpdir(), 'secret-'));
    try {
      writeFileSync(join(secret, 'shadow'), 'x'.repeat(MIB));
      writeFileSync(join(dir, 'base.raw'), 'b'.repeat(MIB));
      qemuImg('create', '-q', '-f', 'qcow2', '-b', join(secret, 'shadow'), '-F', 'raw', 'thief.qcow2');
      expect(await why('thief.qcow2,qcow2,xvdb,rw')).toMatch(/backing file [^:]+shadow is not below /);
      qemuImg('create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', 'guess.qcow2');
      const header = readFileSync(join(dir, 'guess.qcow2'));
      const at = header.indexOf(Buffer.from('e2792aca', 'hex')); // the extension that names the backing format
      header.writeUInt32BE(0x7fffffff, at);
      writeFileSync(join(dir, 'guess.qcow2'), header);
      expect(await why('guess.qcow2,qcow2,xvdb,rw')).toMatch(/does not name the format of its backing file/);
      qemuImg(
        'create',
        '-q',
        '-f',
        'qcow2',
        '-o',
        `data_file=${join(secret, 'shadow')},data_file_raw=on`,
        'other.qcow2',
        '1M',
      );
      expect(await why('other.qcow2,qcow2,xvdb,rw')).toMatch(/keeps its data in another file/);
      expect(await why('base.raw,qcow2,xvdb,rw')).toMatch(/not in qcow2 format/);
      expect(await why('nowhere.qcow2,qcow2,xvdb,rw')).toMatch(/nowhere\.qcow2 does not exist/);
      qemuImg('create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', 'overlay.qcow2');
      const before = heard('xvdb works');
      expect(await on('block-attach', 'web', 'overlay.qcow2,qcow2,xvdb,rw')).toEqual(fine);
      await says('xvdb works', before + 1);
      expect(await on('block-detach', 'web', 'xvdb')).toEqual(fine);
      expect(readFileSync(join(dir, 'base.raw'), 'latin1')).toBe('b'.repeat(MIB));
    } finally {
      rmSync(secret, { recursive: true, force: true });
    }
  });

  it('raw is raw, whatever a guest has written into it', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', 'evil.img', '64M');
    const bytes = readFileSync(join(dir, 'evil.img')).length;
    const before = heard('xvdd is read-only');
    expect(await on('block-attach', 'web', 'evil.img,raw,xvdd,r')).toEqual(fine);
    await says(`xvdd is read-only, ${Math.floor(bytes / 512)} sectors`, before + 1);
    expect(qemuNbds()).toEqual([]);
    expect(await on('block-detach', 'web', 'xvdd')).toEqual(fine);
  });
});

describe.skipIf(noNbdkit !== '')(`what an NBD server has ${noNbdkit}`, () => {
  it('is a disk, named in any of three ways', async () => {
    const socket = join(dir, 'sock');
    nbdkit(socket, 'memory', '1M');
    await eventually('nbdkit listens', () => existsSync(socket));
    for (const target of [`nbd:unix:${socket}`, `nbd+unix:///?socket=${socket}`, `nbd:unix:${socket}:exportname=any`]) {
      const before = [heard('came: xvdb works, 2048 sectors'), heard('went: xvdb')];
      expect(await on('block-attach', 'web', `vdev=xvdb,access=rw,target=${target}`)).toEqual(fine);
      await says('came: xvdb works, 2048 sectors', before[0]! + 1);
      expect((await on('list', '-l', 'web')).stdout).toContain(`"pdev_path": "${target}"`);
      expect(await on('block-detach', 'web', 'xvdb')).toEqual(fine);
      await says('went: xvdb', before[1]! + 1);
    }
  });

  it('is larger for its guest when the server has made it so and that is said', async () => {
    const socket = join(dir, 'growing');
    const path = join(dir, 'growing.img');
    writeFileSync(path, '');
    truncateSync(path, MIB);
    nbdkit(socket, 'file', path);
    await eventually('nbdkit listens', () => existsSync(socket));
    const before = heard('came: xvdb works, 2048 sectors');
    expect(await on('block-attach', 'web', `vdev=xvdb,access=rw,target=nbd:unix:${socket}`)).toEqual(fine);
    await says('came: xvdb works, 2048 sectors', before + 1);
    truncateSync(path, 3 * MIB);
    const domid = (await on('domid', 'web')).stdout.trim();
    expect(await on('store', 'write', `/local/domain/0/backend/vbd/${domid}/51728/resize`, '1')).toEqual(fine);
    await says('grew: xvdb works, 6144 sectors');
    expect(readFileSync(path, 'latin1').slice(-512).trimEnd()).toBe('the end of xvdb');
    const went = heard('went: xvdb');
    expect(await on('block-detach', 'web', 'xvdb')).toEqual(fine);
    await says('went: xvdb', went + 1);
  });

  it('that is for reading only is no disk for writing, and what is no server none at all', async () => {
    const socket = join(dir, 'ro');
    nbdkit(socket, '-r', 'memory', '1M');
    await eventually('nbdkit listens', () => existsSync(socket));
    const attach = (access: string, target: string) =>
      on('block-attach', 'web', `vdev=xvdb,access=${access},target=${target}`);
    expect((await attach('rw', `nbd:unix:${socket}`)).stderr).toMatch(/the server has it for reading only/);
    expect(await attach('r', `nbd:unix:${socket}`)).toEqual(fine);
    await says('xvdb is read-only, 2048 sectors');
    expect(await on('block-detach', 'web', 'xvdb')).toEqual(fine);
    expect((await attach('rw', 'nbd:nonsense')).stderr).toMatch(/is no NBD target/);
  });

  it('is read and written through delays, and over servers that are killed', async () => {
    const socket = join(dir, 'killed');
    writeFileSync(join(dir, 'killed.img'), '');
    truncateSync(join(dir, 'killed.img'), 4 * MIB);
    const serve = () => nbdkit(socket, '--filter=delay', 'file', 'killed.img', 'rdelay=1ms', 'wdelay=1ms');
    let server = serve();
    await eventually('nbdkit listens', () => existsSync(socket));
    expect(await on('block-attach', 'web', `vdev=xvdc,access=rw,target=nbd:unix:${socket}`)).toEqual(fine);
    const rounds = (): number => heard('times all rounds');
    const domid = (await on('domid', 'web')).stdout.trim();
    const path = `/local/domain/0/backend/vbd/${domid}/51744/reconnecting`;
    const reconnecting = async (): Promise<string> => (await on('store', 'read', path)).stdout.trim();
    for (let kills = 0; kills < 3; kills++) {
      const before = rounds();
      await eventually('the guest goes on', () => rounds() > before);
      server.kill('SIGKILL');
      if (kills === 0) await eventually('its frontend is told to wait', async () => (await reconnecting()) === '1');
      server = serve();
    }
    await eventually('and that it need not any more', async () => (await reconnecting()) === '0');
    const before = rounds();
    await eventually('the guest goes on', () => rounds() > before);
    expect(host.rig.log()).toMatch(/vbd 51744 of dom\d+: the server is back/);
    await on('destroy', 'web');
    await host.create(host.config('web', '', { ramdisk: GUEST }));
    await host.up('web');
  });

  it('fails as the server says', async () => {
    const socket = join(dir, 'error');
    const trigger = join(dir, 'trigger');
    const before = heard('came: xvdc works');
    nbdkit(socket, '--filter=error', 'memory', '1M', 'error=EIO', 'error-rate=100%', `error-file=${trigger}`);
    await eventually('nbdkit listens', () => existsSync(socket));
    expect(await on('block-attach', 'web', `vdev=xvdc,access=rw,target=nbd:unix:${socket}`)).toEqual(fine);
    await says('came: xvdc works', before + 1);
    writeFileSync(trigger, '');
    await eventually('the guest has an error', () => /xvdc: .*EIO/.test(host.rig.consoleLog('web')));
    expect(host.rig.log()).toMatch(/vbd 51744 of dom\d+: request op \d failed: NBD server: EIO/);
  });
});

describe.skipIf(noQemu !== '' || noLibnbd !== '')(`a disk that is exported ${noQemu || noLibnbd}`, () => {
  const run = promisify(execFile);
  const socket = join(dir, 'export.sock');
  const uri = `nbd+unix:///xvdb?socket=${encodeURI(socket)}`;
  const written = (text: string) => Buffer.from(text.padEnd(512));
  let ended: AbortController;
  let command: ReturnType<typeof xl>;
  const start = async (...options: string[]): Promise<void> => {
    ended = new AbortController();
    let said = false;
    const interrupted = () => ended.signal;
    const onOutput = (): void => {
      said = true;
    };
    const argv = ['block-export', ...options, 'web', 'xvdb', socket];
    command = xl(argv, { dir: host.rig.runDir, cwd: dir, interrupted, onOutput });
    await eventually('the disk is exported', () => said);
  };
  const attach = async (mode: string): Promise<void> => {
    const came = heard('came: xvdb') + heard('xvdb is read-only');
    expect(await on('block-attach', 'web', `export.img,raw,xvdb,${mode}`)).toEqual(fine);
    await eventually('it came', () => heard('came: xvdb') + heard('xvdb is read-only') > came);
  };
  const detach = async (): Promise<void> => {
    const went = heard('went: xvdb');
    expect(await on('block-detach', 'web', 'xvdb')).toEqual(fine);
    await says('went: xvdb', went + 1);
  };

  it('while its guest writes, is read by clients of others, and written by none', async () => {
    writeFileSync(join(dir, 'export.img'), Buffer.alloc(4 * MIB));
    await attach('w');
    await start();
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    const info = JSON.parse((await run('nbdinfo', ['--json', uri])).stdout).exports[0];
    expect(info).toMatchObject({ 'export-size': 4 * MIB, is_read_only: true, can_multi_conn: true });
    await run('nbdcopy', [uri, join(dir, 'copy.img')]);
    const copy = readFileSync(join(dir, 'copy.img'));
    expect(copy.subarray(512, 1024)).toEqual(written('xvdb was here'));
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', uri, join(dir, 'copy.qcow2')]);
    await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', join(dir, 'copy.qcow2'), join(dir, 'export.img')]);
    const write = run('qemu-io', ['-f', 'raw', '-c', 'write 0 512', uri]);
    await expect(write).rejects.toMatchObject({ stderr: expect.stringMatching(/Permission denied/) });
    ended.abort();
    expect(await command).toMatchObject({ code: 0, stdout: `${uri}\n`, stderr: '' });
    expect(existsSync(socket)).toBe(false);
    expect((await on('block-export', '-w', 'web', 'xvdb', socket)).stderr).toMatch(/its image is written by vbd 51728/);
    await detach();
  });

  it('is written by a client while nobody else does, and then nobody else may', async () => {
    await attach('r');
    await start('-w');
    await run('qemu-io', ['-f', 'raw', '-c', 'write -P 66 1M 64k', '-c', 'flush', '-c', 'write -f -P 67 3M 512', uri]);
    const image = readFileSync(join(dir, 'export.img'));
    expect([image[MIB - 1], image[MIB], image[MIB + 65535], image[3 * MIB]]).toEqual([0, 66, 66, 67]);
    await detach();
    expect((await on('block-attach', 'web', 'export.img,raw,xvdb,w')).stderr).toMatch(/in use by an export of xvdb/);
    ended.abort();
    expect(await command).toMatchObject({ code: 0, stderr: '' });
    await attach('w');
    await detach();
  });

  it('is one that dom0 serves from a raw file, and the export ends with its domain', async () => {
    expect((await on('block-export', 'web', 'xvdz', socket)).stderr).toBe('Error: Device xvdz not connected.\n');
    await attach('w');
    await start();
    expect((await on('block-export', 'web', 'xvdb', socket)).stderr).toMatch(/EADDRINUSE/);
    await on('destroy', 'web');
    expect(await command).toMatchObject({ code: 0, stderr: '' });
    await host.create(host.config('web', '', { ramdisk: GUEST }));
    await host.up('web');
  });
});
