// The checksum a guest left to its "network card", for a receiver that does not take it blank.

const IPV4_AT = 14;
const TCP = 6;
const UDP = 17;

/**
 * Fill in the TCP or UDP checksum of an IPv4 frame of `length` bytes. Anything else is left as it is: what a
 * sender calls blank in a frame of another kind has no checksum we know of.
 */
export function fillChecksum(frame: Uint8Array, length: number): void {
  const header = (frame[IPV4_AT]! & 15) * 4;
  const isIpv4 = frame[12] === 8 && frame[13] === 0 && frame[IPV4_AT]! >> 4 === 4;
  if (length < IPV4_AT + 20 || !isIpv4 || header < 20) return;
  const end = IPV4_AT + word(frame, IPV4_AT + 2);
  const protocol = frame[IPV4_AT + 9]!;
  const at = IPV4_AT + header;
  const field = at + (protocol === TCP ? 16 : 6);
  if ((protocol !== TCP && protocol !== UDP) || end > length || end < field + 2) return;
  frame[field] = 0;
  frame[field + 1] = 0;
  // RFC 768, RFC 9293: a pseudo header of both addresses, the protocol and the length.
  let sum = protocol + (end - at);
  for (let i = IPV4_AT + 12; i < IPV4_AT + 20; i += 2) sum += word(frame, i);
  for (let i = at; i + 1 < end; i += 2) sum += word(frame, i);
  if ((end - at) % 2 === 1) sum += frame[end - 1]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const checksum = ~sum & 0xffff || (protocol === UDP ? 0xffff : 0);
  frame[field] = checksum >> 8;
  frame[field + 1] = checksum & 0xff;
}

const word = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
