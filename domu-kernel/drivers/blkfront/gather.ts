// What is to be written from many places in memory: neighbours on the disk are one request.
import type { Piece } from '../../block-device.ts';
import { SECTOR_SIZE } from './request.ts';

export class Gather {
  readonly #pieces: readonly Piece[];
  #next = 0;
  /** Bytes of the next piece that were taken. */
  #taken = 0;

  /** Neighbours are found in this order. None of them is empty. */
  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
  }
  get isEmpty(): boolean {
    return this.#next === this.#pieces.length;
  }
  /** Where the next bytes are to be. */
  get sector(): number {
    return this.#pieces[this.#next]!.sector + this.#taken / SECTOR_SIZE;
  }
  /** Bytes that are next to one another from there on. */
  get length(): number {
    let end = this.#next;
    let length = -this.#taken;
    do length += this.#pieces[end]!.bytes.length;
    while (this.#isNeighbour(++end));
    return length;
  }
  /** As many of those as there is room for. */
  take(into: Uint8Array, room: number): number {
    let done = 0;
    do {
      const { bytes } = this.#pieces[this.#next]!;
      const part = bytes.subarray(this.#taken, this.#taken + room - done);
      into.set(part, done);
      done += part.length;
      this.#taken += part.length;
      if (this.#taken < bytes.length) return done;
      this.#taken = 0;
    } while (this.#isNeighbour(++this.#next) && done < room);
    return done;
  }
  /** The piece goes on where the one before it ends. */
  #isNeighbour(n: number): boolean {
    const [before, piece] = [this.#pieces[n - 1], this.#pieces[n]];
    return before !== undefined && piece?.sector === before.sector + before.bytes.length / SECTOR_SIZE;
  }
}
