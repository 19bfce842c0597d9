// What guest programs do with files, on each kind of volume.
import { describe, expect, it, onTestFinished } from 'vitest';
import type { FileSystem, Vnode } from '../../../../domu-kernel/fs/file-system.ts';
import { MountTable } from '../../../../domu-kernel/fs/mount-table.ts';
import { VolumeFiles } from '../../../../domu-kernel/guest-api/volume-files.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { debugfs, e2fsck, LAYOUTS, madeExt4, mountedExt4, whyNoExt4 } from '../../../support/ext4.ts';
import { formattedDisk, mounted as mountedFat, TEST_TIME } from '../../../support/fatfs.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';

interface Kind {
  readonly name: string;
  /** Empty, with the label TEST. */
  make(bytes?: number): MemoryDisk;
  mount(disk: MemoryDisk): VolumeFiles;
  readonly isFat: boolean;
}
const images = new Map<number, Uint8Array>();
function emptyExt4(bytes: number): Uint8Array {
  const image = images.get(bytes) ?? madeExt4([...LAYOUTS['ext4 of 1 KiB blocks'], '-L', 'TEST'], bytes);
  images.set(bytes, image);
  return image.slice();
}
/** Of a disk, the mount that is in force. */
const latest = new WeakMap<MemoryDisk, FileSystem>();
const kinds: Kind[] = [
  {
    name: 'FAT',
    make: formattedDisk,
    mount: disk => new VolumeFiles(mountedFat(disk)),
    isFat: true,
  },
];
if (whyNoExt4 === undefined) {
  kinds.push({
    name: 'ext4',
    make(bytes = 4 << 20) {
      const disk = new MemoryDisk(emptyExt4(bytes));
      const made = mountedExt4(disk);
      made.root.rmdir('lost+found');
      made.close();
      disk.reads = disk.writes = disk.flushes = 0;
      return disk;
    },
    mount(disk) {
      const volume = mountedExt4(disk);
      if (!latest.has(disk)) {
        onTestFinished(() => {
          if (!disk.readOnly) latest.get(disk)?.close();
          expect(e2fsck(disk.bytes)).toBe('');
        });
      }
      latest.set(disk, volume);
      return new VolumeFiles(volume);
    },
    isFat: false,
  });
}

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
const names = (volume: VolumeFiles, path = '/'): string[] =>
  volume
    .list(path)
    .map(e => e.name)
    .sort();

function child({ volume }: VolumeFiles, path: string): Vnode {
  return new MountTable(volume).find(path);
}

