// One thing at a time for each domain.
export class Locks {
  readonly #last = new Map<number, Promise<void>>();

  /** Runs `body` when everything asked for earlier under the same key is over. */
  async run<T>(key: number, body: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const result = before.then(body);
    const over = result.then(
      () => {},
      () => {}, // the caller hears of it; the next in line only waits
    );
    this.#last.set(key, over);
    try {
      return await result;
    } finally {
      if (this.#last.get(key) === over) this.#last.delete(key);
    }
  }
}
