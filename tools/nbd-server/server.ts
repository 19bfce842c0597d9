// Serves a disk to NBD clients on a unix socket of the user's own.
import { statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { checkSocketPath, XenError } from '#pvbus';
import { type ClientStream, type ExportedDisk, NbdConversation } from './conversation.ts';

const MAX_CLIENTS = 16;
/** A client that has so much to read still is not served on. */
const MAX_UNREAD = 1 << 20;

export class NbdServer {
  readonly #disk: ExportedDisk;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Hears of clients that were cut off. */
  readonly #complain: (why: string) => void;

  private constructor(disk: ExportedDisk, complain: (why: string) => void) {
    this.#disk = disk;
    this.#complain = complain;
    this.#server = createServer(socket => this.#greet(socket));
    this.#server.maxConnections = MAX_CLIENTS;
  }

  /** Throws a XenError, EADDRINUSE where there is something at `path`, ENOENT where its folder is not. Who listens has made it, and alone may connect to it. */
  static async listen(disk: ExportedDisk, path: string, complain: (why: string) => void): Promise<NbdServer> {
    checkSocketPath(path);
    const server = new NbdServer(disk, complain);
    await server.#listen(path);
    return server;
  }
  #listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', error => {
        const { code = 'EIO', message } = error as NodeJS.ErrnoException;
        const dir = dirname(path);
        // libuv says EACCES of that.
        if (isMissing(dir)) reject(new XenError('ENOENT', `${path}: there is no ${dir}`, error));
        else reject(new XenError(code, message, error));
      });
      // order: bind(2) is called before listen returns, and from then on others could connect.
      const mask = process.umask(0o177);
      try {
        this.#server.listen(path, resolve);
      } finally {
        process.umask(mask);
      }
    });
  }

  /** Takes the socket away. */
  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #greet(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    const stream: ClientStream = {
      write: bytes => void socket.write(bytes),
      get isFull() {
        return socket.writableLength > MAX_UNREAD;
      },
    };
    const conversation = new NbdConversation(this.#disk, stream);
    const act = (what: () => void): void => {
      socket.cork();
      try {
        what();
      } catch (error) {
        if (!(error instanceof XenError)) throw error;
        this.#complain(`a client was cut off: ${error.message}`);
        socket.destroy();
        return;
      } finally {
        socket.uncork();
      }
      if (conversation.isOver) socket.end();
      else if (conversation.waits) socket.pause();
      else socket.resume();
    };
    socket.on('data', bytes => act(() => conversation.feed(bytes)));
    socket.on('drain', () => act(() => conversation.resume()));
  }
}

/** One out of reach is not. */
function isMissing(path: string): boolean {
  try {
    statSync(path);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