describe.each(kinds)('files of programs on $name', ({ make, mount: mounted, isFat }) => {
  it('gives back what was written, after another mount too', () => {
    const disk = make();
    const volume = mounted(disk);
    const big = pattern(300_001);
    volume.writeFile('/hello.txt', bytes('hello'));
    volume.writeFile('/a longer name, Ünïcödé.bin', big);
    volume.sync();
    for (const v of [volume, mounted(disk)]) {
      expect(text(v.readFile('hello.txt'))).toBe('hello');
      const spelled = isFat ? '/A LONGER NAME, ünïcödé.bin' : '/a longer name, Ünïcödé.bin';
      expect(sameBytes(v.readFile(spelled), big)).toBe(true);
      expect(names(v)).toEqual(['a longer name, Ünïcödé.bin', 'hello.txt']);
    }
  });

  it('replaces, appends, truncates, renames, removes', () => {
    const volume = mounted(make());
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
    const volume = mounted(make());
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
    const volume = mounted(make());
    volume.writeFile('f', bytes('123'));
    const info = volume.stat('f');
    expect(info).toMatchObject({ name: 'f', size: 3, isDirectory: false, isReadOnly: false });
    expect(info.modified.getTime()).toBe(TEST_TIME);
    expect(volume.stat('/').isDirectory).toBe(true);
    expect(volume.label()).toBe('TEST');
  });

  it('fails with the errno name a person expects', () => {
    const volume = mounted(make());
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
    expect(codeOf(() => volume.readFile('file/x'))).toBe('ENOTDIR');
    for (const bad of isFat ? ['a:b', 'a*b', 'a\\b', 'a\0b', 'a?b', 'a"b'] : ['a\0b']) {
      expect(codeOf(() => volume.writeFile(bad, bytes('x')))).toBe('EINVAL');
    }
    expect(codeOf(() => volume.writeFile('x'.repeat(300), bytes('x')))).toBe('ENAMETOOLONG');
    expect(codeOf(() => volume.writeFile('x/'.repeat(3000), bytes('x')))).toBe('ENAMETOOLONG');
  });

  it('lets a file be open for writing once, under whatever name', () => {
    const volume = mounted(make());
    volume.writeFile('a rather long name.txt', bytes('x'));
    const file = volume.open('a rather long name.txt', 'r+');
    const others = isFat ? ['A RATHER LONG NAME.TXT', 'ARATHE~1.TXT'] : ['./a rather long name.txt', 'link'];
    if (!isFat) volume.volume.root.symlink('link', 'a rather long name.txt').release();
    expect(codeOf(() => volume.open(others[0] ?? '', 'r'))).toBe('EBUSY');
    expect(codeOf(() => volume.open(others[1] ?? '', 'r+'))).toBe('EBUSY');
    expect(codeOf(() => volume.remove(others[0] ?? ''))).toBe('EBUSY');
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
    const disk = make();
    // What a gap must not show: FatFs' tables are before this.
    if (isFat) disk.bytes.fill(0xee, 100 * 512);
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
    expect(codeOf(() => file.truncate(isFat ? 2 ** 32 : 2 ** 50))).toBe('EFBIG');
    file.close();
  });

  it('has everything on the medium when sync returns, and not a moment earlier claims so', () => {
    const disk = make();
    const volume = mounted(disk);
    volume.appendFile('notes.txt', bytes('first\n'));
    expect(disk.flushes).toBe(0);
    volume.appendFile('notes.txt', bytes('second\n'), true);
    // FAT: one for the volume's mark, one for the data and the FAT, one for the directory that leads there.
    if (isFat) expect(disk.flushes).toBe(3);
    volume.appendFile('notes.txt', bytes('third\n'), true);
    if (isFat) expect(disk.flushes).toBe(4);
    const afterPowerCut = mounted(new MemoryDisk(disk.medium.slice()));
    expect(text(afterPowerCut.readFile('notes.txt'))).toBe('first\nsecond\nthird\n');
  });

  it('reports a flush that failed, and a write that failed, with the disk error', () => {
    const disk = make();
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
    const volume = mounted(make(1 << 20));
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
    const disk = make();
    const made = mounted(disk);
    made.writeFile('f', bytes('x'));
    made.volume.close();
    disk.readOnly = true;
    const volume = mounted(disk);
    expect(text(volume.readFile('f'))).toBe('x');
    expect(codeOf(() => volume.writeFile('f', bytes('y')))).toBe('EROFS');
    expect(codeOf(() => volume.mkdir('d'))).toBe('EROFS');
    expect(codeOf(() => volume.remove('f'))).toBe('EROFS');
  });

  it.runIf(isFat)('finds a file by other spellings, and calls it by its own or by the one of a rename', () => {
    const volume = mounted(make());
    volume.writeFile('Read Me.txt', bytes('x'));
    expect(volume.stat('READ ME.TXT').name).toBe('Read Me.txt');
    volume.rename('read me.txt', 'README.txt');
    volume.rename('readme.TXT', 'ReadMe.txt');
    expect(names(volume)).toEqual(['ReadMe.txt']);
  });

  it.skipIf(isFat)('follows symlinks, which lead nowhere out of the volume, and removes and renames themselves', () => {
    const disk = make();
    const volume = mounted(disk);
    const { root } = volume.volume;
    volume.mkdir('dir');
    volume.writeFile('dir/f', bytes('12345'));
    for (const [name, target] of [
      ['absolute', '/dir/f'],
      ['up', '../../../dir'],
      ['nowhere', 'none'],
      ['round', 'round'],
    ] as const) {
      root.symlink(name, target).release();
    }
    expect(text(volume.readFile('absolute'))).toBe('12345');
    expect(text(volume.readFile('up/f'))).toBe('12345');
    expect(volume.list('/').map(({ name, size, isDirectory }) => `${name} ${isDirectory} ${size}`)).toEqual([
      'dir true 0',
      'absolute false 5',
      'up true 0',
      'nowhere false 4',
      'round false 5',
    ]);
    expect(volume.exists('nowhere')).toBe(false);
    expect(codeOf(() => volume.readFile('round'))).toBe('ELOOP');
    expect(codeOf(() => volume.rename('absolute', 'nowhere'))).toBe('EEXIST');
    volume.rename('absolute', 'moved');
    volume.remove('up');
    volume.remove('round');
    volume.writeFile('nowhere', bytes('now there'));
    expect(text(volume.readFile('none'))).toBe('now there');
    const file = child(volume, 'dir/f');
    root.link('other name', file);
    file.release();
    expect(codeOf(() => volume.rename('other name', 'dir/f'))).toBe('EEXIST');
    expect(names(volume)).toEqual(['dir', 'moved', 'none', 'nowhere', 'other name']);
  });

  it.skipIf(isFat)('leaves alone what the volume says is not to be changed', () => {
    const disk = make();
    const before = mounted(disk);
    before.writeFile('f', bytes('x'));
    before.volume.close();
    debugfs(disk.bytes, 'set_inode_field f flags 0x80010');
    const volume = mounted(disk);
    expect(volume.stat('f').isReadOnly).toBe(true);
    for (const act of [() => volume.appendFile('f', bytes('y')), () => volume.remove('f')]) {
      expect(codeOf(act)).toBe('EACCES');
    }
    expect(text(volume.readFile('f'))).toBe('x');
  });

  it('stays consistent through a thousand random operations, against a model', () => {
    const disk = make(2 << 20);
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
