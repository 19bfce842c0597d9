// A peer that keeps to no rule: any segments, at any moment of a connection's life. Ours never throws, takes nothing
// beyond the window it gave, and what it keeps is bounded.

import type { TcpConnection } from '../../../domu-kernel/net/tcp/connection.ts';
import { FIRST_BUFFER, MAX_BUFFER } from '../../../domu-kernel/net/tcp/control-block.ts';
import { ACK, FIN, PSH, RST, SYN } from '../../../domu-kernel/net/tcp/segment.ts';
import { add, distance } from '../../../domu-kernel/net/tcp/sequence.ts';
import fc from '../../support/properties.ts';
import { frameOf, segmentOf } from '../../support/tcp-frames.ts';
import { TcpPair } from '../../support/tcp-pair.ts';

const MEMORY = 256 * 1024;
const LIMITS = { memory: MEMORY, connections: 20, timeWait: 5, halfOpen: 4 };

const near = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: -3, max: 3 }) },
  { weight: 2, arbitrary: fc.integer({ min: -3000, max: 3000 }) },
  { weight: 2, arbitrary: fc.integer({ min: -140_000, max: 140_000 }) },
  { weight: 1, arbitrary: fc.integer() },
);
const option = fc.oneof(
  fc.constantFrom(
    [1],
    [0],
    [2, 4, 5, 180],
    [2, 4, 0, 0],
    [3, 3, 14],
    [3, 3, 255],
    [4, 2],
    [8, 10, 0, 0, 0, 0, 0, 0, 0, 0],
  ),
  fc.array(fc.nat(255), { maxLength: 12 }),
  fc.tuple(fc.constant('sack' as const), near, fc.nat(5000)),
  fc.tuple(fc.constant('stamp' as const), near),
);
const act = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      act: fc.constant('segment' as const),
      which: fc.nat(3),
      seq: near,
      ack: near,
      /** From the end of the window rather than from its beginning. */
      fromEdge: fc.boolean(),
      flags: fc.oneof(fc.constantFrom(ACK, ACK | PSH, ACK | FIN, SYN, SYN | ACK, RST, RST | ACK, 0), fc.nat(63)),
      window: fc.constantFrom(0, 1, 100, 65535),
      options: fc.array(option, { maxLength: 3 }),
      data: fc.constantFrom(0, 0, 1, 100, 1400),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      act: fc.constantFrom('write', 'read', 'end', 'endRead', 'close', 'abort', 'accept', 'connect'),
      which: fc.nat(3),
      bytes: fc.constantFrom(1, 1000, 100_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('pass' as const), ms: fc.constantFrom(1, 50, 1000, 61_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      act: fc.constant('icmp' as const),
      which: fc.nat(3),
      code: fc.constantFrom('EHOSTUNREACH', 'ECONNREFUSED', 'EMSGSIZE'),
      seq: near,
      mtu: fc.constantFrom(0, 68, 600, 1400, 9000),
    }),
  },
);
type Act = typeof act extends fc.Arbitrary<infer A> ? A : never;

function bytesOf(
  options: readonly (typeof option extends fc.Arbitrary<infer O> ? O : never)[],
  of: TcpConnection,
): Uint8Array {
  const bytes: number[] = [];
  const word = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  for (const option of options) {
    if (option[0] === 'sack') {
      const start = add(of.una, option[1] as number);
      bytes.push(5, 10, ...word(start), ...word(add(start, option[2] as number)));
    } else if (option[0] === 'stamp') bytes.push(8, 10, ...word(add(of.tsRecent, option[1] as number)), 0, 0, 0, 0);
    else bytes.push(...(option as number[]));
  }
  const cut = bytes.slice(0, 40);
  while (cut.length % 4 !== 0) cut.push(0);
  return Uint8Array.from(cut);
}

/** Our end is b; nobody is at a. */
class Victim {
  readonly pair = new TcpPair({ limits: LIMITS });
  readonly listener = this.pair.b.tcp.listen(80, { backlog: 3 });
  readonly connections: TcpConnection[] = [];
  /** Behind the last byte each was told it may be sent, by what we see of its segments. */
  private readonly promised = new Map<number, number>();
  private nextPort = 1000;
  private readonly into = new Uint8Array(100_000);

