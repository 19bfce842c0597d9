// A xenstore transport over the daemon's unix socket, for processes of dom0.
import { connect } from 'node:net';
import { XenError } from './errors.ts';
import type { XenstoreTransport } from './xenstore-client.ts';

/** The daemon's unix socket. Rejects at once when nobody listens there: no retries. */
export function socketTransport(path: string): Promise<XenstoreTransport> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let data: (bytes: Uint8Array) => void = () => {};
    let closed: ((reason: string) => void) | undefined;
    let reason: string | undefined;
    const end = (why: string): void => {
      if (reason !== undefined) return;
      reason = why;
      closed?.(why);
    };
    socket.once('error', cause =>
      reject(new XenError((cause as NodeJS.ErrnoException).code ?? 'EIO', `xenstore socket ${path}`, cause)),
    );
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      socket.on('error', cause => end(cause.message));
      socket.on('close', () => end('the daemon closed the connection'));
      socket.on('data', bytes => data(bytes));
      socket.pause(); // nothing is lost before onData
      resolve({
        send: bytes => void socket.write(bytes),
        onData(cb) {
          data = cb;
          socket.resume();
        },
        onClose(cb) {
          closed = cb;
          if (reason !== undefined) cb(reason);
        },
        close() {
          reason ??= 'closed';
          socket.destroy();
        },
      });
    });
  });
}
