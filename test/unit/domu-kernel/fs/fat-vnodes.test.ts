// FAT as processes have it, beside the guest API on the same volume, and after a guest that did not end well.
import { describe, expect, it } from 'vitest';
import { FatVolume } from '../../../../domu-kernel/fs/fat-volume.ts';
import { FileSystemBusy, type Vnode } from '../../../../domu-kernel/fs/file-system.ts';
import type { Volume } from '../../../../domu-kernel/fs/volume.ts';
import { OpenDiskFile } from '../../../../domu-kernel/wasi/open-vnode.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { emptyFat, filesOn, mounted, mountOptions } from '../../../support/fatfs.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';

const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);
const text = (b: Uint8Array): string => new TextDecoder().decode(b);
function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof XenError) return error.code;
    throw error;
  }
  return 'done';
}
function child(directory: Vnode, name: string): Vnode {
  const vnode = directory.lookup(name);
  if (!vnode) throw new Error(`no ${name}`);
  return vnode;
}
const names = (volume: FatVolume, path = '/'): string[] =>
  filesOn(volume)
    .list(path)
    .map(e => e.name);
/** The disk as it was flushed last, as the next guest finds it. */
const afterPowerCut = (disk: MemoryDisk): FatVolume => mounted(new MemoryDisk(disk.medium.slice()));

