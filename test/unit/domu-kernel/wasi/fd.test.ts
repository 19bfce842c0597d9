import { beforeEach, describe, expect, it } from 'vitest';
import { FileSystemBusy } from '../../../../domu-kernel/fs/file-system.ts';
import { Pipe } from '../../../../domu-kernel/process/pipe.ts';
import { ProcessExit } from '../../../../domu-kernel/process/process.ts';
import { Wait } from '../../../../domu-kernel/process/wait.ts';
import { WaitQueue } from '../../../../domu-kernel/wait-queue.ts';
import * as abi from '../../../../domu-kernel/wasi/abi.ts';
import { OPEN_MAX } from '../../../../domu-kernel/wasi/fd-table.ts';
import { OpenDiskFile } from '../../../../domu-kernel/wasi/open-vnode.ts';
import { ALL_RIGHTS } from '../../../../domu-kernel/wasi/rights.ts';
import { WasiRig } from '../../../support/wasi-rig.ts';

const OUTSIDE = 4 * 65536 - 2; // two bytes are left of the memory there

let rig: WasiRig;
beforeEach(() => {
  rig = new WasiRig();
});

const stat = (fd: number) => {
  const at = rig.alloc(64);
  rig.ok('fd_filestat_get', fd, at);
  return {
    dev: rig.u64(at),
    ino: rig.u64(at + 8),
    type: rig.view.getUint8(at + 16),
    nlink: rig.u64(at + 24),
    size: rig.u64(at + 32),
    atim: rig.u64(at + 40),
    mtim: rig.u64(at + 48),
  };
};
const fdstat = (fd: number) => {
  const at = rig.alloc(24);
  rig.ok('fd_fdstat_get', fd, at);
  return {
    type: rig.view.getUint8(at),
    flags: rig.view.getUint16(at + 2, true),
    base: Number(rig.u64(at + 8)),
    inheriting: Number(rig.u64(at + 16)),
  };
};
const seek = (fd: number, delta: bigint, whence: number) => {
  const at = rig.alloc(8);
  const outcome = rig.call('fd_seek', fd, delta, whence, at);
  return outcome === 'SUCCESS' ? Number(rig.u64(at)) : outcome;
};

