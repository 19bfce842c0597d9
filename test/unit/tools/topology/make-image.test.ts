import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FatVolume } from '../../../../domu-kernel/fs/fat-volume.ts';
import { makeImage } from '../../../../tools/topology/make-image.ts';
import type { ImageStep } from '../../../../tools/topology/plan.ts';
import { filesOn, mountOptions } from '../../../support/fatfs.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const image = (more: Partial<ImageStep>): ImageStep => ({
  ...{ kind: 'image', path: join(dir, 'disk.img'), shown: 'disk.img', size: 4 << 20, format: 'raw', files: {} },
  ...{ label: undefined, recreate: false },
  ...more,
});
const has = (program: string): boolean => spawnSync(program, ['--version']).error === undefined;

describe('a raw image', () => {
  it('is sparse and of the size asked for', async () => {
    expect(await makeImage(image({ size: 1 << 30 }))).toBe('made');
    const info = statSync(join(dir, 'disk.img'));
    expect(info.size).toBe(1 << 30);
    expect(info.blocks).toBeLessThan(64);
  });

  it('that is there is kept as it is, and made anew with recreate', async () => {
    writeFileSync(join(dir, 'disk.img'), 'precious');
    expect(await makeImage(image({}))).toBe('kept');
    expect(readFileSync(join(dir, 'disk.img'), 'utf8')).toBe('precious');
    expect(await makeImage(image({ recreate: true }))).toBe('made');
    expect(statSync(join(dir, 'disk.img')).size).toBe(4 << 20);
  });

  it('whose folder is missing is an error that names it', async () => {
    await expect(makeImage(image({ path: join(dir, 'no/disk.img') }))).rejects.toThrow(/^image disk\.img: ENOENT/);
  });
});

describe('a FAT image', () => {
  beforeEach(() => {
    mkdirSync(join(dir, 'www/css'), { recursive: true });
    writeFileSync(join(dir, 'www/index.html'), '<h1>hello</h1>');
    writeFileSync(join(dir, 'www/css/A long name, really.css'), 'x'.repeat(200_000));
    writeFileSync(join(dir, 'note.txt'), 'n');
    utimesSync(join(dir, 'note.txt'), new Date(2026, 10, 22, 9, 30, 12), new Date(2026, 10, 22, 9, 30, 12));
  });
  const fat = (more: Partial<ImageStep> = {}) =>
    image({
      ...{ format: 'fat', label: 'OFFICE', size: 4 << 20 },
      files: { '/': [join(dir, 'www')], '/docs/': [join(dir, 'note.txt')], '/readme.md': [join(dir, 'note.txt')] },
      ...more,
    });

  it('has the label and the files, for the kernel of a guest too', async () => {
    expect(await makeImage(fat())).toBe('made');
    const disk = new MemoryDisk(4 << 20);
    disk.bytes.set(readFileSync(join(dir, 'disk.img')));
    const volume = FatVolume.mount(disk, mountOptions);
    expect(Buffer.from(filesOn(volume).readFile('/index.html')).toString()).toBe('<h1>hello</h1>');
    expect(filesOn(volume).readFile('/css/A long name, really.css')).toHaveLength(200_000);
    expect(Buffer.from(filesOn(volume).readFile('/docs/note.txt')).toString()).toBe('n');
    expect(Buffer.from(filesOn(volume).readFile('/readme.md')).toString()).toBe('n');
  });

  it.skipIf(!has('fsck.vfat') || !has('mdir'))('is clean for fsck.vfat and readable by mtools', async () => {
    await makeImage(fat());
    const fsck = spawnSync('fsck.vfat', ['-n', '-v', join(dir, 'disk.img')], { encoding: 'utf8' });
    expect([fsck.status, fsck.stdout]).toEqual([0, expect.stringContaining('files, ')]);
    expect(fsck.stdout).not.toMatch(/bad|differ|wrong/i);
    const mdir = spawnSync('mdir', ['-i', join(dir, 'disk.img'), '::docs'], { encoding: 'utf8' });
    expect(mdir.stdout).toMatch(/Volume in drive : is OFFICE/);
    expect(mdir.stdout).toMatch(/note +txt +1 2026-11-22 +9:30/i);
  });

  it('that cannot hold its files is refused and leaves nothing', async () => {
    const big = fat({ size: 128 << 10 });
    await expect(makeImage(big)).rejects.toThrow(/^image disk\.img is full: .*A long name, really\.css does not fit$/);
    expect(readdirSync(dir).sort()).toEqual(['note.txt', 'www']);
  });

  it.each([
    [{ size: 1024 }, /^image disk\.img: 1 KiB cannot hold a FAT$/],
    [{ files: { '/': ['/nosuch'] } }, /^image disk\.img: \/nosuch does not exist$/],
    [{ files: { '/a:b': ['/dev/null'] } }, /^image disk\.img: \/a:b: /],
    [{ size: 2 ** 32 }, /^image disk\.img: a FAT image may have 2 GiB at most$/],
  ])('%j is refused and leaves nothing', async (more, error) => {
    await expect(makeImage(fat(more))).rejects.toThrow(error);
    expect(readdirSync(dir).sort()).toEqual(['note.txt', 'www']);
  });
});
