// Frames of IPv6 that keep to no rule, as any neighbour can send them: nothing throws, what is kept is bounded, and no
// frame is answered by many.

import { MAX_ADDRESSES } from '../../../domu-kernel/net/ip6/addresses.ts';
import { NEIGHBOURS } from '../../../domu-kernel/net/ip6/neighbours.ts';
import { MAX_PATHS } from '../../../domu-kernel/net/path-mtus.ts';
import { MAX_DATAGRAMS, MAX_HELD_BYTES } from '../../../domu-kernel/net/reassembly.ts';
import {
  advertisement,
  bytesOf,
  frame6,
  macOption,
  prefixOption,
  routerAdvertisement,
  solicitation,
} from '../../support/ip6-frames.ts';
import { LossyWire } from '../../support/lossy-wire.ts';
import fc from '../../support/properties.ts';
import { seeded } from '../../support/random.ts';
import { Stack } from '../../support/stack.ts';

/** A hop-by-hop header with a router alert, as what is about groups has it. */
const ALERT: readonly [number, readonly number[]] = [0, [0, 0, 5, 2, 0, 0, 1, 0]];
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 9);
const address = fc.constantFrom(
  'fe80::1',
  'fe80::2',
  'fd00::1',
  'fd00::9',
  'ff02::1',
  'ff02::1:ff00:1',
  '::',
  '::1',
  '::ffff:10.0.0.1',
  '2001:db8::1',
);
const bytes = fc.array(fc.nat(255), { maxLength: 60 });
const option = fc.oneof(
  fc.constant(macOption(1, MAC)),
  fc.constant(macOption(2, MAC)),
  fc
    .tuple(address, fc.nat(130), fc.nat(255), fc.nat(0xffffffff))
    .map(([prefix, length, flags, valid]) => prefixOption(prefix, { length, flags, valid })),
  fc
    .tuple(fc.constantFrom(1, 2, 3, 5, 14, 24, 25), fc.nat(6), bytes)
    .map(([type, length, rest]) => [type, length, ...rest]),
);
const message = fc
  .tuple(fc.nat(7), address, fc.nat(255), fc.array(option, { maxLength: 4 }), bytes)
  .map(([kind, target, flags, options, rest]) => {
    const all = options.flat();
    if (kind === 0) return solicitation(target, all);
    if (kind === 1) return advertisement(target, flags, all);
    if (kind === 2) return routerAdvertisement({ lifetime: flags * 10 }, all);
    if (kind === 3) return [128 + (flags & 1), 0, 0, 0, ...rest];
    // About the groups of hosts: with so many sources, as many as it says or not.
    if (kind === 5) {
      const named = Array.from({ length: flags & 3 }, () => bytesOf(target)).flat();
      const sources = (flags & 4) === 0 ? [flags >> 5, 125, 0, flags & 3, ...named] : rest;
      return [
        130 + ((flags >> 3) & 1),
        0,
        0,
        0,
        ...rest.concat(0, 0).slice(0, 2),
        0,
        0,
        ...bytesOf(target),
        ...sources,
      ];
    }
    // An error about a packet of somebody's.
    if (kind === 4)
      return [1 + (flags & 3), flags >> 4, 0, 0, 0, 0, 5, flags, 0x60, 0, 0, 0, 0, 40, 17, 64, ...rest, ...rest];
    return [flags, ...rest];
  });
const act = fc.record({
  source: address,
  destination: address,
  protocol: fc.oneof(
    { weight: 6, arbitrary: fc.constant(58) },
    { weight: 1, arbitrary: fc.constantFrom(6, 17) },
    { weight: 1, arbitrary: fc.nat(255) },
  ),
  payload: message,
  hopLimit: fc.constantFrom(255, 255, 255, 64, 0),
  extensions: fc.array(
    fc.tuple(fc.constantFrom(0, 43, 44, 60), fc.array(fc.nat(255), { minLength: 8, maxLength: 24 })),
    { maxLength: 3 },
  ),
  checksum: fc.integer({ min: 0, max: 9 }),
  alert: fc.boolean(),
  group: fc.boolean(),
  cut: fc.nat(200),
  ms: fc.constantFrom(0, 0, 0, 1000, 40_000, 8_000_000),
});

export const packets = fc.property(fc.boolean(), fc.array(act, { minLength: 1, maxLength: 40 }), (given, acts) => {
  const wire = new LossyWire(seeded(1));
  let sent = 0;
  wire.a.tap = () => {
    sent++;
    return false;
  };
  const ip6 = { prefixLength: 64 };
  const net = new Stack({
    device: wire.a,
    config: { address: 0, netmask: 0, ip6 },
    clock: wire.clock,
    random: seeded(2),
  });
  const turn = (ms: number): void => {
    wire.clock.ns += ms * 1e6;
    while (net.step() === 'progress');
  };
  turn(2000);
  if (given) {
    const frame = frame6(
      {
        source: 'fe80::1',
        destination: 'ff02::1',
        protocol: 58,
        hopLimit: 255,
        checksumAt: 2,
        payload: routerAdvertisement({}, [...macOption(1, MAC), ...prefixOption('fd00::')]),
      },
      wire.a.mac,
      MAC,
    );
    net.input(frame, 0, frame.length, 0);
    turn(2000);
  }
  for (const { checksum, alert, group, cut, ms, ...made } of acts) {
    const packet = alert ? { ...made, hopLimit: 1, extensions: [ALERT] } : made;
    if (packet.payload.length < 4 || packet.protocol !== 58) packet.payload.push(0, 0, 0, 0, 0, 0, 0, 0);
    const whole = frame6(
      { ...packet, ...(checksum > 0 ? { checksumAt: 2 } : {}) },
      group ? Uint8Array.of(0x33, 0x33, 0, 0, 0, 1) : wire.a.mac,
      MAC,
    );
    const frame = cut < whole.length && cut % 10 === 0 ? whole.subarray(0, cut) : whole;
    sent = 0;
    net.input(frame, 0, frame.length, 0);
    if (sent > 3 + MAX_ADDRESSES) throw new Error(`${sent} answers`);
    turn(ms);
    const { discovery } = net.ip6;
    const { paths } = net;
    const { reassembly } = net.v6;
    if (reassembly.size > MAX_DATAGRAMS || reassembly.bytes > MAX_HELD_BYTES)
      throw new Error('more parts are kept than may be');
    if (discovery.neighbours.size > NEIGHBOURS || discovery.addresses.size > MAX_ADDRESSES || paths.size > MAX_PATHS)
      throw new Error('more is kept than may be');
    for (const own of discovery.addresses)
      if (own.address.isV4 || own.address.isMulticast) throw new Error(`${own.address} is ours`);
  }
});
