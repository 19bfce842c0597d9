// Another daemon takes over from this one while it serves: the successor reads the journal as it grows, so that
// all that is left for the moment of the change is the end of it and the sockets (see succession.ts).
import { rmSync } from 'node:fs';
import { acceptSocket, closeFd, EPOLLIN, type Epoll, type Log, XenError, XS_CONTROL } from '#pvbus';
import type { JournalDisk } from '../journal-file.ts';
import { listenAt } from '../listening-socket.ts';
import type { Connection } from './connection.ts';
import type { Journal } from './journal.ts';
import type { Server } from './server.ts';
import type { Sockets } from './sockets.ts';
import { type Asked, CLIENT, GO, HERE, JOURNAL, LISTENER, READ, READY, SuccessionLink } from './succession.ts';

/** The change is made when no more of the journal than this is unread, or the successor does not catch up. */
const SMALL_BYTES = 4 * 1024;
/** For a new process to start, load its code and read the journal. */
const PATIENCE_NS = 60e9;

export interface LiveUpdateParts {
  readonly server: Server;
  readonly sockets: Sockets;
  readonly epoll: Epoll;
  readonly journal: Journal;
  /** For a journal of a daemon that keeps none. */
  readonly elsewhere: JournalDisk;
  /** Where the successor finds this one: a unix socket. */
  readonly path: string;
  readonly log: Log;
  readonly now: () => number;
  /** Start another daemon that takes over at `path`. Throws when that cannot be. */
  readonly launch: () => void;
  /** Whether that one has not ended. */
  readonly waits: () => boolean;
  /** Be no more. Throws when the successor has gone. */
  readonly handOver: () => never;
}

type Phase =
  | { readonly kind: 'freezing' }
  | { readonly kind: 'awaited'; readonly listener: number }
  | { readonly kind: 'following'; readonly socket: number; readonly link: SuccessionLink; unread: number };

export class LiveUpdate {
  readonly #parts: LiveUpdateParts;
  #phase: Phase | undefined;
  /** Who waits for an answer, and to what. */
  #asker: Connection | undefined;
  #asked: Asked | undefined;
  #deadline = 0;

  constructor(parts: LiveUpdateParts) {
    this.#parts = parts;
  }

  /** Answers `asker` when it is done, by the successor, or has failed. Throws EBUSY when another one is under way. */
  start(asker: Connection, asked: Asked): void {
    if (this.#phase) throw new XenError('EBUSY', 'a live update is under way');
    this.#asker = asker;
    this.#asked = asked;
    this.#phase = { kind: 'freezing' };
    this.#deadline = this.#parts.now() + PATIENCE_NS;
  }

  /** Give it up. Throws ENOENT when there is none. */
  abort(): void {
    if (!this.#phase) throw new XenError('ENOENT', 'no live update is under way');
    this.#fail(new XenError('EAGAIN', 'it was called off'));
  }

  step(): 'progress' | 'idle' {
    const phase = this.#phase;
    if (!phase) return 'idle';
    try {
      if (this.#parts.now() > this.#deadline) throw new XenError('ETIMEDOUT', 'the other daemon is not ready');
      if (phase.kind === 'freezing') return this.#freeze();
      if (phase.kind === 'awaited') return this.#accept(phase.listener);
      return this.#look(phase);
    } catch (error) {
      this.#fail(error);
      return 'progress';
    }
  }

  #freeze(): 'progress' | 'idle' {
    const { journal, server, elsewhere, path, epoll, launch } = this.#parts;
    if (journal.freeze(server, elsewhere) === undefined) return 'progress';
    const listener = listenAt(path);
    this.#phase = { kind: 'awaited', listener };
    epoll.add(listener, EPOLLIN);
    launch();
    return 'progress';
  }

  #accept(listener: number): 'progress' | 'idle' {
    const { epoll, waits } = this.#parts;
    const socket = acceptSocket(listener);
    if (socket < 0) {
      if (!waits()) throw new XenError('ECHILD', 'the other daemon has ended');
      return 'idle';
    }
    this.#stopListening(listener);
    const link = new SuccessionLink(socket);
    this.#phase = { kind: 'following', socket, link, unread: Number.POSITIVE_INFINITY };
    epoll.add(socket, EPOLLIN);
    link.receive(HERE);
    this.#tellLength(link, false);
    return 'progress';
  }
  #stopListening(listener: number): void {
    this.#parts.epoll.remove(listener);
    closeFd(listener);
    rmSync(this.#parts.path, { force: true });
  }

  #tellLength(link: SuccessionLink, last: boolean): number {
    const { journal, server, elsewhere } = this.#parts;
    server.flush();
    const length = journal.freeze(server, elsewhere);
    if (length === undefined) throw new XenError('EIO', 'the journal cannot be written');
    link.send(JOURNAL, length, last ? 1 : 0);
    return length;
  }

  /** The successor says how far it has read, when it says anything. */
  #look(phase: Extract<Phase, { kind: 'following' }>): 'progress' | 'idle' {
    const { link } = phase;
    if (!link.heard()) return 'idle';
    const { a: read } = link.receive(READ);
    const { journal, server, elsewhere } = this.#parts;
    const unread = (journal.freeze(server, elsewhere) ?? Number.POSITIVE_INFINITY) - read;
    const catchesUp = unread < phase.unread;
    phase.unread = unread;
    if (unread > SMALL_BYTES && catchesUp) {
      this.#tellLength(link, false);
      return 'progress';
    }
    this.#finish(link);
    return 'progress';
  }

  /** From here on nobody is served until the successor serves, or has failed. */
  #finish(link: SuccessionLink): void {
    const { server, sockets, handOver } = this.#parts;
    this.#tellLength(link, true);
    const clients = [...sockets.clients()];
    link.sendState({
      nextWatch: server.watches.nextNr,
      clients: clients.map(({ connection, left, ended }) => ({
        left,
        ended,
        client: server.clientState(connection),
        asked: connection === this.#asker ? this.#asked : undefined,
      })),
    });
    for (const { fd } of clients) link.send(CLIENT, 0, 0, fd);
    link.send(LISTENER, 0, 0, sockets.listener);
    link.receive(READY);
    link.send(GO);
    handOver();
  }

  #fail(error: unknown): void {
    const { log, epoll, journal } = this.#parts;
    const why = error instanceof Error ? error.message : String(error);
    log.error(`live update: ${why}; this daemon goes on`);
    const phase = this.#phase;
    this.#phase = undefined;
    if (phase?.kind === 'awaited') this.#stopListening(phase.listener);
    if (phase?.kind === 'following') {
      epoll.remove(phase.socket);
      phase.link.close();
    }
    journal.thaw();
    if (this.#asked) this.#asker?.answerLate(XS_CONTROL, this.#asked, `live update: ${why}`);
    this.#asker = undefined;
    this.#asked = undefined;
  }
}
