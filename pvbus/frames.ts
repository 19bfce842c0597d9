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
  free(first: Gfn, count: number): void {
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
