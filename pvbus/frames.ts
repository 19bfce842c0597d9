// Which frames of a domain's memory are free.
import type { Gfn } from './brands.ts';
import { gfn } from './brands.ts';
import { XenError } from './errors.ts';

/** First fit over runs of free frames, given out from the top. */
export class FrameAllocator {
  /** Free runs as [first, end), ascending, never touching one another. */
  private runs: [number, number][];

  constructor(first: number, end: number) {
    this.runs = first < end ? [[first, end]] : [];
  }
  /** `count` frames in a row. Throws ENOMEM. */
  alloc(count: number): Gfn {
    for (let i = this.runs.length - 1; i >= 0; i--) {
      const run = this.runs[i]!;
      if (run[1] - run[0] < count) continue;
      run[1] -= count;
      if (run[0] === run[1]) this.runs.splice(i, 1);
      return gfn(run[1]);
    }
    throw new XenError('ENOMEM', `no ${count} free frames in a row in this domain's memory`);
  }
  /** The lowest free frames in a row, at most `most` of them: far from where `alloc` looks first. */
  takeLowest(most: number): { readonly first: Gfn; readonly count: number } | undefined {
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
  get available(): number {
    return this.runs.reduce((n, [first, end]) => n + end - first, 0);
  }
}
