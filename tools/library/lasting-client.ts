// The toolstack of a host whose dom0 may be restarted.
import type { ToolstackArgs, ToolstackEvent, ToolstackOp, ToolstackResult } from '#pvbus';
import { type ToolstackCalls, ToolstackClient } from '../toolstack-client.ts';
import { Lasting } from './lasting.ts';

export class LastingClient implements ToolstackCalls {
  readonly #connections: Lasting<ToolstackClient>;

  private constructor(connections: Lasting<ToolstackClient>) {
    this.#connections = connections;
  }
  static async connect(path: string): Promise<LastingClient> {
    return new LastingClient(await Lasting.begin(() => ToolstackClient.connect(path)));
  }

  /** Rejects when there is none, nor any within a while. */
  now(): Promise<ToolstackClient> {
    return this.#connections.now();
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
    this.#connections.close();
  }
}
