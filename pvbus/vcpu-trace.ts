// What a vCPU's own thread tells the trace, without a trap: a ring in the domain's memory that this thread alone
// writes. Off it costs a load; on, a record is a look at the clock and a few stores. Records are never held back: who
// reads too late finds the oldest gone, and how many.
import { traceHeader, traceWants } from './abi/trace.ts';
import {
  type DomainLayout,
  domain_control,
  PAGE_SIZE,
  TRACE_SLOT_SIZE,
  TRACE_SLOTS,
  traceFrame,
} from './abi/xenolith.ts';
import type { Arena } from './arena.ts';
import { type Clock, systemClock } from './clock.ts';
import {
  TRC_XENOLITH_BRIEF,
  TRC_XENOLITH_REQUESTS_PUSHED,
  TRC_XENOLITH_REQUESTS_SEEN,
  TRC_XENOLITH_RESPONSES_PUSHED,
  TRC_XENOLITH_RESPONSES_SEEN,
  TRC_XENOLITH_UNTOLD,
} from './trace-events.ts';
import { TraceLimit } from './trace-limit.ts';

export class VcpuTrace {
  readonly domid: number;
  private readonly words: Int32Array;
  private readonly maskWord: number;
  private readonly prodWord: number;
  private readonly slots: number;
  private readonly clock: Clock;
  private readonly limit: TraceLimit;
  private prod: number;

  constructor(memory: Arena, layout: DomainLayout, domid: number, vcpu: number, clock: Clock = systemClock) {
    this.domid = domid;
    this.words = memory.words;
    this.clock = clock;
    this.maskWord = (layout.control * PAGE_SIZE + domain_control.at.trace) / 4;
    this.prodWord = (traceFrame(layout, vcpu) * PAGE_SIZE) / 4;
    this.slots = this.prodWord + PAGE_SIZE / 4;
    this.prod = this.words[this.prodWord]!;
    this.limit = new TraceLimit(clock, (now, untold) => {
      if (this.on) this.put(now, TRC_XENOLITH_UNTOLD, untold > 0 ? 1 : 0, untold);
    });
  }
  /** Is anything to be recorded? */
  get on(): boolean {
    return this.words[this.maskWord] !== 0;
  }
  /** Is what happens now to be recorded? Ask once for each event, before working out its words. */
  admits(): boolean {
    if (this.limit.skip()) return false;
    const mask = this.words[this.maskWord]!;
    return mask !== 0 && ((mask & TRC_XENOLITH_BRIEF) === 0 || this.limit.admits());
  }
  /** An event that was admitted and the first `extra` of its words, at most four. */
  record(event: number, extra: number, a = 0, b = 0, c = 0, d = 0): void {
    const mask = this.words[this.maskWord]!;
    if (!traceWants(mask, event)) return;
    if ((mask & TRC_XENOLITH_BRIEF) !== 0) this.limit.told();
    this.put(this.clock.now(), event, extra, a, b, c, d);
  }
  /** The vCPU knows what time it is. */
  tick(now: number): void {
    this.limit.tick(now);
  }
  private put(now: number, event: number, extra: number, a = 0, b = 0, c = 0, d = 0): void {
    const { words } = this;
    const high = Math.floor(now / 2 ** 32);
    const at = this.slots + (this.prod & (TRACE_SLOTS - 1)) * (TRACE_SLOT_SIZE / 4);
    words[at] = traceHeader(event, extra, true);
    words[at + 1] = now - high * 2 ** 32;
    words[at + 2] = high;
    words[at + 3] = a;
    words[at + 4] = b;
    words[at + 5] = c;
    words[at + 6] = d;
    this.prod = (this.prod + 1) | 0;
    // order: the record, then the count that shows it.
    Atomics.store(words, this.prodWord, this.prod);
  }
  /** For either end of a ring, which is in a page that `frontend` has granted. `kind`: TRC_XENOLITH_BLK or _NET. */
  ring(kind: number, frontend: number, gref: number): RingTrace {
    return new RingTrace(this, kind, frontend, gref);
  }
}

/** What one end of a ring tells the trace of what is handed over. */
export class RingTrace {
  private readonly trace: VcpuTrace;
  private readonly kind: number;
  private readonly frontend: number;
  private readonly gref: number;
  private seen = 0;

  constructor(trace: VcpuTrace, kind: number, frontend: number, gref: number) {
    this.trace = trace;
    this.kind = kind;
    this.frontend = frontend;
    this.gref = gref;
  }
  requestsPushed(from: number, to: number): void {
    if (this.trace.admits())
      this.trace.record(this.kind + TRC_XENOLITH_REQUESTS_PUSHED, 4, this.frontend, this.gref, from, to);
  }
  responsesPushed(from: number, to: number): void {
    if (this.trace.admits())
      this.trace.record(this.kind + TRC_XENOLITH_RESPONSES_PUSHED, 4, this.frontend, this.gref, from, to);
  }
  /** There are requests from `from` to `to` to be taken. Looking again at the same says nothing new. */
  requestsSeen(from: number, to: number): void {
    this.saw(TRC_XENOLITH_REQUESTS_SEEN, from, to);
  }
  responsesSeen(from: number, to: number): void {
    this.saw(TRC_XENOLITH_RESPONSES_SEEN, from, to);
  }
  private saw(what: number, from: number, to: number): void {
    if (to === this.seen) return;
    this.seen = to;
    if (this.trace.admits()) this.trace.record(this.kind + what, 4, this.frontend, this.gref, from, to);
  }
}
