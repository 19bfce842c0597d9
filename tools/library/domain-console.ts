// A domain's console, to be read as lines or waited on for a text.

import { connect, type Socket } from 'node:net';
import { XenError } from '#pvbus';

/** What nobody has read of a guest that says more is forgotten, the oldest first. */
const MAX_UNREAD = 1 << 20;

export class DomainConsole {
  readonly #socket: Socket;
  #unread = '';
  #closed = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      this.#unread = (this.#unread + text).slice(-MAX_UNREAD);
      this.#wake();
    });
    socket.on('close', () => {
      this.#closed = true;
      this.#wake();
    });
  }

  static open(path: string): Promise<DomainConsole> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path });
      let console: DomainConsole | undefined;
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (console === undefined) reject(new XenError(error.code ?? 'EIO', `console: ${error.message}`, error));
      });
      socket.once('connect', () => {
        console = new DomainConsole(socket);
        resolve(console);
      });
    });
  }

  write(text: string): void {
    this.#socket.write(text);
  }

  async waitFor(pattern: string | RegExp): Promise<string> {
    for (;;) {
      const end = endOf(pattern, this.#unread);
      if (end !== null) {
        const text = this.#unread.slice(0, end);
        this.#unread = this.#unread.slice(end);
        return text;
      }
      if (this.#closed) throw new XenError('EPIPE', `the console closed before ${pattern} came: ${this.#unread}`);
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
  }

  /** Until the domain is gone, its last line included. */
  async *lines(): AsyncGenerator<string, void, void> {
    while (!this.#closed || this.#unread.includes('\n')) {
      const line = await this.waitFor('\n').catch(() => null);
      if (line === null) break;
      yield line.replace(/\r?\n$/, '');
    }
    if (this.#unread !== '') yield this.#unread;
    this.#unread = '';
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Where the first match ends. */
function endOf(pattern: string | RegExp, text: string): number | null {
  if (typeof pattern === 'string') {
    const at = text.indexOf(pattern);
    return at < 0 ? null : at + pattern.length;
  }
  const match = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, '')).exec(text);
  return match === null ? null : match.index + match[0].length;
}
