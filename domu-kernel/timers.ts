// The guest's timers: a heap of deadlines over one timer of the vCPU.
import {
  __HYPERVISOR_vcpu_op,
  type Clock,
  checked,
  setU64,
  VCPUOP_set_singleshot_timer,
  type Vcpu,
  VIRQ_TIMER,
  vcpu_set_singleshot_timer,
} from '#pvbus';

export interface Timer {
  /** ns of system time. */
  readonly deadline: number;
  cancelled: boolean;
}
interface Entry extends Timer {
  readonly order: number;
  readonly run: () => void;
}

export class Timers {
  private readonly clock: Clock;
  private readonly heap: Entry[] = [];
  private readonly alarm: (deadline: number) => void;
  private armed = Number.POSITIVE_INFINITY;
  /** The moment of the last `armWithin`. */
  private latest = 0;
  private rung = false;
  private nextOrder = 0;

  /** `alarm` has the vCPU woken at a time; `fired` is to be called then. */
  constructor(clock: Clock, alarm: (deadline: number) => void) {
    this.clock = clock;
    this.alarm = alarm;
  }

  /** `run` is called by `expire`, not before `deadline`; timers of one moment run in the order they were set. */
  set(deadline: number, run: () => void): Timer {
    const entry: Entry = { deadline, run, cancelled: false, order: this.nextOrder++ };
    this.heap.push(entry);
    this.up(this.heap.length - 1);
    return entry;
  }
  after(ms: number, run: () => void): Timer {
    return this.set(this.clock.now() + ms * 1e6, run);
  }
  cancel(timer: Timer): void {
    timer.cancelled = true; // its place in the heap is given back when it comes to the top
  }
  get pending(): number {
    return this.heap.reduce((n, timer) => n + (timer.cancelled ? 0 : 1), 0);
  }

  /** The next deadline. */
  next(): number | undefined {
    while (this.heap[0]?.cancelled) this.pop();
    return this.heap[0]?.deadline;
  }
  /** Run what is due now; what they set for now waits for the next call. True when any ran. */
  expire(): boolean {
    const now = this.clock.now();
    const last = this.nextOrder;
    let ran = false;
    for (let due = this.next(); due !== undefined && due <= now; due = this.next()) {
      const timer = this.heap[0]!;
      if (timer.order >= last) break;
      this.pop();
      timer.cancelled = true;
      timer.run();
      ran = true;
    }
    return ran;
  }

  /** The vCPU was woken by its timer. */
  fired(): void {
    this.armed = Number.POSITIVE_INFINITY;
    this.rung = true;
  }
  /** True once after each time the vCPU was woken by its timer. Costs no look at the clock. */
  takeRung(): boolean {
    const { rung } = this;
    this.rung = false;
    return rung;
  }
  /**
   * Before sleeping: be woken at the earliest of our deadlines and `other`. Asks the hypervisor only when that is
   * earlier than what it was asked for; a wake-up for a timer that was cancelled costs less than cancelling it.
   */
  arm(other = Number.POSITIVE_INFINITY): void {
    this.armFor(Math.min(this.next() ?? Number.POSITIVE_INFINITY, other));
  }
  /** The same for a deadline alone, while our timers wait. */
  armFor(deadline = Number.POSITIVE_INFINITY): void {
    if (deadline >= this.armed) return;
    this.armed = deadline;
    this.alarm(deadline);
  }

  /** Before sleeping: be woken within `ns`, always the same, at the latest. Looks at the clock only when nothing is armed that does. */
  armWithin(ns: number): void {
    if (this.armed <= this.latest) return;
    this.latest = this.clock.now() + ns;
    this.armFor(this.latest);
  }

  private before(a: number, b: number): boolean {
    const x = this.heap[a]!;
    const y = this.heap[b]!;
    return x.deadline < y.deadline || (x.deadline === y.deadline && x.order < y.order);
  }
  private swap(a: number, b: number): void {
    [this.heap[a], this.heap[b]] = [this.heap[b]!, this.heap[a]!];
  }
  private up(i: number): void {
    for (let parent = (i - 1) >> 1; i > 0 && this.before(i, parent); parent = (i - 1) >> 1) {
      this.swap(i, parent);
      i = parent;
    }
  }
  private pop(): void {
    const last = this.heap.pop()!;
    if (this.heap.length === 0) return;
    this.heap[0] = last;
    for (let i = 0; ; ) {
      const left = 2 * i + 1;
      const right = left + 1;
      let least = i;
      if (left < this.heap.length && this.before(left, least)) least = left;
      if (right < this.heap.length && this.before(right, least)) least = right;
      if (least === i) return;
      this.swap(i, least);
      i = least;
    }
  }
}

/** Timers over VIRQ_TIMER, which is bound when it is first needed, and the singleshot timer of `vcpu`. */
export function vcpuTimers(vcpu: Vcpu, clock: Clock): Timers {
  let bound = false;
  const timers = new Timers(clock, deadline => {
    if (!bound) vcpu.events.on(vcpu.events.bindVirq(VIRQ_TIMER), () => timers.fired());
    bound = true;
    const at = vcpu.scratch.reset().alloc(vcpu_set_singleshot_timer.size);
    // 0 would be a time long past; the hypervisor fires at once for those.
    setU64(vcpu.scratch.view, at + vcpu_set_singleshot_timer.at.timeout_abs_ns, Math.max(1, Math.ceil(deadline)));
    checked(vcpu.hypercall(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, vcpu.id, at), 'set_singleshot_timer');
  });
  return timers;
}