  constructor() {
    const [, server] = this.pair.connected(this.listener);
    this.connections.push(server);
    this.promised.set(server.remotePort, server.edge);
    // From now on nobody answers for the client but us.
    this.pair.wire.b.tap = frame => {
      const segment = segmentOf(frame);
      if (segment === undefined) return true;
      if ((segment.flags & (ACK | RST)) !== ACK) return false;
      const connection = this.connections.findLast(
        ({ remotePort, state }) => remotePort === segment.destinationPort && state !== 'CLOSED',
      );
      const syn = (segment.flags & SYN) !== 0;
      const edge = add(segment.ack, segment.window * 2 ** (syn ? 0 : Math.max(0, connection?.receiveScale ?? 0)));
      const before = this.promised.get(segment.destinationPort);
      if (syn || before === undefined || distance(edge, before) > 0) this.promised.set(segment.destinationPort, edge);
      return false;
    };
  }

  do(step: Act): void {
    const { pair } = this;
    if (step.act === 'pass') {
      pair.pass(step.ms / 1000);
      return;
    }
    const of = this.connections[step.which % this.connections.length]!;
    if (step.act === 'segment') this.segment(step, of);
    else if (step.act === 'icmp') of.unreachable(step.code, add(of.una, step.seq), step.mtu);
    else this.program(step.act, step.bytes, of);
    pair.settle();
    this.check();
  }
  private segment(step: Extract<Act, { act: 'segment' }>, of: TcpConnection): void {
    const { pair } = this;
    const frame = frameOf(
      {
        source: pair.a.address,
        destination: pair.b.address,
        sourcePort: of.remotePort,
        destinationPort: of.localPort,
        seq: add(step.fromEdge ? of.edge : of.receiveNext, step.seq),
        ack: add(of.max, step.ack),
        flags: step.flags,
        window: step.window,
        options: bytesOf(step.options, of),
        data: new Uint8Array(step.data).fill(7),
      },
      pair.wire.b.mac,
      pair.wire.a.mac,
    );
    pair.wire.b.arrive(frame, 0);
  }
  private program(what: string, bytes: number, of: TcpConnection): void {
    try {
      if (what === 'write') of.write(this.into, 0, bytes);
      else if (what === 'read') of.read(this.into, 0, bytes);
      else if (what === 'end') of.endWrite();
      else if (what === 'endRead') of.endRead();
      else if (what === 'close') of.close();
      else if (what === 'abort') of.abort();
      else if (what === 'accept') {
        const next = this.listener.accept();
        if (next) this.connections.push(next);
      } else {
        const next = this.pair.b.tcp.connect(of.remote, this.nextPort++, { localPort: 80 });
        this.connections.push(next);
      }
    } catch (error) {
      // A program is told by errno names; anything else is our fault.
      if (!CODES.includes((error as { code?: string }).code ?? '')) throw error;
    }
  }
  private check(): void {
    const { tcp } = this.pair.b;
    const fail = (what: string): never => {
      throw new Error(what);
    };
    if (tcp.memoryUsed > MEMORY || tcp.memoryUsed < 0) fail(`${tcp.memoryUsed} bytes of ${MEMORY}`);
    if (tcp.size > LIMITS.connections + LIMITS.timeWait) fail(`${tcp.size} connections`);
    if (this.listener.halfOpen > LIMITS.halfOpen || this.listener.halfOpen < 0)
      fail(`${this.listener.halfOpen} half open`);
    for (const connection of this.connections) {
      const { in: received, out } = connection;
      if (received.readable > received.limit || received.limit > MAX_BUFFER) fail(`${received.readable} readable`);
      if (out.length > Math.max(FIRST_BUFFER, out.limit)) fail(`${out.length} bytes wait`);
      if (connection.scoreboard.sacked > Math.max(0, distance(connection.max, connection.una)))
        fail('more has arrived than was sent');
      if (distance(connection.una, connection.max) > 0) fail('more is acknowledged than was sent');
      const promised = this.promised.get(connection.remotePort);
      if (promised !== undefined && connection.state !== 'CLOSED' && distance(received.next, promised) > 0)
        fail('taken from beyond the window');
    }
  }
  /** However it was treated: when the peer is gone for good, nothing is left of it. */
  end(): void {
    for (const connection of this.connections) connection.close();
    this.listener.close();
    this.pair.pass(4 * 3600);
    const { tcp } = this.pair.b;
    if (tcp.size !== 0 || tcp.memoryUsed !== 0)
      throw new Error(`left behind: ${tcp.size} connections, ${tcp.memoryUsed} bytes`);
  }
}
const CODES = ['EPIPE', 'ECONNRESET', 'ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH', 'EADDRINUSE', 'ENFILE'];

export const segments = fc.property(fc.array(act, { minLength: 1, maxLength: 60 }), acts => {
  const victim = new Victim();
  for (const each of acts) victim.do(each);
  victim.end();
});
