// One of our stacks with IPv6; at the other end of its wire nobody but the test.

import { type Ip6Config, parseIp6Parameter } from '../../../../../domu-kernel/net/ip6/config.ts';
import { frame6, icmp6, type MadePacket, routerAdvertisement } from '../../../../support/ip6-frames.ts';
import { LossyWire } from '../../../../support/lossy-wire.ts';
import { seeded } from '../../../../support/random.ts';
import { Stack } from '../../../../support/stack.ts';

export const OURS = 'fe80::216:3eff:fe00:1';
export const ROUTER = 'fe80::1';
export const ROUTER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 9);
export const GROUP = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);

export class Alone {
  readonly wire = new LossyWire(seeded(1));
  readonly clock = this.wire.clock;
  readonly net: Stack;
  readonly sent: Uint8Array[] = [];
  /** Of those, what says which groups are listened to: they alone have a hop-by-hop header. */
  readonly listening: Uint8Array[] = [];

  constructor(ip6: Ip6Config = parseIp6Parameter('fd00::1/64,fe80::1')!) {
    this.wire.a.tap = frame => {
      (frame[20] === 0 ? this.listening : this.sent).push(frame);
      return true;
    };
    const config = { address: 0, netmask: 0, ip6 };
    this.net = new Stack({ device: this.wire.a, config, clock: this.clock, random: seeded(2) });
  }
  get v6() {
    return this.net.ip6;
  }
  pass(seconds: number): void {
    const end = this.clock.ns + seconds * 1e9;
    for (;;) {
      while (this.net.step() === 'progress');
      const next = this.net.deadline();
      if (next === undefined || next > end) break;
      this.clock.ns = Math.max(this.clock.ns, next);
    }
    this.clock.ns = end;
    while (this.net.step() === 'progress');
  }
  hear(packet: MadePacket, to: Uint8Array = this.wire.a.mac, from: Uint8Array = ROUTER_MAC): void {
    const frame = frame6(packet, to, from);
    this.net.input(frame, 0, frame.length, 0);
    while (this.net.step() === 'progress');
  }
  /** Types of ICMPv6 messages sent since this was asked. */
  said(): number[] {
    return this.sent.splice(0).map(frame => frame[54]!);
  }
  get states(): string[] {
    return [...this.v6.discovery.addresses].map(({ address, state }) => `${address} ${state}`);
  }
}
export const ready = (ip6?: Ip6Config): Alone => {
  const alone = new Alone(ip6);
  alone.pass(13);
  alone.said();
  alone.listening.length = 0;
  return alone;
};
export const auto = (): Alone => new Alone({ prefixLength: 64 });
export const told = (options: readonly number[], more = {}): MadePacket =>
  icmp6(ROUTER, 'ff02::1', routerAdvertisement(more, options));
