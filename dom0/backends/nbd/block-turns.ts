// Where a server has blocks of more than a sector, what is part of a block is read with the rest of it and written back.
// Nothing else may be written to that block in between.

/** A request that writes to blocks [first, end). */
export interface BlockTurn {
  readonly first: number;
  readonly end: number;
  /** Of one of them it has a part. */
  readonly partial: boolean;
  readonly begin: () => void;
}

const areApart = (a: BlockTurn, b: BlockTurn): boolean =>
  a.end <= b.first || b.end <= a.first || !(a.partial || b.partial);

export class BlockTurns {
  readonly #running = new Set<BlockTurn>();
  readonly #waiting: BlockTurn[] = [];

  /** `begin` is called when it is its turn, which lasts until `end`. */
  take(turn: BlockTurn): void {
    this.#waiting.push(turn);
    this.#next();
  }
  end(turn: BlockTurn): void {
    if (this.#running.delete(turn)) this.#next();
  }
  /** All of them are forgotten. */
  clear(): void {
    this.#running.clear();
    this.#waiting.length = 0;
  }

  #next(): void {
    for (let i = this.#free(); i >= 0; i = this.#free()) {
      const turn = this.#waiting[i]!; // below its length
      this.#waiting.splice(i, 1);
      this.#running.add(turn);
      turn.begin();
    }
  }
  /** order: of those that have a block in common the one that was asked first. */
  #free(): number {
    return this.#waiting.findIndex((turn, i) => {
      for (const other of this.#running) if (!areApart(turn, other)) return false;
      for (let earlier = 0; earlier < i; earlier++) if (!areApart(turn, this.#waiting[earlier]!)) return false;
      return true;
    });
  }
}
