// Disk images as users have them, for `xl run --disk`.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installExt4 } from '../../tools/ext4/build.ts';
import { LAYOUTS, madeExt4, whyNoExt4 } from '../support/ext4.ts';
import { HostRig } from '../support/host-rig.ts';
import { dist } from '../support/host-view.ts';
import { ext4Wasm } from '../support/programs/ext4.ts';
import { PROGRAM_CACHE, xlRun } from '../support/programs/xl-run.ts';

const MIB = 1 << 20;
const noQemu = existsSync('/usr/bin/qemu-nbd') ? undefined : 'no qemu-nbd here (Debian: qemu-utils)';

let dir: string;
let root: string;
let host: HostRig;
beforeAll(async () => {
  process.env.XDG_CACHE_HOME = PROGRAM_CACHE;
  dir = mkdtempSync(join(tmpdir(), 'xenolith-images-'));
  if (whyNoExt4 === undefined) installExt4(await ext4Wasm());
  writeFileSync(join(dir, 'much'), randomBytes(6 * MIB));
  root = join(dir, 'root.tar');
  execFileSync('tar', ['-cf', root, '-C', dir, 'much']);
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const sh = (disk: string, script: string) => xlRun(host.runDir, ['--disk', disk, root, 'sh', '-c', script]);
/** What it takes of the host's disk. */
const used = (path: string): number => statSync(path).blocks * 512;

function fat(path: string): string {
  writeFileSync(path, '');
  truncateSync(path, 32 * MIB);
  execFileSync('/usr/sbin/mkfs.vfat', [path], { stdio: 'ignore' });
  return path;
}
function ext4(path: string): string {
  writeFileSync(path, madeExt4(LAYOUTS.ext4, 32 * MIB));
  execFileSync('fallocate', ['--dig-holes', path]);
  return path;
}

/** The first sectors, as partx of util-linux reads them; in sectors. */
type Table = (partitions: readonly { start: number; sectors: number }[], total: number) => Buffer;
const mbr: Table = partitions => {
  const table = Buffer.alloc(512);
  for (const [i, { start, sectors }] of partitions.entries()) {
    const at = 446 + i * 16;
    table.writeUInt8(0x83, at + 4);
    table.writeUInt32LE(start, at + 8);
    table.writeUInt32LE(sectors, at + 12);
  }
  table.writeUInt16LE(0xaa55, 510);
  return table;
};
const gpt: Table = (partitions, total) => {
  const entries = Buffer.alloc(128 * 128);
  for (const [i, { start, sectors }] of partitions.entries()) {
    entries.write('af3dc60f838472478e793d69d8477de4', i * 128, 'hex'); // Linux's
    entries.writeUInt8(i + 1, i * 128 + 16);
    entries.writeBigUInt64LE(BigInt(start), i * 128 + 32);
    entries.writeBigUInt64LE(BigInt(start + sectors - 1), i * 128 + 40);
  }
  const header = Buffer.alloc(512);
  header.write('EFI PART');
  header.writeUInt32LE(0x10000, 8);
  header.writeUInt32LE(92, 12);
  for (const [at, value] of [
    [24, 1],
    [32, total - 1],
    [40, 34],
    [48, total - 34],
    [72, 2],
  ] as const)
    header.writeBigUInt64LE(BigInt(value), at);
  header.writeUInt32LE(128, 80);
  header.writeUInt32LE(128, 84);
  header.writeUInt32LE(crc32(entries), 88);
  header.writeUInt32LE(crc32(header.subarray(0, 92)), 16);
  const protective = mbr([{ start: 1, sectors: total - 1 }], total);
  protective.writeUInt8(0xee, 446 + 4);
  return Buffer.concat([protective, header, entries]);
};
/** The last partition is `volume`'s. */
function partitioned(path: string, table: Table, volume: string): string {
  const partitions = [
    { start: 2048, sectors: 4096 },
    { start: 8192, sectors: 65536 },
  ];
  writeFileSync(path, table(partitions, (64 * MIB) / 512));
  truncateSync(path, 64 * MIB);
  execFileSync('dd', [`if=${volume}`, `of=${path}`, 'bs=512', 'seek=8192', 'conv=notrunc,sparse', 'status=none']);
  const seen = execFileSync('partx', ['-g', '-r', '-o', 'START,SECTORS', path]);
  expect(seen.toString()).toBe('2048 4096\n8192 65536\n');
  return path;
}

describe.each([
  ['FAT', fat, undefined],
  ['ext4', ext4, whyNoExt4],
] as const)('a disk image whose second partition has %s', (name, make, missing) => {
  test.skipIf(missing).each([
    ['an MBR', mbr],
    ['a GPT', gpt],
  ])(`by %s is mounted from there${missing ? ` (${missing})` : ''}`, async (_, table) => {
    const image = partitioned(join(dir, 'parts.img'), table, make(join(dir, 'part.img')));
    const done = await sh(image, 'echo kept > /mnt/file; mount');
    expect(done).toMatchObject({
      stdout: expect.stringContaining(`${name.toLowerCase()} on xvda2`),
      stderr: '',
      code: 0,
    });
    expect(await sh(image, 'cat /mnt/file')).toEqual({ stdout: 'kept\n', stderr: '', code: 0 });
  });
});

describe('an image', () => {
  test.skipIf(noQemu)(`in qcow2 that nobody said is qcow2 is named${noQemu ? ` (${noQemu})` : ''}`, async () => {
    const image = join(dir, 'unsaid.qcow2');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '64M']);
    const says =
      'init: xvda: no FAT or ext4 volume: it holds a qcow2 image, whose disk has to say so (xl run --disk FILE,qcow2)\n';
    expect(await sh(image, 'true')).toEqual({ stdout: '', stderr: says, code: 125 });
  });
  test('with LVM in a partition is named too', async () => {
    const volume = join(dir, 'pv');
    writeFileSync(volume, `${'\0'.repeat(512)}LABELONE`);
    const image = partitioned(join(dir, 'lvm.img'), mbr, volume);
    const says = 'init: xvda: no FAT or ext4 volume in its partitions; xvda2: a physical volume of LVM\n';
    expect(await sh(image, 'true')).toEqual({ stdout: '', stderr: says, code: 125 });
  });
  test('that is ,ro is read, and not written to', async () => {
    const image = fat(join(dir, 'ro.img'));
    expect(await sh(image, 'echo there > /mnt/file')).toMatchObject({ stderr: '', code: 0 });
    const before = readFileSync(image);
    chmodSync(image, 0o444);
    const done = await sh(`${image},raw,ro`, 'cat /mnt/file; echo more > /mnt/other');
    expect(done).toMatchObject({ stdout: 'there\n', stderr: expect.stringContaining('ead-only') });
    expect(Buffer.compare(readFileSync(image), before)).toBe(0);
  });
  test.skipIf(whyNoExt4)(
    `that would not be kept right is read only, and says why${whyNoExt4 ? ` (${whyNoExt4})` : ''}`,
    async () => {
      const image = join(dir, 'quota.img');
      writeFileSync(image, madeExt4([...LAYOUTS.ext4, '-O', 'quota'], 32 * MIB));
      const says = 'init: ext4 on xvda: read-only, since it has quota, which would not be kept right\n';
      expect(await sh(image, 'ls /mnt')).toEqual({ stdout: 'lost+found\n', stderr: says, code: 0 });
    },
  );
});

