// The clients that come by unix socket. `take` and `send` are the two halves of a turn: what the requests of a
// turn have changed is on record before their replies go out. Nothing here waits.
import {
  acceptSocket,
  closeFd,
  EPOLLIN,
  EPOLLOUT,
  type Epoll,
  ERRNO,
  errnoName,
  mapPrivate,
  receiveBytes,
  sendBytes,
  viewOf,
} from '#pvbus';
import { sameUserAt } from '../same-user.ts';
import type { Connection } from './connection.ts';
import type { Server } from './server.ts';

/** Requests of one client answered before others have a turn. */
const REQUESTS_PER_TURN = 64;
/** New clients in one turn. */
const ACCEPTS_PER_TURN = 64;
/** Bytes from or to one client in one turn. */
const BUFFER_BYTES = 64 * 1024;
const NOTHING = new Uint8Array(0);

export class SocketClient {
  readonly fd: number;
  readonly connection: Connection;
  /** Received, and not yet taken by the connection. */
  left: Uint8Array = NOTHING;
  /** It will send nothing more. */
  ended = false;
  /** What epoll is to tell of it. */
  awaited = EPOLLIN;
  /** Its socket has taken less than it was offered, and not said since that it has room. */
  full = false;
  /** In the list of those that `send` looks at. */
  touched = false;

  constructor(fd: number, accept: (onOutput: () => void) => Connection, touch: (client: SocketClient) => void) {
    this.fd = fd;
    this.connection = accept(() => touch(this));
  }
  /** Its requests wait for nothing but their turn. */
  get eager(): boolean {
    return this.left.length > 0 && this.connection.ready();
  }
  /** It has had all its answers. */
  get done(): boolean {
    return this.ended && this.left.length === 0 && this.connection.output.empty;
  }
}

export class Sockets {
  readonly #server: Server;
  readonly #epoll: Epoll;
  /** The listening socket. */
  readonly listener: number;
  /** By descriptor. */
  readonly #clients: (SocketClient | undefined)[] = [];
  #touched: SocketClient[] = [];
  #eager: SocketClient[] = [];
  readonly #inAddress = mapPrivate(BUFFER_BYTES);
  readonly #in = Buffer.from(viewOf(this.#inAddress, BUFFER_BYTES));
  readonly #outAddress = mapPrivate(BUFFER_BYTES);
  readonly #out = new Uint8Array(viewOf(this.#outAddress, BUFFER_BYTES));
  /** No descriptor is left for another client: the listener is not looked at until one is. */
  #full = false;
  /** Something else that `epoll` watches is ready; whoever looks after it puts it back. */
  otherReady = false;

  constructor(server: Server, epoll: Epoll, listener: number) {
    this.#server = server;
    this.#epoll = epoll;
    this.listener = listener;
    epoll.add(listener, EPOLLIN);
  }

  /** Every client, for a daemon that is to go on where this one stops. */
  clients(): readonly SocketClient[] {
    return this.#clients.filter(client => client !== undefined);
  }

  /** Serve the client at `fd`. `left`: what has been received of it and not been taken. */
  adopt(fd: number, left: Uint8Array = NOTHING): SocketClient {
    const client = new SocketClient(
      fd,
      onOutput => this.#server.accept(onOutput),
      touched => this.#touch(touched),
    );
    client.left = left;
    this.#clients[fd] = client;
    this.#epoll.add(fd, EPOLLIN);
    this.#touch(client);
    return client;
  }

  /** Requests have come that wait for nothing but their turn. */
  get hasWork(): boolean {
    return this.#eager.length > 0;
  }

  /** Answer what has come: a bounded number of requests of each client. True when there was something. */
  take(): boolean {
    const eager = this.#eager;
    this.#eager = [];
    for (const client of eager) this.#answer(client, client.left);
    const ready = this.#epoll.wait(0);
    let callers = false;
    for (let i = 0; i < ready; i++) {
      const fd = this.#epoll.readyFd(i);
      if (fd === this.listener) callers = true;
      else {
        const client = this.#clients[fd];
        if (client) this.#hear(client, this.#epoll.readyFor(i));
        else this.otherReady = true;
      }
    }
    // order: last, for a new client may have the descriptor of one that was closed above.
    if (callers) this.#accept();
    return ready > 0 || eager.length > 0;
  }

