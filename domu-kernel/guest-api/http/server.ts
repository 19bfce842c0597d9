// A small HTTP/1.1 server on a listener, the host's or our own. What a client may cost is bounded: bytes by
// the parser, time by timers, connections by a number.
import type { Connection, HttpHandler, HttpOptions, HttpServer, Listener } from 'xenolith';
import { type Clock, type Log, messageOf, XenError } from '#pvbus';
import type { Timers } from '../../timers.ts';
import { WaitQueue } from '../../wait-queue.ts';
import { DEFAULT_LIMITS, HttpError, type ParsedRequest, RequestParser } from './request-parser.ts';
import { asResponse, encodeResponse } from './response.ts';

export interface HttpParts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  listen(port: number, on: HttpOptions['on']): Promise<Listener>;
}

type Options = Required<Omit<HttpOptions, 'on'>> & Pick<HttpOptions, 'on'>;

const DEFAULTS = {
  maxBody: DEFAULT_LIMITS.maxBody,
  requestTimeoutMs: 10_000,
  idleTimeoutMs: 15_000,
  maxConnections: 64,
} as const;
/** A client that takes nothing of its response for this long is let go. */
const SEND_TIMEOUT_MS = 30_000;
const MAX_REQUESTS = 1000;
/** Of one who went away before it was accepted (Linux: accept(2)); so often in a row it is the port's. */
const OF_A_CLIENT: ReadonlySet<string> = new Set([
  ...(['ECONNABORTED', 'ECONNREFUSED', 'ETIMEDOUT', 'ENETUNREACH', 'EHOSTUNREACH'] as const),
]);
const CLIENTS_IN_A_ROW = 8;
/** A port that fails again is tried twice as late each time, until it is this. */
const MAX_PAUSE_MS = 60_000;

export function httpApi(parts: HttpParts): typeof import('xenolith').http {
  return {
    async serve(port, handler, options = {}) {
      const server = new Server(parts, port, handler, { ...DEFAULTS, ...options });
      await server.listen();
      const accepting = server.accept();
      return {
        port,
        async close() {
          await server.stop();
          await accepting;
          await server.finish();
        },
      } satisfies HttpServer;
    },
  };
}

class Server {
  private readonly parts: HttpParts;
  private readonly port: number;
  private readonly handler: HttpHandler;
  private readonly options: Options;
  private readonly serving = new Set<Promise<void>>();
  /** Connections between two requests. */
  private readonly resting = new Set<Connection>();
  private closing = false;
  private listener: Listener | undefined;
  /** Accepts that have failed since the last that has not. */
  private failures = 0;
  /** What the console was told of them. */
  private told: string | undefined;
  /** Ends a pause. */
  private readonly stopped = new WaitQueue();

  constructor(parts: HttpParts, port: number, handler: HttpHandler, options: Options) {
    this.parts = parts;
    this.port = port;
    this.handler = handler;
    this.options = options;
  }

  async listen(): Promise<void> {
    this.listener = await this.parts.listen(this.port, this.options.on);
    if (this.closing) await this.listener.close();
  }
  /** No new connections. */
  async stop(): Promise<void> {
    this.closing = true;
    this.stopped.wakeAll();
    await this.listener?.close();
  }
  /** Until `stop`. Never rejects: a port that fails is opened anew. */
  async accept(): Promise<void> {
    while (!this.closing) {
      try {
        if (!this.listener) await this.listen();
        await this.acceptFrom(this.listener!); // listen has made it
      } catch (error) {
        if (!this.closing) await this.failed(error);
      }
    }
  }
  private async acceptFrom(listener: Listener): Promise<void> {
    for await (const connection of listener) {
      this.failures = 0;
      this.told = undefined;
      const served = this.serve(connection).finally(() => this.serving.delete(served));
      this.serving.add(served);
      // Who comes next waits in the host's queue.
      while (this.serving.size >= this.options.maxConnections) await Promise.race(this.serving);
    }
  }
  private async failed(error: unknown): Promise<void> {
    const code = error instanceof XenError ? error.code : 'EIO';
    this.failures++;
    const doubled = 2 ** (this.failures - 1);
    if (OF_A_CLIENT.has(code) && this.failures < CLIENTS_IN_A_ROW) return this.pause(10 * doubled);
    // order: whoever waits there hears of it from the host, and does not wait for what may not come.
    await this.listener?.close();
    this.listener = undefined;
    // A backend that is started again has forgotten its sockets.
    if (code === 'ECONNRESET' && this.failures === 1) return;
    const text = `http: port ${this.port} is not served for now: ${code}: ${messageOf(error)}`;
    if (this.told !== text) this.parts.log.error(text);
    this.told = text;
    await this.pause(Math.min(MAX_PAUSE_MS, 1000 * doubled));
  }
  /** Shorter when the server is closed. */
  private async pause(ms: number): Promise<void> {
    if (this.closing) return;
    await new Promise<void>(resolve => {
      const leave = this.stopped.add(() => {
        this.parts.timers.cancel(timer);
        resolve();
      });
      const timer = this.parts.timers.after(ms, () => {
        leave();
        resolve();
      });
    });
  }
  /** No further request is answered on any connection. */
  async finish(): Promise<void> {
    for (const connection of this.resting) void connection.close().catch(() => {}); // serve() closes it too
    await Promise.all(this.serving);
  }

  /** One connection to its end. Never rejects. */
  private async serve(connection: Connection): Promise<void> {
    try {
      await this.requests(connection);
    } catch (error) {
      // The client went away or took too long; only this connection ends.
      if (!(error instanceof XenError)) this.parts.log.error(`http: ${error instanceof Error ? error.stack : error}`);
    }
    await connection.close().catch(() => {}); // the device is gone: so is the connection
  }