describe('reading and writing', () => {
  it('goes through all buffers and moves the offset by what it did', () => {
    const fd = rig.file('a');
    const result = rig.alloc(4);
    rig.ok('fd_write', fd, ...rig.iovs(rig.bytes('hello '), [0, 0], rig.bytes('world')), result);
    expect(rig.u32(result)).toBe(11);
    expect(seek(fd, 0n, abi.WHENCE_CUR)).toBe(11);
    expect(seek(fd, 0n, abi.WHENCE_SET)).toBe(0);
    const [one, two] = [rig.alloc(4), rig.alloc(20)];
    rig.ok('fd_read', fd, ...rig.iovs([one, 4], [two, 20]), result);
    expect(rig.u32(result)).toBe(11);
    expect(rig.text(one, 4) + rig.text(two, 7)).toBe('hello world');
    expect(rig.read(fd)).toBe('');
  });
  it('at an offset leaves the file offset alone', () => {
    const fd = rig.file('a', '0123456789');
    const into = rig.alloc(4);
    const result = rig.alloc(4);
    rig.ok('fd_pread', fd, ...rig.iovs([into, 2], [into + 2, 2]), 3n, result);
    expect(rig.text(into, 4)).toBe('3456');
    rig.ok('fd_pwrite', fd, ...rig.iovs(rig.bytes('xy')), 8n, result);
    rig.ok('fd_pwrite', fd, ...rig.iovs(rig.bytes('z')), 12n, result);
    expect(rig.read(fd)).toBe('01234567xy\0\0z');
  });
  it('with APPEND goes to the end, also after a seek, until the flag is taken away', () => {
    const fd = rig.file('a', 'abc', { fdflags: abi.FDFLAGS_APPEND });
    seek(fd, 0n, abi.WHENCE_SET);
    rig.write(fd, 'def');
    expect(seek(fd, 0n, abi.WHENCE_CUR)).toBe(6);
    rig.ok('fd_fdstat_set_flags', fd, 0);
    seek(fd, 0n, abi.WHENCE_SET);
    rig.write(fd, 'X');
    seek(fd, 0n, abi.WHENCE_SET);
    expect(rig.read(fd)).toBe('Xbcdef');
  });
  it('of an unlinked file goes on', () => {
    const fd = rig.file('a', 'abc');
    rig.ok('path_unlink_file', 3, ...rig.bytes('a'));
    rig.write(fd, 'd');
    expect(rig.read(fd)).toBe('bc');
    expect(stat(fd).nlink).toBe(0n);
  });
  it('of a file system that fills up is short, then ENOSPC', () => {
    rig = new WasiRig({ limit: 64 * 1024, pages: 8 });
    const fd = rig.file('a');
    const first = rig.write(fd, new Uint8Array(100_000)) as number;
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(65536);
    expect(rig.write(fd, 'x')).toBe('ENOSPC');
  });
  it.each([
    ['fd_read', [3]],
    ['fd_write', [3]],
    ['fd_pread', [3, 0n]],
    ['fd_pwrite', [3, 0n]],
  ] as const)('%s of a directory is EISDIR, of nothing EBADF', (name, [, offset]) => {
    const iovs = rig.iovs(rig.bytes('x'));
    const rest = offset === undefined ? [rig.alloc(4)] : [offset, rig.alloc(4)];
    expect(rig.call(name, 3, ...iovs, ...rest)).toBe('EISDIR');
    for (const fd of [0, 99, -1, 0x7fffffff]) expect(rig.call(name, fd, ...iovs, ...rest)).toBe('EBADF');
  });
  it('checks pointers before anything is done', () => {
    const fd = rig.file('a', 'abc');
    const good = rig.iovs(rig.bytes('xyz'));
    expect(rig.call('fd_write', fd, ...good, OUTSIDE)).toBe('EFAULT');
    expect(rig.call('fd_write', fd, OUTSIDE, 1, rig.alloc(4))).toBe('EFAULT');
    expect(rig.call('fd_write', fd, ...rig.iovs([OUTSIDE, 3]), rig.alloc(4))).toBe('EFAULT');
    expect(rig.call('fd_read', fd, ...rig.iovs([-1, 0xffffffff]), rig.alloc(4))).toBe('EFAULT');
    expect(rig.call('fd_write', fd, good[0], 1025, rig.alloc(4))).toBe('EINVAL');
    expect(rig.call('fd_write', fd, good[0], -1, rig.alloc(4))).toBe('EINVAL');
    expect(rig.call('fd_pread', fd, ...good, -1n, rig.alloc(4))).toBe('EINVAL');
    expect(rig.read(fd)).toBe('abc');
  });
  it('needs its right, whatever the file would allow', () => {
    const fd = rig.file('a', 'abc');
    const reader = rig.open('a', { rights: abi.RIGHTS_FD_READ }) as number;
    const writer = rig.open('a', { rights: abi.RIGHTS_FD_WRITE }) as number;
    expect(rig.write(reader, 'x')).toBe('EBADF');
    expect(rig.read(writer)).toBe('EBADF');
    expect(rig.call('fd_pread', reader, ...rig.iovs([64, 1]), 0n, rig.alloc(4))).toBe('ENOTCAPABLE');
    expect(rig.call('fd_pread', writer, ...rig.iovs([64, 1]), 0n, rig.alloc(4))).toBe('EBADF');
    expect(rig.read(fd)).toBe('abc');
  });
  it('waits for a pipe, and takes up where it was', () => {
    const pipe = new Pipe();
    const from = rig.give(pipe.reader);
    const to = rig.give(pipe.writer);
    expect(rig.read(from)).toBeInstanceOf(Wait);
    const [iovs, count] = rig.iovs(rig.bytes(new Uint8Array(70_000).fill(65)), rig.bytes('end'));
    const result = rig.alloc(4);
    expect(rig.call('fd_write', to, iovs, count, result)).toEqual(new Wait([pipe.queue]));
    expect(pipe.reader.read(new Uint8Array(65536))).toBe(65536); // another process
    rig.ok('fd_write', to, iovs, count, result);
    expect(rig.u32(result)).toBe(70_003);
    expect(rig.read(from, 5000)).toBe(`${'A'.repeat(4464)}end`);
  });
  it('with NONBLOCK is EAGAIN, or short', () => {
    const pipe = new Pipe();
    const from = rig.give(pipe.reader);
    const to = rig.give(pipe.writer);
    for (const fd of [from, to]) rig.ok('fd_fdstat_set_flags', fd, abi.FDFLAGS_NONBLOCK);
    expect(rig.read(from)).toBe('EAGAIN');
    expect(rig.write(to, new Uint8Array(70_000))).toBe(65536);
    expect(rig.write(to, 'x')).toBe('EAGAIN');
  });
  it('of a pipe that nobody reads is the end of the process', () => {
    const pipe = new Pipe();
    const to = rig.give(pipe.writer);
    pipe.reader.release();
    expect(() => rig.write(to, 'x')).toThrow(ProcessExit);
  });
  it('waits for a file system that is busy, and writes nothing twice', () => {
    const idle = new WaitQueue();
    const fd = rig.file('a', '', { fdflags: abi.FDFLAGS_SYNC | abi.FDFLAGS_APPEND });
    const { file } = rig.fds.get(fd);
    if (!(file instanceof OpenDiskFile)) throw new Error('a file is a file');
    let busy = 2;
    file.vnode.sync = () => {
      if (busy-- > 0) throw new FileSystemBusy('sync', idle);
    };
    const [iovs, count] = rig.iovs(rig.bytes('once'));
    const result = rig.alloc(4);
    for (let i = 0; i < 2; i++) expect(rig.call('fd_write', fd, iovs, count, result)).toEqual(new Wait([idle]));
    rig.ok('fd_write', fd, iovs, count, result);
    expect(rig.u32(result)).toBe(4);
    expect(stat(fd).size).toBe(4n);
  });
});

