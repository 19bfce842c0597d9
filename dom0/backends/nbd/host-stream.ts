// A connection to a server by Node's sockets. What arrives goes into one buffer that is used again and again.
import { connect, type Socket } from 'node:net';
import { setSendBuffer } from '#pvbus';
import type { Connect } from './session.ts';

const BUFFER_BYTES = 256 << 10;
/** Of a unix socket, whose usual 208 KiB do not hold two writes of 128 KiB: the second would wait for the first. TCP finds its own. */
const SEND_BYTES = 1 << 20;

export const connectTo: Connect = (server, events) => {
  const onread = {
    buffer: Buffer.allocUnsafeSlow(BUFFER_BYTES),
    callback: (length: number, buffer: Uint8Array): boolean => {
      events.data(buffer, length);
      return true;
    },
  };
  const socket = connect('path' in server ? { path: server.path, onread } : { ...server, onread, noDelay: true });
  let over = false;
  const lost = (why: string): void => {
    if (over) return;
    over = true;
    socket.destroy();
    events.lost(why);
  };
  socket.on('connect', () => {
    if (over) return;
    if ('path' in server) sendMore(socket);
    events.connected();
  });
  socket.on('error', error => lost((error as NodeJS.ErrnoException).code ?? error.message));
  socket.on('end', () => lost('it has closed the connection'));
  socket.on('close', () => lost('it has closed the connection'));
  return {
    write: bytes => void socket.write(bytes),
    cork: () => socket.cork(),
    uncork: () => socket.uncork(),
    destroy: () => {
      over = true;
      socket.destroy();
    },
  };
};

function sendMore(socket: Socket): void {
  // Node has no public way to a socket's descriptor.
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  if (fd !== undefined && fd >= 0) setSendBuffer(fd, SEND_BYTES);
}
