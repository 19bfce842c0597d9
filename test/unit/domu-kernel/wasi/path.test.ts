import { beforeEach, describe, expect, it } from 'vitest';
import * as abi from '../../../../domu-kernel/wasi/abi.ts';
import type { OpenDirectory } from '../../../../domu-kernel/wasi/open-vnode.ts';
import { ALL_RIGHTS } from '../../../../domu-kernel/wasi/rights.ts';
import { rigTmpfs, WasiRig } from '../../../support/wasi-rig.ts';

const OUTSIDE = 4 * 65536 - 2;
const { OFLAGS_CREAT: CREAT, OFLAGS_DIRECTORY: DIRECTORY, OFLAGS_EXCL: EXCL, OFLAGS_TRUNC: TRUNC } = abi;

let rig: WasiRig;
/** A directory that is not the root, opened: what a program is confined to. */
let dir: number;
beforeEach(() => {
  rig = new WasiRig();
  rig.mkdir('dir');
  dir = openDir('dir', 3);
});

/** With all rights but that to write, which no directory gives. */
const openDir = (path: string, fd = dir): number => {
  const opened = rig.open(path, { fd, oflags: DIRECTORY, rights: ALL_RIGHTS & ~abi.RIGHTS_FD_WRITE });
  if (typeof opened === 'string') throw new Error(`${path}: ${opened}`);
  return opened;
};

const at = (path: string, fd = dir): [number, number, number] => [fd, ...rig.bytes(path)];
const mkdir = (path: string, fd = dir) => rig.call('path_create_directory', ...at(path, fd));
const rmdir = (path: string, fd = dir) => rig.call('path_remove_directory', ...at(path, fd));
const unlink = (path: string, fd = dir) => rig.call('path_unlink_file', ...at(path, fd));
const symlink = (target: string, path: string, fd = dir) =>
  rig.call('path_symlink', ...rig.bytes(target), ...at(path, fd));
const rename = (from: string, to: string) => rig.call('path_rename', ...at(from), ...at(to));
const link = (from: string, to: string, flags = 0) => {
  const [fd, ...path] = at(from);
  return rig.call('path_link', fd, flags, ...path, ...at(to));
};
const readlink = (path: string, size = 100) => {
  const [buffer, result] = [rig.alloc(size), rig.alloc(4)];
  const outcome = rig.call('path_readlink', ...at(path), buffer, size, result);
  return outcome === 'SUCCESS' ? rig.text(buffer, rig.u32(result)) : outcome;
};
const stat = (path: string, flags = 0, fd = dir) => {
  const result = rig.alloc(64);
  const outcome = rig.call('path_filestat_get', fd, flags, ...rig.bytes(path), result);
  return outcome === 'SUCCESS'
    ? { type: rig.view.getUint8(result + 16), size: rig.u64(result + 32), mtim: rig.u64(result + 48) }
    : outcome;
};
const create = (path: string, content = '') => {
  const fd = rig.file(path, content, { fd: dir });
  rig.ok('fd_close', fd);
};
const open = (path: string, options: Parameters<WasiRig['open']>[1] = {}) => rig.open(path, { fd: dir, ...options });

