// A unix socket that listens: made for this user alone, in the place of one that a killed process has left.
import { fchmodSync, lstatSync, rmSync } from 'node:fs';
import { bindSocket, closeFd, connectSocket, ERRNO, listenSocket, streamSocket, XenError } from '#pvbus';

/** Clients that may wait to be accepted; Linux cuts it to net.core.somaxconn. */
const BACKLOG = 4096;

/** A descriptor that listens at `path`. Throws when somebody is there, or something that is no socket. */
export function listenAt(path: string): number {
  makeRoom(path);
  const fd = streamSocket();
  try {
    fchmodSync(fd, 0o600); // order: before it has a path that others can open
    bindSocket(fd, path);
    listenSocket(fd, BACKLOG);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** The socket of a killed daemon refuses connections. */
function makeRoom(path: string): void {
  const probe = streamSocket();
  const result = connectSocket(probe, path);
  closeFd(probe);
  if (result === 0 || result === -ERRNO.EAGAIN) throw new XenError('EADDRINUSE', `somebody serves ${path} already`);
  if (result !== -ERRNO.ECONNREFUSED) return; // nothing there, or nothing that `bind` would not name
  if (!lstatSync(path).isSocket()) throw new XenError('EEXIST', `${path} is no socket`);
  rmSync(path);
}
