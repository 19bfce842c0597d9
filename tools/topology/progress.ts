// One line a phase, with the time it took. On a terminal a line below them says what goes on right now.

export interface LiveLine {
  write(text: string): unknown;
  readonly columns: number;
}

/** Lines on stdout; when that is a terminal, also what goes on. */
export function progressOn(stdout: NodeJS.WritableStream & { isTTY?: boolean; columns?: number }, quiet: boolean) {
  const live: LiveLine = {
    write: text => stdout.write(text),
    get columns() {
      return stdout.columns ?? 80;
    },
  };
  const write = (line: string): void => {
    if (!quiet) stdout.write(`${line}\n`);
  };
  return new Progress(write, stdout.isTTY && !quiet ? live : null);
}

const CLEAR = '\r\x1b[K';

export class Progress {
  readonly #write: (line: string) => void;
  readonly #live: LiveLine | null;
  /** What goes on, in the order in which it began, with how far it is. */
  readonly #going = new Map<symbol, string>();

  /** `live` null: no terminal. */
  constructor(write: (line: string) => void, live: LiveLine | null = null) {
    this.#write = write;
    this.#live = live;
  }

  /**
   * `what` is printed when it is done, or when it failed. `body` may say how far it is, and `describe` more than was
   * known before.
   */
  async phase<T>(
    what: string,
    body: (step: (text: string) => void) => Promise<T>,
    describe: (result: T) => string = () => '',
  ): Promise<T> {
    const from = performance.now();
    const key = Symbol(what);
    this.#show(key, what);
    try {
      const result = await body(text => this.#show(key, `${what}: ${text}`));
      const more = describe(result);
      this.#done(key, from, more === '' ? what : `${what}: ${more}`);
      return result;
    } catch (error) {
      this.#done(key, from, `${what}: failed`);
      throw error;
    }
  }

  #show(key: symbol, text: string): void {
    this.#going.set(key, text);
    this.#draw();
  }
  #draw(): void {
    if (this.#live === null) return;
    const text = `    ... ${[...this.#going.values()].join('; ')}`;
    this.#live.write(`${CLEAR}${this.#going.size === 0 ? '' : text.slice(0, Math.max(1, this.#live.columns - 1))}`);
  }

  #done(key: symbol, from: number, text: string): void {
    this.#going.delete(key);
    this.#live?.write(CLEAR);
    const ms = Math.round(performance.now() - from).toString();
    this.#write(`${ms.padStart(6)} ms  ${text}`);
    this.#draw();
  }
}
