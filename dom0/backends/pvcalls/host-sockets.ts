// The host's end of a guest's sockets: TCP and unix sockets, where the policy says. Streams are read only as far as
// there is room for what they bring, so a slow guest slows its peer and nothing piles up here.
import { connect, createServer, type Server, type Socket } from 'node:net';
import { resetSocket } from '../reset-socket.ts';
import { nameServer } from './name-server.ts';

const LOOPBACK = '127.0.0.1';
/** Bytes Node may hold for one stream, each way. */
const STREAM_BUFFER = 65536;
/** What is still to be sent of a socket that its guest has released may take this long. */
const LINGER_MS = 10_000;
/** Connections that a listener holds for its guest, none of their bytes read: Node cannot leave them in Linux's queue. */
const MAX_WAITING = 1024;
const DNS_PORT = 53;

/** errno name of a failed socket call. */
const codeOf = (error: Error): string => (error as NodeJS.ErrnoException).code ?? 'EIO';

/** One connection. `changed` is told whenever any of what the getters say may be different. */
export class HostStream {
  changed: () => void = () => {};
  private readonly socket: Socket;
  private up: boolean;
  private failure: string | undefined;
  private ended = false;
  private full = false;
  private closing = false;

  constructor(socket: Socket, connected: boolean) {
    this.socket = socket;
    this.up = connected;
    socket.setNoDelay(true);
    socket.on('connect', () => {
      this.up = true;
      this.changed();
    });
    socket.on('readable', () => this.changed());
    socket.on('end', () => {
      this.ended = true;
      this.changed();
    });
    socket.on('drain', () => {
      this.full = false;
      this.changed();
    });
    socket.on('error', error => {
      this.failure ??= codeOf(error);
      this.changed();
    });
    socket.on('close', () => {
      this.failure ??= this.closing || this.ended ? undefined : 'ECONNRESET';
      this.changed();
    });
  }
  get connected(): boolean {
    return this.up;
  }
  /** errno name of what ended the connection, if anything did. */
  get error(): string | undefined {
    return this.failure;
  }
  /** The peer will send nothing more, and all it sent was read. */
  get finished(): boolean {
    return this.ended;
  }
  /** At most `max` bytes that have arrived; null when there are none now. */
  read(max: number): Uint8Array | null {
    const there = Math.min(max, this.socket.readableLength);
    // order: a read of 0 lets Node notice the end of a stream that holds nothing more.
    if (there === 0) this.socket.read(0);
    return there > 0 ? (this.socket.read(there) as Buffer | null) : null;
  }
  /** Bytes that have arrived. */
  get available(): number {
    return this.socket.readableLength;
  }
  get writable(): boolean {
    return this.up && !this.full && !this.closing && this.failure === undefined;
  }
  /** `bytes` are Node's from here on. */
  write(bytes: Uint8Array): void {
    if (!this.socket.write(bytes)) this.full = true;
  }
  /** Send what was written, then say that no more comes. */
  end(): void {
    if (this.closing) return;
    this.closing = true;
    this.socket.end();
  }
  /** The guest is done with it: send what was written, then close. */
  finish(): void {
    this.changed = () => {};
    if (!this.up || this.failure !== undefined) {
      this.destroy();
      return;
    }
    this.end();
    // Bytes nobody will read must not keep the connection open.
    this.socket.removeAllListeners('readable');
    this.socket.on('data', () => {});
    this.socket.resume();
    const timer = setTimeout(() => this.socket.destroy(), LINGER_MS);
    timer.unref();
    this.socket.once('close', () => clearTimeout(timer));
  }
  /** The peer hears of it as a reset, also of what it has not read. */
  reset(): void {
    const isTcp = this.socket.remoteAddress !== undefined;
    if (!isTcp || this.failure !== undefined) this.destroy();
    else {
      this.changed = () => {};
      this.closing = true;
      resetSocket(this.socket);
    }
  }
  /** It has failed; what is on its way is lost, and the peer hears of a reset. */
  fail(error: string): void {
    this.reset();
    this.failure ??= error;
  }
  destroy(): void {
    this.changed = () => {};
    this.closing = true;
    this.socket.destroy();
  }
}
/** The bytes of a connection both ways: a HostStream, or what stands before one. */
export type ByteStream = Omit<Pick<HostStream, keyof HostStream>, 'changed'>;

/** A listening port. Connections wait here, a bounded number, until the guest accepts them. */
export class HostListener {
  changed: () => void = () => {};
  private readonly server: Server;
  private readonly waiting: Socket[] = [];

  private constructor(server: Server) {
    this.server = server;
    server.on('connection', socket => {
      if (this.waiting.length >= MAX_WAITING) {
        socket.destroy();
        return;
      }
      socket.on('error', () => this.drop(socket));
      socket.on('close', () => this.drop(socket));
      this.waiting.push(socket);
      this.changed();
    });
  }
  /** Rejects with Node's error (EADDRINUSE, EACCES, ...). */
  static open(port: number, backlog: number): Promise<HostListener> {
    return new Promise((resolve, reject) => {
      const queue = Math.min(Math.max(1, backlog), MAX_WAITING);
      const server = createServer({ allowHalfOpen: true, highWaterMark: STREAM_BUFFER, pauseOnConnect: true });
      const listener = new HostListener(server);
      server.once('error', reject);
      server.listen({ host: LOOPBACK, port, backlog: queue, exclusive: true }, () => {
        server.off('error', reject);
        // Running out of descriptors is reported here; the connection is lost, the listener goes on.
        server.on('error', () => {});
        resolve(listener);
      });
    });
  }
  get port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }
  get pending(): number {
    return this.waiting.length;
  }
  accept(): HostStream | undefined {
    const socket = this.waiting.shift();
    if (!socket) return undefined;
    socket.removeAllListeners('error');
    socket.removeAllListeners('close');
    return new HostStream(socket, true);
  }
  close(): void {
    this.changed = () => {};
    this.server.close();
    for (const socket of this.waiting.splice(0)) socket.destroy();
  }
  private drop(socket: Socket): void {
    const at = this.waiting.indexOf(socket);
    if (at >= 0) this.waiting.splice(at, 1);
  }
}

/** A port of an address, a unix socket, or whatever server the host asks for names. */
export type HostTarget = { readonly host: string; readonly port: number } | { readonly path: string } | 'name-server';

export function connectTo(target: HostTarget): HostStream {
  const to = target === 'name-server' ? { host: nameServer(), port: DNS_PORT } : target;
  return new HostStream(connect({ ...to, allowHalfOpen: true, noDelay: true }), false);
}
