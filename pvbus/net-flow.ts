// Which flow a frame belongs to: what is in one flow stays in one queue, so that its order is kept. Xen: io/netif.h: "Mapping
// of packets to queues is considered to be a function of the transmitting system".

const ETH_HLEN = 14;
const TCP = 6;
const UDP = 17;
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
const MORE_OR_OFFSET = 0x3fff;

/** Bytes of a frame, of which the sender may change some meanwhile: the worst that makes of it is another queue. */
export interface FrameBytes {
  readonly length: number;
  byteAt(i: number): number;
}

/** A number that is the same for all frames of a connection in one direction: of addresses, ports and protocol. */
export function flowHash(frame: FrameBytes): number {
  let ip = ETH_HLEN;
  let type = word(frame, ip - 2);
  if (type === 0x8100 && frame.length >= ip + 4) {
    ip += 4;
    type = word(frame, ip - 2);
  }
  if (type === 0x0800 && frame.length >= ip + 20) {
    const protocol = frame.byteAt(ip + 9);
    const ports = ip + (frame.byteAt(ip) & 15) * 4;
    // Of a packet in pieces only the first has ports.
    const whole = (word(frame, ip + 6) & MORE_OR_OFFSET) === 0;
    return mix(frame, ip + 12, 8, whole && isKnown(protocol) ? ports : 0, protocol);
  }
  if (type === 0x86dd && frame.length >= ip + 40) {
    const protocol = frame.byteAt(ip + 6);
    return mix(frame, ip + 8, 32, isKnown(protocol) ? ip + 40 : 0, protocol);
  }
  return mix(frame, 0, 12, 0, 0);
}

const isKnown = (protocol: number): boolean => protocol === TCP || protocol === UDP;
const word = (frame: FrameBytes, at: number): number => (frame.byteAt(at) << 8) | frame.byteAt(at + 1);

/** Of the addresses, and of the ports when they are at `ports`. */
function mix(frame: FrameBytes, addresses: number, length: number, ports: number, protocol: number): number {
  let hash = Math.imul(FNV_OFFSET ^ protocol, FNV_PRIME);
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ frame.byteAt(addresses + i), FNV_PRIME);
  if (ports > 0 && frame.length >= ports + 4) {
    for (let i = 0; i < 4; i++) hash = Math.imul(hash ^ frame.byteAt(ports + i), FNV_PRIME);
  }
  // The low bits of a product know of no higher ones.
  hash ^= hash >>> 15;
  return (hash ^ (hash >>> 7)) >>> 0;
}
