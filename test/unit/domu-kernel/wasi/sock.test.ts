import { beforeEach, describe, expect, it } from 'vitest';
import { Wait } from '../../../../domu-kernel/process/wait.ts';
import * as abi from '../../../../domu-kernel/wasi/abi.ts';
import { xenolith_sockaddr } from '../../../../domu-kernel/wasi/xenolith-sock.ts';
import { LoopbackSockets } from '../../../support/loopback-sockets.ts';
import { WasiRig } from '../../../support/wasi-rig.ts';

const OUTSIDE = 4 * 65536 - 2;

let sockets: LoopbackSockets;
let rig: WasiRig;
beforeEach(() => {
  sockets = new LoopbackSockets();
  rig = new WasiRig({ sockets });
});

const newSocket = (family = 4): number | string | Wait => {
  const at = rig.alloc(4);
  const outcome = rig.sock('socket', family, at);
  return outcome === 'SUCCESS' ? rig.u32(at) : outcome;
};
const address = (port: number, family = 4, ...bytes: number[]): number => {
  const at = rig.alloc(xenolith_sockaddr.size);
  rig.view.setUint16(at, family, true);
  rig.view.setUint16(at + 2, port, true);
  rig.process.bytes.set(bytes, at + 4);
  return at;
};
const addressOf = (call: 'getsockname' | 'getpeername', fd: number) => {
  const at = rig.alloc(xenolith_sockaddr.size);
  const outcome = rig.sock(call, fd, at);
  if (outcome !== 'SUCCESS') return outcome;
  return [
    rig.view.getUint16(at, true),
    rig.view.getUint16(at + 2, true),
    [...rig.process.bytes.subarray(at + 4, at + 8)],
  ];
};
const accept = (fd: number, flags = 0) => {
  const at = rig.alloc(4);
  const outcome = rig.call('sock_accept', fd, flags, at);
  return outcome === 'SUCCESS' ? rig.u32(at) : outcome;
};
const recv = (fd: number, flags = 0, ...sizes: number[]) => {
  const buffers = (sizes.length ? sizes : [100]).map(size => [rig.alloc(size), size] as const);
  const [n, ro] = [rig.alloc(4), rig.alloc(2)];
  const outcome = rig.call('sock_recv', fd, ...rig.iovs(...buffers), flags, n, ro);
  if (outcome !== 'SUCCESS') return outcome;
  return buffers
    .map(([at, size]) => rig.text(at, size))
    .join('')
    .slice(0, rig.u32(n));
};
const send = (fd: number, data: string | Uint8Array, flags = 0) => {
  const n = rig.alloc(4);
  const outcome = rig.call('sock_send', fd, ...rig.iovs(rig.bytes(data)), flags, n);
  return outcome === 'SUCCESS' ? rig.u32(n) : outcome;
};
const listener = (port: number, backlog = 5): number => {
  const fd = newSocket() as number;
  expect(rig.sock('bind', fd, address(port))).toBe('SUCCESS');
  expect(rig.sock('listen', fd, backlog)).toBe('SUCCESS');
  return fd;
};
/** Made again, as a call that waits is. */
const connect = (fd: number, to: number) => {
  const first = rig.sock('connect', fd, to);
  return first instanceof Wait ? rig.sock('connect', fd, to) : first;
};
const pair = (): { server: number; client: number; listening: number } => {
  const listening = listener(80);
  const client = newSocket() as number;
  expect(connect(client, address(80, 4, 127, 0, 0, 1))).toBe('SUCCESS');
  return { server: accept(listening) as number, client, listening };
};

