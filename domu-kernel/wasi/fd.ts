// The calls that name a descriptor and neither read nor write: fd_*.
import { XenError } from '#pvbus';
import type { OpenFile } from '../process/open-file.ts';
import type { Process } from '../process/process.ts';
import {
  ADVICE_NOREUSE,
  dirent,
  FDFLAGS_NONBLOCK,
  FILETYPE_DIRECTORY,
  fdstat,
  type Layouts,
  PREOPENTYPE_DIR,
  PREOPENTYPE_OTHER,
  prestat,
  RIGHTS_FD_ADVISE,
  RIGHTS_FD_ALLOCATE,
  RIGHTS_FD_DATASYNC,
  RIGHTS_FD_FDSTAT_SET_FLAGS,
  RIGHTS_FD_FILESTAT_GET,
  RIGHTS_FD_FILESTAT_SET_SIZE,
  RIGHTS_FD_FILESTAT_SET_TIMES,
  RIGHTS_FD_READDIR,
  RIGHTS_FD_SEEK,
  RIGHTS_FD_SYNC,
  RIGHTS_FD_TELL,
  WHENCE_CUR,
  WHENCE_END,
  WHENCE_SET,
} from './abi.ts';
import type { Descriptor } from './fd-table.ts';
import { FILETYPE_OF, filetypeOf, storeOpenFilestat, timesOf } from './file-stat.ts';
import type { WasiKernel } from './kernel.ts';
import { at, bytesAt, storeU64, textBytes } from './memory.ts';
import { FILE_FLAGS, OpenDirectory, OpenDiskFile, OpenVnode } from './open-vnode.ts';
import { includes, rightsOf } from './rights.ts';

export const descriptorOf = (process: Process, fd: number): Descriptor => process.fds.get(fd);
/** That was said of the descriptor, or the call has waited for as long as its socket lets it. */
export const mayNotWait = (process: Process, { nonblock }: Descriptor): boolean => nonblock || process.outOfTime;

/** EISDIR for a directory; `otherwise` for what is no file either. */
export function diskFileOf(file: OpenFile, otherwise: string): OpenDiskFile {
  if (file instanceof OpenDiskFile) return file;
  throw new XenError(file.kind === 'directory' ? 'EISDIR' : otherwise, `not of a ${file.kind}`);
}
/** ENOTDIR. */
export function directoryOf(file: OpenFile): OpenDirectory {
  if (file instanceof OpenDirectory) return file;
  throw new XenError('ENOTDIR', `a ${file.kind} is no directory`);
}
/** A position in a file: EINVAL beyond what a file system can count. */
export function offsetOf(argument: bigint): number {
  const offset = BigInt.asUintN(64, argument);
  if (offset > BigInt(Number.MAX_SAFE_INTEGER)) throw new XenError('EINVAL', `offset ${offset}`);
  return Number(offset);
}
function sumOf(offset: bigint, length: bigint): number {
  const sum = BigInt.asUintN(64, offset) + BigInt.asUintN(64, length);
  if (sum > BigInt(Number.MAX_SAFE_INTEGER)) throw new XenError('EFBIG', `offset ${sum}`);
  return Number(sum);
}
export const flagsOf = ({ file, nonblock }: Descriptor): number =>
  (file instanceof OpenDiskFile || file instanceof OpenDirectory ? file.flags : 0) | (nonblock ? FDFLAGS_NONBLOCK : 0);
/** EINVAL for flags that do not exist. */
export function checkFlags(flags: number): void {
  if (flags & ~(FILE_FLAGS | FDFLAGS_NONBLOCK)) throw new XenError('EINVAL', `descriptor flags ${flags}`);
}

function sync({ file }: Descriptor, dataOnly: boolean): number {
  if (file instanceof OpenDiskFile || file instanceof OpenDirectory) file.sync(dataOnly);
  else throw new XenError('EINVAL', `sync of a ${file.kind}`);
  return 0;
}

type Seekable = Pick<OpenDiskFile, 'offset' | 'size'>;
/** Of a device: wherever one goes, it is the beginning. */
const NOWHERE: Seekable = {
  get offset() {
    return 0;
  },
  set offset(_) {},
  size: () => 0,
};
const seekableOf = (file: OpenFile): Seekable => (file.kind === 'device' ? NOWHERE : diskFileOf(file, 'ESPIPE'));
function seekTo(file: Seekable, offset: number): void {
  if (offset < 0) throw new XenError('EINVAL', `seek to ${offset}`);
  if (!Number.isSafeInteger(offset)) throw new XenError('EOVERFLOW', `seek to ${offset}`);
  file.offset = offset;
}
function seekBase(file: Seekable, whence: number): number {
  if (whence === WHENCE_SET) return 0;
  if (whence === WHENCE_CUR) return file.offset;
  if (whence === WHENCE_END) return file.size();
  throw new XenError('EINVAL', `seek from ${whence}`);
}

