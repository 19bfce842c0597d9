// xenstored of a host whose process may be killed: what is asked next is asked of the next one, which is told of the watches at once.
import { socketTransport, XenError, XenstoreClient } from '#pvbus';
import { Lasting } from './lasting.ts';

interface Watch {
  readonly path: string;
  readonly token: string;
  readonly onChange: (path: string, token: string) => void;
}

/** A transaction belongs to the connection that it was begun on. */
interface Transaction {
  readonly xs: XenstoreClient;
  readonly tx: number;
}

export class LastingXenstore {
  readonly #connections: Lasting<XenstoreClient>;
  readonly #watches: Set<Watch>;
  /** By numbers of our own, which are not given twice: those of another connection may be the same. */
  readonly #transactions = new Map<number, Transaction>();
  #nextTx = 1;

  private constructor(connections: Lasting<XenstoreClient>, watches: Set<Watch>) {
    this.#connections = connections;
    this.#watches = watches;
  }
  /** `path`: of xenstored's socket. */
  static async connect(path: string): Promise<LastingXenstore> {
    const watches = new Set<Watch>();
    const lost = (): void => {
      if (watches.size > 0) void connections.now().catch(() => {}); // the host has ended: whoever asks next hears so
    };
    const connections = await Lasting.begin(() => connected(path, watches), lost);
    return new LastingXenstore(connections, watches);
  }

  read(path: string, tx = 0): Promise<string> {
    return this.#ask(tx, on => on.xs.read(path, on.tx));
  }
  readBytes(path: string, tx = 0): Promise<Uint8Array> {
    return this.#ask(tx, on => on.xs.readBytes(path, on.tx));
  }
  write(path: string, value: string | Uint8Array, tx = 0): Promise<void> {
    return this.#ask(tx, on => on.xs.write(path, value, on.tx));
  }
  mkdir(path: string, tx = 0): Promise<void> {
    return this.#ask(tx, on => on.xs.mkdir(path, on.tx));
  }
  rm(path: string, tx = 0): Promise<void> {
    return this.#ask(tx, on => on.xs.rm(path, on.tx));
  }
  directory(path: string, tx = 0): Promise<string[]> {
    return this.#ask(tx, on => on.xs.directory(path, on.tx));
  }
  exists(path: string, tx = 0): Promise<boolean> {
    return this.#ask(tx, on => on.xs.exists(path, on.tx));
  }
  getPerms(path: string, tx = 0): Promise<string[]> {
    return this.#ask(tx, on => on.xs.getPerms(path, on.tx));
  }
  setPerms(path: string, perms: readonly string[], tx = 0): Promise<void> {
    return this.#ask(tx, on => on.xs.setPerms(path, perms, on.tx));
  }

  async watch(path: string, token: string, onChange: Watch['onChange']): Promise<void> {
    await (await this.#connections.now()).watch(path, token, onChange);
    this.#watches.add({ path, token, onChange });
  }
  async unwatch(path: string, token: string): Promise<void> {
    const xs = await this.#connections.now(); // it has been told of the watch
    for (const watch of this.#watches) if (watch.path === path && watch.token === token) this.#watches.delete(watch);
    await xs.unwatch(path, token);
  }

  async transaction<T>(body: (tx: number) => Promise<T>): Promise<T> {
    const xs = await this.#connections.now();
    return xs.transaction(async tx => {
      const own = this.#nextTx++;
      this.#transactions.set(own, { xs, tx });
      try {
        return await body(own);
      } finally {
        this.#transactions.delete(own);
      }
    });
  }

  close(): void {
    this.#connections.close();
  }

  async #ask<T>(tx: number, ask: (on: Transaction) => Promise<T>): Promise<T> {
    if (tx === 0) return ask({ xs: await this.#connections.now(), tx });
    const on = this.#transactions.get(tx);
    if (on === undefined) throw new XenError('ENOENT', `xenstore: transaction ${tx} is over`);
    return ask(on);
  }
}

async function connected(path: string, watches: ReadonlySet<Watch>): Promise<XenstoreClient> {
  const xs = new XenstoreClient(await socketTransport(path));
  try {
    await Promise.all([...watches].map(({ path, token, onChange }) => xs.watch(path, token, onChange)));
    return xs;
  } catch (error) {
    xs.close();
    throw error;
  }
}
