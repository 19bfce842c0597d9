// IPv6 packets in Ethernet frames, made by hand: for peers that keep to no rules.
import { addBytes, finish } from '../../domu-kernel/net/checksum.ts';
import { writeEthernet } from '../../domu-kernel/net/ethernet.ts';
import { IpAddress } from '../../domu-kernel/net/ip-address.ts';
import { writeIpv6 } from '../../domu-kernel/net/ip6/header.ts';

export interface MadePacket {
  readonly source: string;
  readonly destination: string;
  /** Of the last header. */
  readonly protocol: number;
  readonly payload: readonly number[];
  readonly hopLimit?: number;
  /** Type and bytes of each; the first byte, the next header's type, is filled in. */
  readonly extensions?: readonly (readonly [type: number, bytes: readonly number[]])[];
  /** Where the payload's checksum is, to be filled in. */
  readonly checksumAt?: number;
  readonly payloadLength?: number;
}

export function frame6(packet: MadePacket, to: Uint8Array, from: Uint8Array): Uint8Array {
  const { protocol, payload, hopLimit = 64, extensions = [], checksumAt } = packet;
  const types = [...extensions.map(([type]) => type), protocol];
  const behind = extensions.flatMap(([, bytes], i) => [types[i + 1]!, ...bytes.slice(1)]);
  const frame = new Uint8Array(54 + behind.length + payload.length);
  const view = new DataView(frame.buffer);
  const [source, destination] = [IpAddress.from(packet.source), IpAddress.from(packet.destination)];
  writeEthernet(frame, to, from, 0x86dd);
  writeIpv6(view, 14, packet.payloadLength ?? frame.length - 54, types[0]!, hopLimit, source, destination);
  frame.set(behind, 54);
  const at = 54 + behind.length;
  frame.set(payload, at);
  if (checksumAt !== undefined) {
    const sum = source.sum + destination.sum + protocol + payload.length;
    view.setUint16(at + checksumAt, finish(addBytes(view, at, payload.length, sum)));
  }
  return frame;
}

export const ICMPV6 = 58;
/** A message of ICMPv6 with its checksum right. */
export const icmp6 = (
  source: string,
  destination: string,
  payload: readonly number[],
  more: Partial<MadePacket> = {},
): MadePacket => ({ source, destination, protocol: ICMPV6, payload, checksumAt: 2, hopLimit: 255, ...more });

export function bytesOf(address: string): number[] {
  const bytes = new Uint8Array(16);
  IpAddress.from(address).write(new DataView(bytes.buffer), 0);
  return [...bytes];
}
export const word = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

export const solicitation = (target: string, options: readonly number[] = []): number[] => [
  ...[135, 0, 0, 0, 0, 0, 0, 0],
  ...bytesOf(target),
  ...options,
];
export const advertisement = (target: string, flags: number, options: readonly number[] = []): number[] => [
  ...[136, 0, 0, 0, flags, 0, 0, 0],
  ...bytesOf(target),
  ...options,
];
export const routerAdvertisement = (
  { lifetime = 1800, hopLimit = 64, reachable = 0, retrans = 0 } = {},
  options: readonly number[] = [],
): number[] => [
  134,
  0,
  0,
  0,
  hopLimit,
  0,
  lifetime >> 8,
  lifetime & 255,
  ...word(reachable),
  ...word(retrans),
  ...options,
];
export const macOption = (type: 1 | 2, mac: Uint8Array | readonly number[]): number[] => [type, 1, ...mac];
export const prefixOption = (
  prefix: string,
  { length = 64, flags = 0xc0, valid = 3600, preferred = 1800 } = {},
): number[] => [...[3, 4, length, flags], ...word(valid), ...word(preferred), ...word(0), ...bytesOf(prefix)];
