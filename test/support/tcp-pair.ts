// Two of our own stacks with a wire between them, on a virtual clock, in one thread.

import { IpAddress } from '../../domu-kernel/net/ip-address.ts';
import { parseIpParameter } from '../../domu-kernel/net/ip-config.ts';
import { parseIp6Parameter } from '../../domu-kernel/net/ip6/config.ts';
import type { TcpConnection } from '../../domu-kernel/net/tcp/connection.ts';
import type { TcpListener } from '../../domu-kernel/net/tcp/listener.ts';
import type { TcpLimits } from '../../domu-kernel/net/tcp/tcp.ts';
import { LossyWire, PERFECT, type VirtualClock, type WireFaults } from './lossy-wire.ts';
import { seeded } from './random.ts';
import { Stack } from './stack.ts';
import { fillStream } from './tcp-stream.ts';

export interface PairOptions {
  readonly seed?: number;
  readonly faults?: WireFaults;
  readonly mtu?: number;
  readonly offload?: boolean;
  readonly room?: number;
  readonly limits?: Partial<TcpLimits>;
  /** Connections of `connect` are of IPv6. */
  readonly ip6?: boolean;
}

export class TcpPair {
  readonly wire: LossyWire;
  readonly clock: VirtualClock;
  readonly a: Stack;
  readonly b: Stack;
  readonly random: () => number;
  /** Run after every turn of both stacks: the programs on them. */
  readonly programs: (() => boolean)[] = [];

  constructor({
    seed = 1,
    faults = PERFECT,
    mtu = 1500,
    offload = false,
    room = 256,
    limits = {},
    ip6 = false,
  }: PairOptions = {}) {
    this.random = seeded(seed);
    this.wire = new LossyWire(this.random, faults, { mtu, offload, room });
    this.clock = this.wire.clock;
    const host = (device: LossyWire['a'], ip: string): Stack => {
      const number = ip.split('.')[3]!;
      const six = ip6 ? { ip6: parseIp6Parameter(`fd00::${number}/64`)! } : {};
      const config = { ...parseIpParameter(`${ip}:::255.255.255.0`)!, ...six };
      return new Stack({ device, config, clock: this.clock, random: this.random, tcp: limits });
    };
    this.a = host(this.wire.a, '10.0.0.1');
    this.b = host(this.wire.b, '10.0.0.2');
    if (ip6) this.run(() => this.a.eth0.isConfigured && this.b.eth0.isConfigured);
  }

  /** Until nothing moves at this moment. */
  settle(): void {
    for (let turns = 0; ; turns++) {
      if (turns === 1e6) throw new Error('it never falls silent');
      let progress = this.wire.step() === 'progress';
      if (this.a.step() === 'progress') progress = true;
      if (this.b.step() === 'progress') progress = true;
      for (const program of this.programs) if (program()) progress = true;
      if (!progress) return;
    }
  }
  /** On to the next moment something happens; false when nothing ever will. */
  advance(end = Number.POSITIVE_INFINITY): boolean {
    const deadlines = [this.wire.deadline, this.a.deadline(), this.b.deadline()].filter(d => d !== undefined);
    if (deadlines.length === 0) return false;
    this.clock.ns = Math.max(this.clock.ns, Math.min(end, ...deadlines));
    return true;
  }
  /** Until `done`, or so many virtual seconds have gone by. */
  run(done: () => boolean, seconds = 3600): boolean {
    const end = this.clock.ns + seconds * 1e9;
    for (;;) {
      this.settle();
      if (done()) return true;
      if (this.clock.ns >= end || !this.advance(end)) return false;
    }
  }
  /** For so long, whatever happens. */
  pass(seconds: number): void {
    const end = this.clock.ns + seconds * 1e9;
    this.run(() => this.clock.ns >= end, seconds);
    this.clock.ns = Math.max(this.clock.ns, end);
    this.settle();
  }

  connect(port: number): TcpConnection {
    return this.a.tcp.connect(this.b.eth0.v6?.address ?? IpAddress.v4(this.b.address), port);
  }
  /** A connection from a to b, both ends. */
  connected(listener: TcpListener): [TcpConnection, TcpConnection] {
    const client = this.connect(listener.port);
    let server: TcpConnection | undefined;
    this.run(() => {
      server ??= listener.accept();
      return server !== undefined && client.state === 'ESTABLISHED';
    });
    if (server === undefined) throw new Error(`not connected: ${client.state}, ${client.error?.message}`);
    return [client, server];
  }
}

/** Sends `total` bytes of a stream and then ends; reads and checks what the peer sends. */
export class StreamEnd {
  sent = 0;
  received = 0;
  ended = false;
  corrupt: string | undefined;
  failed: Error | undefined;
  private readonly connection: TcpConnection;
  private readonly seed: number;
  private readonly total: number;
  private readonly peerSeed: number;
  private readonly chunk: number;
  private readonly buffer: Uint8Array;
  private readonly expected: Uint8Array;
  private ending = false;

  constructor(connection: TcpConnection, seed: number, total: number, peerSeed: number, chunk = 16384) {
    this.connection = connection;
    this.seed = seed;
    this.total = total;
    this.peerSeed = peerSeed;
    this.chunk = chunk;
    this.buffer = new Uint8Array(chunk);
    this.expected = new Uint8Array(chunk);
  }
  /** True when there was anything to do. */
  step(): boolean {
    if (this.failed !== undefined || this.corrupt !== undefined) return false;
    try {
      const read = this.read();
      return this.write() || read;
    } catch (error) {
      this.failed = error as Error;
      return true;
    }
  }
  get done(): boolean {
    return this.ended && this.ending && this.connection.isDelivered;
  }
  private write(): boolean {
    let moved = false;
    while (this.sent < this.total && this.connection.writable > 0) {
      const n = Math.min(this.chunk, this.total - this.sent, this.connection.writable);
      const part = this.buffer.subarray(0, n);
      fillStream(part, this.seed, this.sent);
      const taken = this.connection.write(part);
      this.sent += taken;
      if (taken > 0) moved = true;
      else break;
    }
    if (this.sent === this.total && !this.ending && !this.connection.isOpening) {
      this.ending = true;
      this.connection.endWrite();
      moved = true;
    }
    return moved;
  }
  private read(): boolean {
    if (this.ended) return false;
    const n = this.connection.read(this.buffer);
    if (n < 0) return false;
    if (n === 0) {
      this.ended = true;
      return true;
    }
    const want = this.expected.subarray(0, n);
    fillStream(want, this.peerSeed, this.received);
    if (Buffer.compare(want, this.buffer.subarray(0, n)) !== 0)
      this.corrupt = `wrong bytes within ${n} from ${this.received} on`;
    this.received += n;
    return true;
  }
}
