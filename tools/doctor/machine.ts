// What `xl doctor` asks the machine. Every answer is for this very process: its user, its container, its filters.

import { spawnSync } from 'node:child_process';
import { accessSync, closeSync, constants, existsSync, openSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lastWordsOf } from '#pvbus';
import { INSTALLED } from '../ext4/build.ts';

/** How a system call went: there (0 or more), or the name of its error. */
export type CallResult = number | string;

export interface Machine {
  readonly platform: string;
  readonly arch: string;
  readonly nodeVersion: string;
  /** null: not glibc. */
  readonly glibc: string | null;
  readonly kernel: string;
  /** null: it cannot be read. */
  readFile(path: string): string | null;
  /** The error's name; null when it can be opened for reading and writing. */
  openError(path: string): string | null;
  /** May this user make files at `path`, or make the directories that are missing? */
  writable(path: string): boolean;
  program(name: string): boolean;
  /** Its driver lies where domains find it. */
  ext4(): boolean;
  /** Why an npm package that is needed cannot be loaded; null when it can. */
  packageError(name: string): Promise<string | null>;
  call(name: 'futex_waitv' | 'pidfd_open' | 'memfd_seals' | 'landlock'): Promise<CallResult>;
  /** `fit`, or why the process of a domain would not be. */
  shell(): string;
  /** null: nothing is there to try it with. */
  userNamespace(): boolean | null;
}

/** Built beside us; started as a host would start it. */
const SHELL_TEST = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../../dist/shell-test.js' : './shell-test.js', import.meta.url),
);
const SHELL_MS = 30_000;

const NUMBERS = { futex_waitv: 449, pidfd_open: 434, landlock: 444 } as const;
const LANDLOCK_CREATE_RULESET_VERSION = 1;
const MFD_CLOEXEC_ALLOW_SEALING = 3;
const F_ADD_SEALS = 1033;
const SEALS = 7;

export function thisMachine(env: NodeJS.ProcessEnv, kernel: string): Machine {
  const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return {
    ...{ platform: process.platform, arch: process.arch, nodeVersion: process.versions.node, kernel },
    glibc: report.header.glibcVersionRuntime ?? null,
    readFile: path => {
      try {
        return readFileSync(path, 'utf8');
      } catch {
        return null;
      }
    },
    openError: path => {
      try {
        closeSync(openSync(path, constants.O_RDWR | constants.O_NOCTTY));
        return null;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code ?? 'EIO';
      }
    },
    writable: path => {
      let there = path;
      while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
      try {
        accessSync(there, constants.W_OK | constants.X_OK);
        return true;
      } catch {
        return false;
      }
    },
    program: name =>
      `${env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin`.split(delimiter).some(folder => existsSync(join(folder, name))),
    ext4: () => existsSync(INSTALLED),
    packageError: async name => {
      try {
        await import(name);
        return null;
      } catch (error) {
        return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
      }
    },
    call: systemCall,
    shell: () => {
      const { stdout, stderr, error } = spawnSync(process.execPath, [SHELL_TEST], {
        encoding: 'utf8',
        timeout: SHELL_MS,
      });
      return stdout?.trim() || (lastWordsOf(stderr ?? '') ?? error?.message ?? 'it says nothing');
    },
    userNamespace: () => {
      // As the hypervisor starts a domain's process.
      const args = [
        '-U',
        '-n',
        '-i',
        '-u',
        '-C',
        '-p',
        '-m',
        '--propagation',
        'unchanged',
        '-f',
        '--kill-child',
        'true',
      ];
      const { status, error } = spawnSync('unshare', args, { stdio: 'ignore', timeout: 5000 });
      return error === undefined ? status === 0 : null;
    },
  };
}

// Not from '#pvbus': doctor says so when koffi cannot be loaded, and that must not keep it from saying it.
async function systemCall(name: Parameters<Machine['call']>[0]): Promise<CallResult> {
  try {
    const { default: koffi } = await import('koffi');
    const libc = koffi.load('libc.so.6');
    const names = new Map(Object.entries(koffi.os.errno).map(([error, number]) => [number, error]));
    const result = (value: number): CallResult => (value >= 0 ? value : (names.get(koffi.errno()) ?? 'EIO'));
    if (name === 'memfd_seals') {
      const create = libc.func('int memfd_create(const char *name, unsigned int flags)');
      const fcntl = libc.func('int fcntl(int fd, int op, int64_t arg)');
      const fd: number = create('doctor', MFD_CLOEXEC_ALLOW_SEALING);
      if (fd < 0) return result(fd);
      const sealed = result(fcntl(fd, F_ADD_SEALS, SEALS));
      closeSync(fd);
      return sealed;
    }
    const syscall = libc.func('int64_t syscall(int64_t nr, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e)');
    if (name === 'pidfd_open') {
      const fd = result(Number(syscall(NUMBERS.pidfd_open, process.pid, 0, 0, 0, 0)));
      if (typeof fd === 'number') closeSync(fd);
      return fd;
    }
    if (name === 'landlock')
      return result(Number(syscall(NUMBERS.landlock, 0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0, 0)));
    // No words to wait for is an error where the call is there.
    const outcome = result(Number(syscall(NUMBERS.futex_waitv, 0, 0, 0, 0, 0)));
    return outcome === 'EINVAL' ? 0 : outcome;
  } catch {
    return 'koffi';
  }
}
