// Every call into Linux that Node does not offer. The only file that knows koffi.
import koffi from 'koffi';
import { getU64 } from './struct.ts';

/** For programs that are loaded as text and ask for it by name. */
export { koffi };

const libc = koffi.load('libc.so.6');
const long = 'int64_t';
const f = {
  memfd_create: libc.func(`int memfd_create(const char *name, unsigned int flags)`),
  ftruncate: libc.func(`int ftruncate(int fd, ${long} length)`),
  linkat: libc.func(`int linkat(int olddirfd, const char *oldpath, int newdirfd, const char *newpath, int flags)`),
  utimensat: libc.func(`int utimensat(int dirfd, const char *path, const int64_t *times, int flags)`),
  fallocate: libc.func(`int fallocate(int fd, int mode, ${long} offset, ${long} length)`),
  fcntl: libc.func(`int fcntl(int fd, int op, ${long} arg)`),
  mmap: libc.func(`intptr_t mmap(intptr_t addr, size_t len, int prot, int flags, int fd, ${long} off)`),
  munmap: libc.func('int munmap(intptr_t addr, size_t len)'),
  pread: libc.func(`${long} pread(int fd, intptr_t to, size_t count, ${long} offset)`),
  pwrite: libc.func(`${long} pwrite(int fd, intptr_t from, size_t count, ${long} offset)`),
  close: libc.func('int close(int fd)'),
  dup: libc.func('int dup(int fd)'),
  socketpair: libc.func('int socketpair(int domain, int type, int protocol, _Out_ int *fds)'),
  sendmsg: libc.func(`${long} sendmsg(int fd, intptr_t msg, int flags)`),
  recvmsg: libc.func(`${long} recvmsg(int fd, intptr_t msg, int flags)`),
  setsockopt: libc.func('int setsockopt(int fd, int level, int name, const int *value, uint32_t length)'),
  getsockopt: libc.func('int getsockopt(int fd, int level, int name, _Out_ int *value, _Inout_ uint32_t *length)'),
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, intptr_t address, uint32_t length)'),
  connect: libc.func('int connect(int fd, intptr_t address, uint32_t length)'),
  listen: libc.func('int listen(int fd, int backlog)'),
  accept4: libc.func('int accept4(int fd, intptr_t address, intptr_t length, int flags)'),
  // These return an ssize_t of which our counts need 32 bits.
  recv: libc.func('int recv(int fd, intptr_t to, size_t count, int flags)'),
  send: libc.func('int send(int fd, intptr_t from, size_t count, int flags)'),
  read: libc.func('int read(int fd, intptr_t to, size_t count)'),
  write: libc.func('int write(int fd, intptr_t from, size_t count)'),
  epoll_create1: libc.func('int epoll_create1(int flags)'),
  epoll_ctl: libc.func('int epoll_ctl(int epoll, int op, int fd, intptr_t event)'),
  epoll_wait: libc.func('int epoll_wait(int epoll, intptr_t events, int count, int timeout)'),
  // A futex word is given by its address; the address of the syscall's timespec or array is ours.
  futex: libc.func(
    `${long} syscall(${long} nr, intptr_t word, int op, int value, intptr_t timeout, intptr_t word2, int value3)`,
  ),
  futex_waitv: libc.func(
    `${long} syscall(${long} nr, intptr_t waiters, uint32_t count, uint32_t flags, intptr_t timeout, int clock)`,
  ),
  prctl: libc.func(`int prctl(int option, ${long} a, ${long} b, ${long} c, ${long} d)`),
  ioctl: libc.func('int ioctl(int fd, unsigned long request, intptr_t argument)'),
  getppid: libc.func('int getppid()'),
  exit_group: libc.func('void _exit(int status)'),
  signal: libc.func('intptr_t signal(int signal, intptr_t handler)'),
  kill: libc.func('int kill(int pid, int signal)'),
  pidfd_open: libc.func(`int syscall(${long} nr, int pid, int flags)`),
  pidfd_send_signal: libc.func(`int syscall(${long} nr, int pidfd, int signal, intptr_t info, int flags)`),
  sched_getaffinity: libc.func('int sched_getaffinity(int tid, size_t bytes, intptr_t set)'),
  sched_setaffinity: libc.func('int sched_setaffinity(int tid, size_t bytes, intptr_t set)'),
  gettid: libc.func('int gettid()'),
  clock_gettime: libc.func('int clock_gettime(int clock, intptr_t to)'),
};

