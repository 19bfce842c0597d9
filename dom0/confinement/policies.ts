// Which system calls xenstored and a driver domain make once they serve. They are trusted, and others need them: a call
// that is not here fails, and is in Linux's log, and ends nobody.
import {
  CLONE_THREAD,
  ENGINE_FCNTL,
  ENGINE_IOCTL,
  ENGINE_PRCTL,
  ENGINE_RUNS,
  ENGINE_STARTS_THREADS,
  eachSyscall,
  type Policy,
  syscallNames,
  XEN_EPERM,
} from '#pvbus';

const AF_UNIX = 1;
/** With which libuv asks whether a descriptor is a terminal. */
const TCGETS = 0x5401;
/** Of the memory that a live update hands over. */
const F_ADD_SEALS = 1033;

const O_CREAT_OR_TRUNC = 0o1100;
const O_TMPFILE = 0o20000000;

const FILES = syscallNames(`
  readlinkat faccessat faccessat2 statfs fstatfs pwrite64 preadv pwritev fallocate
  capget uname fsync fdatasync sync_file_range dup dup2 dup3
`);
const NEW_FILES = syscallNames(`
  open openat creat ftruncate flock rename renameat renameat2 unlink unlinkat fchmod umask
`);
/** What libuv asks of a socket that is there: of what it prints to. */
const SOCKETS = syscallNames('shutdown getsockopt setsockopt getsockname getpeername');
/** With other processes of the user, by a path in the run directory. */
const UNIX_SOCKETS = syscallNames(`
  socketpair connect bind listen accept4 sendmsg sendto recvfrom
`);

const programOf = (pid: number): Policy['rules'] => ({
  ...eachSyscall(ENGINE_RUNS, 'allow'),
  ...eachSyscall(ENGINE_STARTS_THREADS, 'allow'),
  ...eachSyscall(FILES, 'allow'),
  ...eachSyscall(SOCKETS, 'allow'),
  mmap: 'allow',
  // Threads, no processes and no programs. By clone3 nobody can (hypervisor/confinement/host-policy.ts).
  clone3: 'allow',
  io_uring_setup: 'allow', // there as well
  clone: { arg: 0, having: CLONE_THREAD, otherwise: XEN_EPERM },
  fcntl: { arg: 1, oneOf: [...ENGINE_FCNTL, F_ADD_SEALS], otherwise: XEN_EPERM },
  ioctl: { arg: 1, oneOf: [...ENGINE_IOCTL, TCGETS], otherwise: XEN_EPERM },
  prctl: { arg: 0, oneOf: ENGINE_PRCTL, otherwise: XEN_EPERM },
  // abort(3), of this process alone.
  tgkill: { arg: 0, oneOf: [pid], otherwise: XEN_EPERM },
});

/** Its journal, the files that CONTROL names, and who comes to its socket. */
export const xenstoredPolicy = (pid: number): Policy => ({
  rules: {
    ...programOf(pid),
    ...eachSyscall(NEW_FILES, 'allow'),
    ...eachSyscall(UNIX_SOCKETS, 'allow'),
    memfd_create: 'allow',
    socket: { arg: 0, oneOf: [AF_UNIX], otherwise: XEN_EPERM },
  },
  otherwise: XEN_EPERM,
  inLog: true,
});

/** The images of its disks, which are there. Whom it serves it hears of from the hypervisor. */
export const driverDomainPolicy = (pid: number): Policy => ({
  rules: {
    ...programOf(pid),
    open: { arg: 1, without: O_CREAT_OR_TRUNC | O_TMPFILE, otherwise: XEN_EPERM },
    openat: { arg: 2, without: O_CREAT_OR_TRUNC | O_TMPFILE, otherwise: XEN_EPERM },
  },
  otherwise: XEN_EPERM,
  inLog: true,
});
