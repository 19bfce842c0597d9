// An NBD server in memory that does requests in an order drawn by the test, and that loses, when it crashes, what was
// not flushed. It speaks the protocol's own bytes.
import type { Connect, StreamEvents } from '../../dom0/backends/nbd/session.ts';

export interface PlayOptions {
  readonly structured?: boolean;
  readonly flush?: boolean;
  readonly fua?: boolean;
  readonly minBlock?: number;
  readonly maxBlock?: number;
}

interface Request {
  readonly type: number;
  readonly flags: number;
  readonly cookie: bigint;
  readonly at: number;
  readonly length: number;
  readonly data: Uint8Array;
}
interface Connection {
  readonly events: StreamEvents;
  phase: 'connecting' | 'flags' | 'options' | 'requests';
  structured: boolean;
  sizeBytes: number;
  inbox: Buffer;
  readonly requests: Request[];
  readonly outbox: Buffer[];
  over: boolean;
  /** Its server has crashed; the client has not heard. */
  crashed: boolean;
}

const NBD = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4 } as const;

export class PlayNbdServer {
  /** What is on the medium, and what a reader sees. */
  medium: Uint8Array;
  bytes: Uint8Array;
  flags: number;
  up = true;
  crashes = 0;
  flushes = 0;
  /** Requests of every kind. */
  performed = 0;
  /** Flushes are not answered: the medium is slow. */
  holdsFlushes = false;
  readonly #options: PlayOptions;
  #connection: Connection | undefined;

  constructor(content: Uint8Array, options: PlayOptions = {}) {
    this.medium = content.slice();
    this.bytes = content.slice();
    this.#options = options;
    const { flush = true, fua = true } = options;
    this.flags = 1 | (flush ? 4 : 0) | (fua ? 8 : 0) | 32 | 64;
  }