const SYS_futex = 202;
const SYS_futex_waitv = 449;
const SYS_pidfd_send_signal = 424;
const SYS_pidfd_open = 434;
const FUTEX_WAIT = 0;
const FUTEX_WAKE = 1;
const FUTEX2_SIZE_U32 = 2;
const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;
const TIOCGPTPEER = 0x5441;
const CLOCK_MONOTONIC = 1;
const CLOCK_MONOTONIC_RAW = 4;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const PROT_NONE = 0;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_FIXED = 0x10;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MAP_NORESERVE = 0x4000;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const SO_SNDBUF = 7;
const SO_PEERCRED = 17;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const O_RDWR = 2;
const O_NOCTTY = 0o400;
const EPOLL_CLOEXEC = SOCK_CLOEXEC;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 1;
export const EPOLLOUT = 4;
export const EPOLLONESHOT = 1 << 30;
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;

/** A failed system call: `errno` is Linux's number. */
export class SystemCallError extends Error {
  readonly errno: number;
  /** Its name: 'EIO'. */
  readonly code: string;
  constructor(call: string, errno: number) {
    super(`${call}: ${errnoText(errno)}`);
    this.name = 'SystemCallError';
    this.errno = errno;
    this.code = errnoText(errno);
  }
}
const errnoByNumber = new Map(Object.entries(koffi.os.errno).map(([name, n]) => [n, name]));
const errnoText = (n: number): string => errnoByNumber.get(n) ?? `errno ${n}`;
function check(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, koffi.errno());
  return result;
}

/**
 * An ArrayBuffer over mapped memory. It cannot be detached: never unmap what a view may reach. Of more than `constants.MAX_LENGTH`
 * of node:buffer the engine ends the process.
 */
export function viewOf(address: number, bytes: number): ArrayBuffer {
  const view = koffi.view(BigInt(address), bytes);
  addresses.set(view, address);
  return view;
}
const addresses = new WeakMap<ArrayBufferLike, number>();
/** Where the memory behind a buffer of `viewOf` is mapped; undefined for other buffers. */
export const addressOf = (buffer: ArrayBufferLike): number | undefined => addresses.get(buffer);

// Memory of this thread for system call arguments, at an address that C can be given.
const SCRATCH_BYTES = 16384;
const scratch = check('mmap', f.mmap(0, SCRATCH_BYTES, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0));
const scratchView = new DataView(viewOf(scratch, SCRATCH_BYTES));

/** A memfd of `bytes` bytes, all zero, whose size nobody can change again. */
export function createSealedMemory(name: string, bytes: number): number {
  const fd = check('memfd_create', f.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  check('ftruncate', f.ftruncate(fd, bytes));
  check('fcntl(F_ADD_SEALS)', f.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW));
  return fd;
}
/** Map `bytes` of `fd` from `offset`, readable and writable by all; returns the address. */
export const mapShared = (fd: number, bytes: number, offset = 0): number =>
  check('mmap', f.mmap(0, bytes, PROT_READ_WRITE, MAP_SHARED | MAP_NORESERVE, fd, offset));
/** The same over what is mapped at `address`, which must be ours. */
export function mapSharedOver(address: number, fd: number, bytes: number, offset: number): void {
  check('mmap', f.mmap(address, bytes, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, offset));
}
/** Memory of this process alone, zero. */
export const mapPrivate = (bytes: number): number =>
  check('mmap', f.mmap(0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS | MAP_NORESERVE, -1, 0));
/** Addresses without memory: until something is mapped over them, nobody can touch them, and Linux counts nothing. */
export const mapNothing = (bytes: number): number =>
  check('mmap', f.mmap(0, bytes, PROT_NONE, MAP_PRIVATE_ANONYMOUS | MAP_NORESERVE, -1, 0));
