// A SocketStack of one machine that talks to itself, for tests of what lies above: streams, backlogs, ports, without a network;
// datagrams over the loopback, there at once.
import { XenError } from '#pvbus';
import { interfaceList } from '../../domu-kernel/net/interface-list.ts';
import { Network } from '../../domu-kernel/net/network.ts';
import { UdpDatagramSocket } from '../../domu-kernel/net/udp-datagram-socket.ts';
import { WaitQueue } from '../../domu-kernel/wait-queue.ts';
import {
  AGAIN,
  type Lookup,
  type SocketAddress,
  type SocketInterface,
  type SocketStack,
  type StreamSocket,
} from '../../domu-kernel/wasi/socket.ts';

const ROOM = 16384;

/** Bytes one way. */
class Stream {
  bytes: Uint8Array = new Uint8Array(0);
  ended = false;
}

export class LoopbackSocket implements StreamSocket {
  readonly queue = new WaitQueue();
  private readonly stack: LoopbackSockets;
  private at: SocketAddress | undefined;
  private to: SocketAddress | undefined;
  private backlog = 0;
  private readonly waiting: LoopbackSocket[] = [];
  private peer: LoopbackSocket | undefined;
  private readonly in = new Stream();
  private connecting = false;
  private listening = false;

  constructor(stack: LoopbackSockets) {
    this.stack = stack;
    stack.open++;
  }
  configure(): void {}
  takeError(): undefined {}
  bind(at: SocketAddress): void {
    if (this.at) throw new XenError('EINVAL', 'bound already');
    this.at = this.stack.take(at, this);
  }
  listen(backlog: number): void {
    if (this.peer) throw new XenError('EINVAL', 'connected');
    this.at ??= this.stack.take({ address: new Uint8Array(4), port: 0 }, this);
    this.backlog = backlog;
    this.listening = true;
  }
  connect(to: SocketAddress): 0 | typeof AGAIN {
    if (this.listening) throw new XenError('EINVAL', 'it listens');
    if (this.peer) return 0;
    this.to = to;
    const listener = this.stack.at(to.port);
    if (!listener?.listening) throw new XenError('ECONNREFUSED', `port ${to.port}`);
    if (listener.waiting.length >= listener.backlog) return AGAIN;
    // The first try begins, as with a network.
    if (!this.connecting) {
      this.connecting = true;
      listener.queue.add(() => this.queue.wakeAll());
      return AGAIN;
    }
    this.at ??= this.stack.take({ address: new Uint8Array([127, 0, 0, 1]), port: 0 }, this);
    const other = new LoopbackSocket(this.stack);
    [this.peer, other.peer] = [other, this];
    [other.at, other.to] = [listener.at, this.at];
    listener.waiting.push(other);
    listener.queue.wakeAll();
    return 0;
  }
  accept(): LoopbackSocket | undefined {
    if (!this.listening) throw new XenError('EINVAL', 'it does not listen');
    const next = this.waiting.shift();
    if (next) this.queue.wakeAll();
    return next;
  }
  recv(into: Uint8Array, peek: boolean): number {
    this.connection();
    const n = Math.min(into.length, this.in.bytes.length);
    if (n === 0) return this.in.ended || into.length === 0 ? 0 : AGAIN;
    into.set(this.in.bytes.subarray(0, n));
    if (!peek) this.in.bytes = this.in.bytes.slice(n);
    this.peer?.queue.wakeAll();
    return n;
  }
  send(from: Uint8Array): number {
    const peer = this.connection();
    if (peer.in.ended) throw new XenError('EPIPE', 'nobody reads it');
    const n = Math.min(from.length, ROOM - peer.in.bytes.length);
    if (n === 0 && from.length > 0) return AGAIN;
    peer.in.bytes = Buffer.concat([peer.in.bytes, from.subarray(0, n)]);
    peer.queue.wakeAll();
    return n;
  }
  shutdown(read: boolean, write: boolean): void {
    const peer = this.connection();
    if (write) peer.in.ended = true;
    if (read) this.in.ended = true;
    this.queue.wakeAll();
    peer.queue.wakeAll();
  }
  local(): SocketAddress | undefined {
    return this.at;
  }
  remote(): SocketAddress | undefined {
    return this.peer && this.to;
  }
  readable(): number {
    return this.listening ? this.waiting.length : this.in.bytes.length || (this.in.ended ? 1 : 0);
  }
  writable(): number {
    return this.peer ? ROOM - this.peer.in.bytes.length || (this.peer.in.ended ? 1 : 0) : 0;
  }
  hungUp(): boolean {
    return this.peer !== undefined && this.in.ended;
  }
  close(): void {
    this.stack.open--;
    this.stack.give(this);
    if (this.peer) this.peer.in.ended = true;
    this.peer?.queue.wakeAll();
    for (const one of this.waiting.splice(0)) one.close();
  }
  private connection(): LoopbackSocket {
    if (!this.peer) throw new XenError('ENOTCONN', 'no connection');
    return this.peer;
  }
}

class LoopbackDatagrams extends UdpDatagramSocket {
  private readonly stack: LoopbackSockets;
  constructor(stack: LoopbackSockets, family: 4 | 6) {
    super(stack.lo.udp, family);
    this.stack = stack;
    stack.open++;
  }
  override send(data: Uint8Array, to?: SocketAddress): 0 | typeof AGAIN {
    const sent = super.send(data, to);
    while (this.stack.lo.step() === 'progress') {}
    return sent;
  }
  override close(): void {
    super.close();
    this.stack.open--;
  }
}

export class LoopbackSockets implements SocketStack {
  readonly lo = new Network({ clock: { now: () => 0, wallMs: () => 0 }, random: () => 0.5 });
  /** Sockets that nobody has closed. */
  open = 0;
  /** Names, and those that answer only after `answer`. */
  readonly names = new Map<string, readonly Uint8Array[]>([['localhost', [new Uint8Array([127, 0, 0, 1])]]]);
  private readonly ports = new Map<number, LoopbackSocket>();
  private nextPort = 40_000;

  readonly widest = 4;

  interfaces(): SocketInterface[] {
    return interfaceList(this.lo);
  }
  stream(family: 4 | 6): LoopbackSocket {
    if (family === 6) throw new XenError('EAFNOSUPPORT', 'no IPv6');
    return new LoopbackSocket(this);
  }
  datagram(family: 4 | 6): LoopbackDatagrams {
    return new LoopbackDatagrams(this, family);
  }
  resolve(name: string): Lookup {
    const { names } = this;
    let asked = false;
    const queue = new WaitQueue();
    return {
      queue,
      addresses() {
        const found = names.get(name);
        if (asked && !found) throw new XenError('ENOENT', name);
        const now = asked ? found : undefined;
        asked = true;
        return now;
      },
    };
  }
  at(port: number): LoopbackSocket | undefined {
    return this.ports.get(port);
  }
  take({ address, port }: SocketAddress, socket: LoopbackSocket): SocketAddress {
    const own = port || this.nextPort++;
    if (this.ports.has(own)) throw new XenError('EADDRINUSE', `port ${own}`);
    this.ports.set(own, socket);
    return { address, port: own };
  }
  give(socket: LoopbackSocket): void {
    for (const [port, other] of this.ports) if (other === socket) this.ports.delete(port);
  }
}
