// The sockets of a guest's programs: the guest's own TCP and UDP, and connections of the host's where the domain was given them by pvcalls.
import { XenError } from '#pvbus';
import { type HostDoor, HostSocket } from '../drivers/pvcallsfront/host-socket.ts';
import { interfaceList } from '../net/interface-list.ts';
import { IpAddress } from '../net/ip-address.ts';
import type { Network } from '../net/network.ts';
import { addressOf, targetOf } from '../net/socket-address.ts';
import { TcpSocket } from '../net/tcp/stream-socket.ts';
import { UdpDatagramSocket } from '../net/udp-datagram-socket.ts';
import { WaitQueue } from '../wait-queue.ts';
import { ListeningTwice } from './listening-twice.ts';
import type {
  AGAIN,
  DatagramSocket,
  Lookup,
  SocketAddress,
  SocketInterface,
  SocketStack,
  StreamSocket,
} from './socket.ts';
import { SocketOptions } from './socket-options.ts';

/** What `host` means: RFC 7600's dummy address, which no packet ever has. */
export const HOST_ADDRESS = new Uint8Array([192, 0, 0, 8]);

export interface GuestSocketParts {
  /** Of the interface that ip= configures, if there is one. */
  net(): Network | undefined;
  /** Where there is none: 127.0.0.0/8 and ::1, for this guest alone. */
  loopback(): Network;
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
    return new RoutedSocket(this.parts, family);
  }
  /** Xen's pvcalls has streams only: nobody carries datagrams to the host. */
  datagram(family: 4 | 6): DatagramSocket {
    return new UdpDatagramSocket((this.parts.net() ?? this.parts.loopback()).udp, family);
  }
  /** One of IPv6 has the connections of IPv4 too, but for the host's. */
  get widest(): 4 | 6 {
    return this.parts.net() ? 6 : 4;
  }
  interfaces(): readonly SocketInterface[] {
    return interfaceList(this.parts.net() ?? this.parts.loopback());
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

/**
 * Whose it is: a domain with an interface has that one's TCP for all but the host. In one without, the host is reached
 * by pvcalls, and the guest's own processes by addresses of the loopback, unless it is the host's that is meant: what
 * is listened on here is here.
 */
class RoutedSocket implements StreamSocket {
  private readonly parts: GuestSocketParts;
  private readonly family: 4 | 6;
  private bound: SocketAddress | undefined;
  /** Of this guest's own stack, which has the name that it is bound to. */
  private own: TcpSocket | undefined;
  private made: StreamSocket | undefined;
  private options = new SocketOptions();
  private to: SocketAddress | undefined;
  private readonly idle = new WaitQueue();

  constructor(parts: GuestSocketParts, family: 4 | 6) {
    this.parts = parts;
    this.family = family;
  }
  private make(one: StreamSocket): StreamSocket {
    one.configure(this.options);
    if (this.bound && (one !== this.own || isHost(this.bound))) one.bind(this.bound);
    this.made = one;
    return one;
  }
  private tcp({ tcp }: Network): TcpSocket {
    this.own ??= new TcpSocket(tcp, this.family);
    return this.own;
  }
  private get host(): HostDoor | undefined {
    return this.family === 4 ? this.parts.host() : undefined;
  }
  private listening(): StreamSocket {
    const { parts, bound, host } = this;
    const net = parts.net();
    if (host && bound && isHost(bound)) return new HostSocket(host, HOST_ADDRESS);
    if (net) return this.tcp(net);
    const own = this.tcp(parts.loopback());
    if (!host || !bound || bound.port === 0 || addressOf(bound.address).isLoopback) return own;
    return new ListeningTwice(own, new HostSocket(host, HOST_ADDRESS));
  }
  private connecting(to: SocketAddress): StreamSocket {
    const { parts, host } = this;
    const net = parts.net();
    if (host && isHost(to)) return new HostSocket(host, HOST_ADDRESS);
    if (net) return this.tcp(net);
    const own = parts.loopback();
    const address = targetOf(to.address, this.options);
    const here = !host || (address.isLoopback && own.tcp.isListenedOn(address, to.port));
    return here ? this.tcp(own) : new HostSocket(host, HOST_ADDRESS);
  }
  private get one(): StreamSocket {
    if (this.made) return this.made;
    throw new XenError('ENOTCONN', 'the socket is not connected');
  }

  get queue(): WaitQueue {
    return (this.made ?? this.own)?.queue ?? this.idle;
  }
  configure(options: SocketOptions): void {
    this.options = options;
    this.made?.configure(options);
    this.own?.configure(options);
  }
  takeError(): XenError | undefined {
    const error = this.made?.takeError();
    return error && this.asOurs(error);
  }
  bind(at: SocketAddress): void {
    if (this.made || this.bound) throw new XenError('EINVAL', 'the socket has a name already');
    const { host, parts } = this;
    if (!host || !isHost(at)) {
      const own = this.tcp(parts.net() ?? parts.loopback());
      own.configure(this.options);
      own.bind(at);
    }
    this.bound = at;
  }
  listen(backlog: number): void {
    (this.made ?? this.make(this.listening())).listen(backlog);
  }
  connect(to: SocketAddress): 0 | typeof AGAIN {
    this.to = to;
    try {
      return (this.made ?? this.make(this.connecting(to))).connect(to);
    } catch (error) {
      throw this.failed(error);
    }
  }
  /** It may try again, and where it goes then is seen then. */
  private failed(error: unknown): unknown {
    if (!(error instanceof XenError) || ['EISCONN', 'EOPNOTSUPP'].includes(error.code)) return error;
    if (this.made !== this.own) this.made?.close();
    this.made = undefined;
    return this.asOurs(error);
  }
  /** A port of the loopback that the host does not give is this guest's, where nobody listens on it. */
  private asOurs(error: XenError): XenError {
    const { to } = this;
    if (error.code !== 'EACCES' || !to || this.parts.net() || !addressOf(to.address).isLoopback) return error;
    return new XenError('ECONNREFUSED', `port ${to.port}: nobody listens here, and the host does not give it`, error);
  }
  accept(): StreamSocket | undefined {
    if (!this.made) throw new XenError('EINVAL', 'the socket does not listen');
    return this.made.accept();
  }
  recv(into: Uint8Array, peek: boolean): number {
    return this.one.recv(into, peek);
  }
  send(from: Uint8Array): number {
    if (!this.made) throw new XenError('EPIPE', 'the socket is not connected');
    return this.made.send(from);
  }
  shutdown(read: boolean, write: boolean): void {
    this.one.shutdown(read, write);
  }
  local(): SocketAddress | undefined {
    return this.made?.local() ?? this.own?.local() ?? this.bound;
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
    this.own?.close();
  }
}
