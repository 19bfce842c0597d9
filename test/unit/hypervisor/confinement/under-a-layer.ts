// A process that takes one layer of confinement alone, and then what that is to stop: each act in a line of its own.
import { spawnSync } from 'node:child_process';
import {
  exitProcess,
  koffi,
  prepareFilter,
  restrictFiles,
  type SyscallName,
  setNoNewPrivileges,
  XEN_EPERM,
} from '#pvbus';
import { hostPolicy } from '../../../../hypervisor/confinement/host-policy.ts';
import { filesOfPrograms, readableFiles } from '../../../../hypervisor/confinement/readable-files.ts';
import { SYSCALLS_X64 } from '../../../../pvbus/syscalls-x64.ts';

const [, , layer, ...args] = process.argv;
setNoNewPrivileges();

/** As the thread that starts xenstored. */
function ownFolder(own: string, program: string, ...words: string[]): void {
  restrictFiles(filesOfPrograms(own, [], []), own);
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', program, '--', own, ...words], {
    encoding: 'utf8',
    env: {},
  });
  process.stdout.write(stdout + stderr);
}

/** The thread that starts a domain's process gives its rights up; that one has never had them. */
function landlock(dist: string, program: string, ...words: string[]): void {
  restrictFiles(readableFiles(dist, []));
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', program, '--', ...words], {
    encoding: 'utf8',
    env: {},
  });
  process.stdout.write(stdout + stderr);
}

/** Calls that would do something even without arguments that make sense. */
const AWAY: readonly SyscallName[] = ['vhangup', 'syslog'];
function host(program32: string): void {
  prepareFilter(hostPolicy)();
  const call = koffi.load('libc.so.6').func('int64_t syscall(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t)');
  const outcome = (name: string): number => {
    const result = Number(call(SYSCALLS_X64[name as SyscallName], -1, -1, -1, -1, -1));
    return result === -1 ? koffi.errno() : 0;
  };
  if (outcome('ptrace') !== XEN_EPERM) throw new Error('the filter is not there'); // nothing else is to be tried
  for (const name of Object.keys(hostPolicy.rules))
    if (!AWAY.includes(name as SyscallName)) console.log(`${name}: ${outcome(name)}`);
  const { signal, status, error } = spawnSync(program32);
  console.log(`32-bit: ${signal ?? status ?? (error as NodeJS.ErrnoException).code}`);
}

if (layer === 'landlock') landlock(...(args as [string, string]));
else if (layer === 'own-folder') ownFolder(...(args as [string, string]));
else host(args[0]!);
exitProcess(0); // tsx has threads that would want to end in order
