// A port that is listened on here and on the host: one socket, which accepts whoever comes to either.
import { XenError } from '#pvbus';
import { WaitQueue } from '../wait-queue.ts';
import type { AGAIN, SocketAddress, StreamSocket } from './socket.ts';
import type { SocketOptions } from './socket-options.ts';

export class ListeningTwice implements StreamSocket {
  readonly queue = new WaitQueue();
  private readonly own: StreamSocket;
  /** Undefined: the host gives this guest no such port. */
  private host: StreamSocket | undefined;
  private listening = false;
  private closed = false;

  /** `own` is bound. */
  constructor(own: StreamSocket, host: StreamSocket) {
    this.own = own;
    this.host = host;
  }
  configure(options: SocketOptions): void {
    this.own.configure(options);
  }
  takeError(): undefined {}
  bind(at: SocketAddress): void {
    this.host?.bind(at);
  }
  listen(backlog: number): void {
    this.own.listen(backlog);
    this.host?.listen(backlog);
    if (this.listening) return;
    this.listening = true;
    this.wokenBy(this.own);
    if (this.host) this.wokenBy(this.host);
  }
  private wokenBy(one: StreamSocket): void {
    const again = (): void => {
      if (!this.closed) one.queue.add(again);
      this.queue.wakeAll();
    };
    one.queue.add(again);
  }
  accept(): StreamSocket | undefined {
    return this.own.accept() ?? this.acceptOfHost();
  }
  private acceptOfHost(): StreamSocket | undefined {
    try {
      return this.host?.accept();
    } catch (error) {
      if (!(error instanceof XenError) || error.code !== 'EACCES') throw error;
      this.host?.close();
      this.host = undefined;
      return undefined;
    }
  }
  connect(): 0 | typeof AGAIN {
    throw new XenError('EISCONN', 'the socket listens');
  }
  recv(): number {
    throw new XenError('ENOTCONN', 'the socket listens');
  }
  send(): number {
    throw new XenError('EPIPE', 'the socket listens');
  }
  shutdown(): void {
    throw new XenError('ENOTCONN', 'the socket listens');
  }
  local(): SocketAddress | undefined {
    return this.own.local();
  }
  remote(): undefined {}
  readable(): number {
    return this.own.readable() || (this.host?.readable() ?? 0);
  }
  writable(): number {
    return 0;
  }
  hungUp(): boolean {
    return false;
  }
  close(): void {
    this.closed = true;
    this.own.close();
    this.host?.close();
  }
}
