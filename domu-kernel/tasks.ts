// What the vCPU runs next of the program: callbacks, one after the other, never one inside another.

export class Tasks {
  private queue: (() => void)[] = [];

  /** Have `run` called by the next `step`. */
  add(run: () => void): void {
    this.queue.push(run);
  }
  /** Run what was added before this call. A throw leaves the rest for the next step. */
  step(): 'progress' | 'idle' {
    if (this.queue.length === 0) return 'idle';
    const now = this.queue;
    this.queue = [];
    for (let i = 0; i < now.length; i++) {
      try {
        now[i]!();
      } catch (error) {
        this.queue = [...now.slice(i + 1), ...this.queue];
        throw error;
      }
    }
    return 'progress';
  }
}