/** Put private zero memory over a mapping, so that views of it stay valid and its memory is let go. */
export function mapPrivateOver(address: number, bytes: number): void {
  const flags = MAP_PRIVATE_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  check('mmap', f.mmap(address, bytes, PROT_READ_WRITE, flags, -1, 0));
}
/** Only when no view of the range can be reached again. */
export const unmap = (address: number, bytes: number): void => void check('munmap', f.munmap(address, bytes));
/** Give the pages of a range of a file back; it reads as zero afterwards. */
export const punchHole = (fd: number, offset: number, bytes: number): void =>
  void check('fallocate', f.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes));
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;
const NS_PER_S = 1_000_000_000n;
/** Another name of what `from` leads to, as linkat(2) makes it; /proc/self/fd/N may be followed. Throws SystemCallError. */
export function linkFollowing(from: string, to: string): void {
  check('linkat', f.linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW));
}
/** utimensat(2) of what an absolute path leads to, ns since 1970; throws SystemCallError. */
export function setFileTimes(path: string, atimeNs: bigint, mtimeNs: bigint): void {
  const times = new BigInt64Array([atimeNs / NS_PER_S, atimeNs % NS_PER_S, mtimeNs / NS_PER_S, mtimeNs % NS_PER_S]);
  check('utimensat', f.utimensat(AT_FDCWD, path, times, 0));
}
/** fallocate(2); throws SystemCallError. */
export const fallocate = (fd: number, mode: number, offset: number, bytes: number): void =>
  void check('fallocate', f.fallocate(fd, mode, offset, bytes));
/** pread(2) to mapped memory: bytes read, 0 at the end of the file. Node's own costs 0.2 µs more. */
export const readAt = (fd: number, address: number, bytes: number, offset: number): number =>
  check('pread', f.pread(fd, address, bytes, offset));
/** pwrite(2) from mapped memory: bytes written. */
export const writeAt = (fd: number, address: number, bytes: number, offset: number): number =>
  check('pwrite', f.pwrite(fd, address, bytes, offset));
export const closeFd = (fd: number): void => void check('close', f.close(fd));
export const dupFd = (fd: number): number => check('dup', f.dup(fd));

// ---- futex ----

/** Wake every sleeper on the word at `address`. */
export const futexWake = (address: number): number => f.futex(SYS_futex, address, FUTEX_WAKE, 0x7fffffff, 0, 0, 0);
/** Sleep while the word at `address` is `value`; returns on a wake, a change, a signal. */
export function futexWait(address: number, value: number): void {
  f.futex(SYS_futex, address, FUTEX_WAIT, value, 0, 0, 0);
}
/** The same for at most `ms`. */
function futexWaitFor(address: number, value: number, ms: number): void {
  const at = 8192;
  scratchView.setBigInt64(at, BigInt(Math.floor(ms / 1000)), true);
  scratchView.setBigInt64(at + 8, BigInt(Math.floor((ms % 1000) * 1e6)), true);
  f.futex(SYS_futex, address, FUTEX_WAIT, value, scratch + at, 0, 0);
}

/** Linux's limit of words in one futex_waitv. */
export const FUTEX_WAITV_MAX = 128;
const WAITER_BYTES = 24;

/** Linux has none, or a container may not have it: then it would return at once, for ever. */
const WITHOUT_WAITV: readonly (number | undefined)[] = [koffi.os.errno.ENOSYS, koffi.os.errno.EPERM];
/** Where there is no futex_waitv, a sleep on several words looks at the others this often. */
const POLL_MS = 1;

/** A set of futex words one thread sleeps on together (futex_waitv, Linux 5.16; before that, by polling). */
export class FutexSet {
  private waitv: boolean;
  private readonly base: number;
  private readonly view: DataView;
  private readonly timeout: number;
  private count = 0;

