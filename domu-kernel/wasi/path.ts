// The calls that name a path beneath a directory: path_*. What a path leads to is the mount table's to say.
import { XenError } from '#pvbus';
import type { Vnode } from '../fs/file-system.ts';
import type { Located } from '../fs/mount-table.ts';
import { link, makeDirectory, readlink, removeDirectory, removeFile, rename, symlink } from '../fs/path-operations.ts';
import type { OpenFile } from '../process/open-file.ts';
import type { Process } from '../process/process.ts';
import {
  FDFLAGS_DSYNC,
  FDFLAGS_NONBLOCK,
  FDFLAGS_RSYNC,
  FDFLAGS_SYNC,
  type Layouts,
  LOOKUPFLAGS_SYMLINK_FOLLOW,
  OFLAGS_CREAT,
  OFLAGS_DIRECTORY,
  OFLAGS_EXCL,
  OFLAGS_TRUNC,
  RIGHTS_FD_DATASYNC,
  RIGHTS_FD_SYNC,
  RIGHTS_FD_WRITE,
  RIGHTS_PATH_CREATE_DIRECTORY,
  RIGHTS_PATH_CREATE_FILE,
  RIGHTS_PATH_FILESTAT_GET,
  RIGHTS_PATH_FILESTAT_SET_SIZE,
  RIGHTS_PATH_FILESTAT_SET_TIMES,
  RIGHTS_PATH_LINK_SOURCE,
  RIGHTS_PATH_LINK_TARGET,
  RIGHTS_PATH_OPEN,
  RIGHTS_PATH_READLINK,
  RIGHTS_PATH_REMOVE_DIRECTORY,
  RIGHTS_PATH_RENAME_SOURCE,
  RIGHTS_PATH_RENAME_TARGET,
  RIGHTS_PATH_SYMLINK,
  RIGHTS_PATH_UNLINK_FILE,
} from './abi.ts';
import { checkFlags, descriptorOf, directoryOf } from './fd.ts';
import { Descriptor } from './fd-table.ts';
import { storeFilestat, timesOf } from './file-stat.ts';
import type { WasiKernel } from './kernel.ts';
import { at, bytesAt, textAt, textBytes } from './memory.ts';
import { openVnode } from './open-vnode.ts';
import { includes, rightsOf } from './rights.ts';

const PATH_MAX = 4096;
const OFLAGS = OFLAGS_CREAT | OFLAGS_DIRECTORY | OFLAGS_EXCL | OFLAGS_TRUNC;

/** A path as a program gave it, and the directory it does not leave. */
interface Beneath {
  readonly path: string;
  readonly beneath: Vnode;
}

function pathAt(process: Process, pointer: number, length: number): string {
  if (length >>> 0 > PATH_MAX) throw new XenError('ENAMETOOLONG', `a path of ${length >>> 0} bytes`);
  return textAt(process, pointer, length >>> 0);
}
function directoryFor(process: Process, fd: number, rights: number): Vnode {
  const descriptor = descriptorOf(process, fd);
  const { vnode } = directoryOf(descriptor.file);
  descriptor.need(rights);
  return vnode;
}
function beneath(process: Process, fd: number, rights: number, pointer: number, length: number): Beneath {
  const vnode = directoryFor(process, fd, rights);
  const path = pathAt(process, pointer, length);
  // The root of all files too is a directory that nobody names by an absolute path.
  if (path.startsWith('/')) throw new XenError('EPERM', `${path}: an absolute path`);
  return { path, beneath: vnode };
}

/** 'slash': a '/' behind a symlink follows it, as everywhere. */
const followOf = (lookupflags: number): 'always' | 'slash' => {
  if (lookupflags & ~LOOKUPFLAGS_SYMLINK_FOLLOW) throw new XenError('EINVAL', `lookup flags ${lookupflags}`);
  return lookupflags & LOOKUPFLAGS_SYMLINK_FOLLOW ? 'always' : 'slash';
};

/** What path_open was asked for. */
interface Opening {
  readonly oflags: number;
  readonly rights: number;
}

