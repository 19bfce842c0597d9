// A connection to a server by Node's sockets. What arrives goes into one buffer that is used again and again.
import { connect, type Socket } from 'node:net';
import { hostSilentMs, setSendBuffer } from '#pvbus';
import type { Connect } from './session.ts';

const BUFFER_BYTES = 256 << 10;
/** Of a unix socket, whose usual 208 KiB do not hold two writes of 128 KiB: the second would wait for the first. TCP finds its own. */
const SEND_BYTES = 1 << 20;

/** A host that is gone says nothing, not even that. */
export interface HostLimits {
  /** Where nothing is asked, Linux asks whether it is there after so long. */
  readonly idleMs: number;
  /** Who has acknowledged nothing of what was sent again and again for so long is gone. */
  readonly silentMs: number;
}
const HOST_LIMITS: HostLimits = { idleMs: 10_000, silentMs: 20_000 };
const LOOKS = 4;

export const connectWithin =
  ({ idleMs, silentMs }: HostLimits): Connect =>
  (server, events) => {
    const onread = {
      buffer: Buffer.allocUnsafeSlow(BUFFER_BYTES),
      callback: (length: number, buffer: Uint8Array): boolean => {
        events.data(buffer, length);
        return true;
      },
    };
    const tcp = { noDelay: true, keepAlive: true, keepAliveInitialDelay: idleMs };
    const socket = connect('path' in server ? { path: server.path, onread } : { ...server, onread, ...tcp });
    let over = false;
    let looks: NodeJS.Timeout | undefined;
    const end = (): void => {
      over = true;
      clearInterval(looks);
      // order: what is on its way is not to arrive when the network is there again: it is asked for anew on another connection.
      if ('path' in server || socket.connecting) socket.destroy();
      else socket.resetAndDestroy();
    };
    const lost = (why: string): void => {
      if (over) return;
      end();
      events.lost(why);
    };
    socket.on('connect', () => {
      if (over) return;
      if ('path' in server) sendMore(socket);
      else looks = setInterval(look, silentMs / LOOKS).unref();
      events.connected();
    });
    const look = (): void => {
      const fd = descriptorOf(socket);
      if (fd !== undefined && hostSilentMs(fd) >= silentMs) lost('its host does not answer');
    };
    socket.on('error', error => lost((error as NodeJS.ErrnoException).code ?? error.message));
    socket.on('end', () => lost('it has closed the connection'));
    socket.on('close', () => lost('it has closed the connection'));
    return {
      write: bytes => void socket.write(bytes),
      cork: () => socket.cork(),
      uncork: () => socket.uncork(),
      end: bytes => {
        over = true;
        clearInterval(looks);
        socket.unref();
        socket.end(bytes, () => socket.destroy());
      },
      destroy: end,
    };
  };
export const connectTo = connectWithin(HOST_LIMITS);

/** Node has no public way to it. */
function descriptorOf(socket: Socket): number | undefined {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}
function sendMore(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd !== undefined) setSendBuffer(fd, SEND_BYTES);
}
