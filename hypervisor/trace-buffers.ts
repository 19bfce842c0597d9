// The trace buffers: one ring of records for each pCPU, in pages that a control domain maps and reads without asking.
// Xen: public/trace.h, t_info and t_buf. What is in the records is in trace.ts.
import {
  Arena,
  type Clock,
  PAGE_SIZE,
  SystemCallError,
  TRACE_EXTRA_MAX,
  TRC_ALL,
  TRC_DOM0OP,
  TRC_LOST_RECORDS,
  TRC_SCHED,
  TRC_TRACE_WRAP_BUFFER,
  TRC_XENOLITH_BRIEF,
  TRC_XENOLITH_UNTOLD,
  TraceLimit,
  t_buf,
  t_info,
  traceHeader,
  traceWants,
  XEN_EBUSY,
  XEN_EINVAL,
  XEN_ENOMEM,
} from '#pvbus';
import { allCpus, type CpuMap } from './affinity.ts';

const CONS = t_buf.at.cons / 4;
const PROD = t_buf.at.prod / 4;
/** Header and time, in words. */
const HEAD_WORDS = 3;
/** lost_records, did and vid, first_tsc. */
const LOST_WORDS = HEAD_WORDS + 4;
/** The frame of t_info; frame 0 stays empty, so that frame numbers of the buffers are never 0. */
const INFO_FRAME = 1;
/** A buffer is at most so many pages, which is what the u16s of t_info can tell of on every machine. */
const MAX_PAGES = 1024;
/** Told however much of it there is, also to who wants it brief: without these nobody knows who runs where. */
const ALWAYS = (TRC_SCHED | TRC_DOM0OP) & 0x0fff0000;

class Ring {
  readonly words: Int32Array;
  readonly limit: TraceLimit;
  /** Words for records. */
  private readonly size: number;
  private prod = 0;
  lost = 0;
  lostSince = 0;

  constructor(words: Int32Array, limit: TraceLimit) {
    this.words = words;
    this.limit = limit;
    this.size = words.length - t_buf.size / 4;
  }
  /** Words that are not read yet; -1 when the reader claims what cannot be. untrusted: read once. */
  unread(): number {
    const cons = (Atomics.load(this.words, CONS) >>> 0) / 4;
    // invariant: both count modulo twice the size, and the reader is behind by at most the size.
    if (!Number.isInteger(cons) || cons >= 2 * this.size) return -1;
    const n = (this.prod - cons + 2 * this.size) % (2 * this.size);
    return n <= this.size ? n : -1;
  }
  get half(): number {
    return this.size / 2;
  }
  /** Words a record of `words` takes from here, with what it skips at the end of the buffer. */
  needs(words: number, from = this.prod): number {
    const left = this.size - (from % this.size);
    return words <= left ? words : left + words;
  }
  room(unread: number): number {
    return this.size - unread;
  }
  position(after: number): number {
    return (this.prod + after) % (2 * this.size);
  }
  /** Where the next record's first word is. No record goes across the end. */
  begin(words: number): number {
    const left = this.size - (this.prod % this.size);
    if (words > left) this.wrap(left);
    const at = t_buf.size / 4 + (this.prod % this.size);
    this.prod = this.position(words);
    return at;
  }
  private wrap(left: number): void {
    const timed = left - 1 > TRACE_EXTRA_MAX;
    const at = t_buf.size / 4 + (this.prod % this.size);
    this.words.fill(0, at, at + left);
    this.words[at] = traceHeader(TRC_TRACE_WRAP_BUFFER, left - (timed ? HEAD_WORDS : 1), timed);
    this.prod = this.position(left);
  }
  publish(): void {
    // order: the records, then the index that shows them.
    Atomics.store(this.words, PROD, this.prod * 4);
  }
}

export class TraceBuffers {
  private readonly nrCpus: number;
  private readonly clock: Clock;
  /** A buffer has become half full. */
  private readonly halfFull: () => void;
  private readonly broken: (cpu: number) => void;
  private memory: Arena | undefined;
  private rings: Ring[] = [];
  private infoPages = 0;
  private cpus: CpuMap;
  eventMask: number = TRC_ALL;
  enabled = false;

  constructor(nrCpus: number, clock: Clock, halfFull: () => void, broken: (cpu: number) => void) {
    this.nrCpus = nrCpus;
    this.clock = clock;
    this.halfFull = halfFull;
    this.broken = broken;
    this.cpus = allCpus(nrCpus);
  }

  // ---- control. Xen: XEN_SYSCTL_TBUFOP_* ----

