// A tool's connection to dom0's toolstack: node-ipc for the socket, frames and checks from '#pvbus'.

import { lstatSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import {
  checkReply,
  checkResult,
  ERROR_FAIL,
  encodeFrame,
  FrameDecoder,
  type ToolstackArgs,
  type ToolstackError,
  type ToolstackEvent,
  type ToolstackOp,
  type ToolstackResult,
  XenError,
} from '#pvbus';

/** What we use of node-ipc, which brings no types. */
interface IpcClient {
  on(event: 'connect' | 'disconnect', listener: () => void): void;
  on(event: 'data', listener: (bytes: Buffer) => void): void;
  on(event: 'error', listener: (error: Error) => void): void;
  emit(bytes: Uint8Array): void;
}
interface Ipc {
  config: Record<string, unknown>;
  of: Record<string, IpcClient | undefined>;
  connectTo(id: string, path: string): void;
  disconnect(id: string): void;
}

const ID = 'toolstack';

interface Waiting {
  readonly op: ToolstackOp;
  readonly onEvent: (event: ToolstackEvent) => void;
  resolve(result: unknown): void;
  reject(error: XenError): void;
}

/** libxl's return code of a failure; ERROR_FAIL when the toolstack gave none. */
export function rcOf(error: unknown): number {
  const cause = error instanceof XenError ? (error.cause as Partial<ToolstackError> | undefined) : undefined;
  return typeof cause?.rc === 'number' ? cause.rc : ERROR_FAIL;
}

export class ToolstackClient {
  readonly #path: string;
  readonly #ipc: Ipc;
  readonly #decoder = new FrameDecoder();
  /** Requests without their reply, and subscriptions, by id. */
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #closed: XenError | null = null;
  readonly #onClose: ((reason: XenError) => void)[] = [];

  private constructor(path: string) {
    const { IPC } = createRequire(import.meta.url)('node-ipc') as { IPC: new () => Ipc };
    this.#path = path;
    this.#ipc = new IPC();
    // latin1: node-ipc hands bytes on as text, and latin1 is the text that keeps every byte. No retries: a
    // host that isn't there now was not started, and the person at the terminal should hear it at once.
    const config = { rawBuffer: true, encoding: 'latin1', silent: true, stopRetrying: true, maxRetries: 0 };
    Object.assign(this.#ipc.config, config);
  }

  /** Rejects at once, with one line for a person, when no host listens on `path`. */
  static async connect(path: string): Promise<ToolstackClient> {
    const client = new ToolstackClient(path);
    await client.#connect();
    return client;
  }

  /** `onEvent` hears what the toolstack says of this request before its reply, and for `subscribe` and `trace` after. */
  call<O extends ToolstackOp>(
    op: O,
    args: ToolstackArgs<O>,
    onEvent: (event: ToolstackEvent) => void = () => {},
  ): Promise<ToolstackResult<O>> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const done = (result: unknown): void => {
        try {
          resolve(checkResult(op, result));
        } catch (error) {
          reject(error);
        }
      };
      this.#waiting.set(id, { op, onEvent, resolve: done, reject });
      this.#ipc.of[ID]?.emit(Buffer.from(encodeFrame({ id, op, args })));
    });
  }

  /** Told once, at once when it is closed already. Not for a `close` of ours. */
  onClose(listener: (reason: XenError) => void): void {
    if (this.#closed === null) this.#onClose.push(listener);
    else listener(this.#closed);
  }

  close(): void {
    this.#onClose.length = 0;
    this.#end(new XenError('ECONNABORTED', 'the connection to the toolstack was closed'));
  }

  async #connect(): Promise<void> {
    const dir = dirname(this.#path);
    const missing = (cause: unknown): XenError =>
      new XenError('ENOENT', `no xenolith host runs on ${dir} (\`xl up FILE' starts one)`, cause);
    try {
      const { uid } = lstatSync(this.#path);
      const self = process.getuid?.() ?? 0;
      if (uid !== self && uid !== 0 && self !== 0) {
        throw new XenError('EPERM', `the host on ${dir} belongs to uid ${uid}`);
      }
    } catch (error) {
      if (error instanceof XenError) throw error;
      throw missing(error);
    }
    await new Promise<void>((resolve, reject) => {
      this.#ipc.connectTo(ID, this.#path);
      const client = this.#ipc.of[ID]!;
      let connected = false;
      client.on('connect', () => {
        connected = true;
        resolve();
      });
      client.on('data', bytes => this.#receive(bytes));
      client.on('error', error => {
        const code = (error as NodeJS.ErrnoException).code ?? 'EIO';
        const why = ['ENOENT', 'ECONNREFUSED'].includes(code)
          ? missing(error)
          : new XenError(code, `the host on ${dir} cannot be reached: ${error.message}`, error);
        if (connected) this.#end(why);
        else reject(why);
      });
      client.on('disconnect', () => this.#end(new XenError('EPIPE', `the host on ${dir} closed the connection`)));
    });
  }

  #receive(bytes: Buffer): void {
    try {
      for (const message of this.#decoder.push(bytes)) this.#hear(message);
    } catch (error) {
      // untrusted: a stream that cannot be decoded any further.
      this.#end(error instanceof XenError ? error : new XenError('EPROTO', String(error), error));
    }
  }

  #hear(message: unknown): void {
    const reply = checkReply(message);
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) throw new XenError('EPROTO', `the toolstack answered request ${reply.id} unasked`);
    if ('event' in reply) {
      waiting.onEvent(reply.event);
      return;
    }
    // The events of these come after their reply.
    if ((waiting.op !== 'subscribe' && waiting.op !== 'trace') || 'error' in reply) this.#waiting.delete(reply.id);
    if ('error' in reply) waiting.reject(new XenError(reply.error.code, reply.error.message, reply.error));
    else waiting.resolve(reply.result);
  }

  #end(reason: XenError): void {
    if (this.#closed !== null) return;
    this.#closed = reason;
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
    this.#ipc.disconnect(ID);
    for (const listener of this.#onClose.splice(0)) listener(reason);
  }
}