describe('xenolith_sock', () => {
  it('binds, listens, connects, and says where', () => {
    const { server, client, listening } = pair();
    expect(addressOf('getsockname', listening)).toEqual([4, 80, [0, 0, 0, 0]]);
    expect(addressOf('getpeername', client)).toEqual([4, 80, [127, 0, 0, 1]]);
    const port = (addressOf('getsockname', client) as number[])[1];
    expect(addressOf('getpeername', server)).toEqual([4, port, [127, 0, 0, 1]]);
    expect(addressOf('getpeername', listening)).toBe('ENOTCONN');
    expect(addressOf('getsockname', newSocket() as number)).toEqual([4, 0, [0, 0, 0, 0]]);
  });
  it('refuses what cannot be', () => {
    expect(newSocket(5)).toBe('EAFNOSUPPORT');
    expect(newSocket(6)).toBe('EAFNOSUPPORT'); // this stack has none
    expect(rig.sock('socket', 4, OUTSIDE)).toBe('EFAULT');
    const fd = newSocket() as number;
    expect(rig.sock('bind', fd, address(1, 6))).toBe('EAFNOSUPPORT');
    expect(rig.sock('bind', fd, OUTSIDE)).toBe('EFAULT');
    listener(80);
    expect(rig.sock('bind', fd, address(80))).toBe('EADDRINUSE');
    expect(rig.sock('connect', fd, address(81))).toBe('ECONNREFUSED');
    const file = rig.file('a');
    for (const call of ['bind', 'connect', 'getsockname', 'getpeername'] as const) {
      expect(rig.sock(call, file, address(1))).toBe('ENOTSOCK');
      expect(rig.sock(call, 99, address(1))).toBe('EBADF');
    }
    expect(rig.sock('listen', file, 1)).toBe('ENOTSOCK');
    const { client } = { client: newSocket() as number };
    expect(connect(client, address(80))).toBe('SUCCESS');
    expect(connect(client, address(80))).toBe('EISCONN');
    const none = new WasiRig();
    expect(none.sock('socket', 4, 64)).toBe('EAFNOSUPPORT');
    expect(none.sock('resolve', 64, 1, 128, 1, 64)).toBe('ENETDOWN');
  });
  it('connect of a socket with NONBLOCK is EINPROGRESS, then EALREADY, then done', () => {
    const listening = listener(80, 1);
    const first = newSocket() as number;
    connect(first, address(80));
    const fd = newSocket() as number;
    rig.ok('fd_fdstat_set_flags', fd, abi.FDFLAGS_NONBLOCK);
    expect(rig.sock('connect', fd, address(80))).toBe('EINPROGRESS'); // the backlog is full
    expect(rig.sock('connect', fd, address(80))).toBe('EALREADY');
    accept(listening);
    expect(connect(fd, address(80))).toBe('EALREADY');
    expect(rig.sock('connect', fd, address(80))).toBe('SUCCESS');
    const other = newSocket() as number;
    rig.ok('fd_fdstat_set_flags', other, abi.FDFLAGS_NONBLOCK);
    expect(rig.sock('connect', other, address(80))).toBe('EINPROGRESS');
    expect(rig.sock('connect', other, address(81))).toBe('ECONNREFUSED');
    expect(rig.sock('connect', other, address(80))).toBe('EINPROGRESS'); // it begins anew
  });
  it('connect with SO_SNDTIMEO is EINPROGRESS when it is out of time, then EALREADY, then done', () => {
    const listening = listener(80, 1);
    connect(newSocket() as number, address(80));
    const fd = newSocket() as number;
    const late = () => {
      for (let wakes = 0; wakes < 2; wakes++) expect(rig.sock('connect', fd, address(80))).toBeInstanceOf(Wait);
      rig.process.outOfTime = true;
      return rig.sock('connect', fd, address(80));
    };
    expect([late(), late(), late()]).toEqual(['EINPROGRESS', 'EALREADY', 'EALREADY']);
    accept(listening);
    expect(connect(fd, address(80))).toBe('SUCCESS');
    expect(connect(fd, address(80))).toBe('EISCONN');
  });
  it('resolve waits for the answer', () => {
    const into = rig.alloc(40);
    const count = rig.alloc(4);
    const name = rig.bytes('localhost');
    expect(rig.sock('resolve', ...name, into, 2, count)).toBeInstanceOf(Wait);
    expect(rig.sock('resolve', ...name, into, 2, count)).toBe('SUCCESS');
    expect([rig.u32(count), rig.view.getUint16(into, true), ...rig.process.bytes.subarray(into + 4, into + 8)]).toEqual(
      [1, 4, 127, 0, 0, 1],
    );
    const none = rig.bytes('none');
    rig.sock('resolve', ...none, into, 2, count);
    expect(rig.sock('resolve', ...none, into, 2, count)).toBe('ENOENT');
    expect(rig.sock('resolve', ...name, OUTSIDE, 2, count)).toBe('EFAULT');
    expect(rig.sock('resolve', name[0], 256, into, 2, count)).toBe('ENAMETOOLONG');
  });
});

