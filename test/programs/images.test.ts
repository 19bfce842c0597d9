// Disk images as users have them, for `xl run --disk`.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installExt4 } from '../../tools/ext4/build.ts';
import { LAYOUTS, madeExt4, whyNoExt4 } from '../support/ext4.ts';
import { HostRig } from '../support/host-rig.ts';
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
