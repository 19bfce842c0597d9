// Which local variables matter after each suspension point of a function. One walk backwards over what the outline
// tells of its code; the backward jumps of loops are left out of it, and what is live at the head of a loop counts as
// live throughout the loop instead: a little more than the truth, in linear time.

/** What happens to local variables and control, in the order of the code; `of` is a variable, a point or a construct. */
export const EVENT = { get: 0, set: 1, point: 2, jump: 3, jumpIf: 4, leave: 5, open: 6, else: 7, end: 8 } as const;

/** Words of all sets together that are worth the time; a function beyond it keeps all its variables. */
const MOST_WORDS = 4_000_000;

export interface LoopLike {
  readonly isLoop: boolean;
  readonly isIf: boolean;
  readonly hasElse: boolean;
  /** The number of a loop's head. */
  readonly first: number;
}

export class Liveness {
  private readonly kinds: number[] = [];
  private readonly ofs: number[] = [];
  private readonly slots = new Map<number, number>();
  /** Sets that the walk has to make, at most. */
  private sets = 0;

  add(kind: number, of: number): void {
    if (kind === EVENT.get && !this.slots.has(of)) this.slots.set(of, this.slots.size);
    else if (kind > EVENT.set) this.sets++;
    this.kinds.push(kind);
    this.ofs.push(of);
  }

  /**
   * The variables that are live at some point. `atHead` says that the function's head is one. `constructs` by their
   * number, the first is the function.
   */
  kept(constructs: readonly LoopLike[], atHead: boolean): number[] {
    const { kinds, ofs, slots } = this;
    const words = (slots.size + 31) >> 5;
    if (words === 0) return [];
    if (words * this.sets > MOST_WORDS) return [...slots.keys()];
    const or = (to: Int32Array, from: Int32Array | undefined): void => {
      if (from !== undefined) for (let i = 0; i < words; i++) to[i]! |= from[i]!;
    };
    const live = new Int32Array(words);
    const all = new Int32Array(words);
    // What is live where a branch to a block leads, and at the head of its second arm.
    const behind: (Int32Array | undefined)[] = [];
    const second: (Int32Array | undefined)[] = [];
    for (let i = kinds.length - 1; i >= 0; i--) {
      const of = ofs[i]!;
      switch (kinds[i]) {
        case EVENT.get: {
          const slot = slots.get(of)!;
          live[slot >> 5]! |= 1 << (slot & 31);
          break;
        }
        case EVENT.set: {
          const slot = slots.get(of);
          if (slot !== undefined) live[slot >> 5]! &= ~(1 << (slot & 31));
          break;
        }
        case EVENT.point:
          or(all, live);
          break;
        case EVENT.jump:
          live.fill(0);
          or(live, behind[of]);
          break;
        case EVENT.jumpIf:
          or(live, behind[of]);
          break;
        case EVENT.leave:
          live.fill(0);
          break;
        case EVENT.end:
          if (!constructs[of]!.isLoop) behind[of] = live.slice();
          break;
        case EVENT.else:
          second[of] = live.slice();
          live.set(behind[of]!);
          break;
        default: {
          const { isLoop, isIf, hasElse } = constructs[of]!;
          if (isLoop) or(all, live);
          else if (isIf) or(live, hasElse ? second[of] : behind[of]);
          behind[of] = second[of] = undefined;
        }
      }
    }
    if (atHead) or(all, live);
    return [...slots].filter(([, slot]) => (all[slot >> 5]! >> (slot & 31)) & 1).map(([index]) => index);
  }
}
