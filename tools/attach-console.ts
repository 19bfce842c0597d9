// Joins a terminal, or whatever stdin and stdout are, to a domain's console socket.

import { connect, type Socket } from 'node:net';
import { XenError } from '#pvbus';
import type { XlIo } from './commands/command.ts';

/** ^] leaves the console; the domain does not see it. */
const ESCAPE = 0x1d;

export class ConsoleConnection {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Connected, but nothing is read from the domain before `run`. */
  static open(path: string): Promise<ConsoleConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path });
      const failed = (error: NodeJS.ErrnoException): void =>
        reject(new XenError(error.code ?? 'EIO', `Unable to attach console: ${error.message}`, error));
      socket.once('error', failed);
      socket.once('connect', () => {
        socket.off('error', failed);
        socket.on('error', () => {}); // 'close' follows, and says all there is to say
        resolve(new ConsoleConnection(socket));
      });
    });
  }

  /** Until ^] is typed (`detached`) or the domain's console is no more (`closed`). */
  run({ stdin, stdout }: Pick<XlIo, 'stdin' | 'stdout'>): Promise<'detached' | 'closed'> {
    const socket = this.#socket;
    return new Promise(resolve => {
      let end: 'detached' | 'closed' = 'closed';
      const typed = (chunk: Buffer | string): void => {
        const bytes = Buffer.from(chunk as Buffer);
        const at = bytes.indexOf(ESCAPE);
        const more = at < 0 ? bytes : bytes.subarray(0, at);
        // A guest that does not read holds the typist up, not our memory.
        if (more.length > 0 && !socket.write(more)) stdin.pause();
        if (at < 0) return;
        end = 'detached';
        socket.destroySoon();
      };
      const resume = (): void => void stdin.resume();
      if (stdin.isTTY) stdin.setRawMode?.(true);
      // The end of stdin is not the end of the console: `xl console web < /dev/null` is how a script listens.
      stdin.on('data', typed);
      socket.on('drain', resume);
      socket.pipe(stdout, { end: false });
      socket.once('close', () => {
        stdin.off('data', typed);
        stdin.pause();
        if (stdin.isTTY) stdin.setRawMode?.(false);
        resolve(end);
      });
    });
  }

  /** What the domain says is not wanted; but it is read, so that the console can end. */
  ignore(): void {
    this.#socket.resume();
  }
  /** As if it were typed. */
  send(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  close(): void {
    this.#socket.destroy();
  }
}
