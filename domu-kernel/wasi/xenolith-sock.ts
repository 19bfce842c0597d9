// The import module xenolith_sock: what preview1 lacks to make connections, and to send datagrams. xenolith_sock.h is its C side.
import { struct, XenError } from '#pvbus';
import type { Process } from '../process/process.ts';
import { Wait } from '../process/wait.ts';
import {
  RIFLAGS_RECV_PEEK,
  RIFLAGS_RECV_WAITALL,
  RIGHTS_FD_READ,
  RIGHTS_FD_WRITE,
  ROFLAGS_RECV_DATA_TRUNCATED,
} from './abi.ts';
import { descriptorOf, mayNotWait } from './fd.ts';
import { Descriptor } from './fd-table.ts';
import type { Outcome, WasiKernel } from './kernel.ts';
import { at, Buffers, textAt } from './memory.ts';
import { OpenDatagrams, OpenSocket, socketOf, streamOf } from './open-socket.ts';
import { ALL_RIGHTS } from './rights.ts';
import { receive, send } from './sock.ts';
import type { Lookup, SocketAddress, SocketStack } from './socket.ts';

/** struct xenolith_sockaddr: family is 4 or 6; the port is in the machine's order, the address in the network's. */
export const xenolith_sockaddr = struct('xenolith_sockaddr', 20, {
  family: 'u16',
  port: 'u16',
  addr: { of: 'u8', count: 16 },
});
/** struct xenolith_interface: name has 15 bytes at most and a NUL, mac six of its eight. */
export const xenolith_interface = struct('xenolith_interface', 36, {
  index: 'u32',
  flags: 'u32',
  mtu: 'u32',
  name: { of: 'u8', count: 16 },
  mac: { of: 'u8', count: 8 },
});
export const xenolith_interface_address = struct('xenolith_interface_address', 24, {
  index: 'u32',
  family: 'u16',
  prefix_length: 'u16',
  addr: { of: 'u8', count: 16 },
});
// Linux's: up, running, its carrier there; and of everybody's kind, or the loopback.
const FLAGS_UP = 0x10041;
const FLAGS_LOOPBACK = 0x8;
const FLAGS_ETHERNET = 0x1002;
const MAX_NAME_BYTES = 15;
const FAMILY_OF: Readonly<Record<number, 4 | 6>> = { 4: 4, 16: 6 };
const NOBODY: SocketAddress = { address: new Uint8Array(0), port: 0 };
/** Flags of sendto and recvfrom that preview1 has not; the others are its own. */
const TRUNCATES = 0x20;
const DONTWAIT = 0x40;
const MAX_NAME = 255;
const MAX_BACKLOG = 4096;

const bytesOf = (family: number): number => (family === 4 ? 4 : 16);

function addressAt(process: Process, pointer: number, family: 4 | 6): SocketAddress {
  const base = at(process, pointer, xenolith_sockaddr.size);
  const { view } = process;
  const given = view.getUint16(base + xenolith_sockaddr.at.family, true);
  if (given !== family) throw new XenError('EAFNOSUPPORT', `an address of family ${given} for a socket of ${family}`);
  const from = base + xenolith_sockaddr.at.addr;
  return {
    address: process.bytes.slice(from, from + bytesOf(family)),
    port: view.getUint16(base + xenolith_sockaddr.at.port, true),
  };
}
function anyAddressAt(process: Process, pointer: number): Uint8Array {
  const base = at(process, pointer, xenolith_sockaddr.size);
  const family = process.view.getUint16(base + xenolith_sockaddr.at.family, true);
  if (family !== 4 && family !== 6) throw new XenError('EAFNOSUPPORT', `an address of family ${family}`);
  const from = base + xenolith_sockaddr.at.addr;
  return process.bytes.slice(from, from + bytesOf(family));
}
/** Streams have no groups: EPROTO, as in Linux. */
function datagramsOf(process: Process, fd: number): OpenDatagrams {
  const socket = openSocketOf(process, fd);
  if (socket instanceof OpenDatagrams) return socket;
  throw new XenError('EPROTO', 'a stream has no groups');
}
function isNobody(process: Process, pointer: number): boolean {
  const base = at(process, pointer, xenolith_sockaddr.size);
  return process.view.getUint16(base + xenolith_sockaddr.at.family, true) === 0;
}
function storeAddress(process: Process, base: number, { address, port }: SocketAddress): void {
  const { view } = process;
  const from = base + xenolith_sockaddr.at.addr;
  process.bytes.fill(0, from, from + 16);
  process.bytes.set(address, from);
  view.setUint16(base + xenolith_sockaddr.at.family, FAMILY_OF[address.length] ?? 0, true);
  view.setUint16(base + xenolith_sockaddr.at.port, port, true);
}
const openSocketOf = (process: Process, fd: number): OpenSocket | OpenDatagrams =>
  socketOf(descriptorOf(process, fd).file);