export const fdCalls = ({ clock }: Pick<WasiKernel, 'clock'>, { filestat }: Layouts) => ({
  /** Nothing is made of it. */
  fd_advise(process: Process, fd: number, offset: bigint, length: bigint, advice: number): number {
    const { file } = descriptorOf(process, fd).need(RIGHTS_FD_ADVISE);
    diskFileOf(file, 'ESPIPE');
    if (advice >>> 0 > ADVICE_NOREUSE) throw new XenError('EINVAL', `advice ${advice >>> 0}`);
    sumOf(offset, length);
    return 0;
  },
  fd_allocate(process: Process, fd: number, offset: bigint, length: bigint): number {
    const descriptor = descriptorOf(process, fd);
    const file = diskFileOf(descriptor.file, 'ESPIPE');
    descriptor.need(RIGHTS_FD_ALLOCATE);
    if (BigInt.asUintN(64, length) === 0n) throw new XenError('EINVAL', 'to allocate nothing');
    const end = sumOf(offset, length);
    if (end > file.size()) file.vnode.truncate(end);
    return 0;
  },
  fd_close(process: Process, fd: number): number {
    process.fds.close(fd);
    return 0;
  },
  fd_datasync: (process: Process, fd: number): number => sync(descriptorOf(process, fd).need(RIGHTS_FD_DATASYNC), true),
  fd_sync: (process: Process, fd: number): number => sync(descriptorOf(process, fd).need(RIGHTS_FD_SYNC), false),

  fd_fdstat_get(process: Process, fd: number, result: number): number {
    const descriptor = descriptorOf(process, fd);
    const base = at(process, result, fdstat.size);
    const { view } = process;
    for (let i = 0; i < fdstat.size; i += 8) view.setBigUint64(base + i, 0n, true);
    view.setUint8(base + fdstat.at.fs_filetype, filetypeOf(descriptor.file));
    view.setUint16(base + fdstat.at.fs_flags, flagsOf(descriptor), true);
    storeU64(view, base + fdstat.at.fs_rights_base, descriptor.rights);
    storeU64(view, base + fdstat.at.fs_rights_inheriting, descriptor.inheriting);
    return 0;
  },
  fd_fdstat_set_flags(process: Process, fd: number, flags: number): number {
    const descriptor = descriptorOf(process, fd).need(RIGHTS_FD_FDSTAT_SET_FLAGS);
    checkFlags(flags);
    const { file } = descriptor;
    if (file instanceof OpenDiskFile || file instanceof OpenDirectory) file.flags = flags & FILE_FLAGS;
    descriptor.nonblock = (flags & FDFLAGS_NONBLOCK) !== 0;
    return 0;
  },
  /** Rights can be given up and never had back. */
  fd_fdstat_set_rights(process: Process, fd: number, base: bigint, inheriting: bigint): number {
    const descriptor = descriptorOf(process, fd);
    const rights = rightsOf(base);
    const handedOn = rightsOf(inheriting);
    if (!includes(descriptor.rights, rights) || !includes(descriptor.inheriting, handedOn)) {
      throw new XenError('ENOTCAPABLE', 'rights the descriptor has not');
    }
    descriptor.rights = rights;
    descriptor.inheriting = handedOn;
    return 0;
  },
  fd_filestat_get(process: Process, fd: number, result: number): number {
    const { file } = descriptorOf(process, fd).need(RIGHTS_FD_FILESTAT_GET);
    storeOpenFilestat(process.view, at(process, result, filestat.size), file, filestat);
    return 0;
  },
  fd_filestat_set_size(process: Process, fd: number, size: bigint): number {
    const descriptor = descriptorOf(process, fd);
    const file = diskFileOf(descriptor.file, 'EINVAL');
    descriptor.need(RIGHTS_FD_FILESTAT_SET_SIZE);
    file.vnode.truncate(sumOf(size, 0n));
    return 0;
  },
  fd_filestat_set_times(process: Process, fd: number, atim: bigint, mtim: bigint, flags: number): number {
    const { file } = descriptorOf(process, fd).need(RIGHTS_FD_FILESTAT_SET_TIMES);
    const times = timesOf(clock, atim, mtim, flags);
    if (file instanceof OpenVnode) file.vnode.setTimes(times);
    return 0;
  },
  fd_prestat_get(process: Process, fd: number, result: number): number {
    const name = preopenOf(process, fd);
    const base = at(process, result, prestat.size);
    const isDirectory = descriptorOf(process, fd).file.kind === 'directory';
    process.view.setUint32(base, 0, true);
    process.view.setUint8(base + prestat.at.tag, isDirectory ? PREOPENTYPE_DIR : PREOPENTYPE_OTHER);
    process.view.setUint32(base + prestat.at.u, name.length, true);
    return 0;
  },
  fd_prestat_dir_name(process: Process, fd: number, path: number, length: number): number {
    const name = preopenOf(process, fd);
    directoryOf(descriptorOf(process, fd).file);
    if (length >>> 0 < name.length) throw new XenError('ENAMETOOLONG', `${length >>> 0} bytes for a name`);
    bytesAt(process, path, name.length).set(name);
    return 0;
  },
  /** `length` bytes are used when there are more entries than that; the last one may be cut off. */
  fd_readdir(process: Process, fd: number, buffer: number, length: number, cookie: bigint, result: number): number {
    const descriptor = descriptorOf(process, fd);
    const directory = directoryOf(descriptor.file);
    descriptor.need(RIGHTS_FD_READDIR);
    const into = bytesAt(process, buffer, length >>> 0);
    const resultAt = at(process, result, 4);
    const first = BigInt.asUintN(64, cookie);
    const entries = directory.entriesFrom(first === 0n ? 0 : 1);
    let used = 0;
    for (let i = first > BigInt(entries.length + 2) ? entries.length + 2 : Number(first); ; i++) {
      const entry = entryAt(directory, entries, i);
      if (!entry || used === into.length) break;
      used += putEntry(into.subarray(used), i + 1, entry.ino, entry.filetype, textBytes(entry.name));
    }
    process.view.setUint32(resultAt, used, true);
    return 0;
  },
  fd_renumber(process: Process, from: number, to: number): number {
    process.fds.renumber(from, to);
    return 0;
  },
  fd_seek(process: Process, fd: number, delta: bigint, whence: number, result: number): number {
    const descriptor = descriptorOf(process, fd);
    const file = seekableOf(descriptor.file);
    const asks = whence === WHENCE_CUR && delta === 0n;
    if (!asks || !includes(descriptor.rights, RIGHTS_FD_TELL)) descriptor.need(RIGHTS_FD_SEEK);
    const resultAt = at(process, result, 8);
    seekTo(file, seekBase(file, whence) + Number(BigInt.asIntN(64, delta)));
    storeU64(process.view, resultAt, file.offset);
    return 0;
  },
  fd_tell(process: Process, fd: number, result: number): number {
    const descriptor = descriptorOf(process, fd);
    const file = seekableOf(descriptor.file);
    // api.h: the right to seek is also that to tell.
    if (!includes(descriptor.rights, RIGHTS_FD_SEEK)) descriptor.need(RIGHTS_FD_TELL);
    storeU64(process.view, at(process, result, 8), file.offset);
    return 0;
  },
});

