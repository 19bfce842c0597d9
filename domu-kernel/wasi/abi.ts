// The layouts and numbers of wasi_snapshot_preview1, by the names of wasi/api.h without its __wasi_ and __WASI_.
import { struct, union } from '#pvbus';

export const ERRNO_SUCCESS = 0;

export const CLOCKID_REALTIME = 0;
export const CLOCKID_MONOTONIC = 1;
export const CLOCKID_PROCESS_CPUTIME_ID = 2;
export const CLOCKID_THREAD_CPUTIME_ID = 3;

export const RIGHTS_FD_DATASYNC = 1 << 0;
export const RIGHTS_FD_READ = 1 << 1;
export const RIGHTS_FD_SEEK = 1 << 2;
export const RIGHTS_FD_FDSTAT_SET_FLAGS = 1 << 3;
export const RIGHTS_FD_SYNC = 1 << 4;
export const RIGHTS_FD_TELL = 1 << 5;
export const RIGHTS_FD_WRITE = 1 << 6;
export const RIGHTS_FD_ADVISE = 1 << 7;
export const RIGHTS_FD_ALLOCATE = 1 << 8;
export const RIGHTS_PATH_CREATE_DIRECTORY = 1 << 9;
export const RIGHTS_PATH_CREATE_FILE = 1 << 10;
export const RIGHTS_PATH_LINK_SOURCE = 1 << 11;
export const RIGHTS_PATH_LINK_TARGET = 1 << 12;
export const RIGHTS_PATH_OPEN = 1 << 13;
export const RIGHTS_FD_READDIR = 1 << 14;
export const RIGHTS_PATH_READLINK = 1 << 15;
export const RIGHTS_PATH_RENAME_SOURCE = 1 << 16;
export const RIGHTS_PATH_RENAME_TARGET = 1 << 17;
export const RIGHTS_PATH_FILESTAT_GET = 1 << 18;
export const RIGHTS_PATH_FILESTAT_SET_SIZE = 1 << 19;
export const RIGHTS_PATH_FILESTAT_SET_TIMES = 1 << 20;
export const RIGHTS_FD_FILESTAT_GET = 1 << 21;
export const RIGHTS_FD_FILESTAT_SET_SIZE = 1 << 22;
export const RIGHTS_FD_FILESTAT_SET_TIMES = 1 << 23;
export const RIGHTS_PATH_SYMLINK = 1 << 24;
export const RIGHTS_PATH_REMOVE_DIRECTORY = 1 << 25;
export const RIGHTS_PATH_UNLINK_FILE = 1 << 26;
export const RIGHTS_POLL_FD_READWRITE = 1 << 27;
export const RIGHTS_SOCK_SHUTDOWN = 1 << 28;
export const RIGHTS_SOCK_ACCEPT = 1 << 29;

export const WHENCE_SET = 0;
export const WHENCE_CUR = 1;
export const WHENCE_END = 2;

export const FILETYPE_UNKNOWN = 0;
export const FILETYPE_BLOCK_DEVICE = 1;
export const FILETYPE_CHARACTER_DEVICE = 2;
export const FILETYPE_DIRECTORY = 3;
export const FILETYPE_REGULAR_FILE = 4;
export const FILETYPE_SOCKET_DGRAM = 5;
export const FILETYPE_SOCKET_STREAM = 6;
export const FILETYPE_SYMBOLIC_LINK = 7;

export const ADVICE_NOREUSE = 5; // the last of six

export const FDFLAGS_APPEND = 1 << 0;
export const FDFLAGS_DSYNC = 1 << 1;
export const FDFLAGS_NONBLOCK = 1 << 2;
export const FDFLAGS_RSYNC = 1 << 3;
export const FDFLAGS_SYNC = 1 << 4;

export const FSTFLAGS_ATIM = 1 << 0;
export const FSTFLAGS_ATIM_NOW = 1 << 1;
export const FSTFLAGS_MTIM = 1 << 2;
export const FSTFLAGS_MTIM_NOW = 1 << 3;

export const LOOKUPFLAGS_SYMLINK_FOLLOW = 1 << 0;

export const OFLAGS_CREAT = 1 << 0;
export const OFLAGS_DIRECTORY = 1 << 1;
export const OFLAGS_EXCL = 1 << 2;
export const OFLAGS_TRUNC = 1 << 3;

export const EVENTTYPE_CLOCK = 0;
export const EVENTTYPE_FD_READ = 1;
export const EVENTTYPE_FD_WRITE = 2;
export const EVENTRWFLAGS_FD_READWRITE_HANGUP = 1 << 0;
export const SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME = 1 << 0;

