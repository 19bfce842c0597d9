// A connection to a server by Node's sockets. What arrives goes into one buffer that is used again and again.
import { connect } from 'node:net';
import type { Connect } from './session.ts';

const BUFFER_BYTES = 256 << 10;

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
    if (!over) events.connected();
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
