// What a socket is bound to, and which of two that share a port are in each other's way.
import { IpAddress } from './ip-address.ts';

export interface BoundName {
  /** One of ours; 0.0.0.0: all of IPv4; ::: all of both families. */
  readonly address: IpAddress;
  /** Of ::, IPv6's alone. */
  readonly ipv6Only: boolean;
}

/** 0.0.0.0 for a socket of IPv4, :: for one of IPv6. */
export const anyOf = (family: 4 | 6): IpAddress => (family === 4 ? IpAddress.v4(0) : new IpAddress());

/** What is for `to` is this one's. */
export function takes({ address, ipv6Only }: BoundName, to: IpAddress): boolean {
  if (!address.isUnspecified) return address.equals(to);
  return address.isV4 ? to.isV4 : !(ipv6Only && to.isV4);
}
/** There are addresses that both would take. */
export function overlap(one: BoundName, other: BoundName): boolean {
  if (!one.address.isUnspecified) return takes(other, one.address);
  return takes(one, other.address) || (other.address.isUnspecified && takes(other, one.address));
}
