// The memory that page caches have beyond what is always theirs: frames that are free otherwise, and that they let go of when
// somebody wants them.
import type { FrameHolder } from '#pvbus';

/** Taken at once. */
const CHUNK = 32;

/** Where frames come from. */
export interface UnusedFrames {
  /** False, and nothing changes, when there are not so many that nobody has. */
  takeUnused(count: number): boolean;
  give(count: number): void;
}
/** What a cache keeps for as long as it may. */
export interface Keeper {
  /** Pages it may do without now, of those that it has from here. */
  readonly spare: number;
  /** It has as many fewer. */
  shrink(pages: number): void;
}

export class CacheFrames implements FrameHolder {
  private readonly frames: UnusedFrames;
  /** Frames for all caches together. */
  private readonly most: number;
  private readonly keepers = new Set<Keeper>();
  private taken = 0;

  constructor(frames: UnusedFrames, most: number) {
    this.frames = frames;
    this.most = most;
  }

  /** So many pages more for it; 0: there are none. */
  grow(keeper: Keeper): number {
    const count = Math.min(CHUNK, this.most - this.taken);
    if (count <= 0 || !this.frames.takeUnused(count)) return 0;
    this.keepers.add(keeper);
    this.taken += count;
    return count;
  }

  get spare(): number {
    let spare = 0;
    for (const keeper of this.keepers) spare += keeper.spare;
    return spare;
  }
  letGo(count: number): void {
    let missing = count;
    for (const keeper of this.keepers) {
      const pages = Math.min(missing, keeper.spare);
      if (pages === 0) continue;
      keeper.shrink(pages);
      this.taken -= pages;
      this.frames.give(pages);
      missing -= pages;
    }
  }
}
