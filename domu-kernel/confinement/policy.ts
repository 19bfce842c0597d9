// Which system calls a domain's process may make. What a running V8 does not need is not there; what code may well try
// fails with EPERM, so that an exception says so; anything else ends the process.
import { type Policy, type SyscallName, XEN_ENOSYS, XEN_EPERM } from '#pvbus';

type Rules = Policy['rules'];
const each = (names: readonly SyscallName[], rule: Rules[SyscallName]): Rules =>
  Object.fromEntries(names.map(name => [name, rule]));
const names = (text: string): SyscallName[] => text.trim().split(/\s+/) as SyscallName[]; // the test of this file looks

const PROT_EXEC = 4;
const O_WRITE_OR_CREATE = 0o103;
const CLONE_THREAD = 0x10000;
// What V8 and libuv ask of a descriptor: F_GETFD to F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS.
const FCNTL = [1, 2, 3, 4, 1030, 1034];
// FIONBIO, FIOCLEX, FIONREAD.
const IOCTL = [0x5421, 0x5451, 0x541b];
// PR_SET_PDEATHSIG, PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS, PR_SET_VMA.
const PRCTL = [1, 15, 16, 21, 39, 0x53564d41];

/** What a V8 that runs asks of Linux, and a vCPU of its descriptors and futex words. */
const RUNNING = names(`
  futex futex_waitv epoll_pwait epoll_wait epoll_ctl epoll_pwait2 poll ppoll
  read write readv writev pread64 recvmsg close fstat lseek
  mprotect pkey_mprotect munmap mremap madvise brk membarrier
  getpid gettid getppid getuid geteuid getgid getegid getrandom
  clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time restart_syscall
  sched_yield sched_getaffinity getcpu getrusage times
  rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack exit exit_group
`);
/** What the start of a thread of Node asks for on top of it. */
const STARTING = names(`
  access stat lstat newfstatat statx readlink getdents64 getcwd
  epoll_create1 eventfd2 pipe2 prlimit64 set_robust_list rseq
  sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min
`);
/** What Node's own functions would do, and what people try first. */
const TRIED = names(`
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
      ...each(RUNNING, 'allow'),
      ...each(STARTING, 'allow'),
      ...each(TRIED, XEN_EPERM),
      mmap: 'allow',
      openat: { arg: 2, without: O_WRITE_OR_CREATE, otherwise: XEN_EPERM },
      clone: { arg: 0, having: CLONE_THREAD, otherwise: XEN_EPERM },
      // Its flags are out of a filter's reach. glibc takes clone instead.
      clone3: XEN_ENOSYS,
      fcntl: { arg: 1, oneOf: FCNTL, otherwise: XEN_EPERM },
      ioctl: { arg: 1, oneOf: IOCTL, otherwise: XEN_EPERM },
      prctl: { arg: 0, oneOf: PRCTL, otherwise: XEN_EPERM },
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
    ...each(STARTING, XEN_EPERM),
    ...each(names('openat clone seccomp'), XEN_EPERM),
    clone3: XEN_ENOSYS,
    mmap: { arg: 2, without: PROT_EXEC, otherwise: XEN_EPERM },
  },
  otherwise: 'allow',
};
