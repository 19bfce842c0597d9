// One question over TCP (RFC 7766), for an answer that no datagram holds: lengths of two bytes in front of both.
import type { WaitQueue } from '../../wait-queue.ts';
import type { IpAddress } from '../ip-address.ts';
import type { TcpConnection } from '../tcp/connection.ts';
import type { Tcp } from '../tcp/tcp.ts';

const LENGTH = 2;

export class TcpQuestion {
  private readonly connection: TcpConnection;
  private readonly query: Uint8Array;
  private sent = 0;
  private readonly into = new Uint8Array(LENGTH + 0xffff);
  private got = 0;

  /** Throws what `Tcp.connect` does. */
  constructor(tcp: Tcp, server: IpAddress, port: number, query: Uint8Array) {
    this.connection = tcp.connect(server, port);
    this.query = new Uint8Array(LENGTH + query.length);
    new DataView(this.query.buffer).setUint16(0, query.length);
    this.query.set(query, LENGTH);
  }
  /** Woken when there is something to do. */
  get queue(): WaitQueue {
    return this.connection.changed;
  }
  /** The answer; undefined while it has not come. Throws what the connection ended of. */
  step(): Uint8Array | 'ended' | undefined {
    const { connection, query, into } = this;
    if (connection.isOpening) return undefined;
    if (connection.error !== undefined) throw connection.error;
    if (this.sent < query.length) this.sent += connection.write(query, this.sent);
    for (;;) {
      const n = connection.read(into, this.got, into.length - this.got);
      if (n < 0) return undefined;
      if (n === 0) return 'ended';
      this.got += n;
      // untrusted: a length of theirs is never more than there is room for.
      const end = this.got < LENGTH ? into.length : LENGTH + into[0]! * 256 + into[1]!;
      if (this.got >= end) return into.slice(LENGTH, end);
    }
  }
  close(): void {
    this.connection.abort();
    this.connection.close();
  }
}
