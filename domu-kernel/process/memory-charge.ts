// What a process's memory costs its domain.
import { type FrameAllocator, PAGE_SIZE } from '#pvbus';
import { FrameCharge } from '../memory-frames.ts';
import { WASM_PAGE } from './web-assembly.ts';

const FRAMES_PER_PAGE = WASM_PAGE / PAGE_SIZE;

/** Whoever has it pays for a program's memory. */
export interface Charge {
  /** WebAssembly pages charged now. */
  readonly pages: number;
  /** False, and nothing changes, when the domain or the limit has not so many. */
  take(pages: number): boolean;
  giveBack(pages: number): void;
  release(): void;
}

export class MemoryCharge implements Charge {
  pages = 0;
  readonly #charge: FrameCharge;
  readonly #limit: number;

  /** `limit`: pages at most, whatever is free. */
  constructor(frames: FrameAllocator, limit = Number.POSITIVE_INFINITY) {
    this.#charge = new FrameCharge(frames);
    this.#limit = limit;
  }
  take(pages: number): boolean {
    if (this.pages + pages > this.#limit || !this.#charge.take(pages * FRAMES_PER_PAGE)) return false;
    this.pages += pages;
    return true;
  }
  giveBack(pages: number): void {
    this.#charge.give(pages * FRAMES_PER_PAGE);
    this.pages -= pages;
  }
  release(): void {
    this.giveBack(this.pages);
  }
}
