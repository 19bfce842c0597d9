// Well-known IPv6 addresses (RFC 4291), and how addresses are compared.
import { IpAddress } from '../ip-address.ts';

export const UNSPECIFIED = new IpAddress();
export const ALL_NODES = IpAddress.of(0xff020000, 0, 0, 1);
export const ALL_ROUTERS = IpAddress.of(0xff020000, 0, 0, 2);
const INTERFACE_LOCAL_NODES = IpAddress.of(0xff010000, 0, 0, 1);

export const isAllNodes = (address: IpAddress): boolean =>
  address.equals(ALL_NODES) || address.equals(INTERFACE_LOCAL_NODES);

/** ff02::1:ffXX:XXXX: who may have an address that ends in these 24 bits. */
export const solicitedNode = (target: IpAddress, into = new IpAddress()): IpAddress =>
  into.set(0xff020000, 0, 1, 0xff000000 | (target.d & 0xffffff));
export const isSolicitedNodeOf = (group: IpAddress, target: IpAddress): boolean =>
  group.a === 0xff020000 && group.b === 0 && group.c === 1 && group.d === (0xff000000 | (target.d & 0xffffff)) >>> 0;

/** The MAC address of a multicast destination (RFC 2464, 7). */
export function groupMac(destination: IpAddress, into: Uint8Array): Uint8Array {
  into[0] = 0x33;
  into[1] = 0x33;
  into[2] = destination.d >>> 24;
  into[3] = (destination.d >>> 16) & 0xff;
  into[4] = (destination.d >>> 8) & 0xff;
  into[5] = destination.d & 0xff;
  return into;
}

/** fe80::/64 with the identifier RFC 4291, appendix A, makes of a MAC address. */
export const linkLocalOf = (mac: Uint8Array): IpAddress => withIdentifier(IpAddress.of(0xfe800000, 0, 0, 0), mac);
export function withIdentifier({ a, b }: IpAddress, mac: Uint8Array): IpAddress {
  const [m0, m1, m2, m3, m4, m5] = mac as unknown as [number, number, number, number, number, number];
  return IpAddress.of(
    a,
    b,
    (((m0 ^ 2) << 24) | (m1 << 16) | (m2 << 8) | 0xff) >>> 0,
    ((0xfe << 24) | (m3 << 16) | (m4 << 8) | m5) >>> 0,
  );
}

/** How many first bits they share. */
export function commonBits(x: IpAddress, y: IpAddress): number {
  if (x.a !== y.a) return Math.clz32(x.a ^ y.a);
  if (x.b !== y.b) return 32 + Math.clz32(x.b ^ y.b);
  if (x.c !== y.c) return 64 + Math.clz32(x.c ^ y.c);
  return 96 + Math.clz32(x.d ^ y.d);
}
export const hasPrefix = (address: IpAddress, prefix: IpAddress, length: number): boolean =>
  commonBits(address, prefix) >= length;

/** Of a group: it goes no further than the interface. */
export const isInterfaceGroup = (address: IpAddress): boolean =>
  address.a >>> 24 === 0xff && ((address.a >>> 16) & 15) <= 1;
/** Of a group: it goes no further than the link (RFC 4291, 2.7). */
export const isLinkGroup = (address: IpAddress): boolean => address.a >>> 24 === 0xff && ((address.a >>> 16) & 15) <= 2;
