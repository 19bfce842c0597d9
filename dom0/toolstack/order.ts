// Who asked first comes first at one point of what both do side by side.

export interface Place {
  /** Resolves when everybody before this place has left. */
  readonly turn: Promise<void>;
  /** The next one's turn may come. Of no effect the second time. */
  leave(): void;
}

export class Order {
  #last: Promise<void> = Promise.resolve();

  /** A place behind all that were given before. */
  take(): Place {
    const turn = this.#last;
    let leave = (): void => {};
    const left = new Promise<void>(resolve => {
      leave = resolve;
    });
    this.#last = turn.then(() => left);
    return { turn, leave };
  }
}