describe('offsets', () => {
  it('are set, moved, and counted from the end', () => {
    const fd = rig.file('a', '0123456789');
    expect(seek(fd, 4n, abi.WHENCE_SET)).toBe(4);
    expect(seek(fd, -1n, abi.WHENCE_CUR)).toBe(3);
    expect(seek(fd, -2n, abi.WHENCE_END)).toBe(8);
    expect(seek(fd, 1000n, abi.WHENCE_END)).toBe(1010);
    expect(seek(fd, -2000n, abi.WHENCE_CUR)).toBe('EINVAL');
    expect(seek(fd, 2n ** 62n, abi.WHENCE_SET)).toBe('EOVERFLOW');
    expect(seek(fd, 0n, 3)).toBe('EINVAL');
    const at = rig.alloc(8);
    rig.ok('fd_tell', fd, at);
    expect(rig.u64(at)).toBe(1010n);
    expect(rig.call('fd_seek', fd, 0n, 0, OUTSIDE)).toBe('EFAULT');
    expect(rig.call('fd_tell', fd, OUTSIDE)).toBe('EFAULT');
  });
  it('are ESPIPE for a pipe, EISDIR for a directory, and need their rights', () => {
    const pipe = rig.give(new Pipe().reader);
    expect(seek(pipe, 0n, 0)).toBe('ESPIPE');
    expect(rig.call('fd_tell', pipe, rig.alloc(8))).toBe('ESPIPE');
    expect(seek(3, 0n, 0)).toBe('EISDIR');
    const file = rig.file('a', '', { rights: abi.RIGHTS_FD_WRITE | abi.RIGHTS_FD_SEEK });
    const teller = rig.file('a', undefined, { rights: abi.RIGHTS_FD_TELL });
    expect(seek(teller, 0n, abi.WHENCE_CUR)).toBe(0);
    expect(seek(teller, 0n, abi.WHENCE_SET)).toBe('ENOTCAPABLE');
    rig.ok('fd_tell', file, rig.alloc(8)); // api.h: implied by FD_SEEK
  });
  it('of snapshot 0 count whence otherwise', () => {
    const fd = rig.file('a', '0123456789');
    const at = rig.alloc(8);
    const was = (whence: number, delta: bigint) => {
      expect(rig.raw('fd_seek', [fd, delta, whence, at], 'wasi_unstable')).toBe(0);
      return Number(rig.u64(at));
    };
    expect(was(2, 4n)).toBe(4);
    expect(was(0, 1n)).toBe(5);
    expect(was(1, -1n)).toBe(9);
  });
});

