// The daemon's unix socket: bytes between net.Socket and Connection, with a bound in each direction.
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Socket, type Server as SocketServer } from 'node:net';
import { sameUser } from '../same-user.ts';
import type { Server } from './server.ts';

/** Requests of one client answered before others have a turn. */
const REQUESTS_PER_TURN = 64;
/** Bytes handed to the kernel at once. */
const WRITE_BYTES = 64 * 1024;

/** Listen at `path`, for this user alone. Resolves once clients can connect. */
export function listen(server: Server, path: string): Promise<SocketServer> {
  const listener = createServer(socket => {
    if (sameUser(socket)) serve(server, socket);
    else socket.destroy();
  });
  return new Promise((resolve, reject) => {
    rmSync(path, { force: true }); // of a daemon that was killed
    listener.once('error', reject);
    listener.listen(path, () => {
      chmodSync(path, 0o600);
      resolve(listener);
    });
  });
}

function serve(server: Server, socket: Socket): void {
  let scheduled = false;
  let left: Uint8Array = new Uint8Array(0);
  const connection = server.accept(() => later());
  const later = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(turn);
  };
  /** Answer what has come, send what can be sent, and see to it that the rest has its turn. */
  const turn = (): void => {
    scheduled = true; // output made in this turn is sent in it
    if (!socket.destroyed) {
      take();
      send();
    }
    scheduled = false;
    if (socket.destroyed) return;
    if (connection.broken !== undefined) {
      server.log.warn(`${connection.name} closed: ${connection.broken}`);
      socket.destroy();
    } else if (left.length === 0) socket.resume();
    else {
      socket.pause();
      if (connection.ready()) later();
    }
  };
  const take = (): void => {
    if (left.length === 0) return;
    const n = connection.receive(left, REQUESTS_PER_TURN);
    left = n < 0 ? left.subarray(left.length) : left.subarray(n);
  };
  const send = (): void => {
    while (!connection.output.empty && !socket.writableNeedDrain) {
      const chunks: Uint8Array[] = [];
      let room = WRITE_BYTES;
      connection.drain(bytes => {
        const n = Math.min(room, bytes.length);
        if (n > 0) chunks.push(n === bytes.length ? bytes : bytes.subarray(0, n));
        room -= n;
        return n;
      });
      socket.write(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    }
  };
  socket.on('data', chunk => {
    left = left.length === 0 ? chunk : Buffer.concat([left, chunk]); // a chunk may come after pause()
    if (!scheduled) turn();
  });
  socket.on('drain', later);
  socket.on('error', error => server.trace(`${connection.name}: ${error.message}`)); // 'close' follows
  socket.on('close', () => server.drop(connection));
}
