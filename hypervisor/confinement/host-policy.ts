// What no process of a host has a use for, whoever it is: the hypervisor, dom0 and the scripts that it runs, driver
// domains, and shells before they have a filter of their own. All of these are trusted; this is for the day when one is
// not. The kernel of the machine, its memory and its clock are nobody's; another process's memory is its own.
import { eachSyscall, type Policy, syscallNames, XEN_ENOSYS, XEN_EPERM } from '#pvbus';

const NOBODYS = syscallNames(`
  ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_getfd kcmp
  bpf perf_event_open userfaultfd memfd_secret lookup_dcookie uselib modify_ldt iopl ioperm
  kexec_load kexec_file_load create_module init_module finit_module delete_module
  add_key request_key keyctl
  swapon swapoff reboot acct quotactl quotactl_fd nfsservctl syslog vhangup _sysctl
  settimeofday clock_settime adjtimex clock_adjtime
  pivot_root open_by_handle_at fanotify_init mbind migrate_pages move_pages
`);

export const hostPolicy: Policy = {
  rules: {
    ...eachSyscall(NOBODYS, XEN_EPERM),
    // What is asked for through an io_uring passes by every filter. libuv makes one before a program could say no, so
    // nobody is to have it in the first place; it does without.
    io_uring_setup: XEN_ENOSYS,
    // Its flags are out of a filter's reach. glibc takes clone instead.
    clone3: XEN_ENOSYS,
  },
  otherwise: 'allow',
};
