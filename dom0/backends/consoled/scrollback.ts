// The last bytes of a console, for whoever attaches later.

export const SCROLLBACK_BYTES = 64 << 10;

export class Scrollback {
  readonly #bytes: Uint8Array;
  #written = 0;

  constructor(size = SCROLLBACK_BYTES) {
    this.#bytes = new Uint8Array(size);
  }
  append(bytes: Uint8Array): void {
    const size = this.#bytes.length;
    const kept = bytes.length > size ? bytes.subarray(bytes.length - size) : bytes;
    this.#written += bytes.length - kept.length;
    const at = this.#written % size;
    const first = Math.min(kept.length, size - at);
    this.#bytes.set(kept.subarray(0, first), at);
    this.#bytes.set(kept.subarray(first), 0);
    this.#written += kept.length;
  }
  /** What is kept, oldest first: a copy. */
  contents(): Uint8Array {
    const size = this.#bytes.length;
    if (this.#written <= size) return this.#bytes.slice(0, this.#written);
    const at = this.#written % size;
    const all = new Uint8Array(size);
    all.set(this.#bytes.subarray(at));
    all.set(this.#bytes.subarray(0, at), size - at);
    return all;
  }
}
