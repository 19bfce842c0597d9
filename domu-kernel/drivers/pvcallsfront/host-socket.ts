// A TCP connection to the host, or a port of it that is answered, as a socket that never blocks.
import { XenError } from '#pvbus';
import { WaitQueue } from '../../wait-queue.ts';
import { AGAIN, type SocketAddress, type StreamSocket } from '../../wasi/socket.ts';
import type { HostConnection } from './connection.ts';
import type { HostListener } from './listener.ts';

/** What makes the connections: a pvcalls device. */
export interface HostDoor {
  listen(port: number, backlog?: number): Promise<HostListener>;
  /** To the host's loopback where no address is said. */
  connect(port: number, address?: number): Promise<HostConnection>;
}

const NOTHING = new Uint8Array(0);

/** What the host is asked for; nothing for its loopback, which has the name of the host here, and that of no address. */
function askedFor(address: Uint8Array, host: Uint8Array): number | undefined {
  if (address.every(byte => byte === 0) || address.every((byte, i) => byte === host[i])) return undefined;
  return new DataView(address.buffer, address.byteOffset).getUint32(0);
}

export class HostSocket implements StreamSocket {
  readonly queue = new WaitQueue();
  private readonly door: HostDoor;
  /** The host's, as the guest calls it. */
  private readonly address: Uint8Array;
  private port = 0;
  private to: SocketAddress | undefined;
  private connection: HostConnection | undefined;
  private listener: HostListener | undefined;
  private listening = false;
  private backlog = 0;
  /** Come, and not accepted. */
  private next: HostConnection | undefined;
  private failure: XenError | undefined;
  private connecting = false;
  /** Peeked at and not taken. */
  private ahead = NOTHING;
  private writeShut = false;
  private readShut = false;
  private closed = false;

  constructor(door: HostDoor, address: Uint8Array) {
    this.door = door;
    this.address = address;
  }

  /** Its connection is one of the host's, which sends at once. */
  configure(): void {}
  takeError(): XenError | undefined {
    const { failure, listener } = this;
    this.failure = undefined;
    if (!failure) return undefined;
    this.connecting = false;
    // The next accept may be served: there may be room again, and the port may be free.
    if (listener) this.fetch(listener);
    else if (this.listening) this.open();
    return failure;
  }
  bind({ port }: SocketAddress): void {
    if (this.listening || this.connecting || this.connection) throw new XenError('EINVAL', 'the socket has a name');
    this.port = port;
  }
  /** What the host's side says of it, such as that the port is another's, `accept` throws. */
  listen(backlog: number): void {
    if (this.connecting || this.connection) throw new XenError('EINVAL', 'the socket is connected');
    if (this.listening) return;
    if (this.port === 0) throw new XenError('EINVAL', 'a port of the host is one that the configuration names');
    this.listening = true;
    this.backlog = backlog;
    this.open();
  }
  private open(): void {
    this.listener = undefined;
    this.door.listen(this.port, this.backlog).then(
      listener => {
        if (this.closed) return void listener.close();
        this.listener = listener;
        this.fetch(listener);
      },
      error => this.fail(error),
    );
  }
  /** Xen: one accept at a time for a socket. */
  private fetch(listener: HostListener): void {
    listener.accept().then(
      connection => {
        if (this.closed) return void connection.close();
        this.next = connection;
        this.queue.wakeAll();
      },
      error => {
        if (this.closed) return;
        // With its backend a listener is over; the program's goes on with the next.
        if (listener.isOver) this.open();
        else this.fail(error);
      },
    );
  }
  accept(): StreamSocket | undefined {
    if (!this.listening) throw new XenError('EINVAL', 'the socket does not listen');
    this.throwFailure();
    const connection = this.next;
    if (!connection || !this.listener) return undefined;
    this.next = undefined;
    this.fetch(this.listener);
    const socket = new HostSocket(this.door, this.address);
    socket.port = this.port;
    socket.adopt(connection);
    return socket;
  }

  connect(to: SocketAddress): 0 | typeof AGAIN {
    if (this.listening) throw new XenError('EISCONN', 'the socket listens');
    this.throwFailure();
    if (this.connection) return 0;
    if (!this.connecting) {
      this.connecting = true;
      this.to = to;
      this.door.connect(to.port, askedFor(to.address, this.address)).then(
        connection => {
          if (this.closed) return void connection.close();
          this.adopt(connection);
        },
        error => this.fail(error),
      );
    }
    return AGAIN;
  }
  private adopt(connection: HostConnection): void {
    this.connection = connection;
    const again = (): void => {
      connection.changed.add(again);
      this.queue.wakeAll();
    };
    connection.changed.add(again);
    this.queue.wakeAll();
  }

  recv(into: Uint8Array, peek: boolean): number {
    const connection = this.connected();
    if (into.length === 0 || (this.readShut && this.ahead.length === 0)) return 0;
    if (this.ahead.length === 0) {
      const there = connection.available();
      if (there === undefined) return AGAIN;
      if (there === 0 || !peek) return there && connection.take(into);
      this.ahead = new Uint8Array(Math.min(there, into.length));
      connection.take(this.ahead);
    }
    const n = Math.min(into.length, this.ahead.length);
    into.set(this.ahead.subarray(0, n));
    if (!peek) this.ahead = this.ahead.slice(n);
    return n;
  }
  send(from: Uint8Array): number {
    if (this.listening) throw new XenError('EPIPE', 'the socket listens');
    const connection = this.connected();
    if (this.writeShut) throw new XenError('EPIPE', 'the socket is shut down for writing');
    const n = connection.give(from);
    return n === 0 && from.length > 0 ? AGAIN : n;
  }
  shutdown(read: boolean, write: boolean): void {
    const connection = this.connected();
    if (read) this.readShut = true;
    if (write && !this.writeShut) {
      this.writeShut = true;
      void connection.end(); // fails in nothing that a later call does not say
    }
    this.queue.wakeAll();
  }
  local(): SocketAddress | undefined {
    return { address: this.address, port: this.port };
  }
  remote(): SocketAddress | undefined {
    // Xen's pvcalls does not say who it is that was accepted.
    return this.connection && (this.to ?? { address: this.address, port: 0 });
  }
  readable(): number {
    if (this.listening) return this.next || this.failure ? 1 : 0;
    if (this.failure || this.readShut) return 1;
    if (!this.connection) return 0;
    return this.ahead.length + this.orOne(() => this.connection?.available());
  }
  writable(): number {
    if (this.failure || this.writeShut) return 1;
    return this.connection ? this.orOne(() => this.connection?.room()) : 0;
  }
  /** Nothing counts as 0; an end, and a failure that the next call throws, as 1. */
  private orOne(amount: () => number | undefined): number {
    try {
      const n = amount();
      return n === undefined ? 0 : n;
    } catch {
      return 1;
    }
  }
  hungUp(): boolean {
    try {
      return this.ahead.length === 0 && this.connection?.available() === 0;
    } catch {
      return true;
    }
  }
  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const one of [this.next, this.connection, this.listener]) void one?.close();
    this.queue.wakeAll();
  }

  private connected(): HostConnection {
    if (this.connection) return this.connection;
    this.throwFailure();
    throw new XenError('ENOTCONN', 'the socket is not connected');
  }
  private fail(error: unknown): void {
    this.failure = error instanceof XenError ? error : new XenError('EIO', String(error), error);
    this.queue.wakeAll();
  }
  /** Once: a socket may try again. */
  private throwFailure(): void {
    const failure = this.takeError();
    if (failure) throw failure;
  }
}