describe.each([
  ['FAT', fat, undefined],
  ['ext4', ext4, whyNoExt4],
] as const)('an image with %s', (name, make, missing) => {
  test.skipIf(missing)(`that was written and emptied is small again${missing ? ` (${missing})` : ''}`, async () => {
    const image = make(join(dir, `${name}.img`));
    const before = used(image);
    expect(await sh(image, 'cp /much /mnt/a; cp /much /mnt/b')).toEqual({ stdout: '', stderr: '', code: 0 });
    expect(used(image)).toBeGreaterThan(before + 11 * MIB);
    expect(await sh(image, 'rm /mnt/a /mnt/b')).toEqual({ stdout: '', stderr: '', code: 0 });
    expect(used(image)).toBeLessThan(before + MIB);
  });
  const why = missing ?? noQemu;
  test.skipIf(why)(`in qcow2 gives its clusters back${why ? ` (${why})` : ''}`, async () => {
    const image = join(dir, `${name}.qcow2`);
    execFileSync('qemu-img', ['convert', '-O', 'qcow2', make(join(dir, `${name}.raw`)), image]);
    expect(await sh(`${image},qcow2`, 'cp /much /mnt/a; cp /much /mnt/b')).toMatchObject({ stderr: '', code: 0 });
    const full = used(image);
    expect(full).toBeGreaterThan(11 * MIB);
    expect(await sh(`${image},qcow2`, 'rm /mnt/a /mnt/b')).toMatchObject({ stderr: '', code: 0 });
    expect(used(image)).toBeLessThan(full - 11 * MIB);
    execFileSync('qemu-img', ['check', image], { stdio: 'ignore' });
  });
});

test('an NBD server that is not there is named', async () => {
  const config = join(dir, 'nbd.cfg');
  const disk = 'vdev=xvda,access=w,target=nbd:unix:/nonexistent/x.sock:exportname=web';
  const lines = ['name="nbd"', 'memory=32', `kernel="${dist('domu-kernel.js')}"`, `ramdisk="${root}"`];
  writeFileSync(config, [...lines, `disk=["${disk}"]`].join('\n'));
  const { stderr, exitCode } = await host.xl('create', '-q', config);
  expect(stderr).toContain('the NBD server at /nonexistent/x.sock, export "web": ENOENT');
  expect(exitCode).not.toBe(0);
});

test('a working directory that is not there is named', async () => {
  expect(await xlRun(host.runDir, ['-w', '/nonexistent', root, 'true'])).toEqual({
    ...{ stdout: '', stderr: expect.stringMatching(/^init: .*\/nonexistent.*\n$/), code: 125 },
  });
});
