// IPv4 addresses are unsigned 32-bit numbers here, first octet highest; MAC addresses six bytes.

/** Dotted decimal, four parts, nothing else. */
export function parseIpv4(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  const octets = match.slice(1).map(Number);
  // A leading zero means octal to some: no address, as for inet_pton.
  if (match.slice(1).some((text, i) => octets[i]! > 255 || String(octets[i]) !== text)) return undefined;
  return octets.reduce((address, octet) => address * 256 + octet, 0);
}

export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

export const IPV4_BROADCAST = 0xffffffff;
export const isMulticast = (address: number): boolean => address >>> 28 === 14;
/** 224.0.0.1: everybody is in it, and nobody says so. */
export const ALL_HOSTS = 0xe0000001;
/** The MAC address of a group (RFC 1112, 6.4). */
export function groupMac4(group: number, into: Uint8Array): Uint8Array {
  into[0] = 0x01;
  into[1] = 0x00;
  into[2] = 0x5e;
  into[3] = (group >>> 16) & 0x7f;
  into[4] = (group >>> 8) & 0xff;
  into[5] = group & 0xff;
  return into;
}
export const isLoopback = (address: number): boolean => address >>> 24 === 127;

/** Ones, then zeros: 0 and 0xffffffff are netmasks too. */
export function isNetmask(mask: number): boolean {
  const host = ~mask >>> 0;
  return (host & (host + 1)) >>> 0 === 0;
}

export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  return Uint8Array.from(text.split(':'), octet => Number.parseInt(octet, 16));
}

export function formatMac(bytes: Uint8Array, at = 0): string {
  return Array.from(bytes.subarray(at, at + 6), octet => octet.toString(16).padStart(2, '0')).join(':');
}
