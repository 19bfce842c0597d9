// Stdin, stdout and stderr of a program in a domain: three unix sockets of ours, each for one connection, which the
// domain's pvcalls makes. Nothing is read from our stdin before the program has its own.

import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import type { InitConfig, PvcallsConfig } from '#pvbus';
import type { XlIo } from './commands/command.ts';

const PORTS = { stdin: 1, stdout: 2, stderr: 3 } as const satisfies NonNullable<InitConfig['stdio']>;
type Name = keyof typeof PORTS;
const NAMES = ['stdin', 'stdout', 'stderr'] as const;
/** What the program wrote last may take so long to come after its domain has ended. */
const LAST_MS = 10_000;

export class ProgramStreams {
  readonly ports = PORTS;
  readonly sockets: NonNullable<PvcallsConfig['sockets']>;
  readonly #io: Pick<XlIo, Name>;
  readonly #dir: string;
  readonly #servers: Server[] = [];
  readonly #open = new Set<Socket>();
  readonly #outputs: Promise<unknown>[] = [];

  /** `dir` is this user's alone. */
  constructor(dir: string, io: Pick<XlIo, Name>) {
    this.#io = io;
    this.#dir = dir;
    this.sockets = NAMES.map(name => ({ guest: PORTS[name], path: join(dir, name) }));
  }

  /** Before the domain runs. */
  async listen(): Promise<void> {
    await Promise.all(NAMES.map(name => this.#listen(name)));
  }

  async #listen(name: Name): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, socket => {
      server.close(); // one is all there are
      this.#open.add(socket);
      socket.on('error', () => {}); // 'close' follows
      socket.once('close', () => this.#open.delete(socket));
      if (name === 'stdin') this.#feed(socket);
      else {
        const output = this.#io[name];
        socket.pipe(output, { end: false });
        // Nobody reads it any more, and the program may have ended: then what it has written still comes to its end.
        output.once('error', () => socket.resume());
        socket.once('end', () => socket.end());
        this.#outputs.push(finished(socket, { writable: false }).catch(() => {}));
      }
    });
    this.#servers.push(server);
    server.listen(join(this.#dir, name));
    await once(server, 'listening');
  }
  #feed(socket: Socket): void {
    const { stdin } = this.#io;
    stdin.pipe(socket);
    // The program has ended, or reads no more.
    socket.once('close', () => {
      stdin.unpipe(socket);
      stdin.pause();
    });
    socket.resume();
  }

  /** Resolves when everything is written that the program has written; its domain has ended. */
  async ended(): Promise<void> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), LAST_MS);
    try {
      await Promise.race([Promise.all(this.#outputs), once(late.signal, 'abort')]);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    const { stdin } = this.#io;
    for (const server of this.#servers) server.close();
    for (const socket of this.#open) socket.destroy();
    // Whoever has the other end open does not keep us.
    stdin.destroy?.();
  }
}