/** A socket that there is from now on, in the next descriptor; EAFNOSUPPORT for anything but 4 and 6. */
function open(
  process: Process,
  { sockets }: Pick<WasiKernel, 'sockets'>,
  family: number,
  result: number,
  make: (stack: SocketStack, family: 4 | 6) => OpenSocket | OpenDatagrams,
): 0 {
  const resultAt = at(process, result, 4);
  process.fds.checkRoom();
  if (!sockets || (family !== 4 && family !== 6)) throw new XenError('EAFNOSUPPORT', `sockets of family ${family}`);
  const descriptor = new Descriptor(make(sockets, family), ALL_RIGHTS, ALL_RIGHTS);
  process.view.setUint32(resultAt, process.fds.add(descriptor), true);
  return 0;
}

/** A name that a call looks up, until the addresses are there. */
class Resolving {
  readonly lookup: Lookup;
  constructor(lookup: Lookup) {
    this.lookup = lookup;
  }
}

/** A `connect` that has begun the connection, and waits. */
const FIRST_CONNECT = {};

export const xenolithSockCalls = (kernel: Pick<WasiKernel, 'sockets'>) => ({
  /** A TCP socket; family 4 or 6. */
  socket(process: Process, family: number, result: number): number {
    return open(process, kernel, family, result, (stack, known) => new OpenSocket(stack.stream(known), known));
  },
  /** A UDP socket. */
  socket_dgram(process: Process, family: number, result: number): number {
    return open(process, kernel, family, result, (stack, known) => new OpenDatagrams(stack.datagram(known), known));
  },
  /** To `address`, 0 where the socket has a peer; which a stream has. */
  sendto(
    process: Process,
    fd: number,
    iovs: number,
    count: number,
    flags: number,
    address: number,
    result: number,
  ): Outcome {
    const descriptor = descriptorOf(process, fd);
    const socket = socketOf(descriptor.file);
    descriptor.need(RIGHTS_FD_WRITE);
    if (flags & ~DONTWAIT) throw new XenError('EINVAL', `send flags ${flags}`);
    const to = address === 0 ? undefined : addressAt(process, address, socket.family);
    const nonblock = mayNotWait(process, descriptor) || (flags & DONTWAIT) !== 0;
    return send(process, socket, nonblock, new Buffers(process, iovs, count), at(process, result, 4), to);
  },
  /** `address`: 0, or where it is to be said who has sent it, its family 0 for a stream. `roFlags`: 1 where it was cut off. */
  recvfrom(
    process: Process,
    fd: number,
    iovs: number,
    count: number,
    flags: number,
    address: number,
    result: number,
    roFlags: number,
  ): Outcome {
    const descriptor = descriptorOf(process, fd);
    const socket = socketOf(descriptor.file);
    descriptor.need(RIGHTS_FD_READ);
    const riFlags = flags & ~(DONTWAIT | TRUNCATES);
    if (riFlags & ~(RIFLAGS_RECV_PEEK | RIFLAGS_RECV_WAITALL)) throw new XenError('EINVAL', `recv flags ${flags}`);
    const buffers = new Buffers(process, iovs, count);
    const fromAt = address === 0 ? undefined : at(process, address, xenolith_sockaddr.size);
    const resultAt = at(process, result, 4);
    const flagsAt = at(process, roFlags, 4);
    const nonblock = mayNotWait(process, descriptor) || (flags & DONTWAIT) !== 0;
    const received = receive(process, socket, nonblock, buffers, riFlags);
    if (received instanceof Wait) return received;
    const { bytes, length, from } = received;
    if (fromAt !== undefined) storeAddress(process, fromAt, from ?? NOBODY);
    process.view.setUint32(flagsAt, length > bytes ? ROFLAGS_RECV_DATA_TRUNCATED : 0, true);
    process.view.setUint32(resultAt, flags & TRUNCATES ? length : bytes, true);
    return 0;
  },
  bind(process: Process, fd: number, address: number): number {
    const socket = openSocketOf(process, fd);
    socket.bind(addressAt(process, address, socket.family));
    return 0;
  },
  listen(process: Process, fd: number, backlog: number): number {
    streamOf(descriptorOf(process, fd).file).listen(Math.min(MAX_BACKLOG, Math.max(1, backlog)));
    return 0;
  },
  /**
   * EINPROGRESS, then EALREADY, for a socket with NONBLOCK or a call that is out of time; 0 when it is connected, EISCONN
   * ever after. Of datagrams it is the one peer, and with an address of family 0 there is none any more.
   */
  connect(process: Process, fd: number, address: number): Outcome {
    const descriptor = descriptorOf(process, fd);
    const socket = socketOf(descriptor.file);
    if (socket instanceof OpenDatagrams) {
      socket.socket.connect(isNobody(process, address) ? undefined : addressAt(process, address, socket.family));
      return 0;
    }
    const first = process.call === FIRST_CONNECT || !socket.hasBegun;
    const outcome = socket.connect(addressAt(process, address, socket.family));
    if (outcome === 0) return 0;
    if (mayNotWait(process, descriptor))
      throw new XenError(first ? 'EINPROGRESS' : 'EALREADY', 'the connection is not there yet');
    if (first) process.call = FIRST_CONNECT;
    return outcome;
  },
  setsockopt(process: Process, fd: number, option: number, value: number): number {
    openSocketOf(process, fd).setOption(option, value);
    return 0;
  },
  getsockopt(process: Process, fd: number, option: number, result: number): number {
    const socket = openSocketOf(process, fd);
    const resultAt = at(process, result, 4);
    process.view.setInt32(resultAt, socket.getOption(option), true);
    return 0;
  },
  /** A group of either family that a socket of datagrams is to hear, on the interface of number `index`, or of address `own`, or neither: 0. */
  join(process: Process, fd: number, group: number, own: number, index: number): number {
    const { groups } = datagramsOf(process, fd).socket;
    groups.join(anyAddressAt(process, group), index, own === 0 ? undefined : anyAddressAt(process, own));
    return 0;
  },
  leave(process: Process, fd: number, group: number, own: number, index: number): number {
    const { groups } = datagramsOf(process, fd).socket;
    groups.leave(anyAddressAt(process, group), index, own === 0 ? undefined : anyAddressAt(process, own));
    return 0;
  },
  getsockname(process: Process, fd: number, address: number): number {
    const { socket, family } = openSocketOf(process, fd);
    const base = at(process, address, xenolith_sockaddr.size);
    storeAddress(process, base, socket.local() ?? { address: new Uint8Array(bytesOf(family)), port: 0 });
    return 0;
  },
  getpeername(process: Process, fd: number, address: number): number {
    const { socket } = openSocketOf(process, fd);
    const base = at(process, address, xenolith_sockaddr.size);
    const remote = socket.remote();
    if (!remote) throw new XenError('ENOTCONN', 'a socket without a peer');
    storeAddress(process, base, remote);
    return 0;
  },
  /** At most `max` of the interfaces; `result`: how many there are. */
  interfaces(process: Process, list: number, max: number, result: number): number {
    const all = kernel.sockets?.interfaces() ?? [];
    const some = all.slice(0, max >>> 0);
    const base = at(process, list, some.length * xenolith_interface.size);
    const resultAt = at(process, result, 4);
    const { view, bytes } = process;
    for (const [i, { index, name, isLoopback, mtu, mac }] of some.entries()) {
      const one = base + i * xenolith_interface.size;
      bytes.fill(0, one, one + xenolith_interface.size);
      view.setUint32(one + xenolith_interface.at.index, index, true);
      const flags = FLAGS_UP | (isLoopback ? FLAGS_LOOPBACK : FLAGS_ETHERNET);
      view.setUint32(one + xenolith_interface.at.flags, flags, true);
      view.setUint32(one + xenolith_interface.at.mtu, mtu, true);
      bytes.set(new TextEncoder().encode(name).subarray(0, MAX_NAME_BYTES), one + xenolith_interface.at.name);
      bytes.set(mac, one + xenolith_interface.at.mac);
    }
    view.setUint32(resultAt, all.length, true);
    return 0;
  },
  interface_addresses(process: Process, list: number, max: number, result: number): number {
    const interfaces = kernel.sockets?.interfaces() ?? [];
    const all = interfaces.flatMap(({ index, addresses }) => addresses.map(own => ({ index, ...own })));
    const some = all.slice(0, max >>> 0);
    const base = at(process, list, some.length * xenolith_interface_address.size);
    const resultAt = at(process, result, 4);
    const { view, bytes } = process;
    for (const [i, { index, address, prefixLength }] of some.entries()) {
      const one = base + i * xenolith_interface_address.size;
      bytes.fill(0, one, one + xenolith_interface_address.size);
      view.setUint32(one + xenolith_interface_address.at.index, index, true);
      view.setUint16(one + xenolith_interface_address.at.family, FAMILY_OF[address.length] ?? 0, true);
      view.setUint16(one + xenolith_interface_address.at.prefix_length, prefixLength, true);
      bytes.set(address, one + xenolith_interface_address.at.addr);
    }
    view.setUint32(resultAt, all.length, true);
    return 0;
  },
  /** At most `max` addresses, their ports 0. ENOENT: there is no such name. */
  resolve(process: Process, name: number, length: number, addresses: number, max: number, result: number): Outcome {
    if (length >>> 0 > MAX_NAME) throw new XenError('ENAMETOOLONG', `a name of ${length >>> 0} bytes`);
    const text = textAt(process, name, length >>> 0);
    const base = at(process, addresses, (max >>> 0) * xenolith_sockaddr.size);
    const resultAt = at(process, result, 4);
    const { sockets } = kernel;
    if (!sockets) throw new XenError('ENETDOWN', `to look up ${text}`);
    const resolving = process.call instanceof Resolving ? process.call : new Resolving(sockets.resolve(text));
    const found = resolving.lookup.addresses();
    if (!found) {
      process.call = resolving;
      return new Wait([resolving.lookup.queue]);
    }
    const some = found.slice(0, max >>> 0);
    for (const [i, address] of some.entries()) {
      storeAddress(process, base + i * xenolith_sockaddr.size, { address, port: 0 });
    }
    process.view.setUint32(resultAt, some.length, true);
    return 0;
  },
});
