// Which system calls a domain's process may make. What a running V8 does not need is not there; what code may well try
// fails with EPERM, so that an exception says so; anything else ends the process.
import {
  CLONE_THREAD,
  ENGINE_FCNTL,
  ENGINE_IOCTL,
  ENGINE_MADVISE,
  ENGINE_PRCTL,
  ENGINE_RUNS,
  ENGINE_STARTS_THREADS,
  eachSyscall,
  type Policy,
  syscallNames,
  XEN_ENOSYS,
  XEN_EPERM,
} from '#pvbus';

const PROT_EXEC = 4;
const O_WRITE_OR_CREATE = 0o103;

/** What Node's own functions would do, and what people try first. */
const TRIED = syscallNames(`
  open openat openat2 creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
  readlinkat chmod fchmod fchmodat chown fchown lchown fchownat utimensat futimesat mknod mknodat umask faccessat faccessat2
  truncate ftruncate fallocate fadvise64 copy_file_range sendfile splice tee vmsplice statfs fstatfs sync syncfs fsync fdatasync
  chdir fchdir chroot mount umount2 pivot_root inotify_init1 fanotify_init flock
  pwrite64 pwritev pwritev2 preadv preadv2 dup dup2 dup3 pipe close_range memfd_create memfd_secret
  socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg recvfrom recvmmsg
  getsockname getpeername getsockopt setsockopt shutdown
  fork vfork execve execveat wait4 waitid kill tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal pidfd_getfd
  ptrace process_vm_readv process_vm_writev process_madvise kcmp
  setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset capget personality
  setpriority getpriority sched_setaffinity sched_setscheduler sched_setparam sched_setattr setrlimit getrlimit
  unshare setns bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
  landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp
  uname sysinfo timer_create timerfd_create signalfd4 mlock mlockall shmget shmat msgget semget add_key keyctl request_key
  setsid setpgid getpgid getsid arch_prctl mincore msync
`);

/** From the moment on that a shell waits for a domain. Its threads of other vCPUs are yet to be started. */
export function waitingPolicy(pid: number): Policy {
  return {
    rules: {
      ...eachSyscall(ENGINE_RUNS, 'allow'),
      ...eachSyscall(ENGINE_STARTS_THREADS, 'allow'),
      ...eachSyscall(TRIED, XEN_EPERM),
      mmap: 'allow',
      openat: { arg: 2, without: O_WRITE_OR_CREATE, otherwise: XEN_EPERM },
      clone: { arg: 0, having: CLONE_THREAD, otherwise: XEN_EPERM },
      // Its flags are out of a filter's reach. glibc takes clone instead.
      clone3: XEN_ENOSYS,
      fcntl: { arg: 1, oneOf: ENGINE_FCNTL, otherwise: XEN_EPERM },
      ioctl: { arg: 1, oneOf: ENGINE_IOCTL, otherwise: XEN_EPERM },
      // By MADV_REMOVE it would make holes in memory that it shares.
      madvise: { arg: 2, oneOf: ENGINE_MADVISE, otherwise: XEN_EPERM },
      prctl: { arg: 0, oneOf: ENGINE_PRCTL, otherwise: XEN_EPERM },
      // abort(3), of this process alone.
      tgkill: { arg: 0, oneOf: [pid], otherwise: XEN_EPERM },
      // For `runningPolicy`.
      seccomp: 'allow',
    },
    otherwise: 'kill',
  };
}

/** On top of that one, from the moment on that every thread of the domain is there: before anything of it runs. */
export const runningPolicy: Policy = {
  rules: {
    ...eachSyscall(ENGINE_STARTS_THREADS, XEN_EPERM),
    ...eachSyscall(syscallNames('openat clone seccomp'), XEN_EPERM),
    clone3: XEN_ENOSYS,
    mmap: { arg: 2, without: PROT_EXEC, otherwise: XEN_EPERM },
  },
  otherwise: 'allow',
};
