// UDP (RFC 768): ports, who a datagram is for, and sockets with a bounded queue for guests in TypeScript. What programs have
// is udp-datagram-socket.ts.
import { type Clock, XenError } from '#pvbus';
import { type BoundName, overlap, takes } from './bound-name.ts';
import { addBytes, finish, verifies } from './checksum.ts';
import { IpAddress } from './ip-address.ts';
import { PROTOCOL_UDP } from './ipv4.ts';
import type { GroupNetwork } from './socket-groups.ts';
import type { TransportLink } from './transport-link.ts';

const HEADER = 8;
const FIRST_EPHEMERAL = 49152;
const EPHEMERAL_PORTS = 0x10000 - FIRST_EPHEMERAL;
/** What waits in a socket for receive(): more is dropped and counted. */
export const UDP_QUEUE_DATAGRAMS = 256;
export const UDP_QUEUE_BYTES = 256 * 1024;

/** What waits in the sockets of programs, all together: more is dropped. */
export const UDP_MEMORY = 8 << 20;
const ANY = new IpAddress();

/** Who has a port: one address of ours, or all of them; from everybody, or from one peer. */
export interface UdpEnd extends BoundName {
  readonly port: number;
  readonly family: 4 | 6;
  /** The only one it hears. */
  readonly peer: { readonly address: IpAddress; readonly port: number } | undefined;
  /** The port may be others' too who say so. */
  readonly reuseAddress: boolean;
  /** Of what comes to a group that somebody has joined. */
  hears(group: IpAddress): boolean;
  /** `from` is the caller's. */
  deliver(data: Uint8Array, from: IpAddress, port: number): void;
  /** A datagram of this one did not arrive. */
  fail(code: string, to: IpAddress, port: number): void;
  expire(): boolean;
  deadline(): number | undefined;
}

export interface UdpPeer {
  readonly address: string;
  readonly port: number;
}
export interface Datagram extends UdpPeer {
  readonly data: Uint8Array;
}
export type MessageHandler = (data: Uint8Array, from: UdpPeer) => void;

interface Receiver {
  readonly deadlineNs: number;
  resolve(datagram: Datagram): void;
  reject(error: XenError): void;
}

export class Udp {
  readonly stats = { received: 0, sent: 0, bad: 0, noPort: 0, dropped: 0 };
  readonly clock: Clock;
  readonly groups: GroupNetwork;
  private readonly link: TransportLink;
  /** Bytes that wait in the sockets of programs. */
  queued = 0;
  /** Of a port, the last that took it first. */
  private readonly ends = new Map<number, UdpEnd[]>();
  private nextEphemeral: number;

  constructor(link: TransportLink, clock: Clock, random: () => number, groups: GroupNetwork) {
    this.link = link;
    this.groups = groups;
    this.clock = clock;
    this.nextEphemeral = Math.floor(random() * EPHEMERAL_PORTS);
  }

  /** A socket on `port`; 0 or nothing: on any free one. Throws EADDRINUSE, EINVAL. */
  bind(port = 0): UdpSocket {
    if (!Number.isInteger(port) || port < 0 || port > 0xffff) throw new XenError('EINVAL', `udp: ${port} is no port`);
    const socket = new UdpSocket(this, port === 0 ? this.freePort() : port);
    this.take(socket);
    return socket;
  }
  /** Its port is its own from now on. Throws EADDRINUSE. */
  take(end: UdpEnd): void {
    const others = this.ends.get(end.port) ?? [];
    if (others.some(other => clash(end, other))) throw new XenError('EADDRINUSE', `udp: port ${end.port} is in use`);
    this.ends.set(end.port, [end, ...others]);
  }
  give(end: UdpEnd): void {
    const others = this.ends.get(end.port)?.filter(other => other !== end) ?? [];
    if (others.length > 0) this.ends.set(end.port, others);
    else this.ends.delete(end.port);
  }
  isOwn(address: IpAddress): boolean {
    return this.link.isOurs(address);
  }
  isBroadcast(address: IpAddress): boolean {
    return this.link.isBroadcast(address);
  }
  /** The address that packets to it come from. Throws ENETUNREACH. */
  sourceFor(remote: IpAddress, local = ANY, link = this.link): IpAddress {
    const source = link.sourceFor(remote, local);
    if (source === undefined) throw new XenError('ENETUNREACH', `udp: no route to ${remote}`);
    return source;
  }
  /** `ready` is called once, when there is room where packets between these leave, or no such place. */
  whenWritable(local: IpAddress, remote: IpAddress, ready: () => void, link = this.link): void {
    const outlet = link.outlet(local, remote);
    if (outlet === undefined) ready();
    else outlet.whenWritable(ready);
  }

