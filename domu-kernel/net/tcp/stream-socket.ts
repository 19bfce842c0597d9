// TCP as a socket: unbound, then bound, then either listening or a connection. For programs that know sockets.
import { XenError } from '#pvbus';
import { WaitQueue } from '../../wait-queue.ts';
import { AGAIN, type SocketAddress, type StreamSocket } from '../../wasi/socket.ts';
import { SocketOptions } from '../../wasi/socket-options.ts';
import { anyOf, type BoundName } from '../bound-name.ts';
import type { IpAddress } from '../ip-address.ts';
import { nameOf, socketBytes, targetOf } from '../socket-address.ts';
import type { BoundPort } from './bound-ports.ts';
import type { TcpConnection } from './connection.ts';
import type { TcpListener } from './listener.ts';
import type { Tcp } from './tcp.ts';

export class TcpSocket implements StreamSocket {
  private readonly tcp: Tcp;
  private readonly family: 4 | 6;
  private bound: BoundPort | undefined;
  private listener: TcpListener | undefined;
  private connection: TcpConnection | undefined;
  private options = new SocketOptions();
  private readonly idle = new WaitQueue();
  private told = false;
  private errorTold = false;
  private closed = false;

  constructor(tcp: Tcp, family: 4 | 6, connection?: TcpConnection) {
    this.tcp = tcp;
    this.family = family;
    this.connection = connection;
    this.told = connection !== undefined;
  }

  get queue(): WaitQueue {
    return this.connection?.changed ?? this.listener?.changed ?? this.idle;
  }
  configure(options: SocketOptions): void {
    this.options = options;
    if (this.bound) this.bound.reuseAddress = options.reuseAddress;
    if (this.connection) this.heed(this.connection);
  }
  private heed(connection: TcpConnection): void {
    const { keepAlive, times, noDelay } = this.options;
    connection.setKeepAlive(keepAlive ? times : undefined);
    connection.setNoDelay(noDelay);
  }
  takeError(): XenError | undefined {
    const error = this.connection?.error;
    if (!error || this.errorTold) return undefined;
    if (this.told) this.errorTold = true;
    else this.forget();
    return error;
  }
  /** It did not come to be, which its user knows: the socket may try again. */
  private forget(): void {
    this.connection?.close();
    this.connection = undefined;
  }
  bind(at: SocketAddress): void {
    if (this.bound || this.listener || this.connection)
      throw new XenError('EINVAL', 'tcp: the socket has a name already');
    this.bound = this.boundTo(nameOf(at.address, this.options), at.port);
  }
  listen(backlog: number): void {
    if (this.connection) throw new XenError('EINVAL', 'tcp: the socket is connected');
    if (this.listener) return;
    this.bound ??= this.boundTo({ address: anyOf(this.family), ipv6Only: this.options.ipv6Only }, 0);
    this.listener = this.tcp.listenAt(this.bound, backlog);
  }
  private boundTo(name: BoundName, port: number): BoundPort {
    return this.tcp.bind(name, port, this.options.reuseAddress);
  }
  connect(to: SocketAddress): 0 | typeof AGAIN {
    if (this.listener) throw new XenError('EISCONN', 'tcp: the socket listens');
    if (!this.connection) {
      const { address, port = 0 } = this.bound ?? {};
      const local = address === undefined || address.isUnspecified ? {} : { local: address };
      const remote = targetOf(to.address, this.options);
      this.connection = this.tcp.connect(remote, to.port, { ...local, localPort: port });
      this.heed(this.connection);
      return AGAIN;
    }
    if (this.connection.isOpening) return AGAIN;
    if (this.told) throw new XenError('EISCONN', 'tcp: the socket is connected');
    const { error } = this.connection;
    if (error !== undefined) {
      this.forget();
      throw error;
    }
    this.told = true;
    return 0;
  }
  accept(): StreamSocket | undefined {
    if (!this.listener) throw new XenError('EINVAL', 'tcp: the socket does not listen');
    const next = this.listener.accept();
    return next && new TcpSocket(this.tcp, this.family, next);
  }
  recv(into: Uint8Array, peek: boolean): number {
    const { connection } = this;
    if (connection?.isOpening) return AGAIN;
    return this.telling(this.connected(), 0, one => (peek ? one.peek(into) : one.read(into)));
  }
  send(from: Uint8Array): number {
    const { connection } = this;
    if (!connection) throw new XenError('EPIPE', 'tcp: the socket is not connected');
    if (connection.isOpening) return AGAIN;
    const taken = this.telling(connection, undefined, one => one.write(from));
    return taken === 0 && from.length > 0 ? AGAIN : taken;
  }
  /** As Linux: what it ended of is told once; from then on it has ended, which is `ended`, or EPIPE. */
  private telling(
    connection: TcpConnection,
    ended: number | undefined,
    act: (connection: TcpConnection) => number,
  ): number {
    if (this.errorTold && connection.readable === 0) {
      if (ended !== undefined) return ended;
      throw new XenError('EPIPE', 'tcp: the connection is over', connection.error);
    }
    try {
      return act(connection);
    } catch (error) {
      if (error === connection.error) this.errorTold = true;
      throw error;
    }
  }
  shutdown(read: boolean, write: boolean): void {
    const connection = this.connected();
    if (read) connection.endRead();
    if (write) connection.endWrite();
  }
  local(): SocketAddress | undefined {
    const { connection, listener, bound } = this;
    if (connection) return { address: this.bytesOf(connection.local), port: connection.localPort };
    if (listener) return { address: this.bytesOf(listener.address), port: listener.port };
    return bound && { address: this.bytesOf(bound.address), port: bound.port };
  }
  remote(): SocketAddress | undefined {
    const { connection } = this;
    return connection && { address: this.bytesOf(connection.remote), port: connection.remotePort };
  }
  readable(): number {
    if (this.listener) return this.listener.acceptable > 0 ? 1 : 0;
    const { connection } = this;
    if (!connection || connection.isOpening) return 0;
    return connection.readable || (connection.readEnded || connection.error !== undefined ? 1 : 0);
  }
  writable(): number {
    const { connection } = this;
    if (!connection) return 0;
    return connection.error !== undefined || connection.state === 'CLOSED' ? 1 : connection.writable;
  }
  hungUp(): boolean {
    return this.connection?.state === 'CLOSED';
  }
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.listener?.close();
    if (this.options.linger === 0) this.connection?.abort();
    this.connection?.close();
    if (this.bound) this.tcp.unbind(this.bound);
    this.idle.wakeAll();
  }

  private connected(): TcpConnection {
    const { connection } = this;
    if (!connection || connection.isOpening) throw new XenError('ENOTCONN', 'tcp: the socket is not connected');
    return connection;
  }
  private bytesOf(address: IpAddress): Uint8Array {
    return socketBytes(address, this.family);
  }
}
