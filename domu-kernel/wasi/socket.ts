// What a program's sockets need of whoever makes connections: the guest's own TCP, or the host's by pvcalls; and of UDP.
import type { XenError } from '#pvbus';
import type { WaitQueue } from '../wait-queue.ts';
import type { SocketOptions } from './socket-options.ts';

/** An IPv4 or IPv6 address and a port; `address` has 4 or 16 bytes. */
export interface SocketAddress {
  readonly address: Uint8Array;
  readonly port: number;
}

/** Not possible now: wait for `queue`, then try again. */
export const AGAIN = -1;

/**
 * A socket that never blocks. Failures are XenErrors with the names of errno: ECONNREFUSED, ECONNRESET, EADDRINUSE, ENOTCONN,
 * EINVAL and so on. What was not possible (AGAIN, undefined) may be once `queue` has woken.
 */
interface Socket {
  readonly queue: WaitQueue;
  /** What of `options` it can heed, which may be called again when they have changed. A socket of the host heeds none. */
  configure(options: SocketOptions): void;
  /**
   * Of a stream why it failed to connect, or what its connection ended of; of datagrams what was said of one to the one
   * peer: ECONNREFUSED.
   */
  takeError(): XenError | undefined;
  bind(at: SocketAddress): void;
  shutdown(read: boolean, write: boolean): void;
  /** Of one that is bound, of a listener, of one that connects, and of a connection; undefined while it has none. */
  local(): SocketAddress | undefined;
  remote(): SocketAddress | undefined;
  /** Bytes that come next: 1 for none of a datagram, for an end, an error or a connection to accept. */
  readable(): number;
  /** Bytes that `send` would take, 1 for an error; 0 while it connects. */
  writable(): number;
  hungUp(): boolean;
  /** Nobody uses it any more; what was sent is still delivered. */
  close(): void;
}

export interface StreamSocket extends Socket {
  listen(backlog: number): void;
  /** Begins to connect when called first. AGAIN until it is connected, then 0; the failure, once, when it failed. */
  connect(to: SocketAddress): 0 | typeof AGAIN;
  /** A connection that has come; undefined: none is there. */
  accept(): StreamSocket | undefined;
  /** Bytes, 0 at the end of the stream. `peek`: they stay. */
  recv(into: Uint8Array, peek: boolean): number;
  /** How many bytes were taken, at least one. EPIPE when nothing more can be sent. */
  send(from: Uint8Array): number;
}

/** How it sends to groups, and what it hears of those that others have joined; of IPv4, and of IPv6. */
export const GROUP_OPTIONS = [
  'multicastHops',
  'multicastLoop',
  'multicastAll',
  'multicastInterface',
  'multicastAddress',
  'multicastHops6',
  'multicastLoop6',
  'multicastAll6',
  'multicastInterface6',
] as const;
export type GroupOptionName = (typeof GROUP_OPTIONS)[number];
export const isOfIpv6 = (name: GroupOptionName): boolean => name.endsWith('6');

/** A socket's groups: each by 4 or 16 bytes, on the interface of that number, else of that address, else where the routes say. */
export interface GroupSocket {
  join(group: Uint8Array, index: number, address?: Uint8Array): void;
  leave(group: Uint8Array, index: number, address?: Uint8Array): void;
  setOption(name: GroupOptionName, value: number): void;
  getOption(name: GroupOptionName): number;
}

/** A datagram that came. */
export interface Received {
  readonly data: Uint8Array;
  readonly from: SocketAddress;
}

export interface DatagramSocket extends Socket {
  readonly groups: GroupSocket;
  /** Its one peer from now on; undefined: it has none any more. */
  connect(to: SocketAddress | undefined): void;
  /** The next one; undefined: it is shut down. `peek`: it stays. */
  receive(peek: boolean): Received | undefined | typeof AGAIN;
  /** All of it or nothing; to its one peer where nobody is said. */
  send(data: Uint8Array, to?: SocketAddress): 0 | typeof AGAIN;
}

/** A name that is being looked up. */
export interface Lookup {
  readonly queue: WaitQueue;
  /** Undefined while it is not known; the failure is thrown: ENOENT for a name that does not exist. */
  addresses(): readonly Uint8Array[] | undefined;
}

/** An interface of the network, and its addresses. */
export interface SocketInterface {
  /** From 1 on. */
  readonly index: number;
  readonly name: string;
  readonly isLoopback: boolean;
  readonly mtu: number;
  readonly mac: Uint8Array;
  readonly addresses: readonly { readonly address: Uint8Array; readonly prefixLength: number }[];
}

export interface SocketStack {
  interfaces(): readonly SocketInterface[];
  /** A TCP socket for addresses of 4 or 16 bytes; throws EAFNOSUPPORT where there is none of that family. */
  stream(family: 4 | 6): StreamSocket;
  /** A UDP socket, the same way. */
  datagram(family: 4 | 6): DatagramSocket;
  /** The family whose sockets listen at most addresses. */
  readonly widest: 4 | 6;
  resolve(name: string): Lookup;
}