describe('a path', () => {
  beforeEach(() => {
    mkdir('a');
    mkdir('a/b');
    create('a/b/file', 'x');
    rig.file('outside', 'secret');
  });
  it('may go through . and .. and many slashes', () => {
    expect(open('a/.//b/../../a/b/../b///./file')).toBeTypeOf('number');
  });
  it.each(['/a/b/file', '/', '..', '../outside', 'a/../../outside', 'a/b/../../../dir/a/b/file', '../dir'])(
    '%s leads out of its directory: EPERM',
    path => {
      expect(open(path)).toBe('EPERM');
      expect(stat(path)).toBe('EPERM');
      expect(mkdir(path)).toBe('EPERM');
      expect(unlink(path)).toBe('EPERM');
      expect(rmdir(path)).toBe('EPERM');
      expect(readlink(path)).toBe('EPERM');
      expect(rename(path, 'x')).toBe('EPERM');
      expect(rename('a', path)).toBe('EPERM');
      expect(link(path, 'x')).toBe('EPERM');
      expect(link('a/b/file', path)).toBe('EPERM');
      expect(symlink('x', path)).toBe('EPERM');
    },
  );
  it('is confined through symlinks too, relative and absolute', () => {
    expect(symlink('../../outside', 'a/escapes')).toBe('SUCCESS');
    expect(open('a/escapes')).toBe('EPERM');
    expect(open('a/escapes', { oflags: CREAT })).toBe('EPERM');
    expect(symlink('..', 'a/up')).toBe('SUCCESS');
    expect(open('a/up/a/b/file')).toBeTypeOf('number');
    expect(open('a/up/../outside')).toBe('EPERM');
    // Programs cannot make an absolute one; the rest of the guest can.
    expect(symlink('/outside', 'absolute')).toBe('EPERM');
    const { vnode } = rig.fds.get(dir).file as OpenDirectory;
    vnode.symlink('absolute', '/outside').release();
    expect(open('absolute')).toBe('EPERM');
    expect(stat('absolute', 1)).toBe('EPERM');
    expect(stat('absolute')).toMatchObject({ type: abi.FILETYPE_SYMBOLIC_LINK });
    expect(rig.open('dir/absolute')).toBeTypeOf('number'); // beneath the root of everything it leads somewhere
  });
  it('is bounded and must be text', () => {
    expect(open('')).toBe('ENOENT');
    expect(open('a/b/file\0')).toBe('EINVAL');
    expect(open('x'.repeat(4097))).toBe('ENAMETOOLONG');
    expect(open('x'.repeat(256), { oflags: CREAT })).toBe('ENAMETOOLONG');
    const [pointer, length] = rig.bytes(new Uint8Array([0xff, 0xfe]));
    expect(rig.call('path_unlink_file', dir, pointer, length)).toBe('EILSEQ');
    expect(rig.call('path_unlink_file', dir, OUTSIDE, 3)).toBe('EFAULT');
    expect(rig.call('path_unlink_file', dir, 64, -1)).toBe('ENAMETOOLONG');
  });
  it('is beneath a directory that is open', () => {
    const file = rig.file('file');
    expect(rig.open('x', { fd: file, oflags: CREAT })).toBe('ENOTDIR');
    expect(rig.open('x', { fd: 99 })).toBe('EBADF');
    expect(open('a/b/file/x')).toBe('ENOTDIR');
    expect(open('a/none/x', { oflags: CREAT })).toBe('ENOENT');
  });
  it('into a directory that was removed meanwhile is ENOENT', () => {
    mkdir('gone');
    const gone = openDir('gone');
    expect(rmdir('gone')).toBe('SUCCESS');
    expect(rig.open('x', { fd: gone, oflags: CREAT })).toBe('ENOENT');
    expect(rmdir('gone')).toBe('ENOENT');
  });
  it('crosses into what is mounted there and not out of it', () => {
    const other = rigTmpfs(rig.clock);
    rig.mounts.mount('/dir/a', other);
    expect(open('a/b/file')).toBe('ENOENT');
    create('a/in', 'mounted');
    expect(open('a/../a/in')).toBeTypeOf('number');
    expect(rename('a/in', 'in')).toBe('EXDEV');
    expect(link('a/in', 'in')).toBe('EXDEV');
    expect(rmdir('a')).toBe('EBUSY');
    expect(rename('a', 'c')).toBe('EBUSY');
    const inner = openDir('a');
    expect(rig.open('..', { fd: inner })).toBe('EPERM');
    expect(rig.open('../dir', { fd: inner })).toBe('EPERM');
  });
});