  constructor(waitv = true) {
    this.waitv = waitv;
    const bytes = FUTEX_WAITV_MAX * WAITER_BYTES;
    this.base = mapPrivate(bytes + 16);
    this.view = new DataView(viewOf(this.base, bytes + 16));
    this.timeout = bytes;
  }
  clear(): void {
    this.count = 0;
  }
  get size(): number {
    return this.count;
  }
  /** False when the set is full. */
  add(address: number): boolean {
    if (this.count === FUTEX_WAITV_MAX) return false;
    const o = this.count++ * WAITER_BYTES;
    this.view.setUint32(o, 0, true);
    this.view.setUint32(o + 4, 0, true);
    this.view.setUint32(o + 8, address >>> 0, true);
    this.view.setUint32(o + 12, Math.floor(address / 2 ** 32), true);
    this.view.setUint32(o + 16, FUTEX2_SIZE_U32, true);
    this.view.setUint32(o + 20, 0, true);
    return true;
  }
  /** The value word `i` must still have for the sleep to begin. */
  expect(i: number, value: number): void {
    this.view.setUint32(i * WAITER_BYTES, value >>> 0, true);
  }
  /** Sleep until one word differs or is woken, or the deadline (monotonic ns) has passed. */
  sleep(deadlineNs?: number): void {
    if (!this.waitv) {
      this.poll(deadlineNs);
      return;
    }
    let timeout = 0;
    if (deadlineNs !== undefined) {
      const seconds = Math.floor(deadlineNs / 1e9);
      this.view.setUint32(this.timeout, seconds >>> 0, true);
      this.view.setUint32(this.timeout + 4, Math.floor(seconds / 2 ** 32), true);
      this.view.setUint32(this.timeout + 8, Math.max(0, Math.floor(deadlineNs - seconds * 1e9)), true);
      this.view.setUint32(this.timeout + 12, 0, true);
      timeout = this.base + this.timeout;
    }
    const woken = f.futex_waitv(SYS_futex_waitv, this.base, this.count, 0, timeout, CLOCK_MONOTONIC);
    if (woken < 0 && WITHOUT_WAITV.includes(koffi.errno())) this.waitv = false;
  }
  private poll(deadlineNs?: number): void {
    if (this.count === 0) return;
    const ms = deadlineNs === undefined ? POLL_MS : Math.min(POLL_MS, (deadlineNs - monotonicNow()) / 1e6);
    if (ms > 0) futexWaitFor(getU64(this.view, 8), this.view.getInt32(0, true), ms);
  }
}

// ---- sockets that carry memory ----

/** A pair of connected sockets that keep message borders. */
export function socketPair(): [number, number] {
  const fds = [-1, -1];
  check('socketpair', f.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds));
  return [fds[0]!, fds[1]!];
}
const MSGHDR = 0;
const IOVEC = 64;
const CONTROL = 128;
const DATA = 256;
const CMSG_BYTES = 24;
/** Bytes of one message: kind u32, pad u32, a u64, b u64. */
const MESSAGE_BYTES = 24;
const u64At = (o: number, n: number): void => scratchView.setBigUint64(o, BigInt(n), true);
function prepareMessage(): void {
  u64At(MSGHDR, 0); // msg_name
  u64At(MSGHDR + 8, 0); // msg_namelen
  u64At(MSGHDR + 16, scratch + IOVEC);
  u64At(MSGHDR + 24, 1);
  u64At(MSGHDR + 32, scratch + CONTROL);
  u64At(MSGHDR + 40, CMSG_BYTES);
  u64At(MSGHDR + 48, 0); // msg_flags
  u64At(IOVEC, scratch + DATA);
  u64At(IOVEC + 8, MESSAGE_BYTES);
}

export interface ControlMessage {
  readonly kind: number;
  readonly a: number;
  readonly b: number;
  /** A file descriptor that is now the receiver's, or -1. */
  readonly fd: number;
}
/** Send a control message and, when `fd` is not -1, that file. Never waits. */
export function sendControl(socket: number, kind: number, a: number, b: number, fd: number): void {
  prepareMessage();
  if (fd < 0) u64At(MSGHDR + 40, 0);
  u64At(CONTROL, 20);
  scratchView.setInt32(CONTROL + 8, SOL_SOCKET, true);
  scratchView.setInt32(CONTROL + 12, SCM_RIGHTS, true);
  scratchView.setInt32(CONTROL + 16, fd, true);
  scratchView.setUint32(DATA, kind, true);
  scratchView.setUint32(DATA + 4, 0, true);
  u64At(DATA + 8, a);
  u64At(DATA + 16, b);
  check('sendmsg', f.sendmsg(socket, scratch + MSGHDR, MSG_DONTWAIT));
}
/** Wait for a control message; undefined when the other end is gone. */
export function receiveControl(socket: number): ControlMessage | undefined {
  prepareMessage();
  const n = f.recvmsg(socket, scratch + MSGHDR, MSG_CMSG_CLOEXEC);
  if (n !== MESSAGE_BYTES) return undefined;
  const got = Number(scratchView.getBigUint64(MSGHDR + 40, true)) >= 20;
  return {
    kind: scratchView.getUint32(DATA, true),
    a: Number(scratchView.getBigUint64(DATA + 8, true)),
    b: Number(scratchView.getBigUint64(DATA + 16, true)),
    fd: got ? scratchView.getInt32(CONTROL + 16, true) : -1,
  };
}
/** Who is at the other end of a unix socket. */
export function peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
  const value = [0, 0, 0];
  const out = new Int32Array(3);
  check('getsockopt(SO_PEERCRED)', f.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, out, [12]));
  for (let i = 0; i < 3; i++) value[i] = out[i]!;
  return { pid: value[0]!, uid: value[1]!, gid: value[2]! };
}

