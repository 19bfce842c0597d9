import { describe, expect, it } from 'vitest';
import type { FatVolume } from '../../../../domu-kernel/fs/fat-volume.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { formattedDisk, mounted, TEST_TIME } from '../../../support/fatfs.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);
const pattern = (n: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length: n }, (_, i) => (i * 31 + seed * 17) & 255);
function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof XenError) return error.code;
    throw error;
  }
  return 'nothing thrown';
}
/** As toEqual, in a time that does not depend on how vitest compares arrays. */
const sameBytes = (a: Uint8Array, b: Uint8Array | undefined): boolean => b !== undefined && Buffer.compare(a, b) === 0;
const names = (volume: FatVolume, path = '/'): string[] =>
  volume
    .list(path)
    .map(e => e.name)
    .sort();

describe('FAT volume', () => {
  it('gives back what was written, after another mount too', () => {
    const disk = formattedDisk();
    const volume = mounted(disk);
    const big = pattern(300_001);
    volume.writeFile('/hello.txt', bytes('hello'));
    volume.writeFile('/a longer name, Ünïcödé.bin', big);
    volume.sync();
    for (const v of [volume, mounted(disk)]) {
      expect(text(v.readFile('hello.txt'))).toBe('hello');
      expect(sameBytes(v.readFile('/A LONGER NAME, ünïcödé.bin'), big)).toBe(true);
      expect(names(v)).toEqual(['a longer name, Ünïcödé.bin', 'hello.txt']);
    }
  });

  it('replaces, appends, truncates, renames, removes', () => {
    const volume = mounted(formattedDisk());
    volume.writeFile('a', pattern(100_000));
    volume.writeFile('a', bytes('short'));
    expect(text(volume.readFile('a'))).toBe('short');
    volume.appendFile('a', bytes(' and longer'));
    volume.appendFile('new', bytes('from nothing'));
    expect(text(volume.readFile('a'))).toBe('short and longer');
    expect(text(volume.readFile('new'))).toBe('from nothing');
    volume.truncate('a', 5);
    expect(text(volume.readFile('a'))).toBe('short');
    volume.rename('a', 'b');
    expect(volume.exists('a')).toBe(false);
    expect(text(volume.readFile('b'))).toBe('short');
    volume.remove('b');
    expect(names(volume)).toEqual(['new']);
  });

  it('keeps directories, and resolves . and .. without leaving the root', () => {
    const volume = mounted(formattedDisk());
    volume.mkdir('/notes/2026/11', true);
    volume.mkdir('/notes/2026/11', true);
    volume.writeFile('notes/2026/11/today', bytes('x'));
    expect(text(volume.readFile('/../../notes/./2026/11/../11/today'))).toBe('x');
    expect(volume.stat('notes').isDirectory).toBe(true);
    expect(names(volume, 'notes/2026')).toEqual(['11']);
    expect(codeOf(() => volume.remove('notes'))).toBe('ENOTEMPTY');
    expect(codeOf(() => volume.rename('notes', 'notes/2026/inside'))).toBe('EINVAL');
    expect(codeOf(() => volume.mkdir('notes'))).toBe('EEXIST');
    volume.remove('notes/2026/11/today');
    volume.remove('notes/2026/11');
    expect(names(volume, 'notes/2026')).toEqual([]);
  });

  it('says what a file is, with the time the guest has', () => {
    const volume = mounted(formattedDisk());
    volume.writeFile('f', bytes('123'));
    const info = volume.stat('f');
    expect(info).toMatchObject({ name: 'f', size: 3, isDirectory: false, isReadOnly: false });
    expect(info.modified.getTime()).toBe(TEST_TIME);
    expect(volume.stat('/').isDirectory).toBe(true);
    expect(volume.label()).toBe('TEST');
  });

  it('fails with the errno name a person expects', () => {
    const volume = mounted(formattedDisk());
    volume.mkdir('dir');
    volume.writeFile('file', bytes('x'));
    expect(codeOf(() => volume.readFile('none'))).toBe('ENOENT');
    expect(codeOf(() => volume.readFile('none/none'))).toBe('ENOENT');
    expect(codeOf(() => volume.writeFile('none/x', bytes('x')))).toBe('ENOENT');
    expect(codeOf(() => volume.stat('none'))).toBe('ENOENT');
    expect(codeOf(() => volume.remove('none'))).toBe('ENOENT');
    expect(codeOf(() => volume.rename('none', 'x'))).toBe('ENOENT');
    expect(codeOf(() => volume.rename('file', 'dir'))).toBe('EEXIST');
    expect(codeOf(() => volume.readFile('dir'))).toBe('EISDIR');
    expect(codeOf(() => volume.writeFile('dir', bytes('x')))).toBe('EISDIR');
    expect(codeOf(() => volume.writeFile('/', bytes('x')))).toBe('EISDIR');
    expect(codeOf(() => volume.list('file'))).toBe('ENOTDIR');
    expect(codeOf(() => volume.list('none'))).toBe('ENOENT');
    for (const bad of ['a:b', 'a*b', 'a\\b', 'a\0b', 'a?b', 'a"b']) {
      expect(codeOf(() => volume.writeFile(bad, bytes('x')))).toBe('EINVAL');
    }
    expect(codeOf(() => volume.writeFile('x'.repeat(300), bytes('x')))).toBe('ENAMETOOLONG');
    expect(codeOf(() => volume.writeFile('x/'.repeat(3000), bytes('x')))).toBe('ENAMETOOLONG');
  });

  it('lets a file be open for writing once, under whatever name', () => {
    const volume = mounted(formattedDisk());
    volume.writeFile('a rather long name.txt', bytes('x'));
    const file = volume.open('a rather long name.txt', 'r+');
    expect(codeOf(() => volume.open('A RATHER LONG NAME.TXT', 'r'))).toBe('EBUSY');
    expect(codeOf(() => volume.open('ARATHE~1.TXT', 'r+'))).toBe('EBUSY');
    expect(codeOf(() => volume.remove('ARATHE~1.TXT'))).toBe('EBUSY');
    expect(codeOf(() => volume.rename('a rather long name.txt', 'b'))).toBe('EBUSY');
    file.close();
    file.close();
    const one = volume.open('a rather long name.txt', 'r');
    const two = volume.open('a rather long name.txt', 'r');
    expect(codeOf(() => volume.open('a rather long name.txt', 'w'))).toBe('EBUSY');
    one.close();
    two.close();
    volume.remove('a rather long name.txt');
    expect(codeOf(() => one.read(new Uint8Array(1)))).toBe('EBADF');
  });

  it('reads and writes at positions, and fills a gap with zeros', () => {
    const disk = formattedDisk();
    disk.bytes.fill(0xee, 100 * 512); // what a gap must not show: FatFs' tables are before this
    const volume = mounted(disk);
    const file = volume.open('f', 'w');
    file.write(bytes('start'));
    file.write(bytes('end'), 10_000);
    expect(file.size).toBe(10_003);
    const all = new Uint8Array(20_000);
    expect(file.read(all, 0)).toBe(10_003);
    expect(all.subarray(5, 10_000).every(b => b === 0)).toBe(true);
    file.truncate(20_000);
    expect(file.read(all, 10_003)).toBe(9_997);
    expect(all.subarray(0, 9_997).every(b => b === 0)).toBe(true);
    expect(file.read(all, 50_000)).toBe(0);
    expect(file.size).toBe(20_000);
    expect(codeOf(() => file.write(bytes('x'), -1))).toBe('EINVAL');
    expect(codeOf(() => file.truncate(2 ** 32))).toBe('EFBIG');
    file.close();
  });

  it('has everything on the medium when sync returns, and not a moment earlier claims so', () => {
    const disk = formattedDisk();
    const volume = mounted(disk);
    volume.appendFile('notes.txt', bytes('first\n'));
    expect(disk.flushes).toBe(0);
    volume.appendFile('notes.txt', bytes('second\n'), true);
    // One for the volume's mark, one for the data and the FAT, one for the directory that leads there.
    expect(disk.flushes).toBe(3);
    volume.appendFile('notes.txt', bytes('third\n'), true);
    expect(disk.flushes).toBe(4);
    const afterPowerCut = mounted(new MemoryDisk(disk.medium.slice()));
    expect(text(afterPowerCut.readFile('notes.txt'))).toBe('first\nsecond\nthird\n');
  });

  it('reports a flush that failed, and a write that failed, with the disk error', () => {
    const disk = formattedDisk();
    const volume = mounted(disk);
    disk.fault = op => {
      if (op === 'flush') throw new XenError('EIO', 'xvda: flush failed');
    };
    expect(codeOf(() => volume.appendFile('a', bytes('x'), true))).toBe('EIO');
    disk.fault = op => {
      if (op === 'write') throw new XenError('EIO', 'xvda: write failed');
    };
    expect(() => volume.writeFile('b', pattern(10_000), true)).toThrow(/write failed/);
    disk.fault = undefined;
    volume.writeFile('c', bytes('works again'));
    expect(text(volume.readFile('c'))).toBe('works again');
  });

  it('says ENOSPC when full, and an append that does not fit leaves nothing of itself', () => {
    const volume = mounted(formattedDisk(256 << 10));
    volume.writeFile('notes', bytes('kept'));
    expect(codeOf(() => volume.appendFile('notes', pattern(1 << 20)))).toBe('ENOSPC');
    expect(text(volume.readFile('notes'))).toBe('kept');
    expect(codeOf(() => volume.writeFile('big', pattern(1 << 20)))).toBe('ENOSPC');
    volume.remove('big');
    const { free, total } = volume.space();
    expect(free).toBeGreaterThan(total / 2);
    volume.writeFile('big', pattern(free - 4096));
    expect(volume.space().free).toBeLessThanOrEqual(8192);
  });

  it('refuses writes to a read-only disk with EROFS', () => {
    const disk = formattedDisk();
    mounted(disk).writeFile('f', bytes('x'), true);
    disk.readOnly = true;
    const volume = mounted(disk);
    expect(text(volume.readFile('f'))).toBe('x');
    expect(codeOf(() => volume.writeFile('f', bytes('y')))).toBe('EROFS');
    expect(codeOf(() => volume.mkdir('d'))).toBe('EROFS');
    expect(codeOf(() => volume.remove('f'))).toBe('EROFS');
  });

  it('stays consistent through a thousand random operations, against a model', () => {
    const disk = formattedDisk(2 << 20);
    let volume = mounted(disk);
    const model = new Map<string, Uint8Array>();
    let seed = 12345;
    const random = (n: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * n);
    };
    for (let i = 0; i < 1000; i++) {
      const name = `file number ${random(12)}.dat`;
      const old = model.get(name);
      const data = pattern(random(9000), i);
      switch (random(6)) {
        case 0:
          volume.writeFile(name, data);
          model.set(name, data);
          break;
        case 1:
        case 2: {
          volume.appendFile(name, data);
          const longer = new Uint8Array((old?.length ?? 0) + data.length);
          longer.set(old ?? []);
          longer.set(data, old?.length ?? 0);
          model.set(name, longer);
          break;
        }
        case 3:
          if (old) volume.remove(name);
          model.delete(name);
          break;
        case 4:
          if (old) {
            const size = random(old.length + 1);
            volume.truncate(name, size);
            model.set(name, old.slice(0, size));
          }
          break;
        default:
          if (random(10) === 0) {
            volume.sync();
            volume = mounted(disk);
          }
      }
      if (old && model.has(name)) expect(sameBytes(volume.readFile(name), model.get(name))).toBe(true);
    }
    expect(names(volume)).toEqual([...model.keys()].sort());
    volume.sync();
    for (const [name, data] of model) expect(sameBytes(mounted(disk).readFile(name), data)).toBe(true);
  });
});
