// Who has to be looked at when: a heap in which an entry knows its place, so that moving one allocates nothing.

export interface Timed {
  readonly deadlineNs: number;
  /** The heap's own: where it is, -1 when it is not in it, and for when. */
  heapIndex: number;
  heapNs: number;
}

export class Deadlines<T extends Timed> {
  private readonly heap: T[] = [];

  /** The earliest time somebody may have to be looked at; sometimes nobody has. */
  get next(): number | undefined {
    return this.heap[0]?.heapNs;
  }
  /**
   * Its deadline may have changed. One that is later than it was is left where it is: it is looked at once in vain,
   * which costs less than moving it with every segment.
   */
  update(entry: T): void {
    const { deadlineNs } = entry;
    if (entry.heapIndex >= 0 && deadlineNs >= entry.heapNs) return;
    if (deadlineNs === Number.POSITIVE_INFINITY) return;
    if (entry.heapIndex < 0) entry.heapIndex = this.heap.push(entry) - 1;
    entry.heapNs = deadlineNs;
    this.up(entry.heapIndex);
  }
  /** One whose deadline has come, no longer in here. */
  take(now: number): T | undefined {
    for (let first = this.heap[0]; first !== undefined && first.heapNs <= now; first = this.heap[0]) {
      this.remove(first);
      if (first.deadlineNs <= now) return first;
      this.update(first);
    }
    return undefined;
  }
  remove(entry: T): void {
    const at = entry.heapIndex;
    if (at < 0) return;
    const last = this.heap.pop()!;
    entry.heapIndex = -1;
    entry.heapNs = Number.POSITIVE_INFINITY;
    if (last === entry) return;
    this.heap[at] = last;
    last.heapIndex = at;
    this.up(at);
    this.down(last.heapIndex);
  }

  private up(i: number): void {
    for (let parent = (i - 1) >> 1; i > 0 && this.heap[i]!.heapNs < this.heap[parent]!.heapNs; parent = (i - 1) >> 1) {
      this.swap(i, parent);
      i = parent;
    }
  }
  private down(i: number): void {
    for (;;) {
      const left = 2 * i + 1;
      let least = i;
      for (const child of [left, left + 1]) {
        if (child < this.heap.length && this.heap[child]!.heapNs < this.heap[least]!.heapNs) least = child;
      }
      if (least === i) return;
      this.swap(i, least);
      i = least;
    }
  }
  private swap(a: number, b: number): void {
    const [x, y] = [this.heap[a]!, this.heap[b]!];
    this.heap[a] = y;
    y.heapIndex = a;
    this.heap[b] = x;
    x.heapIndex = b;
  }
}