  readonly connect: Connect = (_, events) => {
    const connection: Connection = {
      ...{ events, phase: 'connecting', structured: false, sizeBytes: 0, inbox: Buffer.alloc(0) },
      ...{ requests: [], outbox: [], over: false, crashed: false },
    };
    if (this.#connection !== undefined) this.#connection.over = true;
    this.#connection = connection;
    return {
      write: bytes => {
        if (connection.over) return;
        connection.inbox = Buffer.concat([connection.inbox, bytes]);
      },
      cork: () => {},
      uncork: () => {},
      end: () => {
        connection.over = true;
      },
      destroy: () => {
        connection.over = true;
      },
    };
  };

  /** What is not flushed is gone, and so is the connection. */
  crash(): void {
    this.crashes++;
    this.up = false;
    if (this.#connection !== undefined) this.#connection.crashed = true;
    this.bytes = this.medium.slice();
  }

  /** To those who connect from now on. */
  grow(bytes: number): void {
    const larger = (old: Uint8Array): Uint8Array => {
      const all = new Uint8Array(bytes);
      all.set(old);
      return all;
    };
    this.medium = larger(this.medium);
    this.bytes = larger(this.bytes);
  }

  get requests(): number {
    return this.#connection?.requests.length ?? 0;
  }

  /** Something of what is to be done. `pick(n)` draws from 0 to n - 1. */
  step(pick: (below: number) => number): 'progress' | 'idle' {
    const c = this.#connection;
    if (c === undefined || c.over) return 'idle';
    if (!this.up || c.crashed) {
      c.over = true;
      c.events.lost('ECONNREFUSED');
      return 'progress';
    }
    if (c.phase === 'connecting') {
      c.phase = 'flags';
      c.events.connected();
      const greeting = Buffer.alloc(18);
      greeting.write('NBDMAGICIHAVEOPT', 'latin1');
      greeting.writeUInt16BE(3, 16);
      c.outbox.push(greeting);
      return 'progress';
    }
    if (c.outbox.length > 0 && pick(3) > 0) {
      this.#deliver(c, pick);
      return 'progress';
    }
    this.#parse(c);
    const ready = c.requests.filter(({ type }) => !(this.holdsFlushes && type === NBD.FLUSH));
    if (ready.length > 0) {
      const request = ready[pick(ready.length)]!;
      c.requests.splice(c.requests.indexOf(request), 1);
      this.#perform(c, request, pick);
      return 'progress';
    }
    if (c.outbox.length > 0) {
      this.#deliver(c, pick);
      return 'progress';
    }
    return 'idle';
  }

  /** Answers come in pieces of any length. */
  #deliver(c: Connection, pick: (below: number) => number): void {
    const all = Buffer.concat(c.outbox.splice(0));
    const n = 1 + (pick(2) === 0 ? pick(all.length) : all.length - 1);
    if (n < all.length) c.outbox.push(all.subarray(n));
    c.events.data(Buffer.concat([all.subarray(0, n), Buffer.from('rubbish of the stream')]), n);
  }

  #parse(c: Connection): void {
    for (;;) {
      const { inbox } = c;
      if (c.phase === 'flags') {
        if (inbox.length < 4) return;
        c.inbox = inbox.subarray(4);
        c.phase = 'options';
      } else if (c.phase === 'options') {
        if (inbox.length < 16) return;
        const option = inbox.readUInt32BE(8);
        const length = inbox.readUInt32BE(12);
        if (inbox.length < 16 + length) return;
        c.inbox = inbox.subarray(16 + length);
        this.#option(c, option);
      } else {
        if (inbox.length < 28) return;
        if (inbox.readUInt32BE(0) !== 0x25609513) throw new Error('the client sent no request');
        const type = inbox.readUInt16BE(6);
        const length = inbox.readUInt32BE(24);
        const dataLength = type === NBD.WRITE ? length : 0;
        if (inbox.length < 28 + dataLength) return;
        const at = Number(inbox.readBigUInt64BE(16));
        const { minBlock = 1 } = this.#options;
        if (at % minBlock !== 0 || length % minBlock !== 0)
          throw new Error(`the client asks for ${length} bytes at ${at}, which are no whole blocks`);
        if (at + length > c.sizeBytes) throw new Error(`the client asks for ${length} bytes at ${at}`);
        c.requests.push({
          ...{ type, flags: inbox.readUInt16BE(4), cookie: inbox.readBigUInt64BE(8), at, length },
          data: inbox.subarray(28, 28 + dataLength),
        });
        c.inbox = inbox.subarray(28 + dataLength);
      }
    }
  }
  #option(c: Connection, option: number): void {
    const reply = (type: number, data = Buffer.alloc(0)): void => {
      const head = Buffer.alloc(20);
      head.writeBigUInt64BE(0x0003e889045565a9n);
      head.writeUInt32BE(option, 8);
      head.writeUInt32BE(type, 12);
      head.writeUInt32BE(data.length, 16);
      c.outbox.push(head, data);
    };
    if (option === 8) {
      c.structured = this.#options.structured ?? false;
      reply(c.structured ? 1 : 2 ** 31 + 1);
      return;
    }
    const size = Buffer.alloc(12);
    c.sizeBytes = this.bytes.length;
    size.writeBigUInt64BE(BigInt(c.sizeBytes), 2);
    size.writeUInt16BE(this.flags, 10);
    reply(3, size);
    const blocks = Buffer.alloc(14);
    blocks.writeUInt16BE(3);
    blocks.writeUInt32BE(this.#options.minBlock ?? 1, 2);
    blocks.writeUInt32BE(4096, 6);
    blocks.writeUInt32BE(this.#options.maxBlock ?? 32 << 20, 10);
    reply(3, blocks);
    reply(1);
    c.phase = 'requests';
  }

  #perform(c: Connection, request: Request, pick: (below: number) => number): void {
    const { type, flags, at, length, data, cookie } = request;
    this.performed++;
    switch (type) {
      case NBD.READ:
        if (c.structured) {
          this.#chunks(c, request, pick);
          return;
        }
        this.#simple(c, cookie, this.bytes.slice(at, at + length));
        return;
      case NBD.WRITE:
        this.bytes.set(data, at);
        // A medium takes up some of it whenever it likes.
        if ((flags & 1) !== 0 || pick(3) === 0) this.medium.set(data, at);
        break;
      case NBD.TRIM:
        this.bytes.fill(0, at, at + length);
        if (pick(3) === 0) this.medium.fill(0, at, at + length);
        break;
      case NBD.FLUSH:
        this.flushes++;
        this.medium.set(this.bytes);
        break;
      default:
        throw new Error(`command ${type}`);
    }
    this.#simple(c, cookie, new Uint8Array(0));
  }
  #simple(c: Connection, cookie: bigint, data: Uint8Array): void {
    const head = Buffer.alloc(16);
    head.writeUInt32BE(0x67446698);
    head.writeBigUInt64BE(cookie, 8);
    c.outbox.push(head, Buffer.from(data));
  }
  /** A read in chunks that come in any order, holes among them. */
  #chunks(c: Connection, { at, length, cookie }: Request, pick: (below: number) => number): void {
    const cuts = [...new Set([0, length, ...Array.from({ length: pick(4) }, () => pick(length))])].sort(
      (a, b) => a - b,
    );
    const parts = cuts.slice(1).map((end, i) => [cuts[i]!, end] as const);
    for (let i = parts.length - 1; i > 0; i--) {
      const j = pick(i + 1);
      [parts[i], parts[j]] = [parts[j]!, parts[i]!];
    }
    const chunk = (flags: number, type: number, body: Buffer): void => {
      const head = Buffer.alloc(20);
      head.writeUInt32BE(0x668e33ef);
      head.writeUInt16BE(flags, 4);
      head.writeUInt16BE(type, 6);
      head.writeBigUInt64BE(cookie, 8);
      head.writeUInt32BE(body.length, 16);
      c.outbox.push(head, body);
    };
    const doneApart = pick(2) === 0;
    for (const [i, [start, end]] of parts.entries()) {
      const flags = !doneApart && i === parts.length - 1 ? 1 : 0;
      const bytes = this.bytes.slice(at + start, at + end);
      const where = Buffer.alloc(8);
      where.writeBigUInt64BE(BigInt(at + start));
      if (bytes.every(b => b === 0)) {
        const size = Buffer.alloc(4);
        size.writeUInt32BE(end - start);
        chunk(flags, 2, Buffer.concat([where, size]));
      } else chunk(flags, 1, Buffer.concat([where, bytes]));
    }
    if (doneApart) chunk(1, 0, Buffer.alloc(0));
  }
}
