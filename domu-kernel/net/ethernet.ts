// Ethernet II frames: destination, source, type, payload. No 802.1Q, no LLC.

export const ETH_ALEN = 6;
export const ETH_HLEN = 14;
export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;

export const BROADCAST_MAC: Uint8Array = new Uint8Array(ETH_ALEN).fill(0xff);

const SOURCE = 6;
const TYPE = 12;

export const etherType = (frame: DataView): number => frame.getUint16(TYPE);

/** Meant for every station or a group of them (the first bit on the wire is 1). */
export const isGroupMac = (bytes: Uint8Array, at = 0): boolean => (bytes[at]! & 1) !== 0;

export function isBroadcastMac(bytes: Uint8Array, at = 0): boolean {
  for (let i = 0; i < ETH_ALEN; i++) if (bytes[at + i] !== 0xff) return false;
  return true;
}

export function equalMac(a: Uint8Array, at: number, b: Uint8Array): boolean {
  for (let i = 0; i < ETH_ALEN; i++) if (a[at + i] !== b[i]) return false;
  return true;
}

export function writeMac(into: Uint8Array, at: number, mac: Uint8Array): void {
  for (let i = 0; i < ETH_ALEN; i++) into[at + i] = mac[i]!;
}

/** The header at the start of `frame`. */
export function writeEthernet(frame: Uint8Array, destination: Uint8Array, source: Uint8Array, type: number): void {
  writeMac(frame, 0, destination);
  writeMac(frame, SOURCE, source);
  frame[TYPE] = type >> 8;
  frame[TYPE + 1] = type & 0xff;
}