  private async requests(connection: Connection): Promise<void> {
    const { maxBody } = this.options;
    const parser = new RequestParser({ ...DEFAULT_LIMITS, maxBody });
    for (let served = 1; ; served++) {
      let request: ParsedRequest | undefined;
      try {
        request = await this.receive(connection, parser);
      } catch (error) {
        if (!(error instanceof HttpError)) throw error;
        await this.refuse(connection, error);
        return;
      }
      if (!request) return;
      const keepAlive = wantsMore(request) && served < MAX_REQUESTS && !this.closing;
      await this.send(connection, await this.answer(request, keepAlive));
      if (!keepAlive) return connection.end();
    }
  }

  /** The next request; undefined when the client has ended between two. */
  private async receive(connection: Connection, parser: RequestParser): Promise<ParsedRequest | undefined> {
    const { requestTimeoutMs, idleTimeoutMs } = this.options;
    let deadline = this.after(parser.started ? requestTimeoutMs : idleTimeoutMs);
    let phase: 'idle' | 'head' | 'body' = parser.started ? 'head' : 'idle';
    for (;;) {
      const request = parser.next();
      if (request) return request;
      // A phase has a time for all of it: a byte now and then does not buy more.
      if (phase === 'idle' && parser.started) {
        phase = 'head';
        deadline = this.after(requestTimeoutMs);
      }
      const head = parser.awaitingBody;
      if (phase !== 'body' && head) {
        phase = 'body';
        deadline = this.after(requestTimeoutMs);
        if (head.headers.get('expect')?.toLowerCase() === '100-continue') {
          await this.send(connection, new TextEncoder().encode('HTTP/1.1 100 Continue\r\n\r\n'));
        }
      }
      if (phase === 'idle') this.resting.add(connection);
      const bytes = await this.within(deadline, connection.read(), () => {
        if (phase !== 'idle') return new HttpError(408, 'the request took too long');
        return new XenError('ETIMEDOUT', 'http: an idle connection');
      }).finally(() => this.resting.delete(connection));
      if (bytes === null) return undefined;
      parser.push(bytes);
    }
  }

  private async answer(request: ParsedRequest, keepAlive: boolean): Promise<Uint8Array> {
    const framing = { date: new Date(this.parts.clock.wallMs()), keepAlive, head: request.method === 'HEAD' };
    try {
      const { path, query } = splitTarget(request.target);
      const answer = await this.handler({
        method: request.method,
        path,
        query,
        headers: request.headers,
        body: request.body,
        text: () => new TextDecoder().decode(request.body),
        json: () => JSON.parse(new TextDecoder().decode(request.body)),
      });
      return encodeResponse(asResponse(answer), framing);
    } catch (error) {
      if (error instanceof HttpError) return encodeResponse(errorResponse(error.status, error.message), framing);
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.parts.log.error(`http: ${request.method} ${request.target.slice(0, 200)}: ${text}`);
      return encodeResponse(errorResponse(500, 'the handler failed'), framing);
    }
  }

  private async refuse(connection: Connection, { status, message }: HttpError): Promise<void> {
    const framing = { date: new Date(this.parts.clock.wallMs()), keepAlive: false, head: false };
    await this.send(connection, encodeResponse(errorResponse(status, message), framing));
    await connection.end();
  }
  private async send(connection: Connection, bytes: Uint8Array): Promise<void> {
    // Each part has its time: a large response may take long, a client that stands still may not.
    const PART = 65536;
    for (let at = 0; at < bytes.length; at += PART) {
      await this.within(
        this.after(SEND_TIMEOUT_MS),
        connection.write(bytes.subarray(at, at + PART)),
        () => new XenError('ETIMEDOUT', 'http: the client takes nothing'),
      );
    }
  }

  private after(ms: number): number {
    return this.parts.clock.now() + ms * 1e6;
  }
  private async within<T>(deadline: number, work: Promise<T>, late: () => Error): Promise<T> {
    const { timers } = this.parts;
    let expired: ReturnType<Timers['set']> | undefined;
    const timeout = new Promise<never>((_, reject) => {
      expired = timers.set(deadline, () => reject(late()));
    });
    work.catch(() => {}); // who loses the race is not heard
    try {
      return await Promise.race([work, timeout]);
    } finally {
      if (expired) timers.cancel(expired);
    }
  }
}

const errorResponse = (status: number, message: string) => ({
  status,
  headers: { 'Content-Type': 'text/plain; charset=utf-8' },
  body: `${message}\n`,
});

// RFC 9112, 9.3.
function wantsMore({ version, headers }: ParsedRequest): boolean {
  const words = (headers.get('connection') ?? '').toLowerCase().split(/[\s,]+/);
  if (words.includes('close')) return false;
  return version === '1.1' || words.includes('keep-alive');
}

/** Path and query of a target in origin form, or absolute form; anything else is a 400. */
export function splitTarget(target: string): { path: string; query: URLSearchParams } {
  const local = target.replace(/^https?:\/\/[^/?]*/i, '') || '/';
  if (!local.startsWith('/') && target !== '*') throw new HttpError(400, 'the request target is malformed');
  const mark = local.indexOf('?');
  const raw = mark < 0 ? local : local.slice(0, mark);
  try {
    const path = decodeURIComponent(raw);
    if (path.includes('\0')) throw new URIError('NUL');
    return { path, query: new URLSearchParams(mark < 0 ? '' : local.slice(mark + 1)) };
  } catch {
    throw new HttpError(400, 'the request target is malformed');
  }
}
