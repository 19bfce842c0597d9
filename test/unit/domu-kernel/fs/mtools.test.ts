// The same image seen by FAT tools that are not ours.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FatVolume } from '../../../../domu-kernel/fs/fat-volume.ts';
import { filesOn, mounted, mountOptions } from '../../../support/fatfs.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';

const FSCK = '/usr/sbin/fsck.vfat';
const MKFS = '/usr/sbin/mkfs.vfat';
const missing = [FSCK, MKFS, '/usr/bin/mcopy', '/usr/bin/mtype', '/usr/bin/mlabel'].filter(tool => !existsSync(tool));

describe.skipIf(missing.length > 0)(
  `independent FAT tools${missing.length > 0 ? ` (not here: ${missing})` : ''}`,
  () => {
    let dir = '';
    beforeAll(() => {
      dir = mkdtempSync(join(tmpdir(), 'xenolith-fat-'));
    });
    afterAll(() => rmSync(dir, { recursive: true, force: true }));
    const run = (tool: string, ...args: string[]): string =>
      execFileSync(tool, args, { encoding: 'utf8', stdio: 'pipe' });

    it.each([2 << 20, 20 << 20])('find nothing to repair in a volume of %d bytes that we made', size => {
      const image = join(dir, 'made.img');
      const disk = new MemoryDisk(size);
      FatVolume.format(disk, mountOptions, 'OUR LABEL');
      filesOn(mounted(disk)).writeFile('file', new Uint8Array(5000));
      writeFileSync(image, disk.bytes);
      run(FSCK, '-n', image);
      expect(run('mlabel', '-s', '-i', image, '::')).toMatch(/OUR LABEL/);
      expect(mounted(disk).label()).toBe('OUR LABEL');
    });

    it.each([
      ['12', 2 << 20],
      ['16', 20 << 20],
      ['32', 40 << 20],
    ])('read what we wrote to FAT%s and find nothing to repair', (bits, size) => {
      const image = join(dir, `fat${bits}.img`);
      writeFileSync(image, new Uint8Array(size));
      run(MKFS, '-F', bits, image);
      writeFileSync(join(dir, 'from host.txt'), 'from the host\n');
      run('mcopy', '-i', image, join(dir, 'from host.txt'), '::/');

      const disk = new MemoryDisk(new Uint8Array(readFileSync(image)));
      const volume = mounted(disk);
      expect(volume.geometry.bits).toBe(Number(bits));
      expect(Buffer.from(filesOn(volume).readFile('from host.txt')).toString()).toBe('from the host\n');
      filesOn(volume).mkdir('notes/2026', true);
      for (let i = 0; i < 20; i++) filesOn(volume).appendFile('notes/2026/diary.txt', Buffer.from(`line ${i}\n`), true);
      filesOn(volume).writeFile('big.bin', new Uint8Array(400_000).fill(7));
      filesOn(volume).remove('from host.txt');
      filesOn(volume).rename('big.bin', 'notes/Größer als zuvor.bin');
      filesOn(volume).truncate('notes/Größer als zuvor.bin', 1000);
      volume.close();

      writeFileSync(image, disk.medium);
      run(FSCK, '-n', image);
      expect(run('mtype', '-i', image, '::/notes/2026/diary.txt')).toBe(
        Array.from({ length: 20 }, (_, i) => `line ${i}\n`).join(''),
      );
    });
  },
);
