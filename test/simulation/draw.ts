// Choices of a run: all of them come from its seed.
import { seeded } from '../support/random.ts';

export class Draw {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seeded(seed);
  }
  u32(): number {
    return Math.floor(this.#random() * 2 ** 32);
  }
  below(n: number): number {
    return Math.floor(this.#random() * n);
  }
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }
}

/** A number that depends on these two and on nothing else. */
export function mixed(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x27d4eb2f);
  return (h ^ (h >>> 15)) >>> 0;
}
