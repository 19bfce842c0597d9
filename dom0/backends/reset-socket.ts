// A reset of a connection that Node has.
import type { Socket } from 'node:net';

/** The peer hears of it as a reset, also of what it has not read; what is on its way is lost. */
export function resetSocket(socket: Socket): void {
  // While the end of a socket is sent, which takes a turn, Node resets nothing: it calls the socket destroyed, and never closes it.
  const isEnding = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (isEnding) socket.once('finish', () => socket.resetAndDestroy());
  else socket.resetAndDestroy();
}
