import { describe, expect, it } from 'vitest';
import type { Vnode } from '../../../../domu-kernel/fs/file-system.ts';
import { MountTable } from '../../../../domu-kernel/fs/mount-table.ts';
import * as paths from '../../../../domu-kernel/fs/path-operations.ts';
import { Tmpfs } from '../../../../domu-kernel/fs/tmpfs.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { pageCounter, tmpfs, wallNs } from '../../../support/file-systems.ts';

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof XenError) return error.code;
    throw error;
  }
  return 'done';
}
/** /a/b/f, /a/link -> b, /out -> /a/b, /up -> .. */
function table(): { mounts: MountTable; root: Tmpfs } {
  const root = tmpfs();
  const mounts = new MountTable(root);
  for (const path of ['/a', '/a/b', '/mnt']) paths.makeDirectory(mounts, { path });
  const b = mounts.find('/a/b');
  b.create('f', 'file').release();
  b.release();
  paths.symlink(mounts, 'b', { path: '/a/link' });
  paths.symlink(mounts, '/a/b', { path: '/a/abs' });
  paths.symlink(mounts, '../mnt', { path: '/a/up' });
  return { mounts, root };
}
function walked(mounts: MountTable, path: string, beneath?: Vnode): string {
  return codeOf(() => mounts.find(path, { beneath }).release());
}

describe('a path', () => {
  it('is walked as Linux walks it', () => {
    const { mounts, root } = table();
    for (const path of [
      '/',
      '//a',
      '/a/./b/',
      'a/b/../b/f',
      '/../../a',
      '/a/link/f',
      '/a/link/',
      '/a/abs/f',
      '/a/up/.',
    ]) {
      expect([path, walked(mounts, path)]).toEqual([path, 'done']);
    }
    expect(walked(mounts, '')).toBe('ENOENT');
    expect(walked(mounts, '/none')).toBe('ENOENT');
    expect(walked(mounts, '/none/..')).toBe('ENOENT');
    expect(walked(mounts, '/a/b/f/')).toBe('ENOTDIR');
    expect(walked(mounts, '/a/b/f/..')).toBe('ENOTDIR');
    expect(walked(mounts, '/a\0b')).toBe('EINVAL');
    expect(walked(mounts, `/${'x'.repeat(256)}`)).toBe('ENAMETOOLONG');
    expect(walked(mounts, '/./'.repeat(2000))).toBe('ENAMETOOLONG');
    expect(root.inUse).toBe(false);
  });

  it('follows forty symlinks and no more', () => {
    const { mounts, root } = table();
    for (let n = 1; n <= 41; n++) paths.symlink(mounts, n === 1 ? 'a' : `s${n - 1}`, { path: `/s${n}` });
    expect(walked(mounts, '/s40')).toBe('done');
    expect(walked(mounts, '/s41')).toBe('ELOOP');
    expect(root.inUse).toBe(false);
  });

  it('ends at a symlink where that is asked for', () => {
    const { mounts } = table();
    const type = (path: string, follow: 'slash' | 'never'): string => {
      const vnode = mounts.find(path, { follow });
      vnode.release();
      return vnode.type;
    };
    expect(type('/a/link', 'slash')).toBe('symlink');
    expect(type('/a/link/', 'slash')).toBe('directory');
    expect(type('/a/link/', 'never')).toBe('symlink');
    expect(type('/a/link/.', 'never')).toBe('directory');
  });

  it('beneath a directory never leaves it', () => {
    const { mounts, root } = table();
    const a = mounts.find('/a');
    for (const path of ['b/f', './b/..', 'link/f', 'b/../link/../b']) {
      expect([path, walked(mounts, path, a)]).toEqual([path, 'done']);
    }
    for (const path of ['..', '../a', 'b/../../a', '/a', 'abs', 'abs/f', 'up', 'link/../../a']) {
      expect([path, walked(mounts, path, a)]).toEqual([path, 'EPERM']);
    }
    expect(codeOf(() => paths.rename(mounts, { path: 'b/f', beneath: a }, { path: '../f', beneath: a }))).toBe('EPERM');
    expect(codeOf(() => paths.removeDirectory(mounts, { path: '.', beneath: a }))).toBe('EINVAL');
    paths.makeDirectory(mounts, { path: 'b/c', beneath: a });
    a.release();
    // Beneath the root of everything there is nothing to leave.
    const all = mounts.find('/');
    expect(walked(mounts, '/a/abs/../..', all)).toBe('done');
    all.release();
    expect(walked(mounts, '/a/b/c')).toBe('done');
    expect(root.inUse).toBe(false);
  });
});