export const RIFLAGS_RECV_PEEK = 1 << 0;
export const RIFLAGS_RECV_WAITALL = 1 << 1;
export const ROFLAGS_RECV_DATA_TRUNCATED = 1 << 0;
export const SDFLAGS_RD = 1 << 0;
export const SDFLAGS_WR = 1 << 1;

export const PREOPENTYPE_DIR = 0;
/** Not in api.h: what a program was given that is no directory. wasi-libc, and all that is built on it, passes over it. */
export const PREOPENTYPE_OTHER = 1;

/** Also ciovec: `buf` is a pointer, 32 bits. */
export const iovec = struct('iovec', 8, { buf: 'u32', buf_len: 'u32' });

export const dirent = struct('dirent', 24, { d_next: 'u64', d_ino: 'u64', d_namlen: 'u32', d_type: 'u8' });

export const fdstat = struct('fdstat', 24, {
  fs_filetype: 'u8',
  fs_flags: 'u16',
  fs_rights_base: 'u64',
  fs_rights_inheriting: 'u64',
});

export const filestat = struct('filestat', 64, {
  dev: 'u64',
  ino: 'u64',
  filetype: 'u8',
  nlink: 'u64',
  size: 'u64',
  atim: 'u64',
  mtim: 'u64',
  ctim: 'u64',
});

export const event_fd_readwrite = struct('event_fd_readwrite', 16, { nbytes: 'u64', flags: 'u16' });
export const event = struct('event', 32, {
  userdata: 'u64',
  error: 'u16',
  type: 'u8',
  fd_readwrite: event_fd_readwrite,
});

export const subscription_clock = struct('subscription_clock', 32, {
  id: 'u32',
  timeout: 'u64',
  precision: 'u64',
  flags: 'u16',
});
export const subscription_fd_readwrite = struct('subscription_fd_readwrite', 4, { file_descriptor: 'i32' });
export const subscription_u_u = union('subscription_u_u', 32, {
  clock: subscription_clock,
  fd_read: subscription_fd_readwrite,
  fd_write: subscription_fd_readwrite,
});
export const subscription_u = struct('subscription_u', 40, { tag: 'u8', u: subscription_u_u });
export const subscription = struct('subscription', 48, { userdata: 'u64', u: subscription_u });

export const prestat_dir = struct('prestat_dir', 4, { pr_name_len: 'u32' });
export const prestat_u = union('prestat_u', 4, { dir: prestat_dir });
export const prestat = struct('prestat', 8, { tag: 'u8', u: prestat_u });

// wasi_unstable, snapshot 0: a few layouts and the order of whence are others.
export const filestat_0 = struct('filestat_0', 56, {
  dev: 'u64',
  ino: 'u64',
  filetype: 'u8',
  nlink: 'u32',
  size: 'u64',
  atim: 'u64',
  mtim: 'u64',
  ctim: 'u64',
});
export const subscription_clock_0 = struct('subscription_clock_0', 40, {
  identifier: 'u64',
  id: 'u32',
  timeout: 'u64',
  precision: 'u64',
  flags: 'u16',
});
export const subscription_u_u_0 = union('subscription_u_u_0', 40, {
  clock: subscription_clock_0,
  fd_read: subscription_fd_readwrite,
  fd_write: subscription_fd_readwrite,
});
export const subscription_u_0 = struct('subscription_u_0', 48, { tag: 'u8', u: subscription_u_u_0 });
export const subscription_0 = struct('subscription_0', 56, { userdata: 'u64', u: subscription_u_0 });
/** Snapshot 0's whence is the index of preview1's. */
export const WHENCE_OF_0: readonly (number | undefined)[] = [WHENCE_CUR, WHENCE_END, WHENCE_SET];

/** The layouts in which the two differ. */
export interface Layouts {
  readonly filestat: typeof filestat | typeof filestat_0;
  readonly subscription: typeof subscription | typeof subscription_0;
  readonly subscription_u: typeof subscription_u | typeof subscription_u_0;
  readonly subscription_clock: typeof subscription_clock | typeof subscription_clock_0;
}
export const PREVIEW1_LAYOUTS: Layouts = { filestat, subscription, subscription_u, subscription_clock };
export const UNSTABLE_LAYOUTS: Layouts = {
  filestat: filestat_0,
  subscription: subscription_0,
  subscription_u: subscription_u_0,
  subscription_clock: subscription_clock_0,
};
