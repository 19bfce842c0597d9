// A pipe: bytes from those who have one end to those who have the other.
import { XenError } from '#pvbus';
import { WaitQueue } from '../wait-queue.ts';
import type { OpenFile } from './open-file.ts';
import { ProcessExit } from './process.ts';
import { Wait } from './wait.ts';

export const PIPE_SIZE = 65536;
/** Bytes that are written all at once or not yet. */
export const PIPE_BUF = 4096;

export class Pipe {
  readonly reader: OpenFile = new ReadEnd(this);
  readonly writer: OpenFile = new WriteEnd(this);
  readonly queue = new WaitQueue();
  readonly wait = new Wait([this.queue]);
  readers = 1;
  writers = 1;
  /** Bytes in it, from #first on. */
  length = 0;
  #first = 0;
  #bytes: Uint8Array | undefined;

  take(into: Uint8Array): number {
    const bytes = this.#bytes;
    const n = Math.min(into.length, this.length);
    if (bytes === undefined || n === 0) return 0;
    const straight = Math.min(n, PIPE_SIZE - this.#first);
    into.set(bytes.subarray(this.#first, this.#first + straight));
    into.set(bytes.subarray(0, n - straight), straight);
    this.#first = (this.#first + n) % PIPE_SIZE;
    this.length -= n;
    this.queue.wakeAll();
    return n;
  }
  put(from: Uint8Array): number {
    this.#bytes ??= new Uint8Array(PIPE_SIZE);
    const n = Math.min(from.length, PIPE_SIZE - this.length);
    const at = (this.#first + this.length) % PIPE_SIZE;
    const straight = Math.min(n, PIPE_SIZE - at);
    this.#bytes.set(from.subarray(0, straight), at);
    this.#bytes.set(from.subarray(straight, n), 0);
    this.length += n;
    this.queue.wakeAll();
    return n;
  }
  /** Nobody is left who could read it. */
  drop(): void {
    this.#bytes = undefined;
    this.length = 0;
  }
}

class ReadEnd implements OpenFile {
  readonly kind = 'pipe';
  readonly #pipe: Pipe;
  constructor(pipe: Pipe) {
    this.#pipe = pipe;
  }
  get queue(): WaitQueue {
    return this.#pipe.queue;
  }
  retain(): void {
    this.#pipe.readers++;
  }
  release(): void {
    if (--this.#pipe.readers > 0) return;
    this.#pipe.drop();
    this.#pipe.queue.wakeAll();
  }
  read(into: Uint8Array): number | Wait {
    const pipe = this.#pipe;
    if (pipe.length > 0 || pipe.writers === 0 || into.length === 0) return pipe.take(into);
    return pipe.wait;
  }
  write(): number {
    throw new XenError('EBADF', 'the reading end of a pipe');
  }
  readable(): number {
    return this.#pipe.length || (this.hungUp() ? 1 : 0);
  }
  writable(): number {
    return 0;
  }
  hungUp(): boolean {
    return this.#pipe.writers === 0;
  }
}

class WriteEnd implements OpenFile {
  readonly kind = 'pipe';
  readonly #pipe: Pipe;
  constructor(pipe: Pipe) {
    this.#pipe = pipe;
  }
  get queue(): WaitQueue {
    return this.#pipe.queue;
  }
  retain(): void {
    this.#pipe.writers++;
  }
  release(): void {
    if (--this.#pipe.writers === 0) this.#pipe.queue.wakeAll();
  }
  read(): number {
    throw new XenError('EBADF', 'the writing end of a pipe');
  }
  write(from: Uint8Array): number | Wait {
    const pipe = this.#pipe;
    if (pipe.readers === 0) throw new ProcessExit({ code: 0, signal: 'SIGPIPE' });
    const room = PIPE_SIZE - pipe.length;
    return room < Math.min(from.length, PIPE_BUF) ? pipe.wait : pipe.put(from);
  }
  readable(): number {
    return 0;
  }
  writable(): number {
    const room = PIPE_SIZE - this.#pipe.length;
    return this.hungUp() ? 1 : room < PIPE_BUF ? 0 : room;
  }
  hungUp(): boolean {
    return this.#pipe.readers === 0;
  }
}
