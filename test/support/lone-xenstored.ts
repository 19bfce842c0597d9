// Our xenstored as a process by itself, as it is built, and what a test says to it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { socketTransport, XenstoreClient } from '#pvbus';

const PROGRAM = fileURLToPath(new URL('../../dist/xenstored.js', import.meta.url));

export class LoneXenstored {
  readonly socket: string;
  readonly #folder: string;
  readonly #daemon: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #clients: XenstoreClient[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
    this.socket = join(folder, 'socket');
    this.#daemon = spawn(process.execPath, [PROGRAM, '--socket', this.socket], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#exited = once(this.#daemon, 'exit');
  }

  static async start(): Promise<LoneXenstored> {
    const xenstored = new LoneXenstored(mkdtempSync(join(tmpdir(), 'xs-')));
    const said = once(xenstored.#daemon.stdout!, 'data');
    const [first] = (await Promise.race([said, xenstored.#exited])) as unknown[];
    if (String(first) === 'listening\n') return xenstored;
    await xenstored.stop();
    throw new Error(`xenstored did not start: ${first}`);
  }

  /** A client of its own, closed with the daemon. */
  async client(): Promise<XenstoreClient> {
    const client = new XenstoreClient(await socketTransport(this.socket));
    this.#clients.push(client);
    return client;
  }

  async kill(): Promise<void> {
    this.#daemon.kill('SIGKILL');
    await this.#exited;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