  /** All pages; undefined before the first `setSize`. */
  get arena(): Arena | undefined {
    return this.memory;
  }
  /** The frame of t_info, 0 when there is none, and its bytes. */
  get info(): { mfn: number; bytes: number } {
    return { mfn: this.memory === undefined ? 0 : INFO_FRAME, bytes: this.infoPages * PAGE_SIZE };
  }
  setCpuMask(cpus: CpuMap): void {
    this.cpus = cpus;
  }
  /** Xen: buffers are made once, and stay as they are. */
  setSize(pages: number): number {
    if (this.memory !== undefined) return pages === this.pages ? -XEN_EBUSY : -XEN_EINVAL;
    if (pages < 1 || pages > MAX_PAGES) return -XEN_EINVAL;
    const { nrCpus } = this;
    const lists = Math.ceil((t_info.size + 2 * nrCpus) / 4);
    // The index of each list is a u16.
    if (lists + (nrCpus - 1) * pages > 0xffff) return -XEN_EINVAL;
    const infoPages = Math.ceil(((lists + nrCpus * pages) * 4) / PAGE_SIZE);
    const first = INFO_FRAME + infoPages;
    let arena: Arena;
    try {
      arena = Arena.create('xenolith-trace', (first + nrCpus * pages) * PAGE_SIZE);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      return -XEN_ENOMEM;
    }
    const base = INFO_FRAME * PAGE_SIZE;
    arena.view.setUint16(base + t_info.at.tbuf_size, pages, true);
    for (let cpu = 0; cpu < nrCpus; cpu++) {
      const list = lists + cpu * pages;
      arena.view.setUint16(base + t_info.size + 2 * cpu, list, true);
      const frame = first + cpu * pages;
      for (let i = 0; i < pages; i++) arena.view.setUint32(base + 4 * (list + i), frame + i, true);
      const limit = new TraceLimit(this.clock, (now, untold) =>
        this.put(cpu, now, TRC_XENOLITH_UNTOLD, untold > 0 ? 1 : 0, untold),
      );
      const words = arena.words.subarray((frame * PAGE_SIZE) / 4, ((frame + pages) * PAGE_SIZE) / 4);
      this.rings.push(new Ring(words, limit));
    }
    this.memory = arena;
    this.infoPages = infoPages;
    return 0;
  }
  private get pages(): number {
    return this.memory === undefined
      ? 0
      : this.memory.view.getUint16(INFO_FRAME * PAGE_SIZE + t_info.at.tbuf_size, true);
  }
  enable(): number {
    if (this.memory === undefined) return -XEN_EINVAL;
    this.enabled = true;
    return 0;
  }
  disable(): void {
    this.enabled = false;
    // Xen: what was lost is not told of at the beginning of the next trace.
    for (const ring of this.rings) ring.lost = 0;
  }

  // ---- records ----

  /** Put a record with the first `extra` of the words into the ring of `cpu`, if it is wanted. */
  write(cpu: number, event: number, extra: number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0): void {
    if (!this.enabled || !traceWants(this.eventMask, event) || this.cpus[cpu] !== true) return;
    if ((this.eventMask & TRC_XENOLITH_BRIEF) !== 0 && (event & ALWAYS) === 0) {
      const { limit } = this.rings[cpu]!;
      if (limit.skip() || !limit.admits()) return;
      limit.told();
    }
    this.put(cpu, this.clock.now(), event, extra, a, b, c, d, e, f, g);
  }
  private put(cpu: number, now: number, event: number, extra: number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0) {
    const ring = this.rings[cpu]!;
    const unread = ring.unread();
    if (unread < 0) {
      this.enabled = false;
      this.broken(cpu);
      return;
    }
    const size = HEAD_WORDS + extra;
    let needs = ring.lost > 0 ? ring.needs(LOST_WORDS) : 0;
    needs += ring.needs(size, ring.position(needs));
    if (needs > ring.room(unread)) {
      if (ring.lost++ === 0) ring.lostSince = now;
      return;
    }
    if (ring.lost > 0) this.tellLost(ring, now);
    const at = this.head(ring, event, extra, now);
    const { words } = ring;
    if (extra > 0) words[at] = a;
    if (extra > 1) words[at + 1] = b;
    if (extra > 2) words[at + 2] = c;
    if (extra > 3) words[at + 3] = d;
    if (extra > 4) words[at + 4] = e;
    if (extra > 5) words[at + 5] = f;
    if (extra > 6) words[at + 6] = g;
    ring.publish();
    if (unread < ring.half && unread + needs >= ring.half) this.halfFull();
  }
  private head(ring: Ring, event: number, extra: number, now: number): number {
    const at = ring.begin(HEAD_WORDS + extra);
    ring.words[at] = traceHeader(event, extra, true);
    const high = Math.floor(now / 2 ** 32);
    ring.words[at + 1] = now - high * 2 ** 32;
    ring.words[at + 2] = high;
    return at + HEAD_WORDS;
  }
  private tellLost(ring: Ring, now: number): void {
    const at = this.head(ring, TRC_LOST_RECORDS, LOST_WORDS - HEAD_WORDS, now);
    const high = Math.floor(ring.lostSince / 2 ** 32);
    ring.words[at] = ring.lost;
    // Xen names the vCPU that ran then; one that nobody asked is not known here.
    ring.words[at + 1] = 0;
    ring.words[at + 2] = ring.lostSince - high * 2 ** 32;
    ring.words[at + 3] = high;
    ring.lost = 0;
  }
}