/** The name of a directory that was there at the start, as UTF-8; EBADF for any other descriptor. */
function preopenOf(process: Process, fd: number): Uint8Array {
  const { preopen } = descriptorOf(process, fd);
  if (preopen === undefined) throw new XenError('EBADF', `descriptor ${fd} was not there at the start`);
  return textBytes(preopen);
}

type Walked = ReturnType<OpenDirectory['entriesFrom']>;

/** '.' is 0, '..' is 1. The number of '..' is not known here: 0, which wasi-libc takes as that. */
function entryAt(directory: OpenDirectory, entries: Walked, index: number) {
  if (index === 0) return { name: '.', ino: directory.vnode.attributes().ino, filetype: FILETYPE_DIRECTORY };
  if (index === 1) return { name: '..', ino: 0, filetype: FILETYPE_DIRECTORY };
  const entry = entries[index - 2];
  return entry && { name: entry.name, ino: entry.ino, filetype: FILETYPE_OF[entry.type] };
}

/** A `dirent` and its name, as much of them as `into` holds. Returns how much that is. */
function putEntry(into: Uint8Array, next: number, ino: number, filetype: number, name: Uint8Array): number {
  const bytes = new Uint8Array(dirent.size + name.length);
  const view = new DataView(bytes.buffer);
  storeU64(view, dirent.at.d_next, next);
  storeU64(view, dirent.at.d_ino, ino);
  view.setUint32(dirent.at.d_namlen, name.length, true);
  view.setUint8(dirent.at.d_type, filetype);
  bytes.set(name, dirent.size);
  const fits = Math.min(into.length, bytes.length);
  into.set(bytes.subarray(0, fits));
  return fits;
}