describe('path_open', () => {
  it('creates, exclusively or not, and truncates', () => {
    expect(open('f')).toBe('ENOENT');
    const fd = open('f', { oflags: CREAT | EXCL }) as number;
    expect(rig.write(fd, 'abc')).toBe(3);
    expect(open('f', { oflags: CREAT | EXCL })).toBe('EEXIST');
    expect(rig.read(open('f', { oflags: CREAT }) as number)).toBe('abc');
    expect(rig.read(open('f', { oflags: TRUNC }) as number)).toBe('');
    expect(open('f', { oflags: 16 })).toBe('EINVAL');
    expect(open('f', { fdflags: 32 })).toBe('EINVAL');
    expect(open('f', { follow: 2 })).toBe('EINVAL');
    for (const more of [CREAT, EXCL, TRUNC]) expect(open('f', { oflags: DIRECTORY | more })).toBe('EINVAL');
  });
  it('of a directory gives what can be read with fd_readdir and not be written', () => {
    mkdir('d');
    create('f');
    expect(open('d', { oflags: DIRECTORY })).toBe('EISDIR'); // all rights, that to write among them
    const reading = { rights: abi.RIGHTS_FD_READ | abi.RIGHTS_FD_READDIR };
    const fd = open('d', { oflags: DIRECTORY, ...reading }) as number;
    expect(rig.fds.get(fd).rights).toBe(abi.RIGHTS_FD_READDIR);
    expect(open('d/', reading)).toBeTypeOf('number');
    expect(open('.', { ...reading, fdflags: abi.FDFLAGS_NONBLOCK })).toBeTypeOf('number');
    expect(open('d', { ...reading, oflags: TRUNC })).toBe('EISDIR');
    expect(open('f', { oflags: DIRECTORY })).toBe('ENOTDIR');
    for (const path of ['f/', 'f///', 'f/.', 'f/..']) expect(open(path)).toBe('ENOTDIR');
    expect(open('new/', { oflags: CREAT })).toBe('EISDIR');
  });
  it('follows a symlink at the end when asked to', () => {
    create('f', 'abc');
    mkdir('d');
    symlink('f', 'to-f');
    symlink('d', 'to-d');
    symlink('none', 'dangling');
    symlink('loop', 'loop');
    expect(rig.read(open('to-f') as number)).toBe('abc');
    expect(open('to-f', { follow: 0 })).toBe('ELOOP');
    expect(open('to-d', { follow: 0, oflags: DIRECTORY })).toBe('ENOTDIR');
    expect(open('to-f', { oflags: DIRECTORY })).toBe('ENOTDIR');
    expect(open('to-d', { oflags: DIRECTORY, rights: 0 })).toBeTypeOf('number');
    expect(open('to-d/', { follow: 0, rights: 0 })).toBeTypeOf('number');
    expect(open('dangling')).toBe('ENOENT');
    expect(open('dangling', { follow: 0 })).toBe('ELOOP');
    expect(open('dangling', { oflags: CREAT | EXCL })).toBe('EEXIST');
    expect(open('dangling', { oflags: CREAT })).toBeTypeOf('number');
    expect(stat('none')).toMatchObject({ type: abi.FILETYPE_REGULAR_FILE });
    expect(open('loop')).toBe('ELOOP');
    expect(open('loop', { follow: 0 })).toBe('ELOOP');
  });
  it('gives no rights that its directory does not hand on', () => {
    create('f');
    const readers = open('.', {
      rights: abi.RIGHTS_PATH_OPEN,
      inheriting: abi.RIGHTS_FD_READ,
      oflags: DIRECTORY,
    }) as number;
    const through = (options: object) => rig.open('f', { fd: readers, rights: 0, inheriting: 0, ...options });
    expect(through({ rights: abi.RIGHTS_FD_READ })).toBeTypeOf('number');
    expect(through({ rights: abi.RIGHTS_FD_WRITE })).toBe('ENOTCAPABLE');
    expect(through({ inheriting: abi.RIGHTS_FD_WRITE })).toBe('ENOTCAPABLE');
    expect(through({ fdflags: abi.FDFLAGS_SYNC })).toBe('ENOTCAPABLE');
    expect(through({ fdflags: abi.FDFLAGS_DSYNC })).toBe('ENOTCAPABLE');
    expect(through({ oflags: CREAT })).toBe('ENOTCAPABLE');
    expect(through({ oflags: TRUNC })).toBe('ENOTCAPABLE');
    expect(rig.open('f', { fd: dir, rights: 2 ** 31, inheriting: 0 })).toBe('ENOTCAPABLE');
    const none = open('.', { rights: 0, inheriting: ALL_RIGHTS, oflags: DIRECTORY }) as number;
    expect(rig.open('f', { fd: none })).toBe('ENOTCAPABLE');
  });
  it('truncates with the right of the directory, not of the file', () => {
    create('f', 'abc');
    expect(open('f', { oflags: TRUNC, rights: 0, inheriting: 0 })).toBeTypeOf('number');
    expect(stat('f')).toMatchObject({ size: 0n });
  });
  it('of a file system that is read-only refuses writing', () => {
    const other = rigTmpfs(rig.clock);
    other.root.create('f', 'file').release();
    Object.defineProperty(other, 'readOnly', { value: true });
    mkdir('m');
    rig.mounts.mount('/dir/m', other);
    expect(open('m/f', { rights: abi.RIGHTS_FD_WRITE })).toBe('EROFS');
    expect(open('m/f', { rights: 0, oflags: TRUNC })).toBe('EROFS');
    expect(open('m/f', { rights: abi.RIGHTS_FD_READ })).toBeTypeOf('number');
  });
  it('stores its result where there is memory, else opens nothing', () => {
    const args = [dir, 0, ...rig.bytes('new'), CREAT, 0n, 0n, 0, OUTSIDE];
    expect(rig.call('path_open', ...args)).toBe('EFAULT');
    expect(stat('new')).toBe('ENOENT');
  });
});