  /** Send what there is for clients. */
  send(): void {
    const touched = this.#touched;
    if (touched.length === 0) return;
    this.#touched = [];
    for (const client of touched) {
      client.touched = false;
      if (this.#clients[client.fd] === client) this.#settle(client);
    }
  }

  /** Once a second: descriptors may be free again. */
  retry(): void {
    if (!this.#full) return;
    this.#full = false;
    this.#epoll.change(this.listener, EPOLLIN);
  }

  #touch(client: SocketClient): void {
    if (client.touched) return;
    client.touched = true;
    this.#touched.push(client);
  }

  #accept(): void {
    for (let i = 0; i < ACCEPTS_PER_TURN; i++) {
      const fd = acceptSocket(this.listener);
      if (fd >= 0) {
        if (sameUserAt(fd)) this.adopt(fd);
        else closeFd(fd);
        continue;
      }
      if (fd === -ERRNO.EMFILE || fd === -ERRNO.ENFILE) {
        this.#server.log.warn(`no more clients: ${errnoName(fd)}`);
        this.#full = true;
        this.#epoll.change(this.listener, 0);
      }
      return;
    }
  }

  /** `events` of a client: whatever they are besides room for output, receiving tells what it is. */
  #hear(client: SocketClient, events: number): void {
    this.#touch(client);
    if ((events & ~EPOLLIN) !== 0) client.full = false;
    if ((events & ~EPOLLOUT) === 0 || client.ended || client.left.length > 0) return;
    const n = receiveBytes(client.fd, this.#inAddress, BUFFER_BYTES);
    if (n > 0) this.#answer(client, this.#in.subarray(0, n));
    else if (n === 0) client.ended = true;
    else if (n !== -ERRNO.EAGAIN) this.#drop(client, errnoName(n));
  }

  #answer(client: SocketClient, bytes: Uint8Array): void {
    this.#touch(client);
    const n = client.connection.receive(bytes, REQUESTS_PER_TURN);
    if (n < 0 || n === bytes.length) client.left = NOTHING;
    else client.left = bytes === client.left ? bytes.subarray(n) : new Uint8Array(bytes.subarray(n));
  }

  /** Send, and find out how it goes on with this client. */
  #settle(client: SocketClient): void {
    const { connection } = client;
    const over = client.full ? undefined : this.#sendTo(client);
    if (connection.broken !== undefined) this.#server.log.warn(`${connection.name} closed: ${connection.broken}`);
    const why = connection.broken ?? over ?? (client.done ? 'it has ended' : undefined);
    if (why !== undefined) {
      this.#drop(client, why);
      return;
    }
    if (client.eager) this.#eager.push(client);
    const hears = !client.ended && connection.ready();
    const wanted = (hears ? EPOLLIN : 0) | (connection.output.empty ? 0 : EPOLLOUT);
    if (wanted === client.awaited) return;
    client.awaited = wanted;
    this.#epoll.change(client.fd, wanted);
  }

  /** Why nothing more can be sent to this client. */
  #sendTo(client: SocketClient): string | undefined {
    const { output } = client.connection;
    if (output.empty) return undefined;
    const n = sendBytes(client.fd, this.#outAddress, output.peek(this.#out));
    if (n < 0 && n !== -ERRNO.EAGAIN) return errnoName(n);
    if (n > 0) client.connection.sent(n);
    client.full = !output.empty;
    return undefined;
  }

  #drop(client: SocketClient, why: string): void {
    this.#server.trace(`${client.connection.name}: ${why}`);
    this.#clients[client.fd] = undefined;
    this.#server.drop(client.connection);
    this.#epoll.remove(client.fd);
    closeFd(client.fd);
    this.retry();
  }
}
