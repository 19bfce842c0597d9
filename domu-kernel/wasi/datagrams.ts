// One datagram for one call, whichever call it is: read, recv and recvfrom; write, send and sendto.
import { XenError } from '#pvbus';
import { Wait } from '../process/wait.ts';
import type { Buffers } from './memory.ts';
import type { OpenDatagrams } from './open-socket.ts';
import type { SocketAddress } from './socket.ts';

/** No datagram is longer: who sends more hears that without a copy of it. */
const MOST = 65536;

export interface ReceivedInto {
  /** Bytes that are in the buffers, and of the datagram. */
  readonly bytes: number;
  readonly length: number;
  /** Undefined at the end of a socket that is shut down. */
  readonly from: SocketAddress | undefined;
}

/** The next one into the buffers; what does not fit is lost. */
export function receiveDatagram(
  socket: OpenDatagrams,
  nonblock: boolean,
  buffers: Buffers,
  peek: boolean,
): ReceivedInto | Wait {
  const next = socket.receive(peek);
  if (next instanceof Wait) {
    if (nonblock) throw new XenError('EAGAIN', 'nothing is there yet');
    return next;
  }
  if (!next) return { bytes: 0, length: 0, from: undefined };
  const { data, from } = next;
  let bytes = 0;
  for (const into of buffers.from()) {
    const part = data.subarray(bytes, bytes + into.length);
    into.set(part);
    bytes += part.length;
    if (bytes === data.length) break;
  }
  return { bytes, length: data.length, from };
}

/** All of the buffers as one. */
export function sendDatagram(
  socket: OpenDatagrams,
  nonblock: boolean,
  buffers: Buffers,
  to?: SocketAddress,
): number | Wait {
  const { total } = buffers;
  if (total > MOST) throw new XenError('EMSGSIZE', `${total} bytes in one datagram`);
  let data = new Uint8Array(0);
  if (total > 0) for (const all of buffers.gathered(0, MOST)) data = all as typeof data;
  const sent = socket.send(data, to);
  if (sent === 0) return total;
  if (nonblock) throw new XenError('EAGAIN', 'there is no room yet');
  return sent;
}
