// Addresses as sockets have them: 4 or 16 bytes, as in a packet.
import { XenError } from '#pvbus';
import type { SocketOptions } from '../wasi/socket-options.ts';
import type { BoundName } from './bound-name.ts';
import { IpAddress } from './ip-address.ts';

/** Of 4 or 16 bytes. */
export function addressOf(bytes: Uint8Array): IpAddress {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length === 16) return new IpAddress().read(view, 0);
  if (bytes.length !== 4) throw new XenError('EINVAL', `an address of ${bytes.length} bytes`);
  return IpAddress.v4(view.getUint32(0));
}

/** What a socket is to be bound to. Throws EINVAL: of one for IPv6 alone no address is IPv4's. */
export function nameOf(bytes: Uint8Array, { ipv6Only }: SocketOptions): BoundName {
  const address = addressOf(bytes);
  if (ipv6Only && address.isV4) throw new XenError('EINVAL', `the socket is for IPv6 alone, and not for ${address}`);
  return { address, ipv6Only };
}
/** Where a socket is to send to: as in Linux no address means the loopback. Throws ENETUNREACH. */
export function targetOf(bytes: Uint8Array, { ipv6Only }: SocketOptions): IpAddress {
  const address = addressOf(bytes);
  if (ipv6Only && address.isV4)
    throw new XenError('ENETUNREACH', `the socket is for IPv6 alone, and not for ${address}`);
  return address.isUnspecified ? LOOPBACK[address.isV4 ? 4 : 6] : address;
}
export const LOOPBACK = { 4: IpAddress.v4(0x7f000001), 6: IpAddress.of(0, 0, 0, 1) } as const;

/** As a socket of that family has it: an IPv4 address is mapped in one of IPv6. */
export function socketBytes(address: IpAddress, family: 4 | 6): Uint8Array {
  const bytes = new Uint8Array(16);
  address.write(new DataView(bytes.buffer), 0);
  return family === 6 ? bytes : bytes.slice(12); // unspecified is all zeros in either
}