  /** One datagram in the private receive buffer, its addresses the caller's. False: nobody has its port. */
  input(
    bytes: Uint8Array,
    view: DataView,
    at: number,
    available: number,
    source: IpAddress,
    destination: IpAddress,
    checksumGood: boolean,
  ): boolean {
    const length = available < HEADER ? 0 : view.getUint16(at + 4);
    if (length < HEADER || length > available) return this.bad();
    // A sender may leave the checksum out, with IPv4: 0 (RFC 768; RFC 8200, 8.1).
    const sent = !source.isV4 || view.getUint16(at + 6) !== 0;
    if (!checksumGood && sent) {
      const sum = source.sum + destination.sum + PROTOCOL_UDP + length;
      if (view.getUint16(at + 6) === 0 || !verifies(view, at, length, sum)) return this.bad();
    }
    const ends = this.ends.get(view.getUint16(at + 2));
    const port = view.getUint16(at);
    const group = destination.isMulticast;
    const all = group || (ends !== undefined && ends.length > 1 && this.link.isBroadcast(destination));
    const one = ends && !all ? best(ends, destination, source, port) : undefined;
    const takers = one ? [one] : [];
    if (ends && all) {
      for (const end of ends)
        if (rank(end, destination, source, port) !== 0 && !(group && !end.hears(destination))) takers.push(end);
    }
    if (takers.length === 0) {
      this.stats.noPort++;
      return false;
    }
    this.stats.received++;
    for (const end of takers) end.deliver(bytes.slice(at + HEADER, at + length), source, port);
    return true;
  }

  /** A datagram of ours could not be delivered: its socket hears of it. False: there is none. */
  undeliverable(code: string, view: DataView, at: number, local: IpAddress, remote: IpAddress): boolean {
    const ends = this.ends.get(view.getUint16(at));
    const port = view.getUint16(at + 2);
    const end = ends && best(ends, local, remote, port);
    end?.fail(code, remote, port);
    return end !== undefined;
  }

  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    for (const ends of this.ends.values()) for (const end of ends) if (end.expire()) result = 'progress';
    return result;
  }

  deadline(): number | undefined {
    let earliest: number | undefined;
    for (const ends of this.ends.values()) {
      for (const end of ends) {
        const own = end.deadline();
        if (own !== undefined && (earliest === undefined || own < earliest)) earliest = own;
      }
    }
    return earliest;
  }

  /** `local`: the address it comes from, where that is not to be chosen. `link`: of a group's. */
  send(from: number, data: Uint8Array, remote: IpAddress, port: number, local = ANY, link = this.link): boolean {
    const { tx } = link;
    const length = HEADER + data.length;
    const room = link.datagramRoom(remote);
    if (length > room) {
      const most = room - HEADER;
      throw new XenError('EMSGSIZE', `udp: ${data.length} bytes in one datagram; at most ${most} fit`);
    }
    const usual = this.sourceFor(remote, remote.isMulticast ? local : ANY, link);
    if (local.isLoopback && !usual.equals(remote) && !usual.isLoopback)
      throw new XenError('EINVAL', `udp: from ${local} to ${remote}`);
    const source = local.isUnspecified ? usual : local;
    const at = link.headerAt(remote);
    tx.view.setUint16(at, from);
    tx.view.setUint16(at + 2, port);
    tx.view.setUint16(at + 4, length);
    tx.view.setUint16(at + 6, 0);
    tx.bytes.set(data, at + HEADER);
    const sum = source.sum + remote.sum + PROTOCOL_UDP + length;
    // One that is sent in parts has it in the first.
    const blank = length <= link.room(source, remote) && link.leavesChecksum(source, remote);
    // Blank: the field holds the folded sum of the pseudo header, as network cards and Linux have it.
    const checksum = blank ? ~finish(sum) & 0xffff : finish(addBytes(tx.view, at, length, sum));
    tx.view.setUint16(at + 6, checksum === 0 ? 0xffff : checksum);
    const result = link.send(source, remote, length, blank, 0);
    if (result === 'no-route') throw new XenError('ENETUNREACH', `udp: no route to ${remote}`);
    if (result === 'full') return false;
    this.stats.sent++;
    return true;
  }

  private bad(): true {
    this.stats.bad++;
    return true;
  }

  /** Nobody has it, at any address. */
  freePort(): number {
    for (let i = 0; i < EPHEMERAL_PORTS; i++) {
      const port = FIRST_EPHEMERAL + this.nextEphemeral;
      this.nextEphemeral = (this.nextEphemeral + 1) % EPHEMERAL_PORTS;
      if (!this.ends.has(port)) return port;
    }
    throw new XenError('EADDRINUSE', 'udp: every ephemeral port is in use');
  }
}

