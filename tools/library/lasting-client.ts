// The toolstack of a host whose dom0 may be restarted: a connection, and another one when that has ended.

import { type ToolstackArgs, type ToolstackEvent, type ToolstackOp, type ToolstackResult, XenError } from '#pvbus';
import { type ToolstackCalls, ToolstackClient } from '../toolstack-client.ts';

/** A successor serves within seconds, or the host has ended. */
const WAIT_MS = 20_000;
const PAUSE_MS = 20;

export class LastingClient implements ToolstackCalls {
  readonly #path: string;
  #current: Promise<ToolstackClient> | undefined;
  #closed = false;

  private constructor(path: string) {
    this.#path = path;
  }
  static async connect(path: string): Promise<LastingClient> {
    const client = new LastingClient(path);
    client.#follow(await ToolstackClient.connect(path));
    return client;
  }

  /** Rejects when there is none, nor any within a while. */
  now(): Promise<ToolstackClient> {
    if (this.#closed) return Promise.reject(new XenError('EPIPE', 'the host was stopped'));
    this.#current ??= this.#again();
    return this.#current;
  }
  /** As a ToolstackClient's, over the present connection or the next one. What is under way when one ends fails. */
  async call<O extends ToolstackOp>(
    op: O,
    args: ToolstackArgs<O>,
    onEvent?: (event: ToolstackEvent) => void,
  ): Promise<ToolstackResult<O>> {
    return (await this.now()).call(op, args, onEvent);
  }
  close(): void {
    this.#closed = true;
    void this.#current?.then(
      client => client.close(),
      () => {},
    );
  }

  #follow(client: ToolstackClient): void {
    this.#current = Promise.resolve(client);
    client.onClose(() => {
      this.#current = undefined;
    });
  }
  async #again(): Promise<ToolstackClient> {
    const deadline = performance.now() + WAIT_MS;
    for (;;) {
      try {
        const client = await ToolstackClient.connect(this.#path);
        this.#follow(client);
        return client;
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