describe('fdstat', () => {
  it('says type, flags and rights; only those rights are there that mean something', () => {
    const fd = rig.file('a', '', { fdflags: abi.FDFLAGS_APPEND | abi.FDFLAGS_SYNC | abi.FDFLAGS_NONBLOCK });
    expect(fdstat(fd)).toMatchObject({
      type: abi.FILETYPE_REGULAR_FILE,
      flags: abi.FDFLAGS_APPEND | abi.FDFLAGS_SYNC | abi.FDFLAGS_NONBLOCK,
    });
    expect(fdstat(fd).base & abi.RIGHTS_PATH_OPEN).toBe(0);
    const root = fdstat(3);
    expect(root).toMatchObject({ type: abi.FILETYPE_DIRECTORY, flags: 0, inheriting: ALL_RIGHTS });
    expect(root.base & (abi.RIGHTS_FD_SEEK | abi.RIGHTS_FD_FILESTAT_SET_SIZE)).toBe(0);
    expect(fdstat(rig.give(new Pipe().reader)).type).toBe(abi.FILETYPE_UNKNOWN);
    expect(rig.call('fd_fdstat_get', 3, OUTSIDE)).toBe('EFAULT');
  });
  it('takes flags that exist from who may set them', () => {
    const fd = rig.file('a');
    expect(rig.call('fd_fdstat_set_flags', fd, 32)).toBe('EINVAL');
    const other = rig.file('b', undefined, { rights: abi.RIGHTS_FD_READ });
    expect(rig.call('fd_fdstat_set_flags', other, 0)).toBe('ENOTCAPABLE');
  });
  it('gives rights up and never back', () => {
    const fd = rig.file('a', 'abc');
    const { base } = fdstat(fd);
    const less = base & ~(abi.RIGHTS_FD_READ | abi.RIGHTS_FD_WRITE);
    rig.ok('fd_fdstat_set_rights', fd, BigInt(less), 0n);
    expect(fdstat(fd).base).toBe(less);
    expect(rig.read(fd)).toBe('EBADF');
    expect(rig.write(fd, 'x')).toBe('EBADF');
    expect(rig.call('fd_fdstat_set_rights', fd, BigInt(base), 0n)).toBe('ENOTCAPABLE');
    expect(rig.call('fd_fdstat_set_rights', fd, 0n, 1n)).toBe('ENOTCAPABLE');
    expect(rig.call('fd_fdstat_set_rights', fd, -1n, 0n)).toBe('ENOTCAPABLE');
  });
});

describe('filestat', () => {
  it('says what the file system says', () => {
    rig.clock.ms += 1;
    const fd = rig.file('a', 'abc');
    const is = stat(fd);
    expect(is).toMatchObject({
      type: abi.FILETYPE_REGULAR_FILE,
      nlink: 1n,
      size: 3n,
      mtim: 1_700_000_000_001_000_000n,
    });
    expect(stat(rig.file('a'))).toEqual(is);
    expect(stat(rig.file('b')).ino).not.toBe(is.ino);
    expect(stat(rig.file('b')).dev).toBe(is.dev);
    expect(stat(rig.give(new Pipe().reader))).toMatchObject({ dev: 0n, type: 0, size: 0n });
    expect(rig.call('fd_filestat_get', fd, OUTSIDE)).toBe('EFAULT');
  });
  it('of snapshot 0 has a smaller nlink', () => {
    const fd = rig.file('a', 'abc');
    const at = rig.alloc(64);
    rig.view.setBigUint64(at + 56, 77n, true);
    expect(rig.raw('fd_filestat_get', [fd, at], 'wasi_unstable')).toBe(0);
    expect([rig.u32(at + 20), rig.u64(at + 24), rig.u64(at + 56)]).toEqual([1, 3n, 77n]);
  });
  it('takes sizes: longer with zeros, shorter cut', () => {
    const fd = rig.file('a', 'abcdef');
    rig.ok('fd_filestat_set_size', fd, 3n);
    rig.ok('fd_filestat_set_size', fd, 5n);
    expect(rig.read(fd)).toBe('abc\0\0');
    expect(rig.call('fd_filestat_set_size', fd, -1n)).toBe('EFBIG');
    expect(rig.call('fd_filestat_set_size', 3, 0n)).toBe('EISDIR');
    expect(rig.call('fd_filestat_set_size', rig.give(new Pipe().writer), 0n)).toBe('EINVAL');
    const other = rig.file('a', undefined, { rights: abi.RIGHTS_FD_WRITE });
    expect(rig.call('fd_filestat_set_size', other, 0n)).toBe('ENOTCAPABLE');
  });
  it('takes times, given or now, each or none', () => {
    const fd = rig.file('a');
    const before = stat(fd);
    rig.clock.ms += 5000;
    rig.ok('fd_filestat_set_times', fd, 11n, 22n, abi.FSTFLAGS_MTIM);
    expect(stat(fd)).toMatchObject({ atim: before.atim, mtim: 22n });
    rig.ok('fd_filestat_set_times', fd, 11n, 22n, abi.FSTFLAGS_ATIM | abi.FSTFLAGS_MTIM_NOW);
    expect(stat(fd)).toMatchObject({ atim: 11n, mtim: 1_700_000_005_000_000_000n });
    for (const flags of [3, 12, 16]) expect(rig.call('fd_filestat_set_times', fd, 0n, 0n, flags)).toBe('EINVAL');
    const other = rig.file('a', undefined, { rights: abi.RIGHTS_FD_READ });
    expect(rig.call('fd_filestat_set_times', other, 0n, 0n, 0)).toBe('ENOTCAPABLE');
  });
});