/** So much may be sent that nobody has received; Linux gives less than that when it has been told to (net.core.wmem_max). */
export function setSendBuffer(fd: number, bytes: number): void {
  check('setsockopt(SO_SNDBUF)', f.setsockopt(fd, SOL_SOCKET, SO_SNDBUF, new Int32Array([bytes]), 4));
}

/** Linux: struct tcp_info of linux/tcp.h, as far as it is looked at. */
const TCP_INFO_BYTES = 60;
const tcpi = { retransmits: 2, probes: 3, last_ack_recv: 56 } as const;
const tcpInfo = new Int32Array(TCP_INFO_BYTES / 4);
const tcpInfoView = new DataView(tcpInfo.buffer);
/**
 * How long the host at the other end of a TCP connection has left unanswered what it was sent again and again; 0 when it
 * owes nothing. It answers for a program that is stopped or slow: only a host that is gone does not.
 */
export function hostSilentMs(fd: number): number {
  check('getsockopt(TCP_INFO)', f.getsockopt(fd, IPPROTO_TCP, TCP_INFO, tcpInfo, [TCP_INFO_BYTES]));
  // A probe of a window that is shut is on its way for a moment; the second is sent when the first had no answer.
  const owes = tcpInfoView.getUint8(tcpi.retransmits) > 0 || tcpInfoView.getUint8(tcpi.probes) > 1;
  return owes ? tcpInfoView.getUint32(tcpi.last_ack_recv, true) : 0;
}

// ---- stream sockets: nothing here waits ----

/** sun_path's size: a path and its NUL must fit. */
const SUN_PATH = 108;
/** Write a sockaddr_un into the scratch memory; returns its length. */
function socketAddress(path: string): number {
  const bytes = Buffer.from(path);
  if (bytes.length >= SUN_PATH) throw new SystemCallError(`a socket at ${path}`, koffi.os.errno.ENAMETOOLONG!);
  scratchView.setUint16(0, AF_UNIX, true);
  for (let i = 0; i < SUN_PATH; i++) scratchView.setUint8(2 + i, bytes[i] ?? 0);
  return 2 + bytes.length + 1;
}
const orErrno = (result: number): number => (result < 0 ? -koffi.errno() : result);

