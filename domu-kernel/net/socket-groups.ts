// The groups of one socket: those that it has joined, and how it sends to groups. As Linux has it, a socket hears of a group that
// anybody here has joined, where it is bound to the port, and to the group or any address.
import { XenError } from '#pvbus';
import { type GroupOptionName, type GroupSocket, isOfIpv6 } from '../wasi/socket.ts';
import { formatIpv4 } from './address.ts';
import { IpAddress } from './ip-address.ts';
import type { JoinedGroups } from './joined-groups.ts';
import { addressOf } from './socket-address.ts';
import type { TransportLink } from './transport-link.ts';

/** Of one socket. Linux has 20 of IPv4, and of IPv6 as many as its memory for options holds. */
export const MOST_MEMBERSHIPS = { 4: 20, 6: 64 } as const;

export interface GroupInterface {
  /** Undefined: it does not speak that. */
  joined(family: 4 | 6): JoinedGroups | undefined;
}
/** How packets to groups leave. */
export interface GroupSending {
  /** 0: not at all. */
  readonly hops: number;
  /** This guest has them too, where it has joined the group there. */
  readonly loops: boolean;
}
export const GROUP_SENDING: GroupSending = { hops: 1, loops: true };

/** What these need of the network. */
export interface GroupNetwork {
  /** By its number, else by its address, else by the route to the group; undefined: there is none. */
  interfaceFor(wanted: {
    index: number;
    address?: IpAddress | undefined;
    group?: IpAddress;
  }): GroupInterface | undefined;
  /** By that interface, where one is said. */
  groupLink(own: GroupInterface | undefined, sending: GroupSending): TransportLink;
}

interface Membership {
  readonly group: IpAddress;
  readonly own: GroupInterface;
  /** By which its interface was asked for. */
  readonly address: IpAddress | undefined;
}

class Sending {
  hops = 1;
  loops = true;
  /** Groups that it has not joined are heard too. */
  all = true;
  index = 0;
  /** Of IPv4: what the interface was named by; 0: nothing. */
  address = 0;
  own: GroupInterface | undefined;
  link: TransportLink | undefined;
}

export class SocketGroups implements GroupSocket {
  private readonly network: GroupNetwork;
  private readonly family: 4 | 6;
  private memberships: Membership[] = [];
  private readonly sending = { 4: new Sending(), 6: new Sending() };

  constructor(network: GroupNetwork, family: 4 | 6) {
    this.network = network;
    this.family = family;
  }
  /** Of what comes to a group. */
  hears(group: IpAddress): boolean {
    return this.sending[familyOf(group)].all || this.memberships.some(one => one.group.equals(group));
  }
  /** By which packets to a group leave; undefined: as all do. */
  linkTo(group: IpAddress): TransportLink | undefined {
    return this.sending[familyOf(group)].link;
  }

