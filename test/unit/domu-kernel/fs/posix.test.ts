// What programs expect of files, of every file system alike.
import { describe, expect, it } from 'vitest';
import type { FileSystem, Vnode } from '../../../../domu-kernel/fs/file-system.ts';
import { MountTable } from '../../../../domu-kernel/fs/mount-table.ts';
import * as paths from '../../../../domu-kernel/fs/path-operations.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { ext4Kinds } from '../../../support/ext4-kinds.ts';
import { kinds } from '../../../support/file-systems.ts';

const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);
function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof XenError) return error.code;
    throw error;
  }
  return 'done';
}

/** A file system under '/' by paths, as a program has it; what a call takes into use it releases. */
class Tree {
  readonly fs: FileSystem;
  readonly mounts: MountTable;
  constructor(fs: FileSystem) {
    this.fs = fs;
    this.mounts = new MountTable(fs);
  }
  with<T>(path: string, act: (vnode: Vnode) => T): T {
    const vnode = this.mounts.find(path);
    try {
      return act(vnode);
    } finally {
      vnode.release();
    }
  }
  open(path: string): Vnode {
    const { directory, name, vnode } = this.mounts.locate(path);
    try {
      return vnode ?? directory.create(name, 'file');
    } finally {
      directory.release();
    }
  }
  put(path: string, text: string): void {
    const file = this.open(path);
    file.truncate(0);
    expect(file.write(0, bytes(text))).toBe(bytes(text).length);
    file.release();
  }
  text(path: string): string {
    return this.with(path, text);
  }
  names(path: string): string[] {
    return this.with(path, vnode =>
      vnode
        .entries()
        .map(entry => entry.name)
        .sort(),
    );
  }
  mkdir = (path: string): void => paths.makeDirectory(this.mounts, { path });
  unlink = (path: string): void => paths.removeFile(this.mounts, { path });
  rmdir = (path: string): void => paths.removeDirectory(this.mounts, { path });
  rename = (from: string, to: string): void => paths.rename(this.mounts, { path: from }, { path: to });
  link = (from: string, to: string): void => paths.link(this.mounts, { path: from }, { path: to }, true);
  symlink = (target: string, path: string): void => paths.symlink(this.mounts, target, { path });
}
function text(file: Vnode): string {
  const into = new Uint8Array(file.attributes().size + 10);
  return new TextDecoder().decode(into.subarray(0, file.read(0, into)));
}

