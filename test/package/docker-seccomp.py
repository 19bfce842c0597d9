# Runs a program under a filter that denies what Docker's default profile denies to a container without capabilities;
# with --podman also futex_waitv, as Podman before 6 and Docker before 23 do.
import ctypes, errno, os, struct, sys

# Numbers of x86-64.
DENIED = {
    'mount': 165, 'umount2': 166, 'pivot_root': 155, 'unshare': 272, 'setns': 308, 'swapon': 167, 'swapoff': 168,
    'reboot': 169, 'sethostname': 170, 'setdomainname': 171, 'iopl': 172, 'ioperm': 173, 'init_module': 175,
    'delete_module': 176, 'finit_module': 313, 'quotactl': 179, 'acct': 163, 'settimeofday': 164,
    'clock_settime': 227, 'add_key': 248, 'request_key': 249, 'keyctl': 250, 'move_pages': 279, 'mbind': 237,
    'set_mempolicy': 238, 'get_mempolicy': 239, 'migrate_pages': 256, 'perf_event_open': 298, 'kcmp': 312,
    'name_to_handle_at': 303, 'open_by_handle_at': 304, 'kexec_load': 246, 'kexec_file_load': 320, 'bpf': 321,
    'userfaultfd': 323, 'io_uring_setup': 425, 'io_uring_enter': 426, 'io_uring_register': 427, 'open_tree': 428,
    'move_mount': 429, 'fsopen': 430, 'fsconfig': 431, 'fsmount': 432, 'fspick': 433, 'mount_setattr': 442,
    'syslog': 103, 'vhangup': 153, 'chroot': 161, 'fanotify_init': 300, 'lookup_dcookie': 212, 'ptrace': 101,
    'process_vm_readv': 310, 'process_vm_writev': 311,
}
if sys.argv[1] == '--podman':
    DENIED['futex_waitv'] = 449
    del sys.argv[1]
CLONE, CLONE3, CLONE_NEW = 56, 435, 0x7E020000  # every CLONE_NEW* flag
LD_W_ABS, JEQ, JSET, RET = 0x20, 0x15, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

program = [(LD_W_ABS, 0, 0, 4), (JEQ, 1, 0, 0xC000003E), (RET, 0, 0, ALLOW), (LD_W_ABS, 0, 0, 0)]
for number in DENIED.values():
    program += [(JEQ, 0, 1, number), (RET, 0, 0, ERRNO | errno.EPERM)]
program += [(JEQ, 0, 1, CLONE3), (RET, 0, 0, ERRNO | errno.ENOSYS)]
program += [(JEQ, 0, 3, CLONE), (LD_W_ABS, 0, 0, 16), (JSET, 0, 1, CLONE_NEW), (RET, 0, 0, ERRNO | errno.EPERM)]
program += [(RET, 0, 0, ALLOW)]

code = b''.join(struct.pack('=HBBI', *step) for step in program)
buffer = ctypes.create_string_buffer(code)
fprog = struct.pack('HxxxxxxP', len(program), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog):
    sys.exit(f'no filter: {os.strerror(ctypes.get_errno())}')
os.execvp(sys.argv[1], sys.argv[1:])
