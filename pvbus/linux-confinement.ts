// The calls into Linux by which a process gives up what it will not need: for good, and for all that it starts.
import { closeFd, koffi, mapPrivate, SystemCallError, viewOf } from './linux.ts';

const libc = koffi.load('libc.so.6');
const long = 'int64_t';
const f = {
  prctl: libc.func(`int prctl(int option, ${long} a, ${long} b, ${long} c, ${long} d)`),
  prlimit: libc.func('int prlimit(int pid, int resource, intptr_t limit, intptr_t old)'),
  capset: libc.func('int capset(intptr_t header, intptr_t data)'),
  open: libc.func('int open(const char *path, int flags)'),
  // As many arguments as any call here has; glibc makes one that Linux does not know -1 with an errno.
  call: libc.func(`${long} syscall(${long} nr, ${long} a, ${long} b, ${long} c, ${long} d)`),
};

// The same on every architecture.
const SYS_close_range = 436;
const SYS_landlock_create_ruleset = 444;
const SYS_landlock_add_rule = 445;
const SYS_landlock_restrict_self = 446;
const CLOSE_RANGE_CLOEXEC = 4;
const LAST_FD = 0xffff_ffff;

const PR_GET_SECCOMP = 21;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_GET_NO_NEW_PRIVS = 39;
const LINUX_CAPABILITY_VERSION_3 = 0x2008_0522;
const SECCOMP_MODE_FILTER = 2;
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_GET_ACTION_AVAIL = 2;
const SECCOMP_RET_KILL_PROCESS = 0x8000_0000;
const SECCOMP_FILTER_FLAG_TSYNC = 1;
const SECCOMP_FILTER_FLAG_LOG = 2;
const O_PATH_CLOEXEC = 0o10000000 | 0o2000000;

/** Linux's number of each limit that is set here. */
export const RLIMIT = { fsize: 1, data: 2, core: 4, nproc: 6, nofile: 7, memlock: 8, as: 9, msgqueue: 12 } as const;
export type Limit = keyof typeof RLIMIT;

function check(what: string, result: number): number {
  if (result < 0) throw new SystemCallError(what, koffi.errno());
  return result;
}
const call = (nr: number, a: number, b = 0, c = 0, d = 0): number => Number(f.call(nr, a, b, c, d));

const SCRATCH_BYTES = 4096;
let scratch: { readonly address: number; readonly view: DataView } | undefined;
/** Memory of this thread for arguments, made when it is first needed: most processes need none. */
function scratchPage(): { readonly address: number; readonly view: DataView } {
  if (scratch === undefined) {
    const address = mapPrivate(SCRATCH_BYTES);
    scratch = { address, view: new DataView(viewOf(address, SCRATCH_BYTES)) };
  }
  return scratch;
}

// ---- privileges ----

/** Of this thread, of those it starts from here on, and of their programs: no set-user-id program gives any back. */
export const setNoNewPrivileges = (): void =>
  void check('prctl(PR_SET_NO_NEW_PRIVS)', f.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
export const hasNoNewPrivileges = (): boolean => f.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) === 1;

/** No program that this thread starts has this capability, whoever's it is. */
export const dropFromBounds = (number: number): void =>
  void check('prctl(PR_CAPBSET_DROP)', f.prctl(PR_CAPBSET_DROP, number, 0, 0, 0));
/** This thread has these, of those that it has; none is inherited by a program of another user. */
export function setCapabilities(bits: bigint): void {
  const { address, view } = scratchPage();
  view.setUint32(0, LINUX_CAPABILITY_VERSION_3, true);
  view.setUint32(4, 0, true); // this thread
  const data = 8;
  for (const [half, word] of [Number(bits & 0xffff_ffffn), Number(bits >> 32n)].entries()) {
    view.setUint32(data + 12 * half, word, true); // effective
    view.setUint32(data + 12 * half + 4, word, true); // permitted
    view.setUint32(data + 12 * half + 8, 0, true); // inheritable
  }
  check('capset', f.capset(address, address + data));
}

// ---- descriptors and limits ----

/** No program that is started from here on inherits a descriptor from `first` on, unless it is handed over. */
export function closeOnExec(first: number): void {
  check('close_range', call(SYS_close_range, first, LAST_FD, CLOSE_RANGE_CLOEXEC));
}
/** This process has at most so much of it, for good. A limit that is lower already stays. */
export function setLimit(limit: Limit, most: number): void {
  const { address, view } = scratchPage();
  check('prlimit', f.prlimit(0, RLIMIT[limit], 0, address));
  const old = view.getBigUint64(8, true);
  const value = BigInt(most) < old ? BigInt(most) : old;
  view.setBigUint64(0, value, true);
  view.setBigUint64(8, value, true);
  check(`setrlimit(${limit})`, f.prlimit(0, RLIMIT[limit], address, 0));
}

