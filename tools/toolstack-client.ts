// A tool's connection to dom0's toolstack: frames and checks from '#pvbus'. The other end is node-ipc, which would
// be a third of what this file may take to load (docs/adr/0007).

import { lstatSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import {
  checkReply,
  checkResult,
  ERROR_FAIL,
  encodeFrame,
  FrameDecoder,
  runPaths,
  type ToolstackArgs,
  type ToolstackError,
  type ToolstackEvent,
  type ToolstackOp,
  type ToolstackResult,
  XenError,
} from '#pvbus';

interface Waiting {
  readonly op: ToolstackOp;
  readonly onEvent: (event: ToolstackEvent) => void;
  resolve(result: unknown): void;
  reject(error: XenError): void;
}

/** The events of these come after their reply. */
const STREAMS: ReadonlySet<ToolstackOp> = new Set(['subscribe', 'trace', 'capture']);

/** libxl's return code of a failure; ERROR_FAIL when the toolstack gave none. */
export function rcOf(error: unknown): number {
  const cause = error instanceof XenError ? (error.cause as Partial<ToolstackError> | undefined) : undefined;
  return typeof cause?.rc === 'number' ? cause.rc : ERROR_FAIL;
}

/** What most of those need who ask a toolstack something. */
export type ToolstackCalls = Pick<ToolstackClient, 'call' | 'close'>;

export class ToolstackClient {
  readonly #path: string;
  readonly #socket: Socket;
  readonly #decoder = new FrameDecoder();
  /** Requests without their reply, and subscriptions, by id. */
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #closed: XenError | null = null;
  readonly #onClose: ((reason: XenError) => void)[] = [];

  private constructor(path: string) {
    this.#path = path;
    this.#socket = connect({ path });
  }

  /** Rejects at once, with one line for a person, when no host listens on `path`. */
  static async connect(path: string): Promise<ToolstackClient> {
    checkOwner(path);
    const client = new ToolstackClient(path);
    await client.#connect();
    return client;
  }

  /** `onEvent` hears what the toolstack says of this request before its reply, and for STREAMS after. */
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
      this.#socket.write(encodeFrame({ id, op, args }));
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

  #connect(): Promise<void> {
    const dir = dirname(this.#path);
    return new Promise<void>((resolve, reject) => {
      let connected = false;
      this.#socket.on('connect', () => {
        connected = true;
        resolve();
      });
      this.#socket.on('data', bytes => this.#receive(bytes));
      this.#socket.on('error', error => {
        const code = (error as NodeJS.ErrnoException).code ?? 'EIO';
        // It ended with what it had not read.
        if (connected && code === 'ECONNRESET') return;
        const why = outOfReach(dir, code, error.message, error);
        if (connected) this.#end(why);
        else if (!['ENOENT', 'ECONNREFUSED'].includes(code)) reject(why);
        else void nobodyListens(dir, error).then(reject);
      });
      this.#socket.on('close', () => this.#end(new XenError('EPIPE', `the host on ${dir} closed the connection`)));
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
    if (!STREAMS.has(waiting.op) || 'error' in reply) this.#waiting.delete(reply.id);
    if ('error' in reply) waiting.reject(new XenError(reply.error.code, reply.error.message, reply.error));
    else waiting.resolve(reply.result);
  }

  #end(reason: XenError): void {
    if (this.#closed !== null) return;
    this.#closed = reason;
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
    this.#socket.destroy();
    for (const listener of this.#onClose.splice(0)) listener(reason);
  }
}

/** dom0's process may have ended, and another one be about to take its place: xenstored is there then. */
async function nobodyListens(dir: string, cause: unknown): Promise<XenError> {
  const store = connect({ path: runPaths(dir).xenstoredSocket });
  const lives = await new Promise<boolean>(resolve => {
    store.once('connect', () => resolve(true)).once('error', () => resolve(false));
  });
  store.destroy();
  if (!lives) return noHost(dir, cause);
  return new XenError('EAGAIN', `dom0 of the host on ${dir} is being started again, try again in a moment`, cause);
}
const noHost = (dir: string, cause: unknown): XenError =>
  new XenError('ENOENT', `no xenolith host runs on ${dir} (\`xl up FILE' starts one)`, cause);

const outOfReach = (dir: string, code: string, why: string, cause: unknown): XenError =>
  new XenError(code, `the host on ${dir} cannot be reached: ${why}`, cause);

/** Whoever made the socket is who we would speak to. */
function checkOwner(path: string): void {
  const dir = dirname(path);
  let uid: number;
  try {
    ({ uid } = lstatSync(path));
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw noHost(dir, error);
    throw outOfReach(dir, code, code === 'ENOTDIR' ? 'it is no directory' : message, error);
  }
  const self = process.getuid?.() ?? 0;
  if (uid !== self && uid !== 0 && self !== 0) throw new XenError('EPERM', `the host on ${dir} belongs to uid ${uid}`);
}