/** Both want the same datagrams. */
const clash = (one: UdpEnd, other: UdpEnd): boolean => !(one.reuseAddress && other.reuseAddress) && overlap(one, other);
/** 0: not at all; else the closer, the more. */
function rank(end: UdpEnd, to: IpAddress, from: IpAddress, port: number): number {
  const { family, address, peer } = end;
  if (!takes(end, to)) return 0;
  if (peer && !(peer.port === port && peer.address.equals(from))) return 0;
  return 1 + (family === 4 ? 1 : 0) + (address.isUnspecified ? 0 : 2) + (peer ? 4 : 0);
}
function best(ends: readonly UdpEnd[], to: IpAddress, from: IpAddress, port: number): UdpEnd | undefined {
  let found: UdpEnd | undefined;
  let most = 0;
  for (const end of ends) {
    const own = rank(end, to, from, port);
    if (own <= most) continue;
    most = own;
    found = end;
  }
  return found;
}

export class UdpSocket implements UdpEnd {
  readonly port: number;
  readonly family = 6;
  readonly address = ANY;
  readonly ipv6Only = false;
  readonly hears = (): boolean => true;
  readonly peer = undefined;
  readonly reuseAddress = false;
  /** Datagrams dropped because nobody took them. */
  dropped = 0;
  private readonly udp: Udp;
  private handler: MessageHandler | undefined;
  private errorHandler: ((error: XenError) => void) | undefined;
  private readonly queue: Datagram[] = [];
  private queuedBytes = 0;
  private readonly receivers: Receiver[] = [];
  private open = true;

  constructor(udp: Udp, port: number) {
    this.udp = udp;
    this.port = port;
  }

  /**
   * Send one datagram. True: on its way (or waiting for the neighbour's MAC address). False: the device has no
   * room now and it was not sent, or not all of its parts. Throws EINVAL, EMSGSIZE, ENETUNREACH.
   */
  sendTo(data: Uint8Array, to: UdpPeer): boolean {
    if (!this.open) throw new XenError('EBADF', `udp: the socket of port ${this.port} is closed`);
    const address = IpAddress.parse(to.address);
    if (address === undefined) throw new XenError('EINVAL', `udp: '${to.address}' is no IP address`);
    if (!Number.isInteger(to.port) || to.port < 1 || to.port > 0xffff) {
      throw new XenError('EINVAL', `udp: ${to.port} is no port`);
    }
    return this.udp.send(this.port, data, address, to.port);
  }

  /** From now on `handler` gets every datagram, first those that wait; its bytes are its own. */
  onMessage(handler: MessageHandler): void {
    this.handler = handler;
    for (const datagram of this.queue.splice(0)) handler(datagram.data, datagram);
    this.queuedBytes = 0;
  }

  /** Hear of datagrams that came back (ECONNREFUSED, EHOSTUNREACH, ...). */
  onError(handler: (error: XenError) => void): void {
    this.errorHandler = handler;
  }

  /** The next datagram. Rejects with ETIMEDOUT, or ECANCELED when the socket is closed. */
  receive(options: { readonly timeoutMs?: number } = {}): Promise<Datagram> {
    if (!this.open) return Promise.reject(this.closed());
    const waiting = this.queue.shift();
    if (waiting) {
      this.queuedBytes -= waiting.data.length;
      return Promise.resolve(waiting);
    }
    const { timeoutMs } = options;
    const deadlineNs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.udp.clock.now() + timeoutMs * 1e6;
    return new Promise((resolve, reject) => {
      this.receivers.push({ deadlineNs, resolve, reject });
    });
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.udp.give(this);
    this.queue.length = 0;
    for (const receiver of this.receivers.splice(0)) receiver.reject(this.closed());
  }

  deliver(data: Uint8Array, source: IpAddress, port: number): void {
    const from = { address: source.toString(), port };
    const receiver = this.handler ? undefined : this.receivers.shift();
    if (this.handler) this.handler(data, from);
    else if (receiver) receiver.resolve({ data, ...from });
    else if (this.queue.length >= UDP_QUEUE_DATAGRAMS || this.queuedBytes + data.length > UDP_QUEUE_BYTES) {
      this.dropped++;
      this.udp.stats.dropped++;
    } else {
      this.queue.push({ data, ...from });
      this.queuedBytes += data.length;
    }
  }

  fail(code: string, to: IpAddress, port: number): void {
    this.errorHandler?.(undelivered(code, to, port));
  }

  expire(): boolean {
    if (this.receivers.length === 0) return false;
    const now = this.udp.clock.now();
    const late = this.receivers.filter(r => r.deadlineNs <= now);
    for (const receiver of late) {
      this.receivers.splice(this.receivers.indexOf(receiver), 1);
      receiver.reject(new XenError('ETIMEDOUT', `udp: nothing came to port ${this.port} in time`));
    }
    return late.length > 0;
  }

  deadline(): number | undefined {
    const earliest = this.receivers.reduce((least, r) => Math.min(least, r.deadlineNs), Number.POSITIVE_INFINITY);
    return earliest === Number.POSITIVE_INFINITY ? undefined : earliest;
  }

  private closed(): XenError {
    return new XenError('ECANCELED', `udp: the socket of port ${this.port} is closed`);
  }
}

export const undelivered = (code: string, to: IpAddress, port: number): XenError =>
  new XenError(code, `udp: ${to} port ${port} did not take a datagram`);