describe.each([...kinds, ...ext4Kinds])('$name', kind => {
  const tree = (): Tree => new Tree(kind.make().fs);

  it('gives back what was written, at any place', () => {
    const t = tree();
    const file = t.open('/f');
    expect(file.write(0, bytes('hello, '))).toBe(7);
    expect(file.write(7, bytes('world'))).toBe(5);
    expect(file.write(0, bytes('J'))).toBe(1);
    expect(text(file)).toBe('Jello, world');
    expect(file.attributes()).toMatchObject({ type: 'file', size: 12, nlink: 1 });
    expect(file.read(12, new Uint8Array(5))).toBe(0);
    expect(file.read(1000, new Uint8Array(5))).toBe(0);
    expect(file.write(3, new Uint8Array(0))).toBe(0);
    file.release();
    expect(t.fs.inUse).toBe(false);
    expect(t.text('/f')).toBe('Jello, world');
  });

  it('fills a gap, and what a truncate adds, with zeros', () => {
    const t = tree();
    const file = t.open('/f');
    file.write(0, new Uint8Array(9000).fill(7));
    file.truncate(10);
    file.write(6000, bytes('end'));
    const all = new Uint8Array(7000).fill(9);
    expect(file.read(0, all)).toBe(6003);
    expect(all.subarray(0, 10).every(b => b === 7)).toBe(true);
    expect(all.subarray(10, 6000).every(b => b === 0)).toBe(true);
    file.truncate(6001);
    file.truncate(6500);
    expect(file.read(6000, all.subarray(0, 500))).toBe(500);
    expect(all[0]).toBe(101);
    expect(all.subarray(1, 500).every(b => b === 0)).toBe(true);
    expect(codeOf(() => file.truncate(-1))).toBe('EINVAL');
    expect(codeOf(() => file.write(-1, bytes('x')))).toBe('EINVAL');
    expect(codeOf(() => file.write(2 ** 50, bytes('x')))).toBe('EFBIG');
    file.release();
  });

  it('is one file for all who have it open', () => {
    const t = tree();
    t.mkdir('/d');
    const one = t.open('/d/f');
    const two = t.open('/d/f');
    expect(two).toBe(one);
    one.write(0, bytes('seen'));
    one.release();
    expect(text(two)).toBe('seen');
    two.truncate(2);
    expect(t.with('/d/f', f => f.attributes().size)).toBe(2);
    two.release();
    expect(t.text('/d/f')).toBe('se');
    expect(t.fs.inUse).toBe(false);
  });

  it('keeps a file that was unlinked for who has it open, and its name is free', () => {
    const t = tree();
    const old = t.open('/f');
    old.write(0, bytes('old'));
    t.unlink('/f');
    expect(t.names('/')).toEqual([]);
    expect(codeOf(() => t.unlink('/f'))).toBe('ENOENT');
    expect(old.attributes().nlink).toBe(0);
    t.put('/f', 'new');
    old.write(3, bytes(' and longer'));
    old.sync(false);
    expect(text(old)).toBe('old and longer');
    expect(t.text('/f')).toBe('new');
    old.release();
    expect(t.text('/f')).toBe('new');
    expect(t.names('/')).toEqual(['f']);
    expect(t.fs.inUse).toBe(false);
  });

  it.runIf(kind.bounded)('gives the room of an unlinked file back when nobody has it any more', () => {
    const t = tree();
    t.put('/other', 'x');
    const before = t.fs.space().free;
    const file = t.open('/f');
    file.write(0, new Uint8Array(100_000));
    file.hold();
    t.unlink('/f');
    file.release();
    expect(t.fs.space().free).toBeLessThanOrEqual(before - 90_000);
    file.release();
    t.fs.sync();
    expect(t.fs.space().free).toBe(before);
  });

  it.runIf(kind.bounded)(
    'says ENOSPC when full, after it wrote what did fit, and goes on when there is room again',
    () => {
      const t = tree();
      t.put('/small', 'x');
      const file = t.open('/f');
      const block = new Uint8Array(256 << 10).fill(5);
      let size = 0;
      let refused = '';
      for (let n = 0; n < 64 * 8 && refused === ''; n++) {
        refused = codeOf(() => {
          size += file.write(size, block);
        });
        if (refused === 'done') refused = '';
      }
      expect(refused).toBe('ENOSPC');
      expect(file.attributes().size).toBe(size);
      file.release();
      t.unlink('/f');
      t.put('/g', 'room again');
      expect(t.text('/g')).toBe('room again');
      expect(t.text('/small')).toBe('x');
    },
  );

  it('makes, lists and removes directories', () => {
    const t = tree();
    t.mkdir('/a');
    t.mkdir('/a/b/');
    expect(codeOf(() => t.mkdir('/a'))).toBe('EEXIST');
    expect(codeOf(() => t.mkdir('/'))).toBe('EEXIST');
    expect(codeOf(() => t.mkdir('/none/x'))).toBe('ENOENT');
    t.put('/a/f', 'x');
    expect(codeOf(() => t.mkdir('/a/f'))).toBe('EEXIST');
    expect(codeOf(() => t.mkdir('/a/f/x'))).toBe('ENOTDIR');
    expect(t.names('/a')).toEqual(['b', 'f']);
    const types = t.with('/a', a => a.entries().map(e => `${e.name} ${e.type}`));
    expect(types.sort()).toEqual(['b directory', 'f file']);
    expect(codeOf(() => t.rmdir('/a'))).toBe('ENOTEMPTY');
    expect(codeOf(() => t.rmdir('/a/f'))).toBe('ENOTDIR');
    expect(codeOf(() => t.unlink('/a/b'))).toBe('EISDIR');
    expect(codeOf(() => t.rmdir('/a/none'))).toBe('ENOENT');
    expect(codeOf(() => t.rmdir('/'))).toBe('EBUSY');
    t.rmdir('/a/b/');
    t.unlink('/a/f');
    t.rmdir('/a');
    expect(t.names('/')).toEqual([]);
    expect(t.fs.inUse).toBe(false);
  });

  it('a directory that was removed while in use is empty and takes nothing', () => {
    const t = tree();
    t.mkdir('/d');
    t.with('/d', d => {
      t.rmdir('/d');
      expect(d.entries()).toEqual([]);
      expect(d.lookup('x')).toBeUndefined();
      expect(codeOf(() => d.create('x', 'file'))).toBe('ENOENT');
      expect(codeOf(() => d.create('x', 'directory'))).toBe('ENOENT');
      t.mkdir('/d');
      expect(codeOf(() => d.create('x', 'file'))).toBe('ENOENT');
    });
    expect(t.names('/d')).toEqual([]);
  });

  it('a file is no directory, and a directory no file', () => {
    const t = tree();
    t.mkdir('/d');
    t.put('/f', 'x');
    t.with('/f', f => {
      expect(codeOf(() => f.lookup('x'))).toBe('ENOTDIR');
      expect(codeOf(() => f.entries())).toBe('ENOTDIR');
      expect(codeOf(() => f.create('x', 'file'))).toBe('ENOTDIR');
      expect(codeOf(() => f.readlink())).toBe('EINVAL');
    });
    t.with('/d', d => {
      expect(codeOf(() => d.read(0, new Uint8Array(1)))).toBe('EISDIR');
      expect(codeOf(() => d.write(0, bytes('x')))).toBe('EISDIR');
      expect(codeOf(() => d.truncate(0))).toBe('EISDIR');
      expect(codeOf(() => d.create('', 'file'))).toBe('EINVAL');
      expect(codeOf(() => d.create('a/b', 'file'))).toBe('EINVAL');
      expect(codeOf(() => d.create('..', 'file'))).toBe('EINVAL');
      expect(codeOf(() => d.create('x'.repeat(256), 'file'))).toBe('ENAMETOOLONG');
      d.create('x'.repeat(255), 'file').release();
      expect(d.entries()[0]?.name.length).toBe(255);
    });
  });

  it('rename replaces a file in one step, for those who have the old one open too', () => {
    const t = tree();
    t.mkdir('/d');
    t.put('/d/target', 'old');
    t.put('/source', 'new');
    const source = t.open('/source');
    const old = t.open('/d/target');
    const { ino } = source.attributes();
    t.rename('/source', '/d/target');
    expect(t.names('/')).toEqual(['d']);
    expect(t.names('/d')).toEqual(['target']);
    expect(t.text('/d/target')).toBe('new');
    expect(text(old)).toBe('old');
    source.write(3, bytes('er'));
    expect(t.text('/d/target')).toBe('newer');
    expect(source.attributes().ino).toBe(ino);
    old.write(0, bytes('OLD'));
    expect(text(old)).toBe('OLD');
    source.release();
    old.release();
    expect(t.text('/d/target')).toBe('newer');
    expect(t.fs.inUse).toBe(false);
  });

  it('rename moves directories with what is in use in them', () => {
    const t = tree();
    t.mkdir('/a');
    t.mkdir('/b');
    t.mkdir('/a/sub');
    t.put('/a/sub/f', '1');
    const f = t.open('/a/sub/f');
    t.with('/a/sub', sub => {
      t.rename('/a/sub', '/b/moved');
      f.write(1, bytes('2'));
      sub.create('later', 'file').release();
    });
    f.release();
    expect(t.text('/b/moved/f')).toBe('12');
    expect(t.names('/b/moved')).toEqual(['f', 'later']);
    expect(t.names('/a')).toEqual([]);
    t.rename('/b/moved', '/a');
    expect(t.names('/a')).toEqual(['f', 'later']);
    expect(t.names('/b')).toEqual([]);
    expect(t.fs.inUse).toBe(false);
  });

  it('rename refuses what rename(2) refuses', () => {
    const t = tree();
    t.mkdir('/d');
    t.mkdir('/d/e');
    t.mkdir('/full');
    t.put('/full/x', '');
    t.put('/f', 'f');
    expect(codeOf(() => t.rename('/d', '/d/e/x'))).toBe('EINVAL');
    expect(codeOf(() => t.rename('/d', '/d/x'))).toBe('EINVAL');
    expect(codeOf(() => t.rename('/d', '/full'))).toBe('ENOTEMPTY');
    expect(codeOf(() => t.rename('/d', '/f'))).toBe('ENOTDIR');
    expect(codeOf(() => t.rename('/f', '/d'))).toBe('EISDIR');
    expect(codeOf(() => t.rename('/none', '/x'))).toBe('ENOENT');
    expect(codeOf(() => t.rename('/f', '/none/x'))).toBe('ENOENT');
    expect(codeOf(() => t.rename('/f', '/x/'))).toBe('ENOTDIR');
    expect(codeOf(() => t.rename('/', '/x'))).toBe('EBUSY');
    t.rename('/f', '/f');
    t.rename('/d', '/d');
    expect(t.text('/f')).toBe('f');
    expect(t.names('/')).toEqual(['d', 'f', 'full']);
    expect(t.fs.inUse).toBe(false);
  });

  it('keeps times, as finely as it can', () => {
    const t = tree();
    const moment = 1_700_000_000_000_000_000n;
    const file = t.open('/f');
    file.write(0, bytes('x'));
    file.setTimes({ mtimeNs: moment + 12_345n });
    const { mtimeNs } = file.attributes();
    expect(mtimeNs - (mtimeNs % kind.mtimeUnitNs)).toBe(mtimeNs);
    expect(moment + 12_345n - mtimeNs).toBeLessThan(kind.mtimeUnitNs);
    file.release();
    expect(t.with('/f', f => f.attributes().mtimeNs)).toBe(mtimeNs);
    t.put('/f', 'later');
    expect(t.with('/f', f => f.attributes().mtimeNs)).toBeGreaterThan(moment);
  });

  it('numbers files: each its own, the same while in use, as the directory says', () => {
    const t = tree();
    for (const name of ['a', 'b', 'c']) t.put(`/${name}`, name);
    const held = ['a', 'b', 'c'].map(name => t.open(`/${name}`));
    const inos = held.map(f => f.attributes().ino);
    expect(new Set(inos).size).toBe(3);
    const listed = t.with('/', d => d.entries().map(e => [e.name, e.ino] as const));
    expect(new Map(listed)).toEqual(new Map(['a', 'b', 'c'].map((name, i) => [name, inos[i]])));
    t.rename('/a', '/z');
    t.put('/a', 'another');
    expect(held[0]?.attributes().ino).toBe(inos[0]);
    expect(t.with('/a', f => f.attributes().ino)).not.toBe(inos[0]);
    for (const f of held) f.release();
  });

  it.runIf(kind.foldsCase)('finds names whatever their case, and keeps the case they were given', () => {
    const t = tree();
    t.put('/Read Me.txt', '1');
    expect(t.text('/READ ME.TXT')).toBe('1');
    t.put('/read me.TXT', '2');
    expect(t.names('/')).toEqual(['Read Me.txt']);
    t.rename('/read me.txt', '/READ me.txt');
    expect(t.names('/')).toEqual(['READ me.txt']);
    expect(t.text('/Read Me.txt')).toBe('2');
  });
  it.runIf(!kind.foldsCase)('tells names apart by case', () => {
    const t = tree();
    t.put('/a', '1');
    t.put('/A', '2');
    expect(t.text('/a') + t.text('/A')).toBe('12');
  });

  it.runIf(kind.links)('gives files several names', () => {
    const t = tree();
    t.put('/a', 'x');
    t.mkdir('/d');
    t.link('/a', '/d/b');
    expect(t.with('/a', f => f.attributes().nlink)).toBe(2);
    t.with('/a', a => t.with('/d/b', b => expect(b).toBe(a)));
    t.rename('/a', '/d/b');
    expect(t.names('/')).toEqual(['a', 'd']);
    t.unlink('/a');
    expect(t.text('/d/b')).toBe('x');
    expect(codeOf(() => t.link('/d', '/e'))).toBe('EPERM');
    expect(codeOf(() => t.link('/d/b', '/d/b'))).toBe('EEXIST');
    expect(codeOf(() => t.link('/none', '/x'))).toBe('ENOENT');
    expect(codeOf(() => t.link('/d/b', '/x/'))).toBe('ENOENT');
  });
  it.runIf(!kind.links)('says EPERM to a second name', () => {
    const t = tree();
    t.put('/a', 'x');
    expect(codeOf(() => t.link('/a', '/b'))).toBe('EPERM');
    expect(codeOf(() => t.link('/a', '/a'))).toBe('EEXIST');
  });

  it.runIf(!kind.symlinks)('says EPERM to a symlink', () => {
    const t = tree();
    expect(codeOf(() => t.symlink('/a', '/b'))).toBe('EPERM');
    expect(t.names('/')).toEqual([]);
  });
  it.runIf(kind.symlinks)('follows symlinks, wherever they lead', () => {
    const t = tree();
    t.mkdir('/d');
    t.mkdir('/d/e');
    t.put('/d/e/f', 'found');
    t.symlink('../d/e', '/d/up');
    t.symlink('/d/up/f', '/abs');
    t.symlink('later', '/dangling');
    expect(t.text('/abs')).toBe('found');
    expect(t.text('/d/up/../e/./f')).toBe('found');
    expect(codeOf(() => t.text('/dangling'))).toBe('ENOENT');
    t.put('/dangling', 'made through it');
    expect(t.text('/later')).toBe('made through it');
    expect(paths.readlink(t.mounts, { path: '/d/up' })).toBe('../d/e');
    expect(codeOf(() => paths.readlink(t.mounts, { path: '/d/up/' }))).toBe('EINVAL');
    t.unlink('/abs');
    expect(t.text('/d/e/f')).toBe('found');
    expect(codeOf(() => t.rmdir('/d/up'))).toBe('ENOTDIR');
    expect(codeOf(() => t.symlink('x', '/dangling'))).toBe('EEXIST');
    expect(codeOf(() => t.symlink('', '/x'))).toBe('ENOENT');
    const long = 'x/'.repeat(1500);
    t.symlink(long, '/long');
    expect(paths.readlink(t.mounts, { path: '/long' })).toBe(long);
    expect(codeOf(() => t.symlink('x'.repeat(5000), '/longer'))).toBe('ENAMETOOLONG');
    t.symlink('loop', '/loop');
    expect(codeOf(() => t.text('/loop'))).toBe('ELOOP');
    expect(t.fs.inUse).toBe(false);
  });
});
