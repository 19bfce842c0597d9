// The system calls of a running Node, from which policies are made: whoever gives up the rest begins with these.
import type { Policy, SyscallName } from './seccomp.ts';

type Rules = Policy['rules'];

/** The test of each policy looks whether there are calls of these names. */
export const syscallNames = (text: string): SyscallName[] => text.trim().split(/\s+/) as SyscallName[];
export const eachSyscall = (names: readonly SyscallName[], rule: Rules[SyscallName]): Rules =>
  Object.fromEntries(names.map(name => [name, rule]));

/**
 * What a V8 that runs asks of Linux, and a vCPU of its descriptors and futex words. How a thread is scheduled is asked by
 * the mutexes of newer ones, which write to stderr when they may not. The last two are the first that glibc
 * asks for on a thread, and it ends the process that may not: a thread may have been made and not have run yet.
 */
export const ENGINE_RUNS = /* @__PURE__ */ syscallNames(`
  futex futex_waitv epoll_pwait epoll_wait epoll_ctl epoll_pwait2 poll ppoll
  read write readv writev pread64 recvmsg close fstat lseek
  mprotect pkey_mprotect munmap mremap madvise brk membarrier
  getpid gettid getppid getuid geteuid getgid getegid getrandom
  clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time restart_syscall
  sched_yield sched_getaffinity sched_getparam sched_getscheduler getcpu getrusage times
  rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack exit exit_group
  set_robust_list rseq
`);
/** What the start of a thread of Node asks for on top of it. */
export const ENGINE_STARTS_THREADS = /* @__PURE__ */ syscallNames(`
  access stat lstat newfstatat statx readlink getdents64 getcwd
  epoll_create1 eventfd2 pipe2 prlimit64
  sched_get_priority_max sched_get_priority_min
`);
/** What V8 and libuv ask of a descriptor: F_GETFD to F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS. */
export const ENGINE_FCNTL = [1, 2, 3, 4, 1030, 1034] as const;
/** FIONBIO, FIOCLEX, FIONREAD. */
export const ENGINE_IOCTL = [0x5421, 0x5451, 0x541b] as const;
/** PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS, PR_SET_VMA. Not PR_SET_PDEATHSIG: it could be taken back. */
export const ENGINE_PRCTL = [15, 16, 21, 39, 0x53564d41] as const;
/**
 * What V8, libuv and C libraries say of memory: MADV_NORMAL to MADV_DONTNEED, FREE, DONTFORK, DOFORK, HUGEPAGE to DODUMP,
 * WIPEONFORK, KEEPONFORK, POPULATE_READ, POPULATE_WRITE, GUARD_INSTALL, GUARD_REMOVE.
 */
export const ENGINE_MADVISE = [0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17, 18, 19, 22, 23, 102, 103] as const;
export const CLONE_THREAD = 0x10000;
