// A guest that wants out: it has found Node's own modules and koffi behind the kernel's back, and tries everything a
// process may ask of Linux. One line for each act: `denied` and how, or `GOT` and what.
import { console, system } from 'xenolith';

interface Koffi {
  load(name: string): { func(prototype: string): (...args: unknown[]) => unknown };
  errno(): number;
}
type Require = (name: string) => unknown;
type Any = Record<string, (...args: unknown[]) => unknown>;
const node = (globalThis as unknown as { process: { mainModule: { require: Require }; ppid: number; pid: number } })
  .process;
const load = (name: string): Any => node.mainModule.require(name) as Any;

const report = (act: string, outcome: string): void => console.log(`${act}: ${outcome}`);
const reason = (error: unknown): string => {
  const { code, message } = error as { code?: string; message?: string };
  return `denied ${code ?? message ?? error}`;
};
/** A call that gives back what it got, or throws. */
function attempt(act: string, body: () => unknown): void {
  try {
    report(act, `GOT ${String(body()).slice(0, 40)}`);
  } catch (error) {
    report(act, reason(error));
  }
}

function files(fs: Any): void {
  attempt('read /etc/passwd', () => fs.readFileSync!('/etc/passwd'));
  attempt('write a file', () => fs.writeFileSync!(`${system.args.folder}/escaped`, 'x'));
  attempt('list /', () => fs.readdirSync!('/'));
  attempt('list /proc', () => fs.readdirSync!('/proc'));
  attempt('read its parent in /proc', () => fs.readFileSync!(`/proc/${node.ppid}/environ`));
  attempt('read another process', () => fs.readFileSync!(`/proc/${system.args.other}/maps`));
  attempt('open the memory of another process', () => fs.openSync!(`/proc/${system.args.other}/mem`, 'r+'));
  attempt('open its own memory', () => fs.openSync!('/proc/self/mem', 'r+'));
  attempt('look at a file', () => fs.statSync!('/etc/passwd'));
  attempt('the run directory', () => fs.readdirSync!(system.args.folder));
}
function programs(): void {
  const { spawnSync } = load('child_process');
  attempt('run a program', () => {
    const { error, status } = spawnSync!('/bin/true') as { error?: Error; status: number };
    if (error) throw error;
    return status;
  });
  attempt('signal its parent', () => (node as unknown as Any).kill!(node.ppid, 0));
  attempt('signal another process', () => (node as unknown as Any).kill!(Number(system.args.other), 0));
  attempt('signal everybody', () => (node as unknown as Any).kill!(-1, 0));
  attempt('change directory', () => (node as unknown as Any).chdir!('/'));
}

