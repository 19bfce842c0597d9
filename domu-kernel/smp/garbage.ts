// Memory of programs that nobody has any more. The engine does not count what threads share, and so does not collect it
// by itself before it is much too much.

/** Bytes that may be garbage. */
const MOST = 32 * 2 ** 20;

export class Garbage {
  #bytes = 0;
  readonly #collect: () => void;

  constructor(collect: () => void) {
    this.#collect = collect;
  }
  /** So many more will be, once the caller has returned. */
  add(bytes: number): void {
    this.#bytes += bytes;
  }
  step(): void {
    if (this.#bytes < MOST) return;
    this.#bytes = 0;
    this.#collect();
  }
}
