// A socket as a descriptor refers to it.
import { XenError } from '#pvbus';
import type { OpenFile } from '../process/open-file.ts';
import { Wait } from '../process/wait.ts';
import type { WaitQueue } from '../wait-queue.ts';
import { FILETYPE_SOCKET_STREAM } from './abi.ts';
import { wasiErrno } from './errno.ts';
import { AGAIN, type SocketAddress, type StreamSocket } from './socket.ts';
import { OPTION, SocketOptions } from './socket-options.ts';

export class OpenSocket implements OpenFile {
  readonly kind = 'socket';
  readonly socket: StreamSocket;
  readonly family: 4 | 6;
  private readonly options: SocketOptions;
  private references = 1;
  private connected = false;
  private tries = 0;
  private listens = false;

  /** Closes `socket` with its last reference. */
  constructor(socket: StreamSocket, family: 4 | 6, options = new SocketOptions()) {
    this.socket = socket;
    this.family = family;
    this.options = options;
    socket.configure(options);
  }
  /** A socket's queue is another one once it listens or connects. */
  private get wait(): Wait {
    return new Wait([this.socket.queue]);
  }
  get queue(): WaitQueue {
    return this.socket.queue;
  }
  retain(): void {
    this.references++;
  }
  release(): void {
    if (--this.references === 0) this.socket.close();
  }
  read(into: Uint8Array): number | Wait {
    return this.recv(into, false);
  }
  recv(into: Uint8Array, peek: boolean): number | Wait {
    const n = this.socket.recv(into, peek);
    return n === AGAIN ? this.wait : n;
  }
  write(from: Uint8Array): number | Wait {
    const n = this.socket.send(from);
    return n === AGAIN ? this.wait : n;
  }
  setOption(option: number, value: number): void {
    this.options.set(option, value);
    this.socket.configure(this.options);
  }
  getOption(option: number): number {
    if (option === OPTION.type) return FILETYPE_SOCKET_STREAM;
    if (option === OPTION.accepts) return Number(this.listens);
    if (option !== OPTION.error) return this.options.get(option);
    const error = this.socket.takeError();
    if (error) this.tries = 0;
    return error ? wasiErrno(error.code) : 0;
  }
  listen(backlog: number): void {
    this.socket.listen(backlog);
    this.listens = true;
  }
  accept(): OpenSocket | Wait {
    const accepted = this.socket.accept();
    return accepted ? new OpenSocket(accepted, this.family, this.options.copy()) : this.wait;
  }
  /** Also what to wait for before it is asked again, with the same address. */
  connect(to: SocketAddress): 0 | Wait {
    if (this.connected) throw new XenError('EISCONN', 'the socket is connected');
    let outcome: ReturnType<StreamSocket['connect']>;
    try {
      outcome = this.socket.connect(to);
    } catch (error) {
      this.tries = 0;
      throw error;
    }
    this.tries++;
    if (outcome === AGAIN) return this.wait;
    this.connected = true;
    return 0;
  }
  /** Another `connect` came before the last one. */
  hasBegun(): boolean {
    return this.tries > 1;
  }
  readable(): number {
    return this.socket.readable();
  }
  writable(): number {
    return this.socket.writable();
  }
  hungUp(): boolean {
    return this.socket.hungUp();
  }
}

/** The socket a descriptor refers to; ENOTSOCK. EBADF for a directory: a program may take the number of one it was given for free. */
export function socketOf(file: OpenFile): OpenSocket {
  if (file instanceof OpenSocket) return file;
  if (file.kind === 'directory') throw new XenError('EBADF', 'a directory is no socket');
  throw new XenError('ENOTSOCK', `a ${file.kind} is no socket`);
}
