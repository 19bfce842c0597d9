// UDP as a socket: unbound, then with a port, and with one peer where it is connected. For programs that know sockets.
import { XenError } from '#pvbus';
import { WaitQueue } from '../wait-queue.ts';
import { AGAIN, type DatagramSocket, type Received, type SocketAddress } from '../wasi/socket.ts';
import { SocketOptions } from '../wasi/socket-options.ts';
import { anyOf } from './bound-name.ts';
import type { IpAddress } from './ip-address.ts';
import { nameOf, socketBytes, targetOf } from './socket-address.ts';
import { SocketGroups } from './socket-groups.ts';
import type { TransportLink } from './transport-link.ts';
import { UDP_MEMORY, type Udp, type UdpEnd, undelivered } from './udp.ts';

/** What one that waits takes beside its bytes. */
export const DATAGRAM_OVERHEAD = 512;
const LARGEST_DATAGRAM = 65507;

interface Name {
  readonly address: IpAddress;
  readonly port: number;
}

export class UdpDatagramSocket implements DatagramSocket, UdpEnd {
  readonly queue = new WaitQueue();
  readonly family: 4 | 6;
  /** 0: none yet. */
  port = 0;
  address: IpAddress;
  peer: Name | undefined;
  /** Datagrams that there was no room for. */
  dropped = 0;
  readonly groups: SocketGroups;
  private readonly udp: Udp;
  private options = new SocketOptions();
  /** What `bind` gave it, which it keeps without a peer. */
  private bound: Name | undefined;
  private readonly waiting: Received[] = [];
  private bytes = 0;
  private error: XenError | undefined;
  private full = false;
  private readShut = false;
  private writeShut = false;
  private closed = false;

  constructor(udp: Udp, family: 4 | 6) {
    this.udp = udp;
    this.family = family;
    this.address = anyOf(family);
    this.groups = new SocketGroups(udp.groups, family);
  }
  configure(options: SocketOptions): void {
    this.options = options;
  }
  get reuseAddress(): boolean {
    return this.options.reuseAddress;
  }
  get ipv6Only(): boolean {
    return this.options.ipv6Only;
  }
  takeError(): XenError | undefined {
    const { error } = this;
    this.error = undefined;
    return error;
  }
  private throwError(): void {
    const error = this.takeError();
    if (error) throw error;
  }

  bind({ address, port }: SocketAddress): void {
    if (this.port !== 0) throw new XenError('EINVAL', 'udp: the socket has a name already');
    const { address: own } = nameOf(address, this.options);
    if (!own.isUnspecified && !own.isMulticast && !this.udp.isBroadcast(own) && !this.udp.isOwn(own)) {
      throw new XenError('EADDRNOTAVAIL', `udp: ${own} is no address of this guest`);
    }
    this.take(own, port);
    this.bound = { address: own, port: this.port };
  }
  private take(address: IpAddress, port: number): void {
    this.port = port === 0 ? this.udp.freePort() : port;
    this.address = address;
    try {
      this.udp.take(this);
    } catch (error) {
      this.port = 0;
      this.address = anyOf(this.family);
      throw error;
    }
  }
  connect(to: SocketAddress | undefined): void {
    if (!to) this.disconnect();
    else {
      const peer = this.target(to);
      const source = this.sourceTo(peer.address);
      if (this.port === 0) this.take(anyOf(this.family), 0);
      if (!this.isToHear(this.address)) this.address = source;
      this.peer = peer;
    }
  }
  private disconnect(): void {
    this.peer = undefined;
    this.address = this.bound?.address ?? anyOf(this.family);
    if (this.bound || this.port === 0) return;
    this.udp.give(this);
    this.port = 0;
  }
  private target({ address, port }: SocketAddress): Name {
    const to = targetOf(address, this.options);
    if (this.udp.isBroadcast(to) && !this.options.broadcast) {
      throw new XenError('EACCES', `udp: ${to} is everybody, and SO_BROADCAST is not set`);
    }
    return { address: to, port };
  }
  private sourceTo(remote: IpAddress): IpAddress {
    const { address } = this;
    const usual = this.udp.sourceFor(remote, this.chosen(remote), this.linkTo(remote));
    if (address.isUnspecified) return usual.clone();
    if (address.isV4 !== remote.isV4) throw new XenError('ENETUNREACH', `udp: from ${address} to ${remote}`);
    if (this.isToHear(address)) return usual.clone();
    if (!this.udp.isOwn(address)) throw new XenError('EINVAL', `udp: ${address} is no address of this guest any more`);
    return address;
  }
  /** As Linux: who has an address has said by it on which interface a group is meant. */
  private chosen(remote: IpAddress): IpAddress | undefined {
    const { address } = this;
    return remote.isMulticast && address.isV4 === remote.isV4 && !this.isToHear(address) ? address : undefined;
  }
  private linkTo(remote: IpAddress): TransportLink | undefined {
    return remote.isMulticast ? this.groups.linkTo(remote) : undefined;
  }
  /** A group's or everybody's: nothing is sent from it. */
  private isToHear(address: IpAddress): boolean {
    return address.isMulticast || this.udp.isBroadcast(address);
  }

