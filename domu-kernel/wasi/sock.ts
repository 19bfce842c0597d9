// sock_accept, sock_recv, sock_send, sock_shutdown.
import { XenError } from '#pvbus';
import type { Process } from '../process/process.ts';
import { Wait } from '../process/wait.ts';
import {
  FDFLAGS_NONBLOCK,
  RIFLAGS_RECV_PEEK,
  RIFLAGS_RECV_WAITALL,
  RIGHTS_FD_READ,
  RIGHTS_FD_WRITE,
  RIGHTS_SOCK_ACCEPT,
  RIGHTS_SOCK_SHUTDOWN,
  ROFLAGS_RECV_DATA_TRUNCATED,
  SDFLAGS_RD,
  SDFLAGS_WR,
} from './abi.ts';
import { type ReceivedInto, receiveDatagram, sendDatagram } from './datagrams.ts';
import { descriptorOf, mayNotWait } from './fd.ts';
import { Descriptor } from './fd-table.ts';
import type { Outcome } from './kernel.ts';
import { at, Buffers } from './memory.ts';
import { OpenDatagrams, type OpenSocket, socketOf, streamOf } from './open-socket.ts';
import { readInto, stored, writeFrom } from './read-write.ts';
import type { SocketAddress } from './socket.ts';

/** Of a peek, bytes at most. */
const MAX_PEEK = 65536;

/** What a call with WAITALL has received before it had to wait. */
class Received {
  bytes = 0;
}

/** The bytes that come next, which stay; in the first buffers that hold them. */
function peek(socket: OpenSocket, buffers: Buffers): number | Wait {
  const bytes = new Uint8Array(Math.min(buffers.total, MAX_PEEK));
  const n = socket.recv(bytes, true);
  if (n instanceof Wait) return n;
  let done = 0;
  for (const into of buffers.from()) {
    const part = bytes.subarray(done, Math.min(n, done + into.length));
    into.set(part);
    done += part.length;
    if (done === n) break;
  }
  return n;
}

function receiveAll(process: Process, nonblock: boolean, buffers: Buffers, socket: OpenSocket): number | Wait {
  const received = process.call instanceof Received ? process.call : new Received();
  for (const buffer of buffers.from(received.bytes)) {
    for (let into = buffer; into.length > 0; ) {
      let n: number | Wait;
      try {
        n = socket.recv(into, false);
      } catch (error) {
        // What came before the failure is not lost; the failure is the next call's.
        if (received.bytes > 0 && error instanceof XenError) return received.bytes;
        throw error;
      }
      if (n instanceof Wait) {
        if (nonblock && received.bytes > 0) return received.bytes;
        process.call = received;
        return n;
      }
      if (n === 0) return received.bytes;
      received.bytes += n;
      into = into.subarray(n);
    }
  }
  return received.bytes;
}

/** Of any socket; `length` is more than `bytes` where a datagram was cut off. */
export function receive(
  process: Process,
  socket: OpenSocket | OpenDatagrams,
  nonblock: boolean,
  buffers: Buffers,
  riFlags: number,
): ReceivedInto | Wait {
  const peeks = (riFlags & RIFLAGS_RECV_PEEK) !== 0;
  if (socket instanceof OpenDatagrams) return receiveDatagram(socket, nonblock, buffers, peeks);
  const n = peeks
    ? peek(socket, buffers)
    : riFlags & RIFLAGS_RECV_WAITALL
      ? receiveAll(process, nonblock, buffers, socket)
      : readInto(nonblock, buffers, into => socket.recv(into, false));
  if (!(n instanceof Wait)) return { bytes: n, length: n, from: undefined };
  if (nonblock) throw new XenError('EAGAIN', 'nothing is there yet');
  return n;
}

/** To `to`, where that is said of a datagram. */
export function send(
  process: Process,
  socket: OpenSocket | OpenDatagrams,
  nonblock: boolean,
  buffers: Buffers,
  resultAt: number,
  to?: SocketAddress,
): Outcome {
  if (socket instanceof OpenDatagrams) return stored(process, resultAt, sendDatagram(socket, nonblock, buffers, to));
  return writeFrom(process, nonblock, buffers, resultAt, from => socket.write(from));
}

export const sockCalls = {
  sock_accept(process: Process, fd: number, flags: number, result: number): Outcome {
    const descriptor = descriptorOf(process, fd);
    const socket = streamOf(descriptor.file);
    descriptor.need(RIGHTS_SOCK_ACCEPT);
    if (flags & ~FDFLAGS_NONBLOCK) throw new XenError('EINVAL', `flags ${flags} of an accepted socket`);
    const resultAt = at(process, result, 4);
    const { fds } = process;
    fds.checkRoom();
    const accepted = socket.accept();
    if (accepted instanceof Wait) {
      if (mayNotWait(process, descriptor)) throw new XenError('EAGAIN', 'no connection is there');
      return accepted;
    }
    const made = new Descriptor(accepted, descriptor.inheriting, descriptor.inheriting);
    made.nonblock = (flags & FDFLAGS_NONBLOCK) !== 0;
    process.view.setUint32(resultAt, fds.add(made), true);
    return 0;
  },
  sock_recv(
    process: Process,
    fd: number,
    iovs: number,
    count: number,
    riFlags: number,
    result: number,
    roFlags: number,
  ): Outcome {
    const descriptor = descriptorOf(process, fd);
    const socket = socketOf(descriptor.file);
    descriptor.need(RIGHTS_FD_READ);
    const nonblock = mayNotWait(process, descriptor);
    if (riFlags & ~(RIFLAGS_RECV_PEEK | RIFLAGS_RECV_WAITALL)) throw new XenError('EINVAL', `recv flags ${riFlags}`);
    const buffers = new Buffers(process, iovs, count);
    const resultAt = at(process, result, 4);
    const flagsAt = at(process, roFlags, 2);
    const received = receive(process, socket, nonblock, buffers, riFlags);
    if (received instanceof Wait) return received;
    const { bytes, length } = received;
    process.view.setUint16(flagsAt, length > bytes ? ROFLAGS_RECV_DATA_TRUNCATED : 0, true);
    return stored(process, resultAt, bytes);
  },
  sock_send(process: Process, fd: number, iovs: number, count: number, siFlags: number, result: number): Outcome {
    const descriptor = descriptorOf(process, fd);
    const socket = socketOf(descriptor.file);
    descriptor.need(RIGHTS_FD_WRITE);
    const nonblock = mayNotWait(process, descriptor);
    if (siFlags !== 0) throw new XenError('EINVAL', `send flags ${siFlags}`);
    return send(process, socket, nonblock, new Buffers(process, iovs, count), at(process, result, 4));
  },
  sock_shutdown(process: Process, fd: number, how: number): number {
    const descriptor = descriptorOf(process, fd);
    const { socket } = socketOf(descriptor.file);
    descriptor.need(RIGHTS_SOCK_SHUTDOWN);
    if (how === 0 || how & ~(SDFLAGS_RD | SDFLAGS_WR)) throw new XenError('EINVAL', `shutdown ${how}`);
    socket.shutdown((how & SDFLAGS_RD) !== 0, (how & SDFLAGS_WR) !== 0);
    return 0;
  },
};
