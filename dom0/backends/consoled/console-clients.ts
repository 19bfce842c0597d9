// Whoever is attached to a console: a unix socket that carries its bytes both ways, raw.
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { Log } from '#pvbus';
import { sameUser } from '../../same-user.ts';
import { Scrollback } from './scrollback.ts';
import type { ConsoleStats } from './stats.ts';

const MAX_CLIENTS = 16;
/** A client that is this far behind is cut off; the guest never waits for it. */
const MAX_UNREAD = 1 << 20;

export interface ConsoleClientsOptions {
  readonly path: string;
  /** How messages name it: `console of dom3`. */
  readonly label: string;
  readonly log: Log;
  readonly stats: ConsoleStats;
  /** Take typed bytes; returns how many were taken. The rest is offered again after resume(). */
  type(bytes: Uint8Array): number;
  /** What the guest said before. */
  readonly past: Uint8Array;
}

/** How long a client has to read the last of it. */
const LAST_READ_MS = 1000;

interface Client {
  readonly socket: Socket;
  /** Typed bytes that did not fit yet. */
  waiting: Buffer;
}

export class ConsoleClients {
  readonly #options: ConsoleClientsOptions;
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  readonly #scrollback = new Scrollback();

  private constructor(options: ConsoleClientsOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    this.#scrollback.append(options.past);
    server.on('connection', socket => this.#attach(socket));
  }

  /** Listening when it resolves. */
  static async open(options: ConsoleClientsOptions): Promise<ConsoleClients> {
    rmSync(options.path, { force: true }); // left by a host that was killed
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.path, () => {
        server.off('error', reject);
        resolve();
      });
    });
    return new ConsoleClients(options, server);
  }

  get count(): number {
    return this.#clients.size;
  }

  /** Output of the guest, to everyone who is attached or will be. */
  write(bytes: Uint8Array): void {
    this.#scrollback.append(bytes);
    for (const client of this.#clients) {
      if (client.socket.writableLength > MAX_UNREAD) {
        this.#options.stats.slowClients++;
        this.#options.log.warn(`${this.#options.label}: a client does not read, cut off`);
        this.#drop(client);
      } else client.socket.write(Buffer.from(bytes)); // a copy: the caller reuses its buffer
    }
  }

  /** There is room for typed bytes again. */
  resume(): void {
    for (const client of this.#clients) {
      if (client.waiting.length > 0) this.#typed(client, client.waiting);
      else client.socket.resume();
    }
  }

  /** Clients see the end of the stream once they have read everything. */
  async close(): Promise<void> {
    const clients = [...this.#clients];
    this.#clients.clear();
    for (const { socket } of clients) socket.end();
    // A domain's end does not wait for a client that reads nothing, such as one that was stopped.
    const late = setTimeout(() => {
      for (const { socket } of clients) socket.destroy();
    }, LAST_READ_MS);
    await new Promise<void>(resolve => this.#server.close(() => resolve()));
    clearTimeout(late);
  }

  #attach(socket: Socket): void {
    if (!sameUser(socket) || this.#clients.size >= MAX_CLIENTS) {
      socket.destroy();
      return;
    }
    const client: Client = { socket, waiting: Buffer.alloc(0) };
    this.#clients.add(client);
    socket.on('error', () => this.#drop(client)); // it went away: nobody else is concerned
    socket.on('close', () => this.#drop(client));
    socket.on('data', bytes => this.#typed(client, bytes));
    socket.write(this.#scrollback.contents());
    socket.resume();
  }
  #typed(client: Client, bytes: Buffer): void {
    const taken = this.#options.type(bytes);
    client.waiting = bytes.subarray(taken);
    // Flow control: what the guest does not take stays in the client's socket.
    if (client.waiting.length > 0) client.socket.pause();
    else client.socket.resume();
  }
  #drop(client: Client): void {
    this.#clients.delete(client);
    client.socket.destroy();
  }
}
