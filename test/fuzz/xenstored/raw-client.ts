// A client of the real daemon that sends what it likes.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { XenstoreFrameReader, XS_WATCH_EVENT, xenstoreFrame } from '#pvbus';

export interface Frame {
  readonly type: number;
  readonly req_id: number;
  readonly payload: Buffer;
}

export class RawClient {
  readonly socket: Socket;
  /** All that has come and was not asked for yet. */
  readonly #frames: Frame[] = [];
  readonly #reader = new XenstoreFrameReader();
  #wake: () => void = () => {};
  #nextId = 1;
  /** The daemon has hung up. */
  closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
    socket.on('data', bytes => {
      for (let at = 0; at < bytes.length; ) {
        at += this.#reader.take(bytes, at);
        if (!this.#reader.complete) continue;
        const { type, req_id, payload } = this.#reader.frame;
        this.#frames.push({ type, req_id, payload: Buffer.from(payload) });
      }
      this.#wake();
    });
  }
  static async connect(path: string): Promise<RawClient> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  /** A whole message. Returns its req_id. */
  send(type: number, payload: string, tx = 0): number {
    const id = this.#nextId++;
    this.socket.write(xenstoreFrame(type, id, tx, Buffer.from(payload, 'latin1')));
    return id;
  }
  /** What comes next; undefined when the daemon has hung up. */
  async next(): Promise<Frame | undefined> {
    while (this.#frames.length === 0 && !this.closed) {
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
    return this.#frames.shift();
  }
  /** The answer to the next request that has none yet. */
  async reply(): Promise<Frame | undefined> {
    for (;;) {
      const frame = await this.next();
      if (frame?.type !== XS_WATCH_EVENT) return frame;
    }
  }
  ask(type: number, payload: string): Promise<Frame | undefined> {
    this.send(type, payload);
    return this.reply();
  }
  close(): void {
    this.socket.destroy();
  }
}
