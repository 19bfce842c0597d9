// The sockets of a guest's programs: the guest's own TCP, and the host's where the domain was given them by pvcalls.
import { XenError } from '#pvbus';
import { type HostDoor, HostSocket } from '../drivers/pvcallsfront/host-socket.ts';
import { IpAddress } from '../net/ip-address.ts';
import { TcpSocket } from '../net/tcp/stream-socket.ts';
import type { Tcp } from '../net/tcp/tcp.ts';
import { WaitQueue } from '../wait-queue.ts';
import type { AGAIN, Lookup, SocketAddress, SocketStack, StreamSocket } from './socket.ts';

/** What `host` means: RFC 7600's dummy address, which no packet ever has. */
export const HOST_ADDRESS = new Uint8Array([192, 0, 0, 8]);

export interface GuestSocketParts {
  /** Of the interface that ip= configures, if there is one. */
  tcp(): Tcp | undefined;
  /** Of the pvcalls device, if there is one. */
  host(): HostDoor | undefined;
  /** Asks a name server, where the interface has one. */
  lookup?(name: string): Lookup;
}

export class GuestSockets implements SocketStack {
  private readonly parts: GuestSocketParts;
  constructor(parts: GuestSocketParts) {
    this.parts = parts;
  }
  stream(family: 4 | 6): StreamSocket {
    const { tcp, host } = this.parts;
    if (!tcp() && (family === 6 || !host())) {
      throw new XenError('EAFNOSUPPORT', 'this domain has no network interface (vif and ip=) and no pvcalls');
    }
    return new RoutedSocket(this.parts, family);
  }
  resolve(name: string): Lookup {
    const known = this.known(name);
    if (known) return { queue: new WaitQueue(), addresses: () => known };
    if (this.parts.lookup) return this.parts.lookup(name);
    throw new XenError('ENOENT', `${name}: this domain asks no name server`);
  }
  private known(name: string): readonly Uint8Array[] | undefined {
    if (name === 'localhost') return [new Uint8Array([127, 0, 0, 1])];
    if (name === 'host' && this.parts.host()) return [HOST_ADDRESS];
    const address = IpAddress.parse(name);
    return address && [bytesOf(address)];
  }
}

function bytesOf(address: IpAddress): Uint8Array {
  const bytes = new Uint8Array(16);
  address.write(new DataView(bytes.buffer), 0);
  return address.isV4 ? bytes.slice(12) : bytes;
}
const isHost = ({ address }: SocketAddress): boolean =>
  address.length === 4 && HOST_ADDRESS.every((byte, i) => byte === address[i]);

/** Which of the two it is, its first address says; a domain that has only one of them has only that. */
class RoutedSocket implements StreamSocket {
  private readonly parts: GuestSocketParts;
  private readonly family: 4 | 6;
  private made: StreamSocket | undefined;
  private readonly idle = new WaitQueue();

  constructor(parts: GuestSocketParts, family: 4 | 6) {
    this.parts = parts;
    this.family = family;
  }
  private at(address: SocketAddress | undefined): StreamSocket {
    this.made ??= this.make(address);
    return this.made;
  }
  private make(address: SocketAddress | undefined): StreamSocket {
    const tcp = this.parts.tcp();
    const host = this.parts.host();
    if (host && (!tcp || (address && isHost(address)))) return new HostSocket(host, HOST_ADDRESS);
    if (tcp) return new TcpSocket(tcp, this.family);
    throw new XenError('ENETDOWN', 'the network of this domain has gone');
  }
  private get one(): StreamSocket {
    if (this.made) return this.made;
    throw new XenError('ENOTCONN', 'the socket is not connected');
  }

  get queue(): WaitQueue {
    return this.made?.queue ?? this.idle;
  }
  bind(at: SocketAddress): void {
    this.at(at).bind(at);
  }
  listen(backlog: number): void {
    this.at(undefined).listen(backlog);
  }
  connect(to: SocketAddress): 0 | typeof AGAIN {
    return this.at(to).connect(to);
  }
  accept(): StreamSocket | undefined {
    if (!this.made) throw new XenError('EINVAL', 'the socket does not listen');
    return this.made.accept();
  }
  recv(into: Uint8Array, peek: boolean): number {
    return this.one.recv(into, peek);
  }
  send(from: Uint8Array): number {
    return this.one.send(from);
  }
  shutdown(read: boolean, write: boolean): void {
    this.one.shutdown(read, write);
  }
  local(): SocketAddress | undefined {
    return this.made?.local();
  }
  remote(): SocketAddress | undefined {
    return this.made?.remote();
  }
  readable(): number {
    return this.made?.readable() ?? 0;
  }
  writable(): number {
    return this.made?.writable() ?? 0;
  }
  hungUp(): boolean {
    return this.made?.hungUp() ?? false;
  }
  close(): void {
    this.made?.close();
  }
}