describe('allocation, advice, sync', () => {
  it('makes a file longer and never shorter', () => {
    const fd = rig.file('a', 'abc');
    rig.ok('fd_allocate', fd, 0n, 100n);
    rig.ok('fd_allocate', fd, 10n, 10n);
    expect(stat(fd).size).toBe(100n);
    rig.ok('fd_allocate', fd, 90n, 20n);
    expect(stat(fd).size).toBe(110n);
    expect(rig.call('fd_allocate', fd, 0n, 0n)).toBe('EINVAL');
    expect(rig.call('fd_allocate', fd, -1n, 1n)).toBe('EFBIG');
    expect(rig.call('fd_allocate', 3, 0n, 1n)).toBe('EISDIR');
    expect(rig.call('fd_allocate', rig.give(new Pipe().writer), 0n, 1n)).toBe('ESPIPE');
    const other = rig.file('a', undefined, { rights: abi.RIGHTS_FD_WRITE });
    expect(rig.call('fd_allocate', other, 0n, 1n)).toBe('ENOTCAPABLE');
  });
  it('takes advice that exists', () => {
    const fd = rig.file('a', 'abc');
    rig.ok('fd_advise', fd, 0n, 10n, 5);
    expect(rig.call('fd_advise', fd, 0n, 10n, 6)).toBe('EINVAL');
    expect(rig.call('fd_advise', fd, 0n, 10n, -1)).toBe('EINVAL');
    expect(rig.call('fd_advise', 3, 0n, 10n, 0)).toBe('ENOTCAPABLE');
    expect(rig.call('fd_advise', 99, 0n, 10n, 0)).toBe('EBADF');
  });
  it('syncs files and directories, each kind with its right', () => {
    const fd = rig.file('a', 'abc');
    rig.ok('fd_sync', fd);
    rig.ok('fd_datasync', fd);
    rig.ok('fd_sync', 3);
    const other = rig.file('a', undefined, { rights: abi.RIGHTS_FD_DATASYNC });
    expect(rig.call('fd_sync', other)).toBe('ENOTCAPABLE');
    rig.ok('fd_datasync', other);
    expect(rig.call('fd_sync', 99)).toBe('EBADF');
  });
});

describe('descriptors', () => {
  it('are the lowest number that is free, and at most 1024', () => {
    expect(rig.file('a')).toBe(0);
    expect(rig.file('b')).toBe(1);
    expect(rig.file('c')).toBe(2);
    expect(rig.file('d')).toBe(4);
    rig.ok('fd_close', 1);
    expect(rig.file('e')).toBe(1);
    expect(rig.call('fd_close', 77)).toBe('EBADF');
    for (let fd = 5; fd < OPEN_MAX; fd++) expect(rig.reset().file('a')).toBe(fd);
    expect(rig.open('new', { oflags: abi.OFLAGS_CREAT })).toBe('EMFILE');
    rig.ok('fd_close', 500);
    expect(rig.open('new')).toBe('ENOENT'); // it was not created either
  });
  it('are renumbered over open ones only', () => {
    const from = rig.file('a', 'from');
    const to = rig.file('b', 'to');
    rig.ok('fd_renumber', from, to);
    expect(rig.read(to)).toBe('from');
    expect(rig.call('fd_close', from)).toBe('EBADF');
    expect(rig.call('fd_renumber', to, from)).toBe('EBADF');
    expect(rig.call('fd_renumber', from, to)).toBe('EBADF');
    rig.ok('fd_renumber', to, to);
    rig.ok('fd_renumber', to, 3);
    expect(rig.call('fd_prestat_get', 3, rig.alloc(8))).toBe('EBADF');
    rig.fds.closeAll();
    expect(rig.fs.inUse).toBe(false);
  });
  it('that were there at the start have a name', () => {
    const at = rig.alloc(8);
    rig.ok('fd_prestat_get', 3, at);
    expect([rig.view.getUint8(at), rig.u32(at + 4)]).toEqual([abi.PREOPENTYPE_DIR, 1]);
    const name = rig.alloc(2);
    rig.ok('fd_prestat_dir_name', 3, name, 2);
    expect(rig.text(name, 2)).toBe('/\0');
    expect(rig.call('fd_prestat_dir_name', 3, name, 0)).toBe('ENAMETOOLONG');
    expect(rig.call('fd_prestat_dir_name', 3, 4 * 65536, 1)).toBe('EFAULT');
    expect(rig.call('fd_prestat_get', 3, OUTSIDE)).toBe('EFAULT');
    expect(rig.call('fd_prestat_get', rig.file('a'), at)).toBe('EBADF');
    expect(rig.call('fd_prestat_get', 4, at)).toBe('EBADF');
  });
});

