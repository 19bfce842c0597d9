// Where the headers of a frame are. The bytes are private: nobody changes them while they are looked at.

export const TCP = 6;
export const UDP = 17;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const ETHERTYPE_VLAN = 0x8100;
/** RFC 8200: extension headers that leave what is behind them whole, and the addresses as they are. */
const HOP_BY_HOP = 0;
const DESTINATION_OPTIONS = 60;
const MAX_EXTENSIONS = 4;

export interface Layers {
  /** Offsets in the buffer: of the IP header, of what it carries, and behind that. */
  readonly ip: number;
  readonly isIpv6: boolean;
  readonly transport: number;
  readonly end: number;
  readonly protocol: number;
}

const word = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;

/** Of the frame of `length` bytes at `from`, with a VLAN tag or without; undefined when it is no whole IP packet. */
export function layersOf(bytes: Uint8Array, from: number, length: number): Layers | undefined {
  const limit = from + length;
  let ip = from + 14;
  if (limit < ip + 20) return undefined;
  let type = word(bytes, ip - 2);
  if (type === ETHERTYPE_VLAN) {
    ip += 4;
    type = word(bytes, ip - 2);
  }
  if (type === ETHERTYPE_IPV4) return ipv4(bytes, ip, limit);
  return type === ETHERTYPE_IPV6 ? ipv6(bytes, ip, limit) : undefined;
}

function ipv4(bytes: Uint8Array, ip: number, limit: number): Layers | undefined {
  const header = (bytes[ip]! & 15) * 4;
  if (limit < ip + 20 || bytes[ip]! >> 4 !== 4 || header < 20) return undefined;
  const end = ip + word(bytes, ip + 2);
  const transport = ip + header;
  // A piece of a packet has no checksum of its own.
  if (end > limit || transport > end || (word(bytes, ip + 6) & 0x3fff) !== 0) return undefined;
  return { ip, isIpv6: false, transport, end, protocol: bytes[ip + 9]! };
}

function ipv6(bytes: Uint8Array, ip: number, limit: number): Layers | undefined {
  if (limit < ip + 40 || bytes[ip]! >> 4 !== 6) return undefined;
  const end = ip + 40 + word(bytes, ip + 4);
  if (end > limit) return undefined;
  let protocol = bytes[ip + 6]!;
  let transport = ip + 40;
  for (let i = 0; i < MAX_EXTENSIONS && (protocol === HOP_BY_HOP || protocol === DESTINATION_OPTIONS); i++) {
    if (transport + 8 > end) return undefined;
    protocol = bytes[transport]!;
    transport += (bytes[transport + 1]! + 1) * 8;
  }
  return transport > end ? undefined : { ip, isIpv6: true, transport, end, protocol };
}
