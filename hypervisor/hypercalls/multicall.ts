// multicall(list, nr_calls): several hypercalls in one trap. Xen: common/multicall.c.
import { multicall_entry, setI64, XEN_EFAULT, XEN_EINVAL } from '#pvbus';
import type { Continuations } from '../continuations.ts';
import { DEFERRED, type Result } from '../deferred.ts';
import type { Vcpu } from '../domain.ts';
import { readU64 } from '../guest-memory.ts';

const SLICE = 128;

/** One hypercall, by number. A multicall in a multicall has been refused already. */
export type Dispatch = (caller: Vcpu, nr: number, a0: number, a1: number, a2: number, a3: number, a4: number) => Result;

export class Multicall {
  private readonly dispatch: Dispatch;
  private readonly continuations: Continuations;
  private readonly own: number;

  constructor(own: number, dispatch: Dispatch, continuations: Continuations) {
    this.own = own;
    this.dispatch = dispatch;
    this.continuations = continuations;
  }

  call(caller: Vcpu, list: number, count: number): Result {
    count >>>= 0;
    if (count === 0) return 0;
    if (!caller.domain.physmap.reachable(list, count * multicall_entry.size)) return -XEN_EFAULT;
    return this.from(caller, list, count, 0);
  }

  private from(caller: Vcpu, list: number, count: number, first: number): Result {
    const { physmap } = caller.domain;
    const end = Math.min(count, first + SLICE);
    for (let i = first; i < end; i++) {
      const at = list + i * multicall_entry.size;
      // An earlier element may have given the list's own frames away.
      if (!physmap.reachable(at, multicall_entry.size)) return -XEN_EFAULT;
      const { view } = caller.domain.memory;
      const nr = readU64(view, at + multicall_entry.at.op);
      const args = at + multicall_entry.at.args;
      const arg = (n: number): number => readU64(view, args + 8 * n);
      const result = nr === this.own ? -XEN_EINVAL : this.dispatch(caller, nr, arg(0), arg(1), arg(2), arg(3), arg(4));
      if (result === DEFERRED) {
        caller.goOn = later => {
          this.store(caller, at, later);
          return this.from(caller, list, count, i + 1);
        };
        return DEFERRED;
      }
      this.store(caller, at, result);
    }
    if (end === count) return 0;
    return this.continuations.later(caller, () => this.from(caller, list, count, end));
  }
  private store(caller: Vcpu, at: number, result: number): void {
    if (caller.domain.physmap.reachable(at, multicall_entry.size))
      setI64(caller.domain.memory.view, at + multicall_entry.at.result, result);
  }
}