describe('names', () => {
  it('of directories', () => {
    expect(mkdir('d')).toBe('SUCCESS');
    expect(mkdir('d')).toBe('EEXIST');
    expect(mkdir('.')).toBe('EEXIST');
    expect(mkdir('e/')).toBe('SUCCESS');
    expect(mkdir('x/y')).toBe('ENOENT');
    expect(mkdir('d/e')).toBe('SUCCESS');
    expect(rmdir('d')).toBe('ENOTEMPTY');
    expect(rmdir('.')).toBe('EINVAL');
    expect(rmdir('d/e/..')).toBe('ENOTEMPTY');
    expect(rmdir('d/e/')).toBe('SUCCESS');
    create('f');
    for (const path of ['f', 'f/']) expect(rmdir(path)).toBe('ENOTDIR');
    symlink('d', 's');
    for (const path of ['s', 's/']) expect(rmdir(path)).toBe('ENOTDIR');
  });
  it('of files are removed by unlink', () => {
    create('f');
    mkdir('d');
    symlink('none', 's');
    for (const path of ['d', 'd/', '.']) expect(unlink(path)).toBe('EISDIR');
    expect(unlink('f/')).toBe('ENOTDIR');
    expect(unlink('s')).toBe('SUCCESS');
    expect(unlink('f')).toBe('SUCCESS');
    expect(unlink('f')).toBe('ENOENT');
  });
  it('are changed by rename, as rename(2) does', () => {
    create('f', 'f');
    create('g', 'g');
    mkdir('d');
    mkdir('empty');
    mkdir('full');
    create('full/x');
    expect(rename('f', 'g')).toBe('SUCCESS');
    expect(rig.read(open('g') as number)).toBe('f');
    expect(rename('f', 'h')).toBe('ENOENT');
    expect(rename('d', 'full')).toBe('ENOTEMPTY');
    expect(rename('d', 'full/x')).toBe('ENOTDIR');
    expect(rename('g', 'empty')).toBe('EISDIR');
    expect(rename('g', 'h/')).toBe('ENOTDIR');
    expect(rename('g/', 'h')).toBe('ENOTDIR');
    expect(rename('d/', 'empty')).toBe('SUCCESS');
    expect(rename('empty', 'd/')).toBe('SUCCESS');
    expect(rename('d', 'd/below')).toBe('EINVAL');
    for (const path of ['.', 'd/..']) {
      expect(rename(path, 'x')).toBe('EBUSY');
      expect(rename('d', path)).toBe('EBUSY');
    }
  });
  it('are given by link, of anything but a directory', () => {
    create('f', 'abc');
    mkdir('d');
    symlink('f', 's');
    symlink('none', 'dangling');
    expect(link('f', 'd/g')).toBe('SUCCESS');
    expect(rig.read(open('d/g') as number)).toBe('abc');
    for (const path of ['f', 'd', 's', 'dangling', '.']) expect(link('f', path)).toBe('EEXIST');
    expect(link('f', 'new/')).toBe('ENOENT');
    expect(link('d', 'e')).toBe('EPERM');
    expect(link('none', 'e')).toBe('ENOENT');
    expect(link('dangling', 'l1')).toBe('SUCCESS');
    expect(stat('l1')).toMatchObject({ type: abi.FILETYPE_SYMBOLIC_LINK });
    expect(link('s', 'l2', abi.LOOKUPFLAGS_SYMLINK_FOLLOW)).toBe('SUCCESS');
    expect(stat('l2')).toMatchObject({ type: abi.FILETYPE_REGULAR_FILE, size: 3n });
    expect(link('dangling', 'l3', abi.LOOKUPFLAGS_SYMLINK_FOLLOW)).toBe('ENOENT');
  });
  it('of symlinks', () => {
    create('f');
    mkdir('d');
    expect(symlink('somewhere/else', 's')).toBe('SUCCESS');
    expect(readlink('s')).toBe('somewhere/else');
    expect(readlink('s', 4)).toBe('some');
    expect(readlink('f')).toBe('EINVAL');
    expect(readlink('none')).toBe('ENOENT');
    for (const path of ['f', 'd', 'd/', 's', '.']) expect(symlink('x', path)).toBe('EEXIST');
    expect(symlink('x', 'new/')).toBe('ENOENT');
    expect(symlink('', 'new')).toBe('ENOENT');
    expect(symlink('a\0b', 'new')).toBe('EINVAL');
    expect(rig.call('path_readlink', ...at('s'), OUTSIDE, 10, 64)).toBe('EFAULT');
    expect(rig.call('path_readlink', ...at('s'), 64, 10, OUTSIDE)).toBe('EFAULT');
    expect(rig.call('path_symlink', OUTSIDE, 10, ...at('n'))).toBe('EFAULT');
  });
  it('each need their rights of the directory', () => {
    create('f');
    mkdir('d');
    symlink('f', 's');
    const none = open('.', { rights: 0, oflags: DIRECTORY }) as number;
    expect(mkdir('x', none)).toBe('ENOTCAPABLE');
    expect(rmdir('d', none)).toBe('ENOTCAPABLE');
    expect(unlink('f', none)).toBe('ENOTCAPABLE');
    expect(symlink('x', 'y', none)).toBe('ENOTCAPABLE');
    expect(stat('f', 0, none)).toBe('ENOTCAPABLE');
    const path = rig.bytes('f');
    const other = rig.bytes('x');
    expect(rig.call('path_readlink', none, ...path, 64, 1, 128)).toBe('ENOTCAPABLE');
    expect(rig.call('path_rename', none, ...path, dir, ...other)).toBe('ENOTCAPABLE');
    expect(rig.call('path_rename', dir, ...path, none, ...other)).toBe('ENOTCAPABLE');
    expect(rig.call('path_link', none, 0, ...path, dir, ...other)).toBe('ENOTCAPABLE');
    expect(rig.call('path_link', dir, 0, ...path, none, ...other)).toBe('ENOTCAPABLE');
    expect(rig.call('path_filestat_set_times', none, 0, ...path, 0n, 0n, 1)).toBe('ENOTCAPABLE');
  });
});

