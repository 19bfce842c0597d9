// Who may speak to dom0's sockets: processes of the user it runs as, and root.
import type { Socket } from 'node:net';
import { peerCredentials } from '#pvbus';

/** False too when the other end is gone already. */
export function sameUser(socket: Socket): boolean {
  // Node has no public way to a socket's descriptor.
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  return fd !== undefined && fd >= 0 && sameUserAt(fd);
}

/** The same of a descriptor. */
export function sameUserAt(fd: number): boolean {
  try {
    const { uid } = peerCredentials(fd);
    return uid === process.getuid?.() || uid === 0;
  } catch {
    return false;
  }
}
