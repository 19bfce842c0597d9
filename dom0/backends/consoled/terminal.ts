// A console as a terminal of the host: what xenconsole(1), or any program that opens a tty, attaches to.
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { openTerminal, type PseudoTerminal } from '#pvbus';
import { Scrollback } from './scrollback.ts';

/** How soon a terminal that was full is tried again. */
const RETRY_MS = 50;

export interface TerminalOptions {
  /** Take typed bytes; returns how many were taken. The rest is offered again after resume(). */
  type(bytes: Uint8Array): number;
}

export class ConsoleTerminal {
  /** What a program opens. */
  readonly path: string;
  readonly #master: number;
  readonly #slave: number;
  readonly #options: TerminalOptions;
  // For reading alone: libuv's writes to a master block.
  readonly #stream: ReadStream;
  /** What does not fit any more, since nobody reads: the oldest of it goes when there is too much. */
  #late: Scrollback | undefined;
  #retry: NodeJS.Timeout | undefined;
  #waiting: Uint8Array = new Uint8Array(0);

  private constructor({ master, slave, path }: PseudoTerminal, options: TerminalOptions) {
    this.path = path;
    this.#master = master;
    this.#slave = slave;
    this.#options = options;
    this.#stream = new ReadStream(master);
    this.#stream.on('data', bytes => this.#typed(bytes));
    this.#stream.on('error', () => this.close()); // the console goes on without a terminal
  }
  /** Throws what Linux says where there are no terminals to be had. */
  static open(options: TerminalOptions): ConsoleTerminal {
    const master = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    try {
      return new ConsoleTerminal(openTerminal(master), options);
    } catch (error) {
      closeSync(master);
      throw error;
    }
  }

  /** The guest's output. `bytes` are copied. */
  write(bytes: Uint8Array): void {
    if (this.#stream.destroyed) return;
    const written = this.#late === undefined ? this.#try(bytes) : 0;
    if (written === bytes.length) return;
    this.#late ??= new Scrollback();
    this.#late.append(bytes.subarray(written));
    this.#retry ??= setTimeout(() => this.#flush(), RETRY_MS).unref();
  }
  /** As much as there is room for; how much that was. */
  #try(bytes: Uint8Array): number {
    try {
      return writeSync(this.#master, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
      throw error;
    }
  }
  #flush(): void {
    const late = this.#late?.contents();
    this.#late = undefined;
    this.#retry = undefined;
    if (late !== undefined) this.write(late);
  }

  /** There is room for typed bytes again. */
  resume(): void {
    if (this.#waiting.length > 0) this.#typed(this.#waiting);
  }
  #typed(bytes: Uint8Array): void {
    const taken = this.#options.type(bytes);
    this.#waiting = bytes.subarray(taken);
    // Flow control: what the guest does not take stays with whoever types.
    if (this.#waiting.length > 0) this.#stream.pause();
    else this.#stream.resume();
  }

  /** Whoever has it open sees the line go dead. */
  close(): void {
    if (this.#stream.destroyed) return;
    clearTimeout(this.#retry);
    this.#stream.destroy();
    closeSync(this.#slave);
  }
}