describe('path_filestat', () => {
  it('is of the symlink or of what it leads to', () => {
    create('f', 'abc');
    symlink('f', 's');
    const times = (path: string, flags: number, mtim: bigint, fstflags: number) =>
      rig.call('path_filestat_set_times', dir, flags, ...rig.bytes(path), 1n, mtim, fstflags);
    expect(times('s', 0, 22n, abi.FSTFLAGS_MTIM)).toBe('SUCCESS');
    expect(times('s', 1, 33n, abi.FSTFLAGS_MTIM)).toBe('SUCCESS');
    expect(stat('s')).toEqual({ type: abi.FILETYPE_SYMBOLIC_LINK, size: 1n, mtim: 22n });
    expect(stat('s', 1)).toEqual({ type: abi.FILETYPE_REGULAR_FILE, size: 3n, mtim: 33n });
    expect(stat('f')).toMatchObject({ mtim: 33n });
    expect(times('f', 0, 0n, abi.FSTFLAGS_MTIM | abi.FSTFLAGS_MTIM_NOW)).toBe('EINVAL');
    expect(times('none', 0, 0n, abi.FSTFLAGS_MTIM)).toBe('ENOENT');
    expect(stat('f', 2)).toBe('EINVAL');
    expect(stat('none')).toBe('ENOENT');
    expect(rig.call('path_filestat_get', dir, 0, ...rig.bytes('f'), OUTSIDE)).toBe('EFAULT');
  });
});

it('nothing stays in use behind any of this', () => {
  create('f');
  symlink('f', 's');
  mkdir('d');
  open('none');
  open('s', { follow: 0 });
  open('f', { oflags: DIRECTORY });
  link('f', 'd');
  rename('f', 'd');
  stat('../x');
  readlink('f');
  rmdir('f');
  rig.fds.closeAll();
  expect(rig.fs.inUse).toBe(false);
});