describe('sock_*', () => {
  it('accept waits for a connection, or is EAGAIN', () => {
    const listening = listener(80);
    expect(accept(listening)).toBeInstanceOf(Wait);
    rig.ok('fd_fdstat_set_flags', listening, abi.FDFLAGS_NONBLOCK);
    expect(accept(listening)).toBe('EAGAIN');
    connect(newSocket() as number, address(80));
    const server = accept(listening, abi.FDFLAGS_NONBLOCK) as number;
    expect(recv(server)).toBe('EAGAIN');
    expect(accept(listening, abi.FDFLAGS_APPEND)).toBe('EINVAL');
    expect(accept(rig.file('a'))).toBe('ENOTSOCK');
    expect(rig.call('sock_accept', listening, 0, OUTSIDE)).toBe('EFAULT');
  });
  it('recv and send move bytes, as read and write do', () => {
    const { server, client } = pair();
    expect(recv(server)).toBeInstanceOf(Wait);
    expect(send(client, 'hello')).toBe(5);
    expect(recv(server, abi.RIFLAGS_RECV_PEEK, 2, 10)).toBe('hello');
    expect(recv(server, 0, 2, 10)).toBe('hello');
    expect(rig.write(server, 'back')).toBe(4);
    expect(rig.read(client)).toBe('back');
    expect(recv(client, 4)).toBe('EINVAL');
    expect(send(client, 'x', 1)).toBe('EINVAL');
    expect(rig.call('sock_recv', client, ...rig.iovs([64, 1]), 0, OUTSIDE, 64)).toBe('EFAULT');
    expect(rig.call('sock_recv', client, ...rig.iovs([64, 1]), 0, 64, OUTSIDE + 1)).toBe('EFAULT');
    expect(rig.call('sock_send', client, ...rig.iovs([OUTSIDE, 9]), 0, 64)).toBe('EFAULT');
  });
  it('recv with WAITALL comes back when all of it is there, or the end', () => {
    const { server, client } = pair();
    send(client, 'abc');
    const into = rig.alloc(8);
    const [n, ro] = [rig.alloc(4), rig.alloc(2)];
    const [iovs, count] = rig.iovs([into, 2], [into + 2, 4]);
    const all = () => rig.call('sock_recv', server, iovs, count, abi.RIFLAGS_RECV_WAITALL, n, ro);
    const again = all();
    expect(again).toBeInstanceOf(Wait);
    const state = rig.process.call;
    send(client, 'defgh');
    rig.process.call = state;
    expect(all()).toBe('SUCCESS');
    expect(rig.text(into, rig.u32(n))).toBe('abcdef');
    rig.ok('sock_shutdown', client, abi.SDFLAGS_WR);
    expect(all()).toBe('SUCCESS');
    expect(rig.text(into, rig.u32(n))).toBe('gh');
  });
  it('shutdown ends one side or both', () => {
    const { server, client } = pair();
    rig.ok('sock_shutdown', client, abi.SDFLAGS_WR);
    expect(recv(server)).toBe('');
    expect(send(client, 'x')).toBe('EPIPE');
    expect(send(server, 'still')).toBe(5);
    expect(recv(client)).toBe('still');
    expect(rig.call('sock_shutdown', client, 0)).toBe('EINVAL');
    expect(rig.call('sock_shutdown', client, 4)).toBe('EINVAL');
    expect(rig.call('sock_shutdown', rig.file('a'), 1)).toBe('ENOTSOCK');
    expect(rig.call('sock_shutdown', 3, 1)).toBe('EBADF');
    expect(rig.call('sock_shutdown', 99, 1)).toBe('EBADF');
    expect(rig.call('sock_shutdown', newSocket() as number, 1)).toBe('ENOTCONN');
  });
  it('each need their right', () => {
    const { server, listening } = pair();
    rig.ok('fd_fdstat_set_rights', server, 0n, 0n);
    rig.ok('fd_fdstat_set_rights', listening, 0n, 0n);
    expect(recv(server)).toBe('ENOTCAPABLE');
    expect(send(server, 'x')).toBe('ENOTCAPABLE');
    expect(rig.call('sock_shutdown', server, 1)).toBe('ENOTCAPABLE');
    expect(accept(listening)).toBe('ENOTCAPABLE');
  });
  it('a socket is closed with the last descriptor', () => {
    pair();
    expect(sockets.open).toBe(3);
    rig.fds.closeAll();
    expect(sockets.open).toBe(0);
  });
});