/** Raw system calls, by number. */
type Call = readonly [act: string, nr: number, ...args: number[]];
const CALLS: readonly Call[] = [
  ['openat', 257, -100, 0, 0],
  ['socket TCP', 41, 2, 1, 0],
  ['socket unix', 41, 1, 1, 0],
  ['socket netlink', 41, 16, 3, 0],
  ['socketpair', 53, 1, 1, 0, 0],
  ['fork', 57],
  ['vfork', 58],
  ['clone of a process', 56, 17, 0],
  ['clone of a thread', 56, 0x3d0f00, 0],
  ['clone3', 435, 0, 0],
  ['execve', 59, 0, 0, 0],
  ['execveat', 322, 3, 0, 0, 0, 0x1000],
  ['ptrace', 101, 16, 1, 0, 0],
  ['process_vm_readv', 310, 1, 0, 0, 0, 0, 0],
  ['kill', 62, 1, 0],
  ['tkill', 200, 1, 0],
  ['tgkill of another', 234, 2, 2, 0],
  ['pidfd_open', 434, 1, 0],
  ['pidfd_getfd', 438, 3, 0, 0],
  ['memfd_create', 319, 0, 0],
  ['dup2', 33, 0, 100],
  ['pipe2', 293, 0, 0],
  ['sendmsg', 46, 3, 0, 0],
  ['sendto', 44, 3, 0, 0, 0, 0, 0],
  ['ftruncate', 77, 4, 0],
  ['fallocate, a hole', 285, 4, 3, 0, 4096],
  ['mount', 165, 0, 0, 0, 0, 0],
  ['unshare', 272, 0x10000000],
  ['setns', 308, 3, 0],
  ['chroot', 161, 0],
  ['bpf', 321, 0, 0, 0],
  ['io_uring_setup', 425, 1, 0],
  ['perf_event_open', 298, 0, 0, -1, -1, 0],
  ['userfaultfd', 323, 0],
  ['executable memory', 9, 0, 4096, 7, 0x22, -1, 0],
  ['shmget', 29, 0, 4096, 0o1600],
  ['inotify_init1', 294, 0],
  ['setuid', 105, 0],
  ['prlimit64', 302, 0, 7, 0, 0],
  ['sched_setaffinity', 203, 0, 8, 0],
  ['seccomp', 317, 0, 0, 0],
  ['prctl, dumpable', 157, 4, 1, 0, 0],
  ['TIOCSTI', 16, 0, 0x5412, 0],
  ...[1, 2, 3].flatMap((fd): Call[] => [
    [`TIOCSCTTY of ${fd}`, 16, fd, 0x540e, 0],
    [`FIOASYNC of ${fd}`, 16, fd, 0x5452, 0],
    [`F_SETOWN of ${fd}`, 72, fd, 8, 1],
    [`F_SETSIG of ${fd}`, 72, fd, 10, 9],
    [`F_SETPIPE_SZ of ${fd}`, 72, fd, 1031, 1 << 20],
    [`setsockopt of ${fd}`, 54, fd, 1, 7, 0, 0],
    [`getsockopt of ${fd}`, 55, fd, 1, 17, 0, 0],
    [`shutdown of ${fd}`, 48, fd, 2],
    [`sendmsg with a descriptor by ${fd}`, 46, fd, 0, 0],
    [`accept of ${fd}`, 288, fd, 0, 0, 0],
    [`connect of ${fd}`, 42, fd, 0, 0],
  ]),
  ['F_SETLEASE', 72, 4, 1024, 1],
  ['F_NOTIFY', 72, 4, 1026, 1],
  ['F_ADD_SEALS', 72, 4, 1033, 1],
  ['F_SETLK', 72, 4, 6, 0],
  // Its parent's end would not be its own any more.
  ['prctl, outlive its host', 157, 1, 0, 0, 0],
  ['prctl, who may trace it', 157, 0x59616d61, -1, 0, 0],
  ['prctl, its own seccomp', 157, 22, 2, 0],
  ['prctl, capabilities', 157, 47, 2, 0, 0],
  ['prctl, its program file', 157, 35, 13, 3, 0],
  ['prctl, reaper', 157, 36, 1, 0, 0],
  ['prctl, core scheduling', 157, 62, 1, 1, 0],
  ['arch_prctl', 158, 0x1012, 0],
  ['kill of its group', 62, 0, 0],
  ['kill of everybody', 62, -1, 9],
  ['rt_sigqueueinfo', 129, 1, 9, 0],
  ['rt_tgsigqueueinfo', 297, 2, 2, 9, 0],
  ['pidfd_send_signal', 424, 3, 9, 0, 0],
  ['process_vm_writev', 311, 1, 0, 0, 0, 0, 0],
  ['process_madvise', 440, 3, 0, 0, 21, 0],
  ['kcmp', 312, 1, 1, 0, 0, 0],
  ['add_key', 248, 0, 0, 0, 0, -3],
  ['request_key', 249, 0, 0, 0, -3],
  ['keyctl', 250, 0, -3, 1],
  ['io_uring_enter', 426, 3, 0, 0, 0, 0, 0],
  ['io_uring_register', 427, 3, 0, 0, 0],
  ['memfd_secret', 447, 0],
  ['shmat', 30, 0, 0, 0],
  ['msgget', 68, 0, 0o1600],
  ['semget', 64, 0, 1, 0o1600],
  ['mlockall', 151, 3],
  ['timer_create', 222, 0, 0, 0],
  ['timerfd_create', 283, 1, 0],
  ['signalfd4', 289, -1, 0, 8, 0],
  ['fanotify_init', 300, 0, 0],
  ['umount2', 166, 0, 0],
  ['pivot_root', 155, 0, 0],
  ['openat2', 437, -100, 0, 0, 24],
  ['statx', 332, -100, 0, 0, 0, 0],
  ['readlink', 89, 0, 0, 0],
  ['access', 21, 0, 0],
  ['getdents64', 217, 3, 0, 0],
  ['mknod', 133, 0, 0, 0],
  ['splice', 275, 3, 0, 1, 0, 1, 0],
  ['vmsplice', 278, 1, 0, 0, 0],
  ['sendfile', 40, 1, 4, 0, 1],
  ['copy_file_range', 326, 4, 0, 4, 0, 1, 0],
  ['recvmmsg', 299, 3, 0, 0, 0, 0],
  ['sendmmsg', 307, 3, 0, 0, 0],
  ['dup3', 292, 0, 100, 0],
  ['close_range', 436, 200, 300, 0],
  ['setrlimit', 160, 7, 0],
  ['setpriority', 141, 0, 0, -20],
  ['sched_setscheduler', 144, 0, 1, 0],
  ['sched_setattr', 314, 0, 0, 0],
  ['personality', 135, 0xffffffff],
  ['capget', 125, 0, 0],
  ['capset', 126, 0, 0],
  ['setsid', 112],
  ['setpgid', 109, 0, 0],
  ['getsid', 124, 1],
  ['uname', 63, 0],
  ['sysinfo', 99, 0],
  ['landlock_create_ruleset', 444, 0, 0, 1],
];
function rawCalls(koffi: Koffi): void {
  const syscall = koffi
    .load('libc.so.6')
    .func('int64_t syscall(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t)');
  for (const [act, nr, ...args] of CALLS) {
    const six = Array.from({ length: 6 }, (_, i) => args[i] ?? 0);
    const result = Number(syscall(nr, ...six));
    report(`call ${act}`, result === -1 ? `denied errno ${koffi.errno()}` : `GOT ${result}`);
  }
  // Descriptors can be multiplied, up to its own limit.
  const F_DUPFD_CLOEXEC = 1030;
  let most = -1;
  for (let fd = 0; fd >= 0; most = Math.max(most, fd)) fd = Number(syscall(72, 0, F_DUPFD_CLOEXEC, 0, 0, 0, 0));
  report('descriptors', most < 4096 ? `denied at ${most}` : `GOT ${most}`);
  for (let fd = 64; fd <= most; fd++) syscall(3, fd, 0, 0, 0, 0, 0);
}

