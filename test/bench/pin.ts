// Which CPU a process may use. taskset(1) is in every Linux's util-linux.
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';

const ALL = `0-${availableParallelism() - 1}`;

/** Put every thread of `pid` on `cpu`; undefined: on all. */
export async function pin(pid: number, cpu: number | undefined): Promise<void> {
  execFileSync('taskset', ['-acp', cpu === undefined ? ALL : String(cpu), String(pid)], { stdio: 'ignore' });
}
