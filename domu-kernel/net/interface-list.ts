// What programs are told of the interfaces there are.
import type { SocketInterface } from '../wasi/socket.ts';
import type { NetInterface } from './interface.ts';
import { IpAddress } from './ip-address.ts';
import { isUsable } from './ip6/addresses.ts';
import type { Network } from './network.ts';
import { LOOPBACK, socketBytes } from './socket-address.ts';

export const interfaceList = ({ numbered, lo }: Network): SocketInterface[] =>
  numbered.map((own, i) => ({
    index: i + 1,
    name: own.name,
    isLoopback: own === lo,
    mtu: own.mtu,
    mac: own.device.mac,
    addresses: own === lo ? [...four(own), { address: socketBytes(LOOPBACK[6], 6), prefixLength: 128 }] : all(own),
  }));

const all = (own: NetInterface): SocketInterface['addresses'] => [...four(own), ...six(own)];
const four = ({ v4 }: NetInterface): SocketInterface['addresses'] =>
  v4.address === 0
    ? []
    : [{ address: socketBytes(IpAddress.v4(v4.address), 4), prefixLength: Math.clz32(~v4.netmask) }];
const six = ({ v6 }: NetInterface): SocketInterface['addresses'] =>
  [...(v6?.discovery.addresses ?? [])]
    .filter(isUsable)
    // As Linux: those of the link last.
    .sort((a, b) => Number(a.address.isLinkLocal) - Number(b.address.isLinkLocal))
    .map(({ address, prefixLength }) => ({ address: socketBytes(address, 6), prefixLength }));