/** What a process may have of it, which is less than it may ask for. */
export function softLimit(pid: number, limit: Limit): bigint {
  const { address, view } = scratchPage();
  check(`prlimit(${limit})`, f.prlimit(pid, RLIMIT[limit], 0, address));
  return view.getBigUint64(0, true);
}
/** From here on that process may have so much of it. */
export function setSoftLimit(pid: number, limit: Limit, most: bigint): void {
  const { address, view } = scratchPage();
  check(`prlimit(${limit})`, f.prlimit(pid, RLIMIT[limit], 0, address));
  view.setBigUint64(0, most, true);
  check(`prlimit(${limit})`, f.prlimit(pid, RLIMIT[limit], address, 0));
}

// ---- seccomp ----

/** A filter program, in memory from which Linux can take it with one call. */
export class SeccompFilter {
  readonly #fprog: number;

  /** `code`: struct sock_filter after struct sock_filter. */
  constructor(code: Uint8Array) {
    const at = 16;
    const address = mapPrivate(at + code.length);
    const memory = viewOf(address, at + code.length);
    new Uint8Array(memory).set(code, at);
    const view = new DataView(memory);
    view.setUint16(0, code.length / 8, true);
    view.setBigUint64(8, BigInt(address + at), true);
    this.#fprog = address;
  }
  /** From now on and beside those that are there, on this thread or on every one of the process. Needs no_new_privs. */
  install(seccomp: number, everyThread: boolean, inLog: boolean): void {
    const flags = (everyThread ? SECCOMP_FILTER_FLAG_TSYNC : 0) | (inLog ? SECCOMP_FILTER_FLAG_LOG : 0);
    const result = call(seccomp, SECCOMP_SET_MODE_FILTER, flags, this.#fprog);
    check('seccomp', result);
    if (result > 0) throw new Error(`seccomp: thread ${result} has a filter of its own`);
  }
}
/** Why Linux would take no filter; undefined when it does. `seccomp` is the number of that call. */
export function whyNoFilter(seccomp: number): string | undefined {
  const { address, view } = scratchPage();
  view.setUint32(0, SECCOMP_RET_KILL_PROCESS, true);
  return call(seccomp, SECCOMP_GET_ACTION_AVAIL, 0, address) === 0
    ? undefined
    : new SystemCallError('seccomp', koffi.errno()).message;
}
/** Does a filter, of whomever, judge this thread's calls? */
export const isFiltered = (): boolean => f.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) === SECCOMP_MODE_FILTER;

// ---- Landlock ----

const LANDLOCK_CREATE_RULESET_VERSION = 1;
const LANDLOCK_RULE_PATH_BENEATH = 1;
const LANDLOCK_ACCESS_FS_EXECUTE = 1;
const LANDLOCK_ACCESS_FS_READ_FILE = 4;
const LANDLOCK_ACCESS_FS_READ_DIR = 8;
/** Read, write, list, make, rename and remove regular files and sockets, and shorten them; no programs, links or devices. */
const OWN_FOLDER = 0b0100_0011_0010_1110;
/** How many LANDLOCK_ACCESS_FS_* there are from each version of the interface on. */
const FS_RIGHTS = [0, 13, 14, 15, 15, 16] as const;
/** Version 4: TCP, bind and connect. Version 6: abstract sockets, signals. */
const NET_SINCE = 4;
const SCOPE_SINCE = 6;

/** The version of Linux's interface, or why there is none. */
export function landlockVersion(): number | string {
  const version = call(SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? version : new SystemCallError('landlock_create_ruleset', koffi.errno()).message;
}

export interface ReadableFile {
  readonly path: string;
  readonly isDirectory: boolean;
}
/**
 * From here on this thread, and whatever it starts, can read what is under `readable` and run programs there, can do with
 * regular files and sockets under `own` what it likes, and has no other right to any file; no TCP, no abstract socket and no process of others, as far as Linux has that. Needs no_new_privs.
 */
export function restrictFiles(readable: readonly ReadableFile[], own?: string): void {
  const version = landlockVersion();
  if (typeof version === 'string') throw new Error(version);
  const { address, view } = scratchPage();
  const rights = 2 ** FS_RIGHTS[Math.min(version, FS_RIGHTS.length - 1)]! - 1;
  view.setBigUint64(0, BigInt(rights), true);
  view.setBigUint64(8, version >= NET_SINCE ? 3n : 0n, true);
  view.setBigUint64(16, version >= SCOPE_SINCE ? 3n : 0n, true);
  const size = version >= SCOPE_SINCE ? 24 : version >= NET_SINCE ? 16 : 8;
  const ruleset = check('landlock_create_ruleset', call(SYS_landlock_create_ruleset, address, size, 0));
  try {
    const read = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE;
    for (const { path, isDirectory } of readable)
      addRule(ruleset, path, isDirectory ? read | LANDLOCK_ACCESS_FS_READ_DIR : read);
    if (own !== undefined) addRule(ruleset, own, OWN_FOLDER & rights);
    check('landlock_restrict_self', call(SYS_landlock_restrict_self, ruleset, 0));
  } finally {
    closeFd(ruleset);
  }
}
function addRule(ruleset: number, path: string, rights: number): void {
  const { address, view } = scratchPage();
  const file = check(`open ${path}`, f.open(path, O_PATH_CLOEXEC));
  view.setBigUint64(0, BigInt(rights), true);
  view.setInt32(8, file, true);
  const added = call(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, address, 0);
  closeFd(file);
  check(`landlock_add_rule ${path}`, added);
}
