// Sockets as a descriptor refers to them.
import { XenError } from '#pvbus';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../net/ipv4.ts';
import { addressOf } from '../net/socket-address.ts';
import type { OpenFile } from '../process/open-file.ts';
import { Wait } from '../process/wait.ts';
import type { WaitQueue } from '../wait-queue.ts';
import { FILETYPE_SOCKET_DGRAM, FILETYPE_SOCKET_STREAM } from './abi.ts';
import { wasiErrno } from './errno.ts';
import {
  AGAIN,
  type DatagramSocket,
  GROUP_OPTIONS,
  type GroupOptionName,
  type Received,
  type SocketAddress,
  type StreamSocket,
} from './socket.ts';
import { FIRST_GROUP_OPTION, OPTION, SocketOptions } from './socket-options.ts';

/** What streams and datagrams have in common. */
abstract class SocketFile<S extends StreamSocket | DatagramSocket> implements OpenFile {
  readonly kind = 'socket';
  readonly socket: S;
  readonly family: 4 | 6;
  /** FILETYPE_SOCKET_*: SO_TYPE too. */
  abstract readonly filetype: number;
  protected abstract readonly protocol: number;
  protected readonly options: SocketOptions;
  protected listens = false;
  private references = 1;

  /** Closes `socket` with its last reference. */
  constructor(socket: S, family: 4 | 6, options: SocketOptions) {
    this.socket = socket;
    this.family = family;
    this.options = options;
    socket.configure(options);
  }
  abstract read(into: Uint8Array): number | Wait;
  abstract write(from: Uint8Array): number | Wait;
  /** A socket's queue is another one once it listens or connects. `limitMs`: 0 is none. */
  private wait(limitMs: number): Wait {
    return new Wait([this.socket.queue], undefined, limitMs === 0 ? undefined : limitMs);
  }
  protected get readWait(): Wait {
    return this.wait(this.options.receiveMs);
  }
  protected get writeWait(): Wait {
    return this.wait(this.options.sendMs);
  }
  get queue(): WaitQueue {
    return this.socket.queue;
  }
  retain(): void {
    this.references++;
  }
  release(): void {
    if (--this.references === 0) this.socket.close();
  }
  bind(at: SocketAddress): void {
    this.socket.bind(at);
    const address = addressOf(at.address);
    // As Linux: one with an address of IPv6 has no other.
    if (!address.isV4 && !address.isUnspecified) this.options.ipv6Only = true;
  }
  setOption(option: number, value: number): void {
    if (option === OPTION.ipv6Only) {
      if (this.family === 4) throw new XenError('ENOPROTOOPT', 'the socket is of IPv4');
      if (this.socket.local()?.port) throw new XenError('EINVAL', 'the socket has a name already');
    }
    this.options.set(option, value);
    this.socket.configure(this.options);
  }
  getOption(option: number): number {
    if (option === OPTION.type) return this.filetype;
    if (option === OPTION.domain) return this.family;
    if (option === OPTION.protocol) return this.protocol;
    if (option === OPTION.accepts) return Number(this.listens);
    if (option === OPTION.ipv6Only && this.family === 4) throw new XenError('EOPNOTSUPP', 'the socket is of IPv4');
    if (option !== OPTION.error) return this.options.get(option);
    const error = this.socket.takeError();
    return error ? wasiErrno(error.code) : 0;
  }
  readable(): number {
    return this.socket.readable();
  }
  writable(): number {
    return this.socket.writable();
  }
  hungUp(): boolean {
    return this.socket.hungUp();
  }
}

export class OpenSocket extends SocketFile<StreamSocket> {
  readonly filetype = FILETYPE_SOCKET_STREAM;
  protected readonly protocol = PROTOCOL_TCP;
  /** A `connect` has come, and it has not failed. */
  hasBegun = false;
  private connected = false;

