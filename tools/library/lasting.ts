// A connection to a process of a host that another one may take the place of: then another connection.
import { XenError } from '#pvbus';

interface Connection {
  close(): void;
  onClose(told: () => void): void;
}

/** A successor serves within seconds, or the host has ended. */
const WAIT_MS = 20_000;
const PAUSE_MS = 20;

export class Lasting<C extends Connection> {
  readonly #connect: () => Promise<C>;
  readonly #lost: () => void;
  #current: Promise<C> | undefined;
  #closed = false;

  private constructor(connect: () => Promise<C>, lost: () => void) {
    this.#connect = connect;
    this.#lost = lost;
  }
  /** Rejects when there is none to begin with. `lost`: one has ended, and there is none until somebody asks. */
  static async begin<C extends Connection>(connect: () => Promise<C>, lost = () => {}): Promise<Lasting<C>> {
    const lasting = new Lasting(connect, lost);
    lasting.#follow(await connect());
    return lasting;
  }

  /** Rejects when there is none, nor any within a while. */
  now(): Promise<C> {
    if (this.#closed) return Promise.reject(new XenError('EPIPE', 'the host was stopped'));
    this.#current ??= this.#again();
    return this.#current;
  }
  close(): void {
    this.#closed = true;
    void this.#current?.then(
      connection => connection.close(),
      () => {},
    );
  }

  #follow(connection: C): void {
    this.#current = Promise.resolve(connection);
    connection.onClose(() => {
      this.#current = undefined;
      this.#lost();
    });
  }
  async #again(): Promise<C> {
    const deadline = performance.now() + WAIT_MS;
    for (;;) {
      try {
        const connection = await this.#connect();
        this.#follow(connection);
        return connection;
      } catch (error) {
        if (this.#closed || performance.now() > deadline) {
          this.#current = undefined;
          throw error;
        }
      }
      await new Promise(resolve => setTimeout(resolve, PAUSE_MS));
    }
  }
}
