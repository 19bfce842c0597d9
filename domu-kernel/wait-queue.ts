// Who waits for something of the kernel to change: room in a pipe, bytes in a socket, the end of a child.

/** Called once; whether what was waited for is there now is for the called to see. */
export type Wake = () => void;

/** Wakes everybody who waits, in the order they came. Waking says that something changed, not what. */
export class WaitQueue {
  private waiting = new Set<Wake>();

  /** `wake` is called at the next `wakeAll`, or never when the returned function was called before. */
  add(wake: Wake): () => void {
    let here = true;
    const entry: Wake = () => {
      if (here) wake();
    };
    this.waiting.add(entry);
    return () => {
      here = false;
      this.waiting.delete(entry);
    };
  }
  /** Who is added by one of those that are called waits for the next time. */
  wakeAll(): void {
    if (this.waiting.size === 0) return;
    const woken = this.waiting;
    this.waiting = new Set();
    for (const wake of woken) wake();
  }
  get isEmpty(): boolean {
    return this.waiting.size === 0;
  }
}
