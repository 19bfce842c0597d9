// One line a phase, with the time it took.

export class Progress {
  readonly #write: (line: string) => void;

  constructor(write: (line: string) => void) {
    this.#write = write;
  }

  /** `what` is printed when it is done, or when it failed. `body` may say more than was known before. */
  async phase<T>(what: string, body: () => Promise<T>, describe: (result: T) => string = () => ''): Promise<T> {
    const from = performance.now();
    try {
      const result = await body();
      const more = describe(result);
      this.#line(from, more === '' ? what : `${what}: ${more}`);
      return result;
    } catch (error) {
      this.#line(from, `${what}: failed`);
      throw error;
    }
  }

  #line(from: number, text: string): void {
    this.#write(
      `${Math.round(performance.now() - from)
        .toString()
        .padStart(6)} ms  ${text}`,
    );
  }
}
