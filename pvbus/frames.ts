// Which frames of a domain's memory are free.
import type { Gfn } from './brands.ts';
import { gfn } from './brands.ts';
import { XenError } from './errors.ts';

/** Has frames that are of use to it as long as nobody else wants them. */
export interface FrameHolder {
  /** How many it can let go of now. */
  readonly spare: number;
  /** It frees as many, of those. */
  letGo(count: number): void;
}

/** First fit over runs of free frames, given out from the top. */
export class FrameAllocator {
  /** Whoever it is, what it holds counts as free. */
  holder: FrameHolder | undefined;
  /** Free runs as [first, end), ascending, never touching one another. */
  private runs: [number, number][];

  constructor(first: number, end: number) {
    this.runs = first < end ? [[first, end]] : [];
  }
  /** `count` frames in a row. Throws ENOMEM. */
  alloc(count: number): Gfn {
    const found = this.find(count);
    if (found !== undefined) return found;
    const { holder } = this;
    holder?.letGo(holder.spare);
    const again = this.find(count);
    if (again !== undefined) return again;
    throw new XenError('ENOMEM', `no ${count} free frames in a row in this domain's memory`);
  }
  private find(count: number): Gfn | undefined {
    for (let i = this.runs.length - 1; i >= 0; i--) {
      const run = this.runs[i]!;
      if (run[1] - run[0] < count) continue;
      run[1] -= count;
      if (run[0] === run[1]) this.runs.splice(i, 1);
      return gfn(run[1]);
    }
    return undefined;
  }
  /** The lowest free frames in a row, at most `most` of them: far from where `alloc` looks first. */
  takeLowest(most: number): { readonly first: Gfn; readonly count: number } | undefined {
    if (this.runs.length === 0) this.holder?.letGo(Math.min(Math.max(0, most), this.holder.spare));
    const run = this.runs[0];
    if (run === undefined || most < 1) return undefined;
    const first = gfn(run[0]);
    const count = Math.min(most, run[1] - run[0]);
    run[0] += count;
    if (run[0] === run[1]) this.runs.shift();
    return { first, count };
  }
  free(first: Gfn, count: number): void {
    if (count === 0) return;
    const end = first + count;
    let i = this.runs.findIndex(run => run[0] >= end);
    if (i < 0) i = this.runs.length;
    const before = this.runs[i - 1];
    const after = this.runs[i];
    if (before && before[1] === first) {
      before[1] = end;
      if (after && after[0] === end) {
        before[1] = after[1];
        this.runs.splice(i, 1);
      }
    } else if (after && after[0] === end) after[0] = first;
    else this.runs.splice(i, 0, [first, end]);
  }
  /** With what the holder would let go of. */
  get available(): number {
    return this.unused + (this.holder?.spare ?? 0);
  }
  /** Free, and nobody has them. */
  get unused(): number {
    return this.runs.reduce((n, [first, end]) => n + end - first, 0);
  }
}
