// Addresses as sockets have them: 4 or 16 bytes, as in a packet.
import { XenError } from '#pvbus';
import { IpAddress } from './ip-address.ts';

/** Of 4 or 16 bytes. */
export function addressOf(bytes: Uint8Array): IpAddress {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length === 16) return new IpAddress().read(view, 0);
  if (bytes.length !== 4) throw new XenError('EINVAL', `an address of ${bytes.length} bytes`);
  const address = view.getUint32(0);
  return address === 0 ? new IpAddress() : IpAddress.v4(address);
}

/** As a socket of that family has it: an IPv4 address is mapped in one of IPv6. */
export function socketBytes(address: IpAddress, family: 4 | 6): Uint8Array {
  const bytes = new Uint8Array(16);
  address.write(new DataView(bytes.buffer), 0);
  return family === 6 ? bytes : bytes.slice(12); // unspecified is all zeros in either
}
