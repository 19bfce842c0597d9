// Long hypercalls, done in slices: the vCPU waits, others are served in between, and it sees one call.
import { DEFERRED, type Result } from './deferred.ts';
import type { Vcpu } from './domain.ts';

interface Continuation {
  readonly vcpu: Vcpu;
  readonly go: () => Result;
}

export class Continuations {
  private readonly queue: Continuation[] = [];

  get size(): number {
    return this.queue.length;
  }
  /** Go on with `go` in a later step. What the handler then returns to its caller. */
  later(vcpu: Vcpu, go: () => Result): typeof DEFERRED {
    this.queue.push({ vcpu, go });
    return DEFERRED;
  }
  /** Nobody is there any more to hear what comes of this vCPU's call; what is done of it stays done. */
  drop(vcpu: Vcpu): void {
    const kept = this.queue.filter(waiting => waiting.vcpu !== vcpu);
    this.queue.splice(0, this.queue.length, ...kept);
  }
  /** Run the next slice of the call that has waited longest. */
  step(guard: (vcpu: Vcpu, go: () => Result) => Result): boolean {
    const next = this.queue.shift();
    if (next === undefined) return false;
    if (next.vcpu.domain.dying) return true; // nobody waits for the result any more
    const result = guard(next.vcpu, next.go);
    if (result !== DEFERRED) next.vcpu.finish(result);
    return true;
  }
}