/** A unix stream socket whose calls do not wait. */
export const streamSocket = (): number =>
  check('socket', f.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
/** Give a socket its path. Throws SystemCallError. */
export const bindSocket = (fd: number, path: string): void => {
  const length = socketAddress(path);
  check(`bind ${path}`, f.bind(fd, scratch, length));
};
/** Connect to the socket at `path`. Returns 0 or -errno; -EAGAIN: its queue is full. */
export const connectSocket = (fd: number, path: string): number => {
  const length = socketAddress(path);
  return orErrno(f.connect(fd, scratch, length));
};
export const listenSocket = (fd: number, backlog: number): void => void check('listen', f.listen(fd, backlog));
/** The next connection of a listening socket: its descriptor, or -errno. */
export const acceptSocket = (fd: number): number => orErrno(f.accept4(fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC));
/** Bytes received to mapped memory; 0 at the end of the stream; or -errno. */
export const receiveBytes = (fd: number, address: number, bytes: number): number => {
  const n = f.recv(fd, address, bytes, MSG_DONTWAIT);
  return n < 0 ? -koffi.errno() : n;
};
/** How many bytes of mapped memory were sent, or -errno. */
export const sendBytes = (fd: number, address: number, bytes: number): number => {
  const n = f.send(fd, address, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  return n < 0 ? -koffi.errno() : n;
};

// ---- network interfaces ----

const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;
const TUN_F_TSO6 = 4;
/** IFNAMSIZ: a name and its NUL must fit. */
const IF_NAME = 16;
/**
 * Have a fresh /dev/net/tun be the TAP interface of that name, which is made where there is none. `offloads`: each frame has
 * a struct virtio_net_hdr before it, and Linux may leave checksums blank and TCP packets uncut. Throws SystemCallError.
 */
export function attachTap(fd: number, name: string, offloads = false): void {
  const bytes = Buffer.from(name);
  if (bytes.length >= IF_NAME) throw new SystemCallError(`an interface called ${name}`, koffi.os.errno.ENAMETOOLONG!);
  for (let i = 0; i < 40; i++) scratchView.setUint8(i, bytes[i] ?? 0);
  scratchView.setUint16(IF_NAME, IFF_TAP | IFF_NO_PI | (offloads ? IFF_VNET_HDR : 0), true);
  check(`ioctl(TUNSETIFF) of ${name}`, f.ioctl(fd, TUNSETIFF, scratch));
  if (!offloads) return;
  check(`ioctl(TUNSETOFFLOAD) of ${name}`, f.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6));
}
/** read(2) to mapped memory, of a descriptor that does not wait: bytes, or -errno. */
export const readBytes = (fd: number, address: number, bytes: number): number => orErrno(f.read(fd, address, bytes));
/** write(2) from mapped memory, likewise. */
export const writeBytes = (fd: number, address: number, bytes: number): number => orErrno(f.write(fd, address, bytes));

/** x86-64 packs it: u32 events, u64 data. */
const EPOLL_EVENT_BYTES = 12;
const EPOLL_EVENTS = 128;

/** Descriptors watched together (epoll, level-triggered), for one thread. */
export class Epoll {
  readonly fd: number;
  private readonly base = mapPrivate((EPOLL_EVENTS + 1) * EPOLL_EVENT_BYTES);
  private readonly view: DataView;

  /** `fd`: one made by another thread. */
  constructor(fd = check('epoll_create1', f.epoll_create1(EPOLL_CLOEXEC))) {
    this.fd = fd;
    this.view = new DataView(viewOf(this.base, (EPOLL_EVENTS + 1) * EPOLL_EVENT_BYTES));
  }
  add(fd: number, events: number): void {
    this.control(EPOLL_CTL_ADD, fd, events);
  }
  change(fd: number, events: number): void {
    this.control(EPOLL_CTL_MOD, fd, events);
  }
  /** Before `fd` is closed, if something else still has the same file open. */
  remove(fd: number): void {
    this.control(EPOLL_CTL_DEL, fd, 0);
  }
  private control(op: number, fd: number, events: number): void {
    const at = EPOLL_EVENTS * EPOLL_EVENT_BYTES;
    this.view.setUint32(at, events, true);
    this.view.setUint32(at + 4, fd, true);
    this.view.setUint32(at + 8, 0, true);
    check('epoll_ctl', f.epoll_ctl(this.fd, op, fd, this.base + at));
  }
  close(): void {
    closeFd(this.fd);
  }
  /** How many are ready, after at most `ms` (-1: however long it takes). 0 also after a signal. */
  wait(ms: number): number {
    return Math.max(0, f.epoll_wait(this.fd, this.base, EPOLL_EVENTS, ms));
  }
  /** Of the last `wait`: the descriptor of entry `i`, and what it is ready for. */
  readyFd(i: number): number {
    return this.view.getUint32(i * EPOLL_EVENT_BYTES + 4, true);
  }
  readyFor(i: number): number {
    return this.view.getUint32(i * EPOLL_EVENT_BYTES, true);
  }
}

/**
 * Becomes readable when Node's own event loop of the main thread has something to do (libuv's backend
 * descriptor): a thread that sleeps elsewhere knows by it when to let that loop have a turn.
 */
export function nodeLoopFd(): number {
  const self = koffi.load(null);
  const loop: unknown = self.func('void *uv_default_loop()')();
  return self.func('int uv_backend_fd(void *loop)')(loop) as number;
}

// ---- processes ----

/**
 * Die when the parent does. The signal fires when the *thread* that spawned this process ends, so
 * spawn from a main thread. `parent` is the pid it must have: it may have died before this call.
 */
export function dieWithParent(parent: number, signal = SIGKILL): void {
  f.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0);
  if (f.getppid() !== parent) exitProcess(1);
}
/** The status of a process that has called abort(3) after `abortByExit`. */
export const ABORTED = 6;
/**
 * The first process of a pid namespace does not die of SIGABRT: abort(3) would end it by SIGSEGV. From here on its handler
 * is _exit(2) itself, which takes the signal's number for a status.
 */
export function abortByExit(): void {
  f.signal(ABORTED, Number(koffi.address(libc.symbol('_exit', 'void'))));
}
/** End this process at once, also while its other threads are blocked in system calls. */
export function exitProcess(status: number): never {
  f.exit_group(status);
  throw new Error('unreachable');
}

