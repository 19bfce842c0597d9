// Things to do at a time. One heap for the whole hypervisor, on its one clock.

/** A timer belongs to whoever made it; being in the heap or not is its only state. */
export class Timer {
  /** Nanoseconds on the hypervisor's clock; meaningful while pending. */
  deadline = 0;
  /** Position in the heap, -1 while stopped. */
  slot = -1;
  readonly fire: (now: number) => void;

  constructor(fire: (now: number) => void) {
    this.fire = fire;
  }

  get pending(): boolean {
    return this.slot >= 0;
  }
}

export class Timers {
  private readonly heap: Timer[] = [];

  get size(): number {
    return this.heap.length;
  }

  /** The earliest deadline, or undefined when nothing is set. */
  nextDeadline(): number | undefined {
    return this.heap[0]?.deadline;
  }

  /** Arm or re-arm. */
  set(timer: Timer, deadline: number): void {
    if (timer.slot < 0) {
      timer.slot = this.heap.length;
      this.heap.push(timer);
    }
    timer.deadline = deadline;
    this.sink(this.rise(timer.slot));
  }

  stop(timer: Timer): void {
    const at = timer.slot;
    if (at < 0) return;
    timer.slot = -1;
    const last = this.heap.pop()!;
    if (last === timer) return;
    this.place(last, at);
    this.sink(this.rise(at));
  }

  /** Fire what is due, at most `budget` of them: a handler may re-arm its timer in the past. */
  runDue(now: number, budget = 64): boolean {
    let fired = 0;
    while (fired < budget) {
      const first = this.heap[0];
      if (first === undefined || first.deadline > now) break;
      this.stop(first);
      first.fire(now);
      fired++;
    }
    return fired > 0;
  }

  private place(timer: Timer, at: number): void {
    this.heap[at] = timer;
    timer.slot = at;
  }

  private rise(at: number): number {
    const timer = this.heap[at]!;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = this.heap[above]!;
      if (parent.deadline <= timer.deadline) break;
      this.place(parent, at);
      at = above;
    }
    this.place(timer, at);
    return at;
  }

  private sink(at: number): void {
    const timer = this.heap[at]!;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= this.heap.length) break;
      if (below + 1 < this.heap.length && this.heap[below + 1]!.deadline < this.heap[below]!.deadline) below++;
      const child = this.heap[below]!;
      if (child.deadline >= timer.deadline) break;
      this.place(child, at);
      at = below;
    }
    this.place(timer, at);
  }
}
