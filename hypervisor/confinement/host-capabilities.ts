// What the processes of a host keep of root's capabilities. SECURITY.md says what each is for.
import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Capability, mayDropCapabilities } from '#pvbus';
import { type Command, findTool } from './launch-command.ts';

/** Hypervisor, dom0, and the scripts that it runs: those have what dom0 has, and no more. */
export const HOST_CAPABILITIES: readonly Capability[] = [
  ...(['chown', 'dac_override', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap'] as const),
  ...(['net_bind_service', 'net_admin', 'net_raw', 'ipc_lock', 'sys_chroot', 'sys_admin', 'sys_nice'] as const),
  ...(['sys_resource', 'mknod', 'audit_write', 'syslog'] as const),
];

/**
 * `command` without a capability, on each of its threads: it does with what its user has in `dir`. As it is where there is
 * none to be dropped, no setpriv(1), or `dir` is below a folder that this user gets through by a capability alone.
 */
export function withoutCapabilities(command: Command, dir: string): Command {
  const setpriv = findTool('setpriv');
  if (setpriv === undefined || !mayDropCapabilities() || !isInReach(resolve(dir))) return command;
  return { file: setpriv, args: ['--bounding-set=-all', '--inh-caps=-all', '--', command.file, ...command.args] };
}

function isInReach(dir: string): boolean {
  const { mode, uid } = statSync(dir);
  const passes = (mode & (uid === process.getuid?.() ? 0o100 : 0o001)) !== 0;
  return passes && (dir === '/' || isInReach(dirname(dir)));
}
