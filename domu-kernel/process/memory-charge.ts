// What a process's memory costs its domain: WebAssembly's pages lie outside of the domain's RAM, so frames of that are
// taken out of use for as long.
import { type FrameAllocator, type Gfn, gfn, PAGE_SIZE } from '#pvbus';
import { WASM_PAGE } from './web-assembly.ts';

/** Frames that stay free for the kernel's rings and buffers. */
const RESERVE = 64;
const FRAMES_PER_PAGE = WASM_PAGE / PAGE_SIZE;

export class MemoryCharge {
  /** WebAssembly pages charged now. */
  pages = 0;
  readonly #frames: FrameAllocator;
  readonly #limit: number;
  #runs: { readonly first: Gfn; readonly count: number }[] = [];

  /** `limit`: pages at most, whatever is free. */
  constructor(frames: FrameAllocator, limit = Number.POSITIVE_INFINITY) {
    this.#frames = frames;
    this.#limit = limit;
  }
  /** False, and nothing changes, when the domain or the limit has not so many. */
  take(pages: number): boolean {
    let missing = pages * FRAMES_PER_PAGE;
    if (this.pages + pages > this.#limit || this.#frames.available - RESERVE < missing) return false;
    while (missing > 0) {
      const run = this.#frames.takeLowest(missing);
      if (run === undefined) throw new Error(`${missing} frames that are free cannot be taken`);
      this.#runs.push(run);
      missing -= run.count;
    }
    this.pages += pages;
    return true;
  }
  giveBack(pages: number): void {
    let left = (this.pages - pages) * FRAMES_PER_PAGE;
    const runs = this.#runs;
    this.#runs = [];
    for (const { first, count } of runs) {
      const keep = Math.min(left, count);
      if (keep > 0) this.#runs.push({ first, count: keep });
      this.#frames.free(gfn(first + keep), count - keep);
      left -= keep;
    }
    this.pages -= pages;
  }
  release(): void {
    this.giveBack(this.pages);
  }
}