describe('datagrams', () => {
  const datagrams = (port = 0): number => {
    const at = rig.alloc(4);
    expect(rig.sock('socket_dgram', 4, at)).toBe('SUCCESS');
    const fd = rig.u32(at);
    if (port !== 0) expect(rig.sock('bind', fd, address(port))).toBe('SUCCESS');
    return fd;
  };
  const sendTo = (fd: number, data: string, to: number, flags = 0) => {
    const n = rig.alloc(4);
    const outcome = rig.sock('sendto', fd, ...rig.iovs(rig.bytes(data)), flags, to, n);
    return outcome === 'SUCCESS' ? rig.u32(n) : outcome;
  };
  const here = (port: number) => address(port, 4, 127, 0, 0, 1);

  it('are received by any call, one by one, cut off where there is no room, which is said', () => {
    const server = datagrams(53);
    const client = datagrams(1000);
    for (const text of ['one', 'two', 'three', 'four']) expect(sendTo(client, text, here(53))).toBe(text.length);
    expect(rig.read(server)).toBe('one');
    expect(recv(server, 0, 1, 100)).toBe('two');
    const [at, from, n, out] = [rig.alloc(8), rig.alloc(20), rig.alloc(4), rig.alloc(4)];
    expect(rig.sock('recvfrom', server, ...rig.iovs([at, 2]), 0x20, from, n, out)).toBe('SUCCESS');
    expect([rig.text(at, 2), rig.u32(n), rig.u32(out)]).toEqual(['th', 5, 1]);
    expect([...rig.process.bytes.subarray(from, from + 8)]).toEqual([4, 0, 1000 & 255, 1000 >> 8, 127, 0, 0, 1]);
    const [size, roFlags] = [rig.alloc(4), rig.alloc(2)];
    expect(rig.call('sock_recv', server, ...rig.iovs([at, 1]), 0, size, roFlags)).toBe('SUCCESS');
    expect(rig.view.getUint16(roFlags, true)).toBe(abi.ROFLAGS_RECV_DATA_TRUNCATED);
    expect(rig.read(server)).toBeInstanceOf(Wait);
  });

  it('stay where a pointer leads out of the memory, and are not sent from there', () => {
    const [server, client] = [datagrams(53), datagrams()];
    sendTo(client, 'here', here(53));
    const [at, n, out] = [rig.alloc(8), rig.alloc(4), rig.alloc(4)];
    for (const pointers of [
      [OUTSIDE, n, out],
      [0, OUTSIDE, out],
      [0, n, OUTSIDE],
    ] as const) {
      expect(rig.sock('recvfrom', server, ...rig.iovs([at, 8]), 0, ...pointers)).toBe('EFAULT');
    }
    expect(rig.sock('sendto', client, ...rig.iovs([OUTSIDE, 8]), 0, here(53), n)).toBe('EFAULT');
    expect(sendTo(client, 'x', OUTSIDE)).toBe('EFAULT');
    expect(rig.read(server)).toBe('here');
    expect(rig.read(server)).toBeInstanceOf(Wait);
  });

  it('are of sockets that know their type, no listeners, and closed with their process', () => {
    const fd = datagrams(53);
    const at = rig.alloc(24);
    expect(rig.call('fd_fdstat_get', fd, at)).toBe('SUCCESS');
    expect(rig.view.getUint8(at)).toBe(abi.FILETYPE_SOCKET_DGRAM);
    expect(rig.sock('listen', fd, 1)).toBe('ENOTSUP');
    expect(accept(fd)).toBe('ENOTSUP');
    expect(sendTo(fd, 'x', here(9), 1)).toBe('EINVAL');
    expect(sendTo(fd, 'x', address(9, 6))).toBe('EAFNOSUPPORT');
    expect(sendTo(fd, 'x', 0)).toBe('EDESTADDRREQ');
    rig.fds.closeAll();
    expect(sockets.open).toBe(0);
    datagrams(53);
  });

  it('over a stream are what send and recv are, and say nothing of who it is', () => {
    const { server, client } = pair();
    expect(sendTo(client, 'hello', 0)).toBe(5);
    const [at, from, n, out] = [rig.alloc(8), address(9), rig.alloc(4), rig.alloc(4)];
    expect(rig.sock('recvfrom', server, ...rig.iovs([at, 8]), 1, from, n, out)).toBe('SUCCESS');
    expect([rig.text(at, rig.u32(n)), rig.view.getUint16(from, true)]).toEqual(['hello', 0]);
    expect(recv(server)).toBe('hello');
    expect(rig.sock('recvfrom', server, ...rig.iovs([at, 8]), 0x40, from, n, out)).toBe('EAGAIN');
  });
});