/** Its memory is a file, of which it has the descriptor: it cannot make it longer, nor holes in it, nor run what is in it. */
function memoryFile(koffi: Koffi): void {
  const syscall = koffi
    .load('libc.so.6')
    .func('int64_t syscall(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t)');
  const outcome = (result: number): string => (result === -1 ? `denied errno ${koffi.errno()}` : `GOT ${result}`);
  const [SEEK_SET, SEEK_END] = [0, 2];
  const PAGE = 4096;
  for (let fd = 4; fd < 64; fd++) {
    const size = Number(syscall(8, fd, 0, SEEK_END, 0, 0, 0));
    if (size <= 0) continue;
    const own = Number(syscall(9, 0, PAGE, 3, 1, fd, 0)); // mmap: to read and write, shared
    if (own === -1) continue;
    // One byte, of this file, which is written behind it.
    report('memory file, longer by write', outcome(Number(syscall(1, fd, own, 1, 0, 0, 0))));
    syscall(8, fd, 0, SEEK_SET, 0, 0, 0);
    report('memory file, by write', outcome(Number(syscall(1, fd, own, 1, 0, 0, 0))));
    syscall(11, own, PAGE, 0, 0, 0, 0);
    const last = Number(syscall(9, 0, PAGE, 3, 1, fd, size - PAGE));
    report('memory file, a hole by madvise', outcome(Number(syscall(28, last, PAGE, 9, 0, 0, 0))));
    syscall(11, last, PAGE, 0, 0, 0, 0);
    report('memory file, to run', outcome(Number(syscall(9, 0, PAGE, 5, 1, fd, 0))));
    return;
  }
  report('memory file', 'GOT no such file');
}

