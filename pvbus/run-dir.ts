// Where a host's sockets and logs live. Several hosts run side by side under different names.

import { lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { XenError } from './errors.ts';

/** What is written into `version`; a directory with another version is refused, never misread. */
export const RUN_DIR_VERSION = 1;

/** A unix socket's path must fit sun_path (108 bytes with its NUL). */
const MAX_SOCKET_PATH = 107;

/** The run directory this environment asks for. Only a name: nothing is created. Throws where no host can be on it. */
export function runDir(env: NodeJS.ProcessEnv = process.env): string {
  const dir = named(env);
  checkSockets(dir);
  return dir;
}
function named(env: NodeJS.ProcessEnv): string {
  if (env.XENOLITH_RUN_DIR) return absolute('XENOLITH_RUN_DIR', env.XENOLITH_RUN_DIR);
  const host = env.XENOLITH_HOST || 'default';
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/.test(host)) {
    throw new XenError('EINVAL', `XENOLITH_HOST=${host}: a host name is letters, digits, '.', '_' and '-'`);
  }
  if (env.XDG_RUNTIME_DIR) return join(absolute('XDG_RUNTIME_DIR', env.XDG_RUNTIME_DIR), 'xenolith', host);
  return join(`/tmp/xenolith-${process.getuid?.() ?? 0}`, host);
}

function absolute(variable: string, path: string): string {
  if (!isAbsolute(path)) throw new XenError('EINVAL', `${variable}=${path} is not an absolute path`);
  return path;
}

/** Throws ENAMETOOLONG, naming it, where a socket of a host on `dir` could not be. */
export function checkSockets(dir: string): void {
  const { consoleSocket, takeOverSocket } = runPaths(dir);
  for (const path of [consoleSocket(0xffff), takeOverSocket]) checkSocketPath(path, `run directory ${dir}: `);
}
/** Throws ENAMETOOLONG. */
export function checkSocketPath(path: string, where = ''): void {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH)
    throw new XenError('ENAMETOOLONG', `${where}${path} is too long for a unix socket`);
}

/**
 * Make the directory, its parents and its folders, for this user alone. Refuses one that is a symbolic link,
 * belongs to somebody else, is open to others, or carries another version.
 */
export function makeRunDir(dir: string): void {
  checkSockets(dir);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const parent = lstatSync(dirname(dir));
  const sticky = (parent.mode & 0o1000) !== 0;
  // Whoever may rename in the parent can put another directory in our place.
  if ((parent.uid !== 0 && parent.uid !== process.getuid?.()) || (parent.mode & 0o022 && !sticky)) {
    throw new XenError('EPERM', `run directory ${dir}: others may write to ${dirname(dir)}`);
  }
  for (const path of [dir, join(dir, 'console'), join(dir, 'log')]) {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const stat = lstatSync(path); // not stat: in /tmp somebody else may have put a link there first
    if (!stat.isDirectory()) throw new XenError('ENOTDIR', `run directory ${path} is not a directory`);
    if (stat.uid !== process.getuid?.()) {
      throw new XenError('EPERM', `run directory ${path} belongs to uid ${stat.uid}`);
    }
    if (stat.mode & 0o077) throw new XenError('EPERM', `run directory ${path} is open to others: chmod 700 it`);
  }
  checkRunDirVersion(dir, true);
}

/** Of a host that has ended: the sockets and the journals go, the logs stay. */
export function removeSockets(dir: string): void {
  const sockets = ['xenstored.sock', 'xenstored-next.sock', 'toolstack.sock', 'console'];
  const journals = ['xenstored.journal', 'toolstack.journal'].flatMap(name => [name, `${name}.new`]);
  for (const name of [...sockets, ...journals]) rmSync(join(dir, name), { recursive: true, force: true });
}

/** Throws unless `dir` carries our version; `create` writes it where there is none yet. */
export function checkRunDirVersion(dir: string, create = false): void {
  const path = runPaths(dir).version;
  if (create) writeVersion(dir, path);
  let text: string;
  try {
    text = readFileSync(path, 'latin1');
  } catch (cause) {
    throw new XenError('ENOENT', `${dir} is not a run directory of a xenolith host`, cause);
  }
  if (text.trim() !== String(RUN_DIR_VERSION)) {
    throw new XenError(
      'EPROTO',
      `${dir} is a run directory of version ${JSON.stringify(text.trim().slice(0, 20))}, not ${RUN_DIR_VERSION}`,
    );
  }
}

/** Unless there is one. */
function writeVersion(dir: string, path: string): void {
  try {
    writeFileSync(path, `${RUN_DIR_VERSION}\n`, { flag: 'wx', mode: 0o600 });
  } catch (cause) {
    const { code = 'EIO', message } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    rmSync(path, { force: true }); // half of it would be another version's for good
    throw new XenError(code, `run directory ${dir}: ${message}`, cause);
  }
}

/** Every path below a run directory. */
export function runPaths(dir: string): {
  readonly xenstoredSocket: string;
  /** Where a xenstored tells the one that takes over from it what that must know. */
  readonly takeOverSocket: string;
  readonly xenstoredJournal: string;
  readonly toolstackSocket: string;
  readonly toolstackJournal: string;
  readonly hostLog: string;
  /** What happened, in lines of JSON; it stays, as logs do. */
  readonly eventLog: string;
  readonly version: string;
  consoleSocket(domid: number): string;
  consoleLog(name: string): string;
  /** What was done when a domain ended. */
  monitorLog(name: string): string;
  coreDump(name: string): string;
} {
  return {
    xenstoredSocket: join(dir, 'xenstored.sock'),
    takeOverSocket: join(dir, 'xenstored-next.sock'),
    xenstoredJournal: join(dir, 'xenstored.journal'),
    toolstackSocket: join(dir, 'toolstack.sock'),
    toolstackJournal: join(dir, 'toolstack.journal'),
    hostLog: join(dir, 'host.log'),
    eventLog: join(dir, 'log', 'events.jsonl'),
    version: join(dir, 'version'),
    consoleSocket: domid => join(dir, 'console', `${domid}.sock`),
    // A domain's name comes from a config: keep it one path component, and reversible.
    consoleLog: name => join(dir, 'log', `console-${encodeURIComponent(name)}.log`),
    monitorLog: name => join(dir, 'log', `xl-${encodeURIComponent(name)}.log`),
    coreDump: name => join(dir, 'dump', encodeURIComponent(name)),
  };
}
