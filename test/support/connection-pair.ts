// Two ends of a connection in memory, with the interface a guest program sees.
import type { Connection, Listener } from 'xenolith';
import { XenError } from '../../pvbus/errors.ts';

const ROOM = 16384;

class Pipe {
  readonly chunks: Uint8Array[] = [];
  bytes = 0;
  ended = false;
  private waiting: (() => void)[] = [];
  wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
  changed(): Promise<void> {
    return new Promise(resolve => {
      this.waiting.push(resolve);
    });
  }
}

export class PairEnd implements Connection {
  closed = false;
  readonly input: Pipe;
  readonly output: Pipe;
  constructor(input: Pipe, output: Pipe) {
    this.input = input;
    this.output = output;
  }
  async read(): Promise<Uint8Array | null> {
    for (;;) {
      if (this.closed) throw new XenError('ECANCELED', 'closed');
      const chunk = this.input.chunks.shift();
      if (chunk) {
        this.input.bytes -= chunk.length;
        this.input.wake();
        return chunk;
      }
      if (this.input.ended) return null;
      await this.input.changed();
    }
  }
  /** As over a ring: waits while the other end has not taken what is there. */
  async write(data: Uint8Array | string): Promise<void> {
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
    for (let at = 0; at < bytes.length; at += ROOM) {
      while (this.output.bytes >= ROOM && !this.closed) await this.output.changed();
      if (this.closed || this.output.ended) throw new XenError('EPIPE', 'write after end');
      const part = bytes.slice(at, at + ROOM);
      this.output.chunks.push(part);
      this.output.bytes += part.length;
      this.output.wake();
    }
  }
  async end(): Promise<void> {
    this.output.ended = true;
    this.output.wake();
  }
  async close(): Promise<void> {
    this.closed = true;
    await this.end();
    this.input.wake();
  }
  reset(): Promise<void> {
    return this.close();
  }
  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    for (let bytes = await this.read(); bytes !== null; bytes = await this.read()) yield bytes;
  }
}

export function connectionPair(): [PairEnd, PairEnd] {
  const a = new Pipe();
  const b = new Pipe();
  return [new PairEnd(a, b), new PairEnd(b, a)];
}

/** A listener whose connections a test makes. */
export class PairListener implements Listener {
  readonly port = 80;
  private readonly pending: PairEnd[] = [];
  private readonly waiting: ((end: PairEnd | undefined) => void)[] = [];
  private readonly refusals: string[] = [];
  closed = false;
  private lost = false;

  connect(): PairEnd {
    const [client, server] = connectionPair();
    const waiter = this.waiting.shift();
    if (waiter) waiter(server);
    else this.pending.push(server);
    return client;
  }
  async accept(): Promise<Connection> {
    const next =
      this.closed || this.refusals.length > 0
        ? undefined
        : (this.pending.shift() ?? (await new Promise<PairEnd | undefined>(resolve => this.waiting.push(resolve))));
    const refusal = this.closed ? undefined : this.refusals.shift();
    if (!next && refusal !== undefined) throw new XenError(refusal, 'refused');
    if (!next) throw new XenError(this.lost ? 'ECONNRESET' : 'ECANCELED', 'closed');
    return next;
  }
  /** So many accepts fail, with the one that waits. */
  refuse(code: string, times = 1): void {
    for (let i = 0; i < times; i++) this.refusals.push(code);
    this.waiting.shift()?.(undefined);
  }
  /** Its backend is gone. */
  lose(): void {
    this.lost = true;
    void this.close();
  }
  async close(): Promise<void> {
    this.closed = true;
    for (const waiter of this.waiting.splice(0)) waiter(undefined);
  }
  async *[Symbol.asyncIterator](): AsyncIterator<Connection> {
    try {
      for (;;) yield await this.accept();
    } catch (error) {
      if (!this.closed || this.lost) throw error;
    }
  }
}