describe('a mount', () => {
  it('covers a directory until it is unmounted', () => {
    const { mounts } = table();
    const inner = tmpfs();
    mounts.mount('/mnt//', inner);
    paths.makeDirectory(mounts, { path: '/mnt/inside' });
    expect(mounts.list().map(m => m.path)).toEqual(['/', '/mnt']);
    expect(walked(mounts, '/mnt/inside/../../a/up/inside')).toBe('done');
    expect(inner.root.entries().map(entry => entry.name)).toEqual(['inside']);
    mounts.umount('/mnt');
    expect(walked(mounts, '/mnt/inside')).toBe('ENOENT');
    expect(codeOf(() => mounts.umount('/a'))).toBe('EINVAL');
  });

  it('is not unmounted while something of it is in use, nor with another mount in it', () => {
    const { mounts, root } = table();
    const counter = pageCounter(100);
    const inner = new Tmpfs({ pages: counter, limit: 1 << 20, wallNs });
    mounts.mount('/mnt', inner);
    paths.makeDirectory(mounts, { path: '/mnt/d' });
    const d = mounts.find('/mnt/d');
    expect(codeOf(() => mounts.umount('/mnt'))).toBe('EBUSY');
    d.release();
    mounts.mount('/mnt/d', tmpfs());
    expect(codeOf(() => mounts.umount('/mnt'))).toBe('EBUSY');
    mounts.umount('/mnt/d');
    const top = mounts.find('/mnt');
    expect(codeOf(() => mounts.umount('/mnt'))).toBe('EBUSY');
    top.release();
    mounts.umount('/mnt');
    expect(counter.left).toBe(100);
    expect(walked(mounts, '/mnt/d')).toBe('ENOENT');
    expect(root.inUse).toBe(false);
    expect(codeOf(() => mounts.umount('/'))).toBe('EBUSY');
  });

  it('point cannot be removed, renamed, replaced or mounted over, and names do not cross it', () => {
    const { mounts } = table();
    const inner = tmpfs();
    mounts.mount('/mnt', inner);
    expect(codeOf(() => mounts.mount('/mnt', tmpfs()))).toBe('EBUSY');
    expect(codeOf(() => mounts.mount('/a', inner))).toBe('EBUSY');
    expect(codeOf(() => mounts.mount('/a/b/f', tmpfs()))).toBe('ENOTDIR');
    expect(codeOf(() => mounts.mount('/none', tmpfs()))).toBe('ENOENT');
    expect(codeOf(() => paths.removeDirectory(mounts, { path: '/mnt' }))).toBe('EBUSY');
    expect(codeOf(() => paths.rename(mounts, { path: '/mnt' }, { path: '/x' }))).toBe('EBUSY');
    expect(codeOf(() => paths.rename(mounts, { path: '/a' }, { path: '/mnt' }))).toBe('EBUSY');
    expect(codeOf(() => paths.rename(mounts, { path: '/a/b/f' }, { path: '/mnt/f' }))).toBe('EXDEV');
    expect(codeOf(() => paths.link(mounts, { path: '/a/b/f' }, { path: '/mnt/f' }, true))).toBe('EXDEV');
    expect(inner.inUse).toBe(false);
  });
});

describe('tmpfs', () => {
  it('takes its memory from the counter, to its limit, and gives all of it back', () => {
    const counter = pageCounter(20);
    const fs = new Tmpfs({ pages: counter, limit: 10 * 4096, wallNs });
    const file = fs.root.create('f', 'file');
    expect(file.write(0, new Uint8Array(100 * 4096))).toBe(9 * 4096);
    expect(counter.left).toBe(10);
    expect(fs.space()).toEqual({ free: 0, total: 10 * 4096 });
    file.truncate(1);
    expect(counter.left).toBe(18);
    // A hole costs nothing.
    file.truncate(2 ** 40);
    expect(file.write(2 ** 40, Uint8Array.of(1))).toBe(1);
    expect(counter.left).toBe(17);
    fs.root.unlink('f');
    expect(counter.left).toBe(17);
    file.release();
    expect(counter.left).toBe(19);
    fs.close();
    expect(counter.left).toBe(20);
  });

  it('is refused what the domain has not', () => {
    const counter = pageCounter(3);
    const fs = new Tmpfs({ pages: counter, limit: 1 << 30, wallNs });
    const file = fs.root.create('f', 'file');
    expect(file.write(0, new Uint8Array(50_000))).toBe(2 * 4096);
    expect(codeOf(() => file.write(2 * 4096, Uint8Array.of(1)))).toBe('ENOSPC');
    let made = 0;
    const code = codeOf(() => {
      for (; ; made++) fs.root.create(`n${made}`, 'file').release();
    });
    expect(code).toBe('ENOSPC');
    expect(made).toBe(6); // eight to a page, with the root and the file
    file.release();
    expect(fs.inUse).toBe(false);
  });
});