  join(bytes: Uint8Array, index: number, named?: Uint8Array): void {
    const { group, family, address } = this.wanted(bytes, named);
    if (!group.isMulticast) throw new XenError('EINVAL', `${group} is no group`);
    // As Linux: without an interface it is asked first whether the group is joined on any.
    const any = family === 6 && index === 0;
    const own = this.network.interfaceFor({ index, address, group });
    if (!own && !any) throw new XenError('ENODEV', `no interface for ${group}`);
    if (this.memberships.some(one => one.group.equals(group) && (any || one.own === own)))
      throw new XenError('EADDRINUSE', `${group} is joined already`);
    const groups = own?.joined(family);
    if (!own || !groups) throw new XenError('ENODEV', `no interface for ${group}`);
    const count = this.memberships.filter(one => familyOf(one.group) === family).length;
    if (count >= MOST_MEMBERSHIPS[family])
      throw new XenError(family === 4 ? 'ENOBUFS' : 'ENOMEM', `a socket has ${count} groups already`);
    groups.join(group);
    this.memberships.push({ group, own, address });
  }
  leave(bytes: Uint8Array, index: number, named?: Uint8Array): void {
    const { group, family, address } = this.wanted(bytes, named);
    if (family === 6 && !group.isMulticast) throw new XenError('EINVAL', `${group} is no group`);
    const own = index !== 0 || family === 4 ? this.network.interfaceFor({ index, address, group }) : undefined;
    if (family === 4 && index === 0 && !address && !own) throw new XenError('ENODEV', `no interface for ${group}`);
    if (family === 6 && index !== 0 && !own) throw new XenError('ENODEV', `no interface ${index}`);
    // As Linux: by its interface, and by the address it was joined by where no interface has that any more.
    const isMeant = (one: Membership): boolean =>
      own || index !== 0 ? one.own === own : !address || one.address?.equals(address) === true;
    const found = this.memberships.find(one => one.group.equals(group) && isMeant(one));
    if (!found) throw new XenError('EADDRNOTAVAIL', `${group} is not joined`);
    this.memberships = this.memberships.filter(one => one !== found);
    found.own.joined(family)?.leave(group);
  }
  close(): void {
    for (const { group, own } of this.memberships.splice(0)) own.joined(familyOf(group))?.leave(group);
  }
  private wanted(bytes: Uint8Array, named: Uint8Array | undefined) {
    const group = addressOf(bytes);
    const family = familyOf(group);
    if (family === 4 && bytes.length === 16) throw new XenError('EINVAL', `${group} is no group of IPv6`);
    if (family === 6 && this.family === 4) throw new XenError('ENOPROTOOPT', 'the socket is of IPv4');
    const address = named && addressOf(named);
    return { group, family, address: address?.isUnspecified ? undefined : address };
  }

  setOption(name: GroupOptionName, value: number): void {
    if (isOfIpv6(name) && this.family === 4) throw new XenError('ENOPROTOOPT', 'the socket is of IPv4');
    const own = this.sending[isOfIpv6(name) ? 6 : 4];
    if (name === 'multicastHops' || name === 'multicastHops6') own.hops = within(value === -1 ? 1 : value, 255);
    else if (name === 'multicastLoop') own.loops = value !== 0;
    else if (name === 'multicastLoop6') own.loops = within(value, 1) === 1;
    else if (name === 'multicastAll' || name === 'multicastAll6') own.all = within(value, 1) === 1;
    else this.setInterface(name, own, value);
    own.link = this.network.groupLink(own.own, { hops: own.hops, loops: own.loops });
  }
  private setInterface(name: GroupOptionName, own: Sending, value: number): void {
    const byAddress = name === 'multicastAddress';
    const address = byAddress ? IpAddress.v4(value >>> 0) : undefined;
    const found = value === 0 ? undefined : this.network.interfaceFor({ index: byAddress ? 0 : value, address });
    const code = name === 'multicastInterface6' ? 'ENODEV' : 'EADDRNOTAVAIL';
    if (value !== 0 && !found) throw new XenError(code, `no interface ${byAddress ? formatIpv4(value >>> 0) : value}`);
    own.own = found;
    own.index = byAddress ? 0 : value;
    own.address = byAddress ? value : 0;
  }
  getOption(name: GroupOptionName): number {
    if (isOfIpv6(name) && this.family === 4) throw new XenError('EOPNOTSUPP', 'the socket is of IPv4');
    const { hops, loops, all, index, address } = this.sending[isOfIpv6(name) ? 6 : 4];
    if (name === 'multicastHops' || name === 'multicastHops6') return hops;
    if (name === 'multicastLoop' || name === 'multicastLoop6') return Number(loops);
    if (name === 'multicastAll' || name === 'multicastAll6') return Number(all);
    return name === 'multicastAddress' ? address : index;
  }
}

const familyOf = (address: IpAddress): 4 | 6 => (address.isV4 ? 4 : 6);
function within(value: number, most: number): number {
  if (value < 0 || value > most) throw new XenError('EINVAL', `${value} is not from 0 to ${most}`);
  return value;
}
