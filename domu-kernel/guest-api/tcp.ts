// Connections of the guest's own TCP as a program has them: promises on top of what never blocks.
import type { Connection, Listener } from 'xenolith';
import { XenError } from '#pvbus';
import type { TcpConnection } from '../net/tcp/connection.ts';
import type { KeepAlive } from '../net/tcp/control-block.ts';
import type { TcpListener } from '../net/tcp/listener.ts';
import type { WaitQueue } from '../wait-queue.ts';

/** A read's bytes at most: what has come is not kept from a program for more to come. */
const READ_BYTES = 65536;

export class NetConnection implements Connection {
  private readonly connection: TcpConnection;
  private lastWrite: Promise<void> = Promise.resolve();
  private closed = false;

  constructor(connection: TcpConnection) {
    this.connection = connection;
  }
  get address(): string {
    return this.connection.remote.toString();
  }
  get port(): number {
    return this.connection.remotePort;
  }

  /** Resolves when the peer has answered. */
  static async open(connection: TcpConnection): Promise<NetConnection> {
    while (connection.isOpening) await changed(connection.changed);
    if (connection.error !== undefined) throw connection.error;
    return new NetConnection(connection);
  }

  async read(): Promise<Uint8Array | null> {
    const { connection } = this;
    for (;;) {
      if (this.closed) throw this.over();
      const into = new Uint8Array(Math.min(READ_BYTES, Math.max(1, connection.readable)));
      const n = connection.read(into);
      if (n === 0) return null;
      if (n > 0) return n === into.length ? into : into.subarray(0, n);
      await changed(connection.changed);
    }
  }
  write(data: Uint8Array | string): Promise<void> {
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
    const done = this.lastWrite.then(() => this.put(bytes));
    // A failed write fails for its caller, and for whoever writes after it.
    this.lastWrite = done;
    done.catch(() => {});
    return done;
  }
  private async put(bytes: Uint8Array): Promise<void> {
    const { connection } = this;
    for (let done = 0; ; ) {
      if (this.closed) throw this.over();
      done += connection.write(bytes, done);
      if (done === bytes.length) return;
      await changed(connection.changed);
    }
  }
  async end(): Promise<void> {
    await this.lastWrite.catch(() => {});
    this.connection.endWrite();
  }
  async close(): Promise<void> {
    if (this.closed) return;
    // order: what a program has written is written, although it did not wait for it.
    await this.lastWrite.catch(() => {});
    if (this.closed) return;
    this.closed = true;
    this.connection.close();
    this.connection.changed.wakeAll();
  }
  async reset(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.connection.abort();
    this.connection.close();
    this.connection.changed.wakeAll();
  }
  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    for (let bytes = await this.read(); bytes !== null; bytes = await this.read()) yield bytes;
  }
  private over(): XenError {
    return new XenError('ECANCELED', `tcp: ${this.address} port ${this.port}: closed`);
  }
}

export class NetListener implements Listener {
  private readonly listener: TcpListener;

  private readonly keepAlive: KeepAlive | undefined;

  constructor(listener: TcpListener, keepAlive?: KeepAlive) {
    this.listener = listener;
    this.keepAlive = keepAlive;
  }
  get port(): number {
    return this.listener.port;
  }
  async accept(): Promise<NetConnection> {
    for (;;) {
      if (this.listener.closed) throw new XenError('ECANCELED', `tcp: port ${this.port}: closed`);
      const next = this.listener.accept();
      next?.setKeepAlive(this.keepAlive);
      if (next !== undefined) return new NetConnection(next);
      await changed(this.listener.changed);
    }
  }
  async close(): Promise<void> {
    this.listener.close();
  }
  async *[Symbol.asyncIterator](): AsyncIterator<NetConnection> {
    while (!this.listener.closed) {
      try {
        yield await this.accept();
      } catch (error) {
        if (this.listener.closed) return;
        throw error;
      }
    }
  }
}

export const changed = (queue: WaitQueue): Promise<void> =>
  new Promise(resolve => {
    queue.add(resolve);
  });