  constructor(socket: StreamSocket, family: 4 | 6, options = new SocketOptions()) {
    super(socket, family, options);
  }
  read(into: Uint8Array): number | Wait {
    return this.recv(into, false);
  }
  recv(into: Uint8Array, peek: boolean): number | Wait {
    const n = this.socket.recv(into, peek);
    return n === AGAIN ? this.readWait : n;
  }
  write(from: Uint8Array): number | Wait {
    const n = this.socket.send(from);
    return n === AGAIN ? this.writeWait : n;
  }
  override getOption(option: number): number {
    const value = super.getOption(option);
    if (option === OPTION.error && value !== 0) this.hasBegun = false;
    return value;
  }
  listen(backlog: number): void {
    this.socket.listen(backlog);
    this.listens = true;
  }
  accept(): OpenSocket | Wait {
    const accepted = this.socket.accept();
    return accepted ? new OpenSocket(accepted, this.family, this.options.copy()) : this.readWait;
  }
  /** Also what to wait for before it is asked again, with the same address. */
  connect(to: SocketAddress): 0 | Wait {
    if (this.connected) throw new XenError('EISCONN', 'the socket is connected');
    let outcome: ReturnType<StreamSocket['connect']>;
    try {
      outcome = this.socket.connect(to);
    } catch (error) {
      this.hasBegun = false;
      throw error;
    }
    this.hasBegun = true;
    if (outcome === AGAIN) return this.writeWait;
    this.connected = true;
    return 0;
  }
}

export class OpenDatagrams extends SocketFile<DatagramSocket> {
  readonly filetype = FILETYPE_SOCKET_DGRAM;
  protected readonly protocol = PROTOCOL_UDP;

  constructor(socket: DatagramSocket, family: 4 | 6) {
    super(socket, family, new SocketOptions());
  }
  override setOption(option: number, value: number): void {
    const name = groupOption(option);
    if (OF_STREAMS.includes(option)) throw new XenError('ENOPROTOOPT', `option ${option} of a stream`);
    if (name) this.socket.groups.setOption(name, value);
    else super.setOption(option, value);
  }
  override getOption(option: number): number {
    const name = groupOption(option);
    if (OF_STREAMS.includes(option)) throw new XenError('EOPNOTSUPP', `option ${option} of a stream`);
    return name ? this.socket.groups.getOption(name) : super.getOption(option);
  }
  /** The next one; undefined: there will be none. */
  receive(peek: boolean): Received | undefined | Wait {
    const next = this.socket.receive(peek);
    return next === AGAIN ? this.readWait : next;
  }
  send(data: Uint8Array, to?: SocketAddress): 0 | Wait {
    return this.socket.send(data, to) === AGAIN ? this.writeWait : 0;
  }
  /** As much of the next one as there is room for: the rest of it is lost. */
  read(into: Uint8Array): number | Wait {
    const next = this.receive(false);
    if (next instanceof Wait || next === undefined) return next ?? 0;
    const part = next.data.subarray(0, into.length);
    into.set(part);
    return part.length;
  }
  write(from: Uint8Array): number | Wait {
    return this.send(from) || from.length;
  }
}

const OF_STREAMS: readonly number[] = [OPTION.keepIdle, OPTION.keepInterval, OPTION.keepCount, OPTION.noDelay];
/** As xenolith_sock.h numbers them, from MULTICAST_TTL on. */
const groupOption = (option: number): GroupOptionName | undefined => GROUP_OPTIONS[option - FIRST_GROUP_OPTION];

/** The socket a descriptor refers to; ENOTSOCK. EBADF for a directory: a program may take the number of one it was given for free. */
export function socketOf(file: OpenFile): OpenSocket | OpenDatagrams {
  if (file instanceof OpenSocket || file instanceof OpenDatagrams) return file;
  if (file.kind === 'directory') throw new XenError('EBADF', 'a directory is no socket');
  throw new XenError('ENOTSOCK', `a ${file.kind} is no socket`);
}
/** One that listens, connects and accepts; EOPNOTSUPP. */
export function streamOf(file: OpenFile): OpenSocket {
  const socket = socketOf(file);
  if (socket instanceof OpenSocket) return socket;
  throw new XenError('EOPNOTSUPP', 'a socket of datagrams does not listen');
}
