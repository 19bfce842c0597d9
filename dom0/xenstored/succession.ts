// What a daemon and the one that takes over from it say to one another, over a unix socket: control messages,
// some with a descriptor.
//   successor: HERE. Then, over and over: the old one says how long the journal is (JOURNAL), the successor has
//   read it (READ); until little is left. Then the old one stops, and sends JOURNAL once more, the state of its
//   sockets (STATE), their descriptors (CLIENT, in the order of the state), the listening one (LISTENER).
//   successor: READY. Old: GO, and it is no more.
import { Packr } from 'msgpackr/pack';
import {
  type ControlMessage,
  closeFd,
  createSealedMemory,
  EPOLLIN,
  EPOLLOUT,
  Epoll,
  ERRNO,
  mapShared,
  receiveControl,
  SystemCallError,
  sendControl,
  viewOf,
  XenError,
} from '#pvbus';
import type { ClientState } from './server.ts';

export const HERE = 1;
export const JOURNAL = 2;
export const READ = 3;
export const STATE = 4;
export const CLIENT = 5;
export const LISTENER = 6;
export const READY = 7;
export const GO = 8;

/** How long either waits for the other. */
const PATIENCE_MS = 10_000;

/** The sockets of a daemon as plain data. */
export interface SocketsState {
  readonly nextWatch: number;
  readonly clients: readonly SocketState[];
}
export interface SocketState {
  /** Received, and not yet taken by the connection. */
  readonly left: Uint8Array;
  readonly ended: boolean;
  readonly client: ClientState;
  /** Of the request that asked for all this: it is answered by the successor. */
  readonly asked: Asked | undefined;
}
/** A request, for its answer. */
export interface Asked {
  readonly req_id: number;
  readonly tx_id: number;
}

const packr = new Packr({ useRecords: false, copyBuffers: true });
export const packed = (state: SocketsState): Uint8Array => packr.pack(state);
export const unpacked = (bytes: Uint8Array): SocketsState => packr.unpack(bytes) as SocketsState;

/** One end. Its calls wait, but not for ever. */
export class SuccessionLink {
  readonly #socket: number;
  readonly #epoll = new Epoll();

  constructor(socket: number) {
    this.#socket = socket;
    this.#epoll.add(socket, EPOLLIN);
  }
  /** Throws EPIPE when the other end has gone, ETIMEDOUT when it does not listen. */
  send(kind: number, a = 0, b = 0, fd = -1): void {
    for (;;) {
      try {
        sendControl(this.#socket, kind, a, b, fd);
        return;
      } catch (error) {
        if (!(error instanceof SystemCallError) || error.errno !== ERRNO.EAGAIN) throw gone(error);
        this.#wait(EPOLLOUT);
      }
    }
  }
  /** Something has come, or the other end has gone. */
  heard(): boolean {
    this.#epoll.change(this.#socket, EPOLLIN);
    return this.#epoll.wait(0) > 0;
  }
  /** The next message, which must be of this kind. Throws EPIPE, ETIMEDOUT, EPROTO. */
  receive(kind: number): ControlMessage {
    this.#wait(EPOLLIN);
    const message = receiveControl(this.#socket);
    if (!message) throw gone();
    if (message.kind !== kind) throw new XenError('EPROTO', `message ${message.kind} where ${kind} was due`);
    return message;
  }
  #wait(events: number): void {
    this.#epoll.change(this.#socket, events);
    if (this.#epoll.wait(PATIENCE_MS) === 0) throw new XenError('ETIMEDOUT', 'the other daemon does not answer');
  }
  close(): void {
    this.#epoll.close();
    closeFd(this.#socket);
  }

  sendState(state: SocketsState): void {
    const bytes = packed(state);
    const fd = createSealedMemory('xenstored-sockets', bytes.length);
    const address = mapShared(fd, bytes.length);
    new Uint8Array(viewOf(address, bytes.length)).set(bytes);
    this.send(STATE, bytes.length, 0, fd);
    closeFd(fd);
  }
  receiveState(): SocketsState {
    const { a: length, fd } = this.receive(STATE);
    const bytes = new Uint8Array(viewOf(mapShared(fd, length), length));
    closeFd(fd);
    return unpacked(bytes);
  }
}

const gone = (cause?: unknown): XenError => new XenError('EPIPE', 'the other daemon has gone', cause);
