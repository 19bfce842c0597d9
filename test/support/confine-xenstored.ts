// Preloaded into a xenstored that is by itself: from when it serves it has the filters of one that has a host around it.
import { setNoNewPrivileges, streamLog, systemClock } from '#pvbus';
import { confine } from '../../dom0/confinement/confine.ts';
import { xenstoredPolicy } from '../../dom0/confinement/policies.ts';
import { hostPolicy } from '../../hypervisor/confinement/host-policy.ts';

/** Since Node 22.15. */
type Execve = (file: string, args: readonly string[], env: NodeJS.ProcessEnv) => never;
const { execve } = process as { execve?: Execve };
const BELOW = 'XENOLITH_TEST_BELOW_HOST_POLICY';

const log = streamLog(process.stderr, 'confine-xenstored', systemClock);
setNoNewPrivileges();
// libuv of those Nodes begins with an io_uring where it can, and ends the process when a filter takes that away. In a host it
// cannot: the process begins anew with the host's filter.
if (execve && process.env[BELOW] === undefined) {
  confine(() => hostPolicy, log);
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  execve.call(process, process.execPath, args, { ...process.env, [BELOW]: '1' });
}

const write = process.stdout.write.bind(process.stdout);
process.stdout.write = (text: string | Uint8Array): boolean => {
  process.stdout.write = write;
  confine(xenstoredPolicy, log);
  return write(text);
};
