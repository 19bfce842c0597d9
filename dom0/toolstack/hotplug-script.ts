// Scripts that a config names for a disk or a vif (`script=`), run by dom0 as its own user with the environment that
// Xen's have. Xen: docs/misc/block-scripts.txt, xl-network-configuration(5). Nothing runs unless a config names it.
import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { type Log, readKey, runPaths, XenError, type XenstoreClient } from '#pvbus';
import type { DevicePaths } from './add-device.ts';

const SCRIPTS = '/etc/xen/scripts';
/** Xen: LIBXL_HOTPLUG_TIMEOUT */
const SCRIPT_MS = 40_000;
/** What a script says is quoted up to so many bytes. */
const MAX_SAID = 4096;
/** What these do for Linux's backends, ours do themselves. */
const OUR_OWN = [join(SCRIPTS, 'vif-bridge'), join(SCRIPTS, 'block')];

/** Where a script of that name is. */
export const scriptPath = (name: string): string => (isAbsolute(name) ? name : join(SCRIPTS, name));

/** It is there, may be executed, and is none whose work is done here anyway. */
export function isRunnable(name: string | null): boolean {
  if (name === null || OUR_OWN.includes(scriptPath(name))) return false;
  try {
    accessSync(scriptPath(name), constants.X_OK);
    return statSync(scriptPath(name)).isFile();
  } catch {
    return false;
  }
}

export interface ScriptHost {
  readonly xs: XenstoreClient;
  readonly log: Log;
  readonly runDir: string;
}

/** The device comes: its nodes are there, its backend has not looked at it. Throws what the script says is wrong. */
export async function runAddScript(host: ScriptHost, script: string, device: DevicePaths): Promise<void> {
  const said = await runScript(host, script, device, device.type === 'vif' ? 'online' : 'add');
  // Xen: a script tells what went wrong here rather than by how it ends.
  const [status, error] = await Promise.all(
    ['hotplug-status', 'hotplug-error'].map(key => readKey(host.xs, `${device.backend}/${key}`)),
  );
  if (said === undefined && status !== 'error') return;
  const why = error || said || 'it wrote hotplug-status error';
  throw new XenError('EIO', `${device.type} ${device.devid}: script ${script}: ${why}`);
}

/** The device goes, its nodes are still there. A script that fails keeps nobody. */
export async function runRemoveScript(host: ScriptHost, device: DevicePaths): Promise<void> {
  // The toolstack's own note: what the backend's directory says, a backend may have written.
  const script = await readKey(host.xs, `${device.libxl}/script`);
  if (script === undefined || !isRunnable(script) || !device.backend.startsWith('/local/domain/0/')) return;
  const failure = await runScript(host, script, device, device.type === 'vif' ? 'offline' : 'remove');
  if (failure !== undefined) host.log.warn(`${device.type} ${device.devid}: script ${script}: ${failure}`);
}

/** What it said, or how it ended, when it failed. */
function runScript(host: ScriptHost, script: string, device: DevicePaths, action: string): Promise<string | undefined> {
  const path = device.backend.replace('/local/domain/0/', '');
  const [, type, domid, devid] = path.split('/');
  const vif = type === 'vif';
  const env = {
    ...process.env,
    script,
    XENBUS_PATH: path,
    XENBUS_TYPE: type,
    XENBUS_BASE_PATH: 'backend',
    ...(vif && { vif: `vif${domid}.${devid}` }),
    // Ours: so that xenstore-write in a script reaches this host.
    XENSTORED_PATH: runPaths(host.runDir).xenstoredSocket,
    XENOLITH_RUN_DIR: host.runDir,
  };
  return new Promise(resolve => {
    const child = spawn(script, vif ? [action, 'type_if=vif'] : [action], {
      ...{ env, stdio: ['ignore', 'pipe', 'pipe'], detached: true, cwd: '/' },
    });
    let said = '';
    const hear = (chunk: Buffer): void => {
      if (said.length < MAX_SAID) said += chunk.toString().slice(0, MAX_SAID - said.length);
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      // With whatever it started: it leads a group of its own.
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, SCRIPT_MS);
    const over = (failure: string | undefined): void => {
      clearTimeout(timer);
      child.stdout.destroy();
      child.stderr.destroy();
      resolve(failure);
    };
    child.once('error', error => over(error.message));
    // Not 'close': what a script leaves running may hold its output open for ever.
    child.once('exit', (code, signal) => {
      if (late) over(`${action} has not ended after ${SCRIPT_MS / 1000} s`);
      else if (code === 0) over(undefined);
      else over(said.trim().split('\n').at(-1) || `${action} ended with ${signal ?? `exit code ${code}`}`);
    });
  });
}