describe('fd_readdir', () => {
  interface Entry {
    readonly name: string;
    readonly next: bigint;
    readonly ino: bigint;
    readonly type: number;
  }
  const readdir = (fd: number, size: number, cookie: bigint): { used: number; entries: Entry[] } => {
    const buffer = rig.alloc(size);
    const result = rig.alloc(4);
    rig.ok('fd_readdir', fd, buffer, size, cookie, result);
    const used = rig.u32(result);
    const entries: Entry[] = [];
    for (let at = buffer; at + 24 <= buffer + used; ) {
      const length = rig.u32(at + 16);
      if (at + 24 + length > buffer + used) break;
      const name = rig.text(at + 24, length);
      entries.push({ name, next: rig.u64(at), ino: rig.u64(at + 8), type: rig.view.getUint8(at + 20) });
      at += 24 + length;
    }
    return { used, entries };
  };
  const names = (entries: readonly Entry[]): string[] => entries.map(({ name }) => name);

  it('begins with the directory itself and ends below the size of the buffer', () => {
    const ino = stat(rig.file('file')).ino;
    const { used, entries } = readdir(3, 256, 0n);
    expect(used).toBe(24 * 3 + 1 + 2 + 4);
    expect(names(entries)).toEqual(['.', '..', 'file']);
    expect(entries.map(({ type }) => type)).toEqual([3, 3, 4]);
    expect(entries[0]?.ino).toBe(stat(3).ino);
    expect(entries[2]?.ino).toBe(ino);
    expect(names(readdir(3, 256, entries[1]!.next).entries)).toEqual(['file']);
    expect(readdir(3, 256, entries[2]!.next).used).toBe(0);
    expect(readdir(3, 256, -1n).used).toBe(0);
  });
  it('fills the buffer when there is more, the last entry cut off', () => {
    rig.file('file');
    expect(readdir(3, 30, 0n).used).toBe(30);
    expect(readdir(3, 10, 0n).used).toBe(10);
    expect(readdir(3, 0, 0n).used).toBe(0);
  });
  it('brings what stays there exactly once while the directory changes', () => {
    const fds = rig.fds;
    for (let i = 0; i < 200; i++) fds.close(rig.reset().file(`stays-${i}`));
    for (let i = 0; i < 50; i++) fds.close(rig.reset().file(`goes-${i}`));
    const seen: string[] = [];
    for (let cookie = 0n, round = 0; ; round++) {
      const { used, entries } = readdir(3, 256, cookie);
      seen.push(...names(entries));
      if (used < 256) break;
      cookie = entries.at(-1)!.next;
      if (round < 50) rig.ok('path_unlink_file', 3, ...rig.bytes(`goes-${round}`));
      if (round < 50) fds.close(rig.file(`new-${round}`));
      rig.reset();
    }
    const stays = seen.filter(name => name.startsWith('stays'));
    expect(stays.length).toBe(200);
    expect(new Set(seen).size).toBe(seen.length);
  });
  it('is of directories, with the right to it', () => {
    const args = [rig.alloc(64), 64, 0n, rig.alloc(4)] as const;
    expect(rig.call('fd_readdir', rig.file('a'), ...args)).toBe('ENOTDIR');
    expect(rig.call('fd_readdir', 99, ...args)).toBe('EBADF');
    const other = rig.open('.', { rights: abi.RIGHTS_PATH_OPEN }) as number;
    expect(rig.call('fd_readdir', other, ...args)).toBe('ENOTCAPABLE');
    expect(rig.call('fd_readdir', 3, OUTSIDE, 64, 0n, args[3])).toBe('EFAULT');
    expect(rig.call('fd_readdir', 3, args[0], 64, 0n, OUTSIDE)).toBe('EFAULT');
  });
});