  send(data: Uint8Array, to?: SocketAddress): 0 | typeof AGAIN {
    if (this.writeShut) throw new XenError('EPIPE', 'udp: the socket is shut down for writing');
    if (data.length > LARGEST_DATAGRAM) throw new XenError('EMSGSIZE', `udp: ${data.length} bytes in one datagram`);
    const peer = to ? this.target(to) : this.peer;
    if (!peer) throw new XenError('EDESTADDRREQ', 'udp: to whom?');
    if (peer.port === 0) throw new XenError('EINVAL', 'udp: 0 is no port');
    this.throwError();
    if (this.port === 0) this.take(anyOf(this.family), 0);
    if (this.full) return AGAIN;
    const source = this.sourceTo(peer.address);
    const { port } = this;
    const link = this.linkTo(peer.address);
    if (this.udp.send(port, data, peer.address, peer.port, source, link)) return 0;
    this.full = true;
    const ready = (): void => {
      this.full = false;
      this.queue.wakeAll();
    };
    this.udp.whenWritable(source, peer.address, ready, link);
    if (this.full) return AGAIN;
    // There is room, though perhaps not for this one: then it is lost, as on a wire. Who waited for that could wait for ever.
    this.udp.send(port, data, peer.address, peer.port, source, link);
    return 0;
  }
  receive(peek: boolean): Received | undefined | typeof AGAIN {
    this.throwError();
    const [next] = this.waiting;
    if (!next) return this.readShut ? undefined : AGAIN;
    if (!peek) {
      this.waiting.shift();
      this.charge(-sizeOf(next));
    }
    return next;
  }
  shutdown(read: boolean, write: boolean): void {
    if (!this.peer) throw new XenError('ENOTCONN', 'udp: the socket has no peer');
    this.readShut ||= read;
    this.writeShut ||= write;
    this.queue.wakeAll();
  }
  local(): SocketAddress {
    return { address: socketBytes(this.address, this.family), port: this.port };
  }
  remote(): SocketAddress | undefined {
    return this.peer && { address: socketBytes(this.peer.address, this.family), port: this.peer.port };
  }
  readable(): number {
    const [next] = this.waiting;
    if (this.error || !next) return this.error || this.readShut ? 1 : 0;
    return Math.max(1, next.data.length);
  }
  writable(): number {
    if (this.error || this.writeShut) return 1;
    return this.full ? 0 : LARGEST_DATAGRAM;
  }
  hungUp(): boolean {
    return this.readShut && this.writeShut;
  }
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.groups.close();
    if (this.port !== 0) this.udp.give(this);
    this.charge(-this.bytes);
    this.waiting.length = 0;
    this.queue.wakeAll();
  }

  // ---- what the stack does ----

  hears(group: IpAddress): boolean {
    return this.groups.hears(group);
  }

  /** As in Linux, the last one may take more than there is room for: one is always taken. */
  deliver(data: Uint8Array, from: IpAddress, port: number): void {
    const one = { data, from: { address: socketBytes(from, this.family), port } };
    const size = sizeOf(one);
    if (this.bytes > this.options.receiveBuffer || this.udp.queued + size > UDP_MEMORY) {
      this.dropped++;
      this.udp.stats.dropped++;
      return;
    }
    this.waiting.push(one);
    this.charge(size);
    this.queue.wakeAll();
  }
  /** Who has no peer hears of nothing, as in Linux: it could not tell whose it was. */
  fail(code: string, to: IpAddress, port: number): void {
    if (!this.peer) return;
    this.error = undelivered(code, to, port);
    this.queue.wakeAll();
  }
  expire(): boolean {
    return false;
  }
  deadline(): undefined {}

  private charge(bytes: number): void {
    this.bytes += bytes;
    this.udp.queued += bytes;
  }
}

const sizeOf = ({ data }: Received): number => data.length + DATAGRAM_OVERHEAD;