async function later(act: string, body: () => Promise<unknown>): Promise<void> {
  try {
    report(act, `GOT ${String(await body()).slice(0, 40)}`);
  } catch (error) {
    report(act, reason(error));
  }
}
/** Node's own events need turns of its loop, which a guest has: the kernel gives one between two blocks. */
async function network(): Promise<void> {
  const net = load('net') as unknown as typeof import('node:net');
  const connect = (to: object): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const socket = net.connect(to as { port: number });
      socket.on('error', reject);
      socket.on('connect', resolve);
    });
  await later('connect to a port of the host', () => connect({ port: Number(system.args.port), host: '127.0.0.1' }));
  await later('connect to xenstored', () => connect({ path: `${system.args.folder}/xenstored.sock` }));
  await later('connect to its own console', () => connect({ path: `${system.args.folder}/console/2.sock` }));
  await later('connect to an abstract socket', () => connect({ path: `\0${system.args.abstract}` }));
  await later('connect to the toolstack', () => connect({ path: `${system.args.folder}/toolstack.sock` }));
  await later(
    'listen',
    () =>
      new Promise((resolve, reject) =>
        net
          .createServer()
          .on('error', reject)
          .listen(0, () => resolve(0)),
      ),
  );
  await later('a thread', async () => {
    const { Worker } = load('worker_threads') as unknown as typeof import('node:worker_threads');
    await new Promise((resolve, reject) => new Worker('1', { eval: true }).on('error', reject).on('online', resolve));
  });
  await later('import()', async () => {
    const fs = (await new Function('return import("node:fs")')()) as Any;
    return fs.readFileSync!('/etc/passwd');
  });
}

/** By Linux's own call. V8 asks it for ArrayBuffers in the same way, but at its limit may need some for itself, and end. */
function memory(koffi: Koffi): void {
  const syscall = koffi
    .load('libc.so.6')
    .func('int64_t syscall(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t)');
  const PIECE = 1 << 20;
  const kept: number[] = [];
  let errno = 0;
  while (errno === 0 && kept.length < 4096) {
    const at = Number(syscall(9, 0, PIECE, 3, 0x22, -1, 0)); // mmap: to read and write, private, anonymous
    if (at === -1) errno = koffi.errno();
    else kept.push(at);
  }
  for (const at of kept) syscall(11, at, PIECE, 0, 0, 0, 0); // munmap
  report('memory', errno === 0 ? 'GOT 4 GiB' : `denied at ${kept.length} MiB, errno ${errno}`);
}

export default async function main(): Promise<void> {
  report('modules', `GOT ${typeof load('fs').readFileSync}`); // they are in reach: it is Linux that says no
  attempt('environment', () => {
    const names = Object.keys((node as unknown as { env: object }).env);
    if (names.length === 0) throw new Error('it has none');
    return names;
  });
  load('fs').writeSync!(2, 'by itself\n');
  files(load('fs'));
  programs();
  rawCalls(load('koffi') as unknown as Koffi);
  memoryFile(load('koffi') as unknown as Koffi);
  await network();
  memory(load('koffi') as unknown as Koffi);
  console.log('tried everything');
  for await (const line of console.lines()) {
    // One that nobody needs: reboot(2).
    if (line === 'die') {
      const koffi = load('koffi') as unknown as Koffi;
      koffi.load('libc.so.6').func('int64_t syscall(int64_t, int64_t)')(169, 0);
    }
  }
}
