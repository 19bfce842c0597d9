// What a descriptor may be used for. A call without its right fails with ENOTCAPABLE, whatever the file would allow.
import type { OpenFile } from '../process/open-file.ts';
import {
  RIGHTS_FD_ADVISE,
  RIGHTS_FD_ALLOCATE,
  RIGHTS_FD_DATASYNC,
  RIGHTS_FD_FDSTAT_SET_FLAGS,
  RIGHTS_FD_FILESTAT_GET,
  RIGHTS_FD_FILESTAT_SET_SIZE,
  RIGHTS_FD_FILESTAT_SET_TIMES,
  RIGHTS_FD_READ,
  RIGHTS_FD_READDIR,
  RIGHTS_FD_SEEK,
  RIGHTS_FD_SYNC,
  RIGHTS_FD_TELL,
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
  RIGHTS_POLL_FD_READWRITE,
  RIGHTS_SOCK_ACCEPT,
  RIGHTS_SOCK_SHUTDOWN,
} from './abi.ts';

/** Every right there is: what a preopened directory hands on. */
export const ALL_RIGHTS = 2 ** 30 - 1;

const STREAM =
  RIGHTS_FD_READ | RIGHTS_FD_WRITE | RIGHTS_FD_FDSTAT_SET_FLAGS | RIGHTS_FD_FILESTAT_GET | RIGHTS_POLL_FD_READWRITE;

/** The rights that mean anything for what is open; a descriptor has no others. */
export const RIGHTS_OF: Readonly<Record<OpenFile['kind'], number>> = {
  file:
    STREAM |
    RIGHTS_FD_DATASYNC |
    RIGHTS_FD_SYNC |
    RIGHTS_FD_SEEK |
    RIGHTS_FD_TELL |
    RIGHTS_FD_ADVISE |
    RIGHTS_FD_ALLOCATE |
    RIGHTS_FD_FILESTAT_SET_SIZE |
    RIGHTS_FD_FILESTAT_SET_TIMES,
  directory:
    RIGHTS_FD_FDSTAT_SET_FLAGS |
    RIGHTS_FD_DATASYNC |
    RIGHTS_FD_SYNC |
    RIGHTS_FD_READDIR |
    RIGHTS_FD_FILESTAT_GET |
    RIGHTS_FD_FILESTAT_SET_TIMES |
    RIGHTS_PATH_CREATE_DIRECTORY |
    RIGHTS_PATH_CREATE_FILE |
    RIGHTS_PATH_LINK_SOURCE |
    RIGHTS_PATH_LINK_TARGET |
    RIGHTS_PATH_OPEN |
    RIGHTS_PATH_READLINK |
    RIGHTS_PATH_RENAME_SOURCE |
    RIGHTS_PATH_RENAME_TARGET |
    RIGHTS_PATH_FILESTAT_GET |
    RIGHTS_PATH_FILESTAT_SET_SIZE |
    RIGHTS_PATH_FILESTAT_SET_TIMES |
    RIGHTS_PATH_SYMLINK |
    RIGHTS_PATH_REMOVE_DIRECTORY |
    RIGHTS_PATH_UNLINK_FILE,
  pipe: STREAM,
  // wasi-libc's isatty: a character device without seek and tell.
  terminal: STREAM,
  // It has seek and tell, as in Linux: else it would be a terminal.
  device: STREAM | RIGHTS_FD_SEEK | RIGHTS_FD_TELL | RIGHTS_FD_FILESTAT_SET_TIMES,
  socket: STREAM | RIGHTS_SOCK_SHUTDOWN | RIGHTS_SOCK_ACCEPT,
};

/** Of a u64 argument: a right that does not exist is one that nobody has, so it stays outside every set. */
export function rightsOf(argument: bigint): number {
  const rights = BigInt.asUintN(64, argument);
  return rights <= BigInt(ALL_RIGHTS) ? Number(rights) : Number(rights & BigInt(ALL_RIGHTS)) + 2 ** 30;
}
/** Whether all of `wanted` is in `had`. */
export const includes = (had: number, wanted: number): boolean => wanted <= ALL_RIGHTS && (had & wanted) === wanted;