/** What to open, in use. Creates and truncates. */
function found({ directory, name, vnode, wantsDirectory }: Located, { oflags, rights }: Opening, path: string): Vnode {
  if (!vnode) {
    if (!(oflags & OFLAGS_CREAT)) throw new XenError('ENOENT', `${path}: no such file or directory`);
    if (wantsDirectory) throw new XenError('EISDIR', `${path}: a file has no '/' behind its name`);
    return directory.create(name, 'file');
  }
  if (oflags & OFLAGS_CREAT && oflags & OFLAGS_EXCL) throw new XenError('EEXIST', `${path}: it exists already`);
  if (oflags & OFLAGS_DIRECTORY && vnode.type !== 'directory') {
    throw new XenError('ENOTDIR', `${path}: it is no directory`);
  }
  if (vnode.type === 'symlink') throw new XenError('ELOOP', `${path}: a symlink, which is not to be followed`);
  const changes = oflags & OFLAGS_TRUNC || rights & RIGHTS_FD_WRITE;
  if (changes && vnode.type === 'directory') throw new XenError('EISDIR', `${path}: it is a directory`);
  if (changes && vnode.fs.readOnly && vnode.type === 'file') {
    throw new XenError('EROFS', `${path}: ${vnode.fs.name} is read-only`);
  }
  if (oflags & OFLAGS_TRUNC && vnode.type === 'file') vnode.truncate(0);
  return vnode.hold();
}

/** Of the directory a file is opened through: its own right for each flag. */
function rightsToOpen(oflags: number): number {
  let rights = RIGHTS_PATH_OPEN;
  if (oflags & OFLAGS_CREAT) rights |= RIGHTS_PATH_CREATE_FILE;
  if (oflags & OFLAGS_TRUNC) rights |= RIGHTS_PATH_FILESTAT_SET_SIZE;
  return rights;
}
/** Of what it hands on: FD_SYNC is also the right to DSYNC. */
function rightsToSync(fdflags: number, inheriting: number): number {
  if (fdflags & (FDFLAGS_SYNC | FDFLAGS_RSYNC)) return RIGHTS_FD_SYNC;
  if (fdflags & FDFLAGS_DSYNC) return inheriting & RIGHTS_FD_SYNC || RIGHTS_FD_DATASYNC;
  return 0;
}