/** Linux: the scheduler's clock of a whole process, as clock_getcpuclockid would say it. */
const CPUCLOCK_SCHED = 2;
/** What all threads of a process have used so far, in ns; undefined when there is no such process. */
export function processCpuTime(pid: number): number | undefined {
  if (f.clock_gettime((~pid << 3) | CPUCLOCK_SCHED, scratch) < 0) return undefined;
  return Number(scratchView.getBigInt64(0, true)) * 1e9 + Number(scratchView.getBigInt64(8, true));
}

/** A descriptor of a child that has not been reaped; -errno when there is none. */
export const openProcess = (pid: number): number => orErrno(f.pidfd_open(SYS_pidfd_open, pid, 0));
/** A signal's number to a process of `openProcess`. One that has ended hears nothing. */
export const signalProcess = (pidfd: number, signal: number): void =>
  void f.pidfd_send_signal(SYS_pidfd_send_signal, pidfd, signal, 0, 0);

/** This thread's number. */
export const threadId = (): number => f.gettid();
/** Bytes of a set of CPUs: 1024 of them, as many as glibc's cpu_set_t. */
const CPU_SET_BYTES = 128;
/** The numbers of the CPUs that this thread may run on. */
export function allowedCpus(): number[] {
  check('sched_getaffinity', f.sched_getaffinity(0, CPU_SET_BYTES, scratch));
  const cpus: number[] = [];
  for (let cpu = 0; cpu < 8 * CPU_SET_BYTES; cpu++)
    if ((scratchView.getUint8(cpu >> 3) & (1 << (cpu & 7))) !== 0) cpus.push(cpu);
  return cpus;
}
/** Where a thread may run, from now on. False when it has ended or Linux does not have these CPUs for it. */
export function allowCpus(tid: number, cpus: readonly number[]): boolean {
  for (let i = 0; i < CPU_SET_BYTES; i++) scratchView.setUint8(i, 0);
  for (const cpu of cpus) scratchView.setUint8(cpu >> 3, scratchView.getUint8(cpu >> 3) | (1 << (cpu & 7)));
  return f.sched_setaffinity(tid, CPU_SET_BYTES, scratch) === 0;
}

/** CLOCK_MONOTONIC_RAW in ns: as CLOCK_MONOTONIC, but never sped up or slowed down. */
export function monotonicRawNow(): number {
  check('clock_gettime', f.clock_gettime(CLOCK_MONOTONIC_RAW, scratch));
  return Number(scratchView.getBigInt64(0, true)) * 1e9 + Number(scratchView.getBigInt64(8, true));
}
/** CLOCK_MONOTONIC in ns, the clock of futex deadlines, as a number (exact to 2^53 ns = 104 days of uptime). */
export const monotonicNow = (): number => Number(process.hrtime.bigint());

/** A terminal that a program opens as it does any other: what it reads is written to `master`, and the other way. */
export interface PseudoTerminal {
  readonly master: number;
  /** Kept open: without anybody at the other end, reads of the master fail. */
  readonly slave: number;
  /** /dev/pts/N */
  readonly path: string;
}
/** `master`: a fresh /dev/ptmx. It carries bytes as they are: no echo, no line editing, no signals. */
export function openTerminal(master: number): PseudoTerminal {
  scratchView.setUint32(0, 0, true);
  check('ioctl TIOCSPTLCK', f.ioctl(master, TIOCSPTLCK, scratch));
  check('ioctl TIOCGPTN', f.ioctl(master, TIOCGPTN, scratch));
  const path = `/dev/pts/${scratchView.getUint32(0, true)}`;
  const slave = check('ioctl TIOCGPTPEER', f.ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | SOCK_CLOEXEC));
  check('ioctl TCGETS', f.ioctl(slave, TCGETS, scratch));
  // struct termios: c_iflag, c_oflag, c_cflag, c_lflag, each a u32. As cfmakeraw(3) has it.
  const clear = (field: number, bits: number, set = 0): void =>
    scratchView.setUint32(4 * field, (scratchView.getUint32(4 * field, true) & ~bits) | set, true);
  clear(0, 0o2753); // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
  clear(1, 0o1); // OPOST
  clear(2, 0o460, 0o60); // CSIZE PARENB; CS8
  clear(3, 0o100113); // ECHO ECHONL ICANON ISIG IEXTEN
  check('ioctl TCSETS', f.ioctl(slave, TCSETS, scratch));
  return { master, slave, path };
}
