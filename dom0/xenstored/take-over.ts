// Taking over from a daemon that serves (see succession.ts).
import { connectSocket, ERRNO, errnoName, type Log, streamSocket, XenError } from '#pvbus';
import type { JournalDisk } from '../journal-file.ts';
import { Replay } from './replay.ts';
import type { Server } from './server.ts';
import { CLIENT, GO, HERE, JOURNAL, LISTENER, READ, READY, type SocketState, SuccessionLink } from './succession.ts';

export interface TakenOver {
  readonly replay: Replay;
  readonly listener: number;
  readonly nextWatch: number;
  readonly clients: readonly { readonly fd: number; readonly state: SocketState }[];
}

/**
 * Bring `server`, which is new, to where the daemon behind `path` is, and have that one stop. When this returns
 * nobody serves; the caller does so at once. Throws when the old daemon goes on: then this one has to end.
 */
export function takeOver(path: string, server: Server, disk: JournalDisk, log: Log): TakenOver {
  const socket = streamSocket();
  const result = connectSocket(socket, path);
  if (result < 0 && result !== -ERRNO.EAGAIN)
    throw new XenError(errnoName(result), `no daemon to take over from at ${path}`);
  const link = new SuccessionLink(socket);
  link.send(HERE);
  const replay = new Replay(server, log);
  for (let last = false; !last; ) {
    const { a: length, b } = link.receive(JOURNAL);
    last = b !== 0;
    replay.take(disk.read(replay.end) ?? new Uint8Array(0));
    if (last && replay.end !== length) throw new XenError('EIO', `the journal ends at ${replay.end}, not ${length}`);
    if (!last) link.send(READ, replay.end);
  }
  const { nextWatch, clients } = link.receiveState();
  const taken = clients.map(state => ({ state, fd: link.receive(CLIENT).fd }));
  const listener = link.receive(LISTENER).fd;
  link.send(READY);
  link.receive(GO);
  link.close();
  return { replay, listener, nextWatch, clients: taken };
}
