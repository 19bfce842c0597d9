// Two of our stacks, a wire that loses, doubles and delays, and bytes that must arrive as they were sent.

import type { WireFaults } from '../../support/lossy-wire.ts';
import fc from '../../support/properties.ts';
import { StreamEnd, TcpPair } from '../../support/tcp-pair.ts';

export interface Transfer {
  readonly seed: number;
  readonly faults: WireFaults;
  readonly there: number;
  readonly back: number;
  readonly chunk: number;
  readonly mtu: number;
  readonly room: number;
  readonly offload: boolean;
  readonly ip6: boolean;
  /** Bytes for data of all connections: little makes rings small and windows close. */
  readonly memory: number;
}
/** Virtual time that is enough for any of them. */
const SECONDS = 3600;

const size = fc.oneof(
  { weight: 1, arbitrary: fc.nat(10) },
  { weight: 4, arbitrary: fc.nat(20_000) },
  { weight: 4, arbitrary: fc.nat(200_000) },
  { weight: 1, arbitrary: fc.nat(1_000_000) },
);
/** Every fault at 5 %. */
const transfer: fc.Arbitrary<Transfer> = fc.record({
  seed: fc.nat(),
  faults: fc.record({
    loss: fc.constant(0.05),
    duplicate: fc.constant(0.05),
    reorder: fc.constant(0.05),
    delayNs: fc.constantFrom(20e3, 1e6, 30e6),
    lateNs: fc.constantFrom(50e3, 3e6, 100e6),
  }),
  there: size,
  back: size,
  chunk: fc.constantFrom(100, 4096, 65536),
  mtu: fc.constantFrom(576, 1280, 1500, 9000),
  room: fc.constantFrom(2, 64, 1000),
  offload: fc.boolean(),
  ip6: fc.boolean(),
  memory: fc.constantFrom(64 * 1024, 32 * 1024 * 1024),
});

/** What went wrong; undefined: every byte arrived, once, in its place, and both ends are gone. */
export function run(plan: Transfer): string | undefined {
  const { seed, faults, there, back, chunk, mtu, room, offload, memory, ip6 } = plan;
  // IPv6 has no smaller links.
  const least = ip6 ? 1280 : 0;
  const pair = new TcpPair({ seed, faults, mtu: Math.max(mtu, least), room, offload, ip6, limits: { memory } });
  const listener = pair.b.tcp.listen(80);
  const client = pair.connect(80);
  const ends = [new StreamEnd(client, 1, there, 2, chunk)];
  pair.programs.push(() => {
    const server = ends.length === 1 ? listener.accept() : undefined;
    if (server) ends.push(new StreamEnd(server, 2, back, 1, chunk));
    return ends.filter(end => end.step()).length > 0 || server !== undefined;
  });
  const over = (): boolean =>
    (ends.length === 2 && ends.every(end => end.done)) || ends.some(end => end.failed ?? end.corrupt);
  if (!pair.run(over, SECONDS)) return `not over after ${SECONDS} s: ${ends.map(end => `${end.sent}>${end.received}`)}`;
  for (const end of ends) {
    if (end.corrupt) return end.corrupt;
    // Nobody answers for the address: all three questions of ARP were lost, as a wire may that loses.
    if ((end.failed as { code?: string } | undefined)?.code === 'EHOSTUNREACH' && faults.loss > 0) return undefined;
    if (end.failed) return String(end.failed);
  }
  const [a, b] = ends as [StreamEnd, StreamEnd];
  if (a.received !== back || b.received !== there) return `${a.received} of ${back}, ${b.received} of ${there}`;
  pair.pass(200);
  const left = [pair.a.tcp.size, pair.b.tcp.size, pair.a.tcp.memoryUsed, pair.b.tcp.memoryUsed];
  return left.some(n => n !== 0) ? `left behind: ${left}` : undefined;
}

export const transfers = fc.property(transfer, plan => {
  const wrong = run(plan);
  if (wrong !== undefined) throw new Error(wrong);
});
