// The checksum a guest left to its "network card", for a receiver that does not take it blank.
import { type Layers, layersOf, TCP, UDP } from './layers.ts';

/**
 * Fill in the TCP or UDP checksum of a frame of `length` bytes. Anything else is left as it is: what a sender calls blank
 * in a frame of another kind has no checksum we know of.
 */
export function fillChecksum(frame: Uint8Array, length: number): void {
  const layers = layersOf(frame, 0, length);
  if (layers === undefined || (layers.protocol !== TCP && layers.protocol !== UDP)) return;
  const { ip, isIpv6, transport, end, protocol } = layers;
  const field = transport + (protocol === TCP ? 16 : 6);
  if (end < field + 2) return;
  writeChecksum(frame, { ip, isIpv6, transport, end, protocol, field });
}

/** Where a packet's headers are, and the checksum. */
export interface Checksummed extends Layers {
  readonly field: number;
}

/** RFC 768, RFC 9293, RFC 8200: of a pseudo header of both addresses, the protocol and the length, and of the bytes. */
export function writeChecksum(frame: Uint8Array, at: Checksummed): void {
  const { ip, isIpv6, transport, end, protocol, field } = at;
  frame[field] = 0;
  frame[field + 1] = 0;
  const addresses = isIpv6 ? ip + 8 : ip + 12;
  let sum = protocol + (end - transport);
  sum = addWords(frame, addresses, addresses + (isIpv6 ? 32 : 8), sum);
  const checksum = ~fold(addWords(frame, transport, end, sum)) & 0xffff || (protocol === UDP ? 0xffff : 0);
  frame[field] = checksum >> 8;
  frame[field + 1] = checksum & 0xff;
}

/** What a blank checksum is for who adds the bytes to it: the sum of the pseudo header. */
export function writePseudoSum(frame: Uint8Array, at: Checksummed): void {
  const { ip, isIpv6, transport, end, protocol, field } = at;
  const addresses = isIpv6 ? ip + 8 : ip + 12;
  const sum = fold(addWords(frame, addresses, addresses + (isIpv6 ? 32 : 8), protocol + (end - transport)));
  frame[field] = sum >> 8;
  frame[field + 1] = sum & 0xff;
}

/** RFC 791. */
export function writeHeaderChecksum(frame: Uint8Array, ip: number, transport: number): void {
  frame[ip + 10] = 0;
  frame[ip + 11] = 0;
  const checksum = ~fold(addWords(frame, ip, transport, 0)) & 0xffff;
  frame[ip + 10] = checksum >> 8;
  frame[ip + 11] = checksum & 0xff;
}

/** At most 65535 bytes: their sum is exact. */
function addWords(bytes: Uint8Array, from: number, end: number, sum: number): number {
  let i = from;
  for (; i + 1 < end; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  return i < end ? sum + (bytes[i]! << 8) : sum;
}
function fold(sum: number): number {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}
