// A file system belongs to one call until that ends, also while it waits for its disk: what comes meanwhile is told whose
// waking to wait for.
import { WaitQueue } from '../wait-queue.ts';
import { FileSystemBusy } from './file-system.ts';

export class OneCall {
  private busy = false;
  private readonly idle = new WaitQueue();
  /** What had to wait for the call that is under way. */
  private readonly later: (() => void)[] = [];
  private readonly ended: () => void;

  /** `ended`: after each. */
  constructor(ended: () => void) {
    this.ended = ended;
  }
  get isBusy(): boolean {
    return this.busy;
  }
  enter<T>(what: string, act: () => T): T {
    if (this.busy) throw new FileSystemBusy(what, this.idle);
    this.busy = true;
    try {
      return act();
    } finally {
      for (let late = this.later.shift(); late; late = this.later.shift()) late();
      this.busy = false;
      this.idle.wakeAll();
      this.ended();
    }
  }
  /** Now, or when the call under way has ended. `act` throws nothing. */
  enterLater(what: string, act: () => void): void {
    if (this.busy) this.later.push(act);
    else this.enter(what, act);
  }
}
