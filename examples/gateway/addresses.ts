// Addresses of IPv4 as numbers, first octet highest; MAC addresses in lower case.

/** Throws where it is none. */
export function parseAddress(text: string): number {
  const octets = text.split('.').map(Number);
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(text) || octets.some(octet => octet > 255)) {
    throw new Error(`'${text}' is no address`);
  }
  return octets.reduce((address, octet) => address * 256 + octet, 0);
}
export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map(shift => (address >>> shift) & 255).join('.');
}

export function parseMac(text: string): string {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw new Error(`'${text}' is no MAC address`);
  return text.toLowerCase();
}
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, octet => octet.toString(16).padStart(2, '0')).join(':');
}
