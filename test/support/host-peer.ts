// The host's side of a guest's sockets, as a test wants it.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export async function dial(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  await once(socket, 'connect');
  socket.on('error', () => {});
  return socket;
}
/** Everything until the peer ends its side. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of socket) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
export async function serveOn(
  handler: (socket: Socket) => void,
  address = '127.0.0.1',
): Promise<{ port: number; server: Server }> {
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {});
    handler(socket);
  });
  server.listen(0, address);
  await once(server, 'listening');
  const own = server.address();
  if (typeof own !== 'object' || own === null) throw new Error('no port');
  return { port: own.port, server };
}
/** A port nobody listens on. */
export async function freePort(): Promise<number> {
  const { port, server } = await serveOn(() => {});
  server.close();
  await once(server, 'close');
  return port;
}
export const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
export const noise = (n: number, seed = 1): Buffer => {
  const bytes = Buffer.alloc(n);
  let state = seed;
  for (let i = 0; i < n; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
};