describe('a FAT volume', () => {
  it('is one for processes and for the guest API', () => {
    const volume = mounted(emptyFat(16));
    filesOn(volume).mkdir('dir');
    const file = child(volume.root, 'dir').create('A Long Name.txt', 'file');
    file.write(0, bytes('from a process'));
    expect(text(filesOn(volume).readFile('dir/a long name.TXT'))).toBe('from a process');
    expect(filesOn(volume).stat('dir/ALONGN~1.TXT')).toMatchObject({ name: 'A Long Name.txt', size: 14 });
    filesOn(volume).appendFile('dir/A Long Name.txt', bytes(', and more'));
    expect(file.attributes().size).toBe(24);
    expect(filesOn(volume).list('dir')[0]?.size).toBe(24);
    const open = filesOn(volume).open('dir/a long name.txt', 'r+');
    expect(file.write(0, bytes('FROM'))).toBe(4);
    const into = new Uint8Array(4);
    open.read(into);
    expect(text(into)).toBe('FROM');
    expect(codeOf(() => filesOn(volume).remove('dir/a long name.txt'))).toBe('EBUSY');
    open.close();
    filesOn(volume).remove('dir/a long name.txt');
    expect(names(volume, 'dir')).toEqual([]);
    expect(file.read(0, into)).toBe(4);
    file.release();
  });

  it('finds a file by its short name, also one that was just made', () => {
    const volume = mounted(emptyFat(12));
    const made = volume.root.create('a rather long name.txt', 'file');
    expect(volume.root.lookup('ARATHE~1.TXT')).toBe(made);
    expect(codeOf(() => volume.root.create('ARATHE~1.TXT', 'file'))).toBe('EEXIST');
    volume.root.unlink('arathe~1.txt');
    expect(volume.root.lookup('a rather long name.txt')).toBeUndefined();
    expect(volume.root.create('dots. .', 'file').attributes().ino).toBe(child(volume.root, 'DOTS').attributes().ino);
  });

  it.each(
    [
      'PLAIN.TXT',
      'Mixed.Txt',
      'long name of a file',
      'more.than.one',
      '.dot',
      'a+b',
      'sp ace',
      'a~b',
      'ext.long',
    ].concat(['ÿ.x', 'île', 'ação.c', '日本語']),
  )('finds %s, which was just made, by the short name that FatFs has made of it', name => {
    const disk = emptyFat(12);
    const volume = mounted(disk);
    expect(volume.root.lookup(name)).toBeUndefined();
    const node = volume.root.create(name, 'file');
    volume.sync();
    const { rootDirectory } = volume.geometry;
    if ('cluster' in rootDirectory) throw new Error('FAT12 has no such root');
    let at = rootDirectory.start * 512;
    while (((disk.bytes[at + 11] ?? 0) & 0x0f) === 0x0f) at += 32;
    const short = (from: number, to: number): string =>
      Buffer.from(disk.bytes.subarray(at + from, at + to))
        .toString('latin1')
        .trimEnd();
    const extension = short(8, 11);
    const spelled = short(0, 8) + (extension && `.${extension}`);
    // Letters of the volume's own are none of a string's.
    if (/^[ -~]*$/.test(spelled)) expect(volume.root.lookup(spelled)).toBe(node);
  });

  it('keeps an unlinked file out of sight, and the next mount removes what was left of it', () => {
    const disk = emptyFat(12);
    const volume = mounted(disk);
    const before = volume.space().free;
    const file = volume.root.create('f', 'file');
    file.write(0, new Uint8Array(50_000).fill(3));
    volume.root.unlink('f');
    expect(names(volume)).toEqual([]);
    expect(volume.root.entries()).toEqual([]);
    expect(volume.root.lookup('.xenolith-removed-1')).toBeUndefined();
    expect(codeOf(() => volume.root.create('.xenolith-removed-1', 'file'))).toBe('EINVAL');
    file.sync(false);
    const next = afterPowerCut(disk);
    expect(names(next)).toEqual([]);
    expect(next.space().free).toBe(before);
    file.release();
    volume.sync();
    expect(volume.space().free).toBe(before);
  });

  it('leaves a file its clusters that has its name and a hidden one, as a guest may end between the two', () => {
    const disk = emptyFat(12);
    const volume = mounted(disk);
    filesOn(volume).writeFile('F', new Uint8Array(20_000).fill(9));
    filesOn(volume).writeFile('other', new Uint8Array(10_000));
    volume.enter('test', () => volume.move('test', '/other', '/.xenolith-removed-1'));
    volume.sync();
    const entryOf = (name: string): number => Buffer.from(disk.bytes).indexOf(name, 0, 'latin1');
    const from = entryOf('F          ') + 20;
    disk.bytes.copyWithin(entryOf('~1      XEN') + 20, from, from + 12);
    const next = mounted(disk);
    expect(names(next)).toEqual(['F']);
    next.sync();
    filesOn(next).writeFile('new', new Uint8Array(next.space().free));
    next.sync();
    expect(filesOn(mounted(disk)).readFile('F')).toEqual(new Uint8Array(20_000).fill(9));
  });

  it('tries a write that failed after its call again, and has it on the medium with the sync that says so', () => {
    const disk = emptyFat(12);
    const announced: Volume[] = [];
    const volume = FatVolume.mount(disk, { ...mountOptions, onDirty: v => announced.push(v) });
    const idle = new OpenDiskFile(volume.root.create('idle', 'file'));
    const file = new OpenDiskFile(volume.root.create('f', 'file'));
    volume.writeBack();
    announced.length = 0;
    file.write(bytes('lost?'));
    expect(announced).toEqual([volume]);
    disk.fault = op => {
      if (op === 'write') throw new XenError('EIO', 'xvda: write failed');
    };
    volume.writeBack();
    // It is tried again.
    expect(announced).toEqual([volume, volume]);
    disk.fault = undefined;
    expect(codeOf(() => file.sync(false))).toBe('EIO');
    expect(codeOf(() => file.sync(false))).toBe('done');
    expect(codeOf(() => idle.sync(false))).toBe('done');
    expect(text(filesOn(afterPowerCut(disk)).readFile('f'))).toBe('lost?');
    disk.fault = op => {
      if (op === 'flush') throw new XenError('EIO', 'xvda: flush failed');
    };
    file.write(bytes('again'));
    expect(codeOf(() => file.sync(true))).toBe('EIO');
    disk.fault = undefined;
    expect(codeOf(() => file.sync(true))).toBe('done');
    file.release();
    idle.release();
  });

  it('gives clusters to another file only when the medium has no name for them any more', () => {
    const disk = emptyFat(12);
    const volume = mounted(disk);
    filesOn(volume).writeFile('old', new Uint8Array(900_000).fill(1), true);
    filesOn(volume).remove('old');
    // There is room for this only where the old one was.
    filesOn(volume).writeFile('new', new Uint8Array(900_000).fill(2));
    const next = afterPowerCut(disk);
    expect(filesOn(next).exists('old')).toBe(false);
    expect(
      filesOn(next).exists('new') &&
        filesOn(next)
          .readFile('new')
          .some(b => b === 1),
    ).toBe(false);
  });

  it('replaces by rename so that the name is there at every moment', () => {
    const disk = emptyFat(16);
    const volume = mounted(disk);
    filesOn(volume).writeFile('config', bytes('old'), true);
    filesOn(volume).writeFile('config.new', bytes('new!'), true);
    const seen: string[] = [];
    disk.fault = op => {
      if (op === 'write') seen.push(text(filesOn(mounted(new MemoryDisk(disk.bytes.slice()))).readFile('config')));
    };
    volume.root.rename('config.new', volume.root, 'config');
    volume.sync();
    disk.fault = undefined;
    seen.push(text(filesOn(mounted(new MemoryDisk(disk.bytes.slice()))).readFile('config')));
    expect([...new Set(seen)]).toEqual(['old', 'new!']);
    expect(names(volume)).toEqual(['config']);
  });

  it('belongs to one call at a time: another says who wakes it', () => {
    const disk = emptyFat(12);
    const volume = mounted(disk);
    const file = volume.root.create('f', 'file');
    file.write(0, new Uint8Array(100_000));
    const idle: string[] = [];
    let met: unknown;
    disk.fault = () => {
      if (met) return;
      try {
        volume.root.create('g', 'file');
      } catch (error) {
        met = error;
        // What is given back meanwhile is so when the call is over.
        file.release();
        if (error instanceof FileSystemBusy) error.idle.add(() => idle.push('woken'));
      }
    };
    file.hold();
    volume.sync();
    expect(met).toBeInstanceOf(FileSystemBusy);
    expect(idle).toEqual(['woken']);
    file.release();
    expect(volume.inUse).toBe(false);
    expect(filesOn(volume).stat('f').size).toBe(100_000);
  });

  it('is not written to where it is read-only', () => {
    const disk = emptyFat(12);
    filesOn(mounted(disk)).writeFile('f', bytes('x'), true);
    disk.readOnly = true;
    disk.writes = 0;
    const volume = mounted(disk);
    expect(volume.readOnly).toBe(true);
    const file = child(volume.root, 'f');
    expect(codeOf(() => file.write(0, bytes('y')))).toBe('EROFS');
    expect(codeOf(() => file.truncate(0))).toBe('EROFS');
    expect(codeOf(() => file.setTimes({ mtimeNs: 1n }))).toBe('EROFS');
    expect(codeOf(() => volume.root.create('g', 'file'))).toBe('EROFS');
    expect(codeOf(() => volume.root.unlink('f'))).toBe('EROFS');
    expect(codeOf(() => volume.root.rename('f', volume.root, 'g'))).toBe('EROFS');
    expect(disk.writes).toBe(0);
  });
});
