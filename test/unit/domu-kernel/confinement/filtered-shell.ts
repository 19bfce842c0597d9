// Does what a shell does while it waits, with one system call less.
import { spawnSync } from 'node:child_process';
import { writeSync } from 'node:fs';
import { exitProcess, prepareFilter, type SyscallName, setNoNewPrivileges, XEN_ENOSYS } from '#pvbus';
import { waitingPolicy } from '../../../../domu-kernel/confinement/policy.ts';
import { selfTest } from '../../../../domu-kernel/confinement/self-test.ts';

const [, script, without, launched] = process.argv;
setNoNewPrivileges();
if (launched === undefined) {
  // As its launcher sees to: libuv of Node 24 would have an io_uring before anybody could say no.
  prepareFilter({ rules: { io_uring_setup: XEN_ENOSYS }, otherwise: 'allow' })();
  const { status, signal } = spawnSync(process.execPath, [...process.execArgv, script!, without!, 'launched'], {
    stdio: 'inherit',
  });
  if (signal !== null) process.kill(process.pid, signal);
  exitProcess(status ?? 1);
}
const { rules, otherwise } = waitingPolicy(process.pid);
const { [without as SyscallName]: _, ...fewer } = rules;
prepareFilter({ rules: fewer, otherwise })();
await selfTest(globalThis.gc, () => {});
writeSync(1, 'good\n');
exitProcess(0); // tsx has threads that would want to end in order