export const pathCalls = ({ clock, mounts }: Pick<WasiKernel, 'clock' | 'mounts'>, { filestat }: Layouts) => ({
  path_create_directory(process: Process, fd: number, path: number, length: number): number {
    makeDirectory(mounts, beneath(process, fd, RIGHTS_PATH_CREATE_DIRECTORY, path, length));
    return 0;
  },
  path_filestat_get(process: Process, fd: number, flags: number, path: number, length: number, result: number): number {
    const where = beneath(process, fd, RIGHTS_PATH_FILESTAT_GET, path, length);
    const base = at(process, result, filestat.size);
    const vnode = mounts.find(where.path, { follow: followOf(flags), beneath: where.beneath });
    try {
      storeFilestat(process.view, base, vnode, filestat);
    } finally {
      vnode.release();
    }
    return 0;
  },
  path_filestat_set_times(
    process: Process,
    fd: number,
    flags: number,
    path: number,
    length: number,
    atim: bigint,
    mtim: bigint,
    fstflags: number,
  ): number {
    const where = beneath(process, fd, RIGHTS_PATH_FILESTAT_SET_TIMES, path, length);
    const times = timesOf(clock, atim, mtim, fstflags);
    const vnode = mounts.find(where.path, { follow: followOf(flags), beneath: where.beneath });
    try {
      vnode.setTimes(times);
    } finally {
      vnode.release();
    }
    return 0;
  },
  path_link(
    process: Process,
    fd: number,
    flags: number,
    path: number,
    length: number,
    newFd: number,
    newPath: number,
    newLength: number,
  ): number {
    const from = beneath(process, fd, RIGHTS_PATH_LINK_SOURCE, path, length);
    const to = beneath(process, newFd, RIGHTS_PATH_LINK_TARGET, newPath, newLength);
    link(mounts, from, to, followOf(flags) === 'always');
    return 0;
  },
  path_open(
    process: Process,
    fd: number,
    dirflags: number,
    path: number,
    length: number,
    oflags: number,
    base: bigint,
    inheriting: bigint,
    fdflags: number,
    result: number,
  ): number {
    const { fds } = process;
    const where = beneath(process, fd, rightsToOpen(oflags), path, length);
    const through = fds.get(fd);
    const rights = rightsOf(base);
    const handedOn = rightsOf(inheriting);
    checkFlags(fdflags);
    const wanted = rightsToSync(fdflags, through.inheriting);
    for (const set of [rights, handedOn, wanted]) {
      if (!includes(through.inheriting, set))
        throw new XenError('ENOTCAPABLE', `${where.path}: rights of its directory`);
    }
    if (oflags & ~OFLAGS || (oflags & OFLAGS_DIRECTORY && oflags !== OFLAGS_DIRECTORY)) {
      throw new XenError('EINVAL', `${where.path}: open flags ${oflags}`);
    }
    const resultAt = at(process, result, 4);
    // order: a file is created only when it can be opened.
    fds.checkRoom();
    const exclusive = oflags & OFLAGS_CREAT && oflags & OFLAGS_EXCL;
    const follow = exclusive ? 'never' : followOf(dirflags);
    const located = mounts.locate(where.path, { follow, beneath: where.beneath });
    let file: OpenFile;
    try {
      const vnode = found(located, { oflags, rights }, where.path);
      try {
        file = openVnode(vnode, fdflags, own => fds.get(own).file);
      } catch (error) {
        vnode.release();
        throw error;
      }
    } finally {
      located.release();
    }
    const descriptor = new Descriptor(file, rights, handedOn);
    descriptor.nonblock = (fdflags & FDFLAGS_NONBLOCK) !== 0;
    process.view.setUint32(resultAt, fds.add(descriptor), true);
    return 0;
  },
  /** As much of it as `size` bytes hold. */
  path_readlink(
    process: Process,
    fd: number,
    path: number,
    length: number,
    buffer: number,
    size: number,
    result: number,
  ): number {
    const where = beneath(process, fd, RIGHTS_PATH_READLINK, path, length);
    const into = bytesAt(process, buffer, size >>> 0);
    const resultAt = at(process, result, 4);
    const target = textBytes(readlink(mounts, where)).subarray(0, into.length);
    into.set(target);
    process.view.setUint32(resultAt, target.length, true);
    return 0;
  },
  path_remove_directory(process: Process, fd: number, path: number, length: number): number {
    removeDirectory(mounts, beneath(process, fd, RIGHTS_PATH_REMOVE_DIRECTORY, path, length));
    return 0;
  },
  path_rename(
    process: Process,
    fd: number,
    path: number,
    length: number,
    newFd: number,
    newPath: number,
    newLength: number,
  ): number {
    const from = beneath(process, fd, RIGHTS_PATH_RENAME_SOURCE, path, length);
    const to = beneath(process, newFd, RIGHTS_PATH_RENAME_TARGET, newPath, newLength);
    rename(mounts, from, to);
    return 0;
  },
  /** An absolute target is refused: nothing could follow it out of the directory. */
  path_symlink(
    process: Process,
    target: number,
    targetLength: number,
    fd: number,
    path: number,
    length: number,
  ): number {
    const where = beneath(process, fd, RIGHTS_PATH_SYMLINK, path, length);
    const text = pathAt(process, target, targetLength);
    if (text.startsWith('/')) throw new XenError('EPERM', `a symlink to ${text}`);
    if (text.includes('\0')) throw new XenError('EINVAL', 'a symlink with a NUL');
    symlink(mounts, text, where);
    return 0;
  },
  path_unlink_file(process: Process, fd: number, path: number, length: number): number {
    removeFile(mounts, beneath(process, fd, RIGHTS_PATH_UNLINK_FILE, path, length));
    return 0;
  },
});
