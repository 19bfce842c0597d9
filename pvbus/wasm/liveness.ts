// Which local variables matter after each suspension point of a function. One walk backwards over what the outline
// tells of its code; the backward jumps of loops are left out of it, and what is live at the head of a loop counts as
// live throughout the loop instead: a little more than the truth, in linear time.

/** What happens to local variables and control, in the order of the code; `of` is a variable, a point or a construct. */
export const EVENT = {
  get: 0,
  set: 1,
  /** A point. */
  point: 2,
  /** A call that is no point, or a throw, within a try. */
  mayThrow: 3,
  jump: 4,
  jumpIf: 5,
  leave: 6,
  open: 7,
  else: 8,
  firstCatch: 9,
  catch: 10,
  end: 11,
} as const;

/** Words of all sets together that are worth the time; a function beyond it keeps all its variables. */
const MOST_WORDS = 4_000_000;

export interface LoopLike {
  readonly isLoop: boolean;
  readonly isIf: boolean;
  readonly hasElse: boolean;
  /** Tags of its catches. */
  readonly catches: readonly number[];
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
    // What is live where a branch to a block leads, and at the head of its second arm or its catches.
    const behind: (Int32Array | undefined)[] = [];
    const second: (Int32Array | undefined)[] = [];
    // What is live where an exception may lead, by the tries whose bodies are open; outer ones' included.
    const handlers: Int32Array[] = [];
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
          or(live, handlers[handlers.length - 1]);
          or(all, live);
          break;
        case EVENT.mayThrow:
          or(live, handlers[handlers.length - 1]);
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
        case EVENT.catch:
        case EVENT.firstCatch: {
          const caught = second[of] ?? new Int32Array(words);
          or(caught, live);
          second[of] = caught;
          live.set(behind[of]!);
          if (kinds[i] !== EVENT.firstCatch) break;
          or(caught, handlers[handlers.length - 1]);
          handlers.push(caught);
          break;
        }
        default: {
          const { isLoop, isIf, hasElse, catches } = constructs[of]!;
          if (catches.length > 0) handlers.pop();
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
