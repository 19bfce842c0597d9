// The one client program of the xenstored rows: a process of its own that takes one command a line and answers each
// with a line of JSON. While it measures it is synchronous: epoll, send and recv over memory that does not move.
import { createInterface } from 'node:readline';
import {
  closeFd,
  connectSocket,
  dieWithParent,
  EPOLLIN,
  Epoll,
  ERRNO,
  mapPrivate,
  receiveBytes,
  sendBytes,
  streamSocket,
  viewOf,
  XS_DIRECTORY,
  XS_ERROR,
  XS_READ,
  XS_RM,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
  xenstoreFrame,
  xsTypeName,
} from '#pvbus';

const HEADER = 16;
const IN_BYTES = 256 * 1024;
const OUT_BYTES = 256 * 1024;
const now = (): number => performance.now();

interface Reply {
  readonly type: number;
  readonly text: string;
}

/** One connection. Requests are laid into its memory once, and sent from there again and again. */
class Client {
  readonly fd = streamSocket();
  readonly #outAddress = mapPrivate(OUT_BYTES);
  readonly out = new Uint8Array(viewOf(this.#outAddress, OUT_BYTES));
  readonly outView = new DataView(this.out.buffer);
  readonly #inAddress = mapPrivate(IN_BYTES);
  readonly #in = new Uint8Array(viewOf(this.#inAddress, IN_BYTES));
  readonly #inView = new DataView(this.#in.buffer);
  #have = 0;
  /** Of one request, where all of them are alike. */
  size = 0;
  /** Of the last message that `count` has passed. */
  lastType = 0;
  lastAt = 0;
  lastLength = 0;

  constructor(path: string) {
    let result = connectSocket(this.fd, path);
    // A daemon's queue of callers may be short.
    for (const from = now(); result === -ERRNO.EAGAIN && now() - from < 5000; ) result = connectSocket(this.fd, path);
    if (result < 0) throw new Error(`connect ${path}: ${result}`);
  }
  /** Lay a request at `at`; returns where it ends. */
  put(at: number, type: number, payload: string, tx = 0): number {
    const frame = xenstoreFrame(type, 1, tx, Buffer.from(payload, 'latin1'));
    this.out.set(frame, at);
    return at + frame.length;
  }
  /** Send a range of `out`, however long it takes. */
  send(from: number, to: number): void {
    for (let at = from; at < to; ) {
      const n = sendBytes(this.fd, this.#outAddress + at, to - at);
      if (n >= 0) at += n;
      else if (n !== -ERRNO.EAGAIN) throw new Error(`send: ${n}`);
    }
  }
  /** Receive what there is, and say how many messages it completes. */
  count(): number {
    const n = receiveBytes(this.fd, this.#inAddress + this.#have, IN_BYTES - this.#have);
    if (n === -ERRNO.EAGAIN) return 0;
    if (n <= 0) throw new Error(`the daemon hung up: ${n}`);
    this.#have += n;
    let at = 0;
    let messages = 0;
    while (this.#have - at >= HEADER) {
      const length = HEADER + this.#inView.getUint32(at + 12, true);
      if (this.#have - at < length) break;
      this.lastType = this.#inView.getUint32(at, true);
      this.lastAt = at + HEADER;
      this.lastLength = length - HEADER;
      if (this.lastType === XS_ERROR) this.onError();
      at += length;
      messages++;
    }
    if (at > 0 && at < this.#have) this.#in.copyWithin(0, at, this.#have);
    if (at > 0) this.#have -= at;
    return messages;
  }
  onError: () => void = () => {
    throw new Error(`an error where none was expected: ${this.#text()}`);
  };
  #text(): string {
    return Buffer.from(this.#in.subarray(this.lastAt, this.lastAt + this.lastLength)).toString('latin1');
  }
  /** The digits of a transaction id. */
  lastNumber(): number {
    let value = 0;
    for (let i = 0; i < this.lastLength - 1; i++) value = value * 10 + this.#in[this.lastAt + i]! - 48;
    return value;
  }
  /** One request, and its reply. */
  ask(type: number, payload: string, tx = 0): Reply {
    this.send(0, this.put(0, type, payload, tx));
    let error = false;
    const { onError } = this;
    this.onError = () => (error = true);
    while (this.count() === 0);
    this.onError = onError;
    const reply = { type: this.lastType, text: this.#text() };
    if (error) throw new Error(`${xsTypeName(type)} ${payload.replaceAll('\0', '|')}: ${reply.text}`);
    return reply;
  }
  /** Many requests, sixteen at a time; events are passed over. */
  askAll(type: number, payloads: readonly string[]): void {
    let at = 0;
    let waiting = 0;
    const flush = (): void => {
      this.send(0, at);
      at = 0;
      // Events that come between are not waited for: they are few where this is used.
      while (waiting > 0) waiting -= this.count();
    };
    for (const payload of payloads) {
      at = this.put(at, type, payload);
      if (++waiting === 16) flush();
    }
    flush();
  }
  close(): void {
    closeFd(this.fd);
  }
}

/** Where what is read and written lies: a device's key, as deep as they are. */
const keyOf = (client: number): string => `/local/domain/${client}/device/vif/0/state`;
const LISTED = '/local/domain/1/device/listed';
const LISTED_CHILDREN = 10;

const REQUESTS: Readonly<Record<string, (client: number) => readonly [type: number, payload: string]>> = {
  read: client => [XS_READ, `${keyOf(client)}\0`],
  write: client => [XS_WRITE, `${keyOf(client)}\x004`],
  directory: () => [XS_DIRECTORY, `${LISTED}\0`],
};

interface Command {
  readonly op: string;
  readonly socket: string;
  readonly connections: number;
  /** Requests that one connection has under way. */
  readonly depth: number;
  readonly ms: number;
  readonly count: number;
}
type Result = Record<string, number>;

function connected(socket: string, connections: number): { clients: Client[]; epoll: Epoll } {
  const epoll = new Epoll();
  const clients = Array.from({ length: connections }, () => new Client(socket));
  clients.forEach(client => {
    epoll.add(client.fd, EPOLLIN);
  });
  return { clients, epoll };
}
function disconnect({ clients, epoll }: { clients: readonly Client[]; epoll: Epoll }): void {
  for (const client of clients) client.close();
  closeFd(epoll.fd);
}

/** `act` on every client that has something to receive, until `ms` have passed; how long it was. */
function serve(epoll: Epoll, byFd: ReadonlyMap<number, Client>, ms: number, act: (client: Client) => void): number {
  const from = now();
  for (;;) {
    const ready = epoll.wait(1000);
    for (let i = 0; i < ready; i++) act(byFd.get(epoll.readyFd(i))!);
    const took = now() - from;
    if (took > ms) return took;
  }
}
const byFd = (clients: readonly Client[]): ReadonlyMap<number, Client> => new Map(clients.map(c => [c.fd, c]));

/** Requests a second that are answered, with `depth` of each connection under way. */
function rate({ op, socket, connections, depth, ms }: Command): Result {
  const open = connected(socket, connections);
  const { clients, epoll } = open;
  clients.forEach((client, i) => {
    const [type, payload] = REQUESTS[op]!(i);
    let end = 0;
    for (let n = 0; n < depth; n++) end = client.put(end, type, payload);
    client.size = end / depth;
  });
  for (const client of clients) client.send(0, depth * client.size);
  let answered = 0;
  const took = serve(epoll, byFd(clients), ms, client => {
    const n = client.count();
    answered += n;
    client.send(0, n * client.size);
  });
  disconnect(open);
  return { perSecond: (answered / took) * 1000 };
}

/**
 * Commits a second of transactions that read and write: each client a node of its own, or all of them the same.
 * `retries`: how many of all attempts failed with EAGAIN.
 */
function transactions({ op, socket, connections, ms }: Command): Result {
  const open = connected(socket, connections);
  const { clients, epoll } = open;
  const steps = new Map<Client, { at: number; tx: number; key: string; failed: boolean }>();
  let commits = 0;
  let attempts = 0;
  const go = (client: Client): void => {
    const state = steps.get(client)!;
    const { key, tx } = state;
    const end = [
      () => client.put(0, XS_TRANSACTION_START, '\0'),
      () => client.put(0, XS_READ, `${key}\0`, tx),
      () => client.put(0, XS_WRITE, `${key}\0${attempts}`, tx),
      () => client.put(0, XS_TRANSACTION_END, 'T\0', tx),
    ][state.at]!();
    client.send(0, end);
  };
  clients.forEach((client, i) => {
    const state = { at: 0, tx: 0, key: keyOf(op === 'contended' ? 0 : i), failed: false };
    steps.set(client, state);
    client.onError = () => (state.failed = true);
    go(client);
  });
  const took = serve(epoll, byFd(clients), ms, client => {
    if (client.count() === 0) return;
    const state = steps.get(client)!;
    if (client.lastType === XS_TRANSACTION_START) state.tx = client.lastNumber();
    if (client.lastType === XS_TRANSACTION_END) commits++;
    if (state.at === 3) attempts++;
    else if (state.failed) throw new Error(`a transaction failed before its end, at step ${state.at}`);
    state.failed = false;
    state.at = (state.at + 1) % 4;
    go(client);
  });
  disconnect(open);
  return { perSecond: (commits / took) * 1000, retries: 1 - commits / attempts };
}

/** Microseconds from the write of one client to the event at another, over `count` writes. */
function fire({ socket, count }: Command): Result {
  const [watcher, writer] = [new Client(socket), new Client(socket)];
  watcher.ask(XS_WATCH, '/bench/watched\0token\0');
  while (watcher.lastType !== XS_WATCH_EVENT) watcher.count();
  const end = writer.put(0, XS_WRITE, '/bench/watched/x\x004');
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const from = now();
    writer.send(0, end);
    while (watcher.count() === 0);
    times.push((now() - from) * 1000);
    while (writer.count() === 0);
  }
  watcher.close();
  writer.close();
  times.sort((a, b) => a - b);
  return { p50: times[count >> 1]!, p99: times[Math.floor(count * 0.99)]! };
}

const DIRECTORIES = 100;
/** `count` nodes below /big, in a hundred directories. */
function build({ socket, count }: Command): Result {
  const client = new Client(socket);
  client.askAll(
    XS_WRITE,
    Array.from({ length: count }, (_, i) => `/big/${i % DIRECTORIES}/node-${Math.floor(i / DIRECTORIES)}\0value`),
  );
  client.close();
  return {};
}
/** Remove them; how long another client had to wait meanwhile, at worst. */
function remove({ socket }: Command): Result {
  const [remover, other] = [new Client(socket), new Client(socket)];
  const read = other.put(0, XS_READ, `${keyOf(0)}\0`);
  const round = (): number => {
    const from = now();
    other.send(0, read);
    while (other.count() === 0);
    return now() - from;
  };
  for (let i = 0; i < 1000; i++) round();
  const from = now();
  remover.send(0, remover.put(0, XS_RM, '/big\0'));
  let longest = round(); // at least one, however fast the removal is
  while (remover.count() === 0) longest = Math.max(longest, round());
  const ms = now() - from;
  for (let i = 0; i < 100; i++) longest = Math.max(longest, round());
  remover.close();
  other.close();
  return { ms, longest };
}

/** Of one connection: Xen's C daemon looks at all of them for each new one. */
const WATCHES_OF_ONE = 1000;
let watching: Client[] = [];
/** Make `count` watches of nodes that nobody touches. They last until the next such command. */
function watches({ socket, count }: Command): Result {
  for (const client of watching) client.close();
  watching = Array.from({ length: count / WATCHES_OF_ONE }, () => new Client(socket));
  for (const client of watching) {
    // Two messages answer each: the reply and the first event.
    for (let i = 0; i < WATCHES_OF_ONE; i += 8) {
      let end = 0;
      for (let n = i; n < i + 8; n++) end = client.put(end, XS_WATCH, `/unrelated/${client.fd}/${n}\0token\0`);
      client.send(0, end);
      for (let waiting = 16; waiting > 0; ) waiting -= client.count();
    }
  }
  return {};
}

/** The nodes that the others use. */
function prepare({ socket, connections }: Command): Result {
  const client = new Client(socket);
  client.askAll(
    XS_WRITE,
    Array.from({ length: connections }, (_, i) => `${keyOf(i)}\x004`),
  );
  client.askAll(
    XS_WRITE,
    Array.from({ length: LISTED_CHILDREN }, (_, i) => `${LISTED}/child-${i}\0value`),
  );
  client.close();
  return {};
}

const COMMANDS: Readonly<Record<string, (command: Command) => Result>> = {
  prepare,
  read: rate,
  write: rate,
  directory: rate,
  transactions,
  contended: transactions,
  fire,
  build,
  remove,
  watches,
};

dieWithParent(process.ppid);
process.stdout.write('{}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command;
  process.stdout.write(`${JSON.stringify(COMMANDS[command.op]!(command))}\n`);
}
