// How a domain's process is started, without native code of our own: util-linux's setpriv(1) and unshare(1) make the
// namespaces, and stay as the parent of the process in them.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
}
/** Where they are. */
export interface Tools {
  readonly setpriv: string;
  readonly unshare: string;
}

/**
 * V8 in a domain: small heaps grow when needed; one helper thread is enough for a vCPU. A shell collects its garbage while
 * it waits, not when it is needed. Of its builtins Node 20 would have a copy of 1.6 MiB in each process, for calls of
 * four bytes less.
 */
export const SHELL_FLAGS = ['--v8-pool-size=1', '--no-warnings', '--expose-gc', '--no-short-builtin-calls'];

/** Nobody is mapped: no capability is left after exec. */
const OF_A_PROGRAM = ['--user', '--net', '--ipc', '--uts', '--cgroup'];
/** Landlock forbids mounts: the copy of the mount table stays as it is. */
const NAMESPACES = [...OF_A_PROGRAM, '--pid', '--mount', '--propagation', 'unchanged', '--fork', '--kill-child'];
const FOLDERS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', '/run/current-system/sw/bin'];
const PROBE_MS = 5000;
/** unshare(1) says this, and fails, where its child was killed by SIGKILL: the one signal that it cannot pass on. */
const KILLED = /^unshare: sigprocmask unblock failed/;

export const findTool = (name: string): string | undefined =>
  FOLDERS.map(folder => `${folder}/${name}`).find(path => existsSync(path));

/** `command` in namespaces of its own; all of it ends with the thread that starts it. */
export const inNamespaces = ({ setpriv, unshare }: Tools, { file, args }: Command): Command => ({
  file: setpriv,
  args: ['--pdeathsig', 'KILL', '--', unshare, ...NAMESPACES, '--', file, ...args],
});
/** `command` without network, IPC and capabilities, which has the number of the process that was started. */
export const withoutNetwork = ({ unshare }: Tools, { file, args }: Command): Command => ({
  file: unshare,
  args: [...OF_A_PROGRAM, '--', file, ...args],
});
export const wasKilled = (line: string): boolean => KILLED.test(line);

/** The tools, where this user can make namespaces with them here; else why not. */
export function probeNamespaces(): Tools | string {
  const [setpriv, unshare] = [findTool('setpriv'), findTool('unshare')];
  if (setpriv === undefined || unshare === undefined)
    return `${setpriv === undefined ? 'setpriv' : 'unshare'} (util-linux) is not there`;
  const tools = { setpriv, unshare };
  const { file, args } = inNamespaces(tools, { file: unshare, args: ['--version'] });
  const { status, stderr, error } = spawnSync(file, args, { encoding: 'utf8', env: {}, timeout: PROBE_MS });
  if (status === 0) return tools;
  return stderr?.trim().split('\n')[0] || (error?.message ?? `unshare: status ${status}`);
}
