// A live update that nobody sees, with a daemon and clients in play: the engine compiles code when it has run, and
// while a daemon takes over from another nobody is served.
import {
  closeFd,
  Epoll,
  type Log,
  mapPrivate,
  receiveBytes,
  sendBytes,
  socketPair,
  viewOf,
  XS_DIRECTORY,
  XS_GET_PERMS,
  XS_READ,
  XS_RM,
  XS_SET_PERMS,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_UNWATCH,
  XS_WATCH,
  XS_WRITE,
  xenstoreFrame,
} from '#pvbus';
import { Daemon } from './daemon.ts';
import { Journal } from './journal.ts';
import { noHypervisor } from './no-hypervisor.ts';
import { PlayDisk } from './play-disk.ts';
import { Replay } from './replay.ts';
import { type ClientState, Server } from './server.ts';
import { Sockets } from './sockets.ts';
import { packed, unpacked } from './succession.ts';
import type { TurnClock } from './turn-clock.ts';

const CLIENTS = 4;
/** As many as make the pause shorter: each takes a millisecond or three in which clients have one CPU less. */
const ROUNDS = 30;
const BYTES = 4096;

/** What a client that has a node of its own asks in each round; `tx`: in the transaction of this round. */
const REQUESTS: readonly { readonly type: number; readonly payload: (node: string) => string; readonly tx?: true }[] = [
  { type: XS_WATCH, payload: node => `${node}\0token\0` },
  { type: XS_WRITE, payload: node => `${node}\0value` },
  { type: XS_READ, payload: node => `${node}\0` },
  { type: XS_READ, payload: node => `${node}/nothing\0` },
  { type: XS_DIRECTORY, payload: () => '/play\0' },
  { type: XS_SET_PERMS, payload: node => `${node}\0b0\0` },
  { type: XS_GET_PERMS, payload: node => `${node}\0` },
  { type: XS_TRANSACTION_START, payload: () => '\0' },
  { type: XS_READ, payload: node => `${node}\0`, tx: true },
  { type: XS_WRITE, payload: node => `${node}\0another`, tx: true },
  { type: XS_TRANSACTION_END, payload: () => 'T\0', tx: true },
  { type: XS_RM, payload: node => `${node}\0` },
  { type: XS_UNWATCH, payload: node => `${node}\0token\0` },
];

const silent: Log = { info: () => {}, warn: () => {}, error: () => {} };

/** Returns the daemon that has taken over, for who wants to see whether it went well. */
export function rehearse(clock: TurnClock): Server {
  const disk = new PlayDisk();
  const journal = new Journal({ clock, log: silent });
  const parts = { clock, log: silent, onWork: () => {} };
  const before = new Server({ ...parts, door: noHypervisor, recorder: journal });
  journal.begin(before, disk);
  const states = play(before, clock);
  const after = new Server(parts);
  new Replay(after, silent).take(disk.read());
  after.goOn(noHypervisor);
  const { nextWatch, clients } = unpacked(
    packed({
      nextWatch: before.watches.nextNr,
      clients: states.map(client => ({ left: new Uint8Array(0), ended: false, client, asked: undefined })),
    }),
  );
  for (const { client } of clients)
    after.restoreClient(
      after.accept(() => {}),
      client,
      nextWatch,
    );
  return after;
}

/** Serve clients for some rounds; returns each as what another daemon is told of it. */
function play(server: Server, clock: TurnClock): ClientState[] {
  const epoll = new Epoll();
  const [listener, caller] = socketPair(); // nobody calls
  const sockets = new Sockets(server, epoll, listener);
  const daemon = new Daemon({ server, sockets, pollEvents: () => false, sleep: { until: () => {} }, clock });
  const address = mapPrivate(BYTES);
  const memory = new Uint8Array(viewOf(address, BYTES));
  const clients = Array.from({ length: CLIENTS }, (_, i) => {
    const [near, far] = socketPair();
    return { far, node: `/play/${i}`, adopted: sockets.adopt(near) };
  });
  for (let round = 1; round <= ROUNDS; round++) {
    for (const { type, payload, tx } of REQUESTS) {
      for (const { far, node } of clients) {
        const frame = xenstoreFrame(type, 1, tx ? round : 0, Buffer.from(payload(node), 'latin1'));
        memory.set(frame);
        sendBytes(far, address, frame.length);
      }
      while (daemon.step() === 'progress');
      for (const { far } of clients) while (receiveBytes(far, address, BYTES) > 0);
    }
  }
  const states = clients.map(({ adopted }) => server.clientState(adopted.connection));
  for (const { far } of clients) closeFd(far);
  daemon.step(); // it hangs up
  for (const fd of [listener, caller]) closeFd(fd);
  epoll.close();
  return states;
}
