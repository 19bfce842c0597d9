// The guest's side of the FIFO ABI: one vCPU's queues of events, by priority. Xen: public/event_channel.h.
//
// Only the hypervisor puts ports at the ends of the queues it shares with the guest. What comes through doorbells goes
// into queues of the vCPU's own instead; they are emptied together, the more urgent first.
import {
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_MAX_QUEUES,
  EVTCHN_FIFO_NR_CHANNELS,
  EVTCHN_FIFO_PENDING,
  EVTCHN_FIFO_PRIORITY_DEFAULT,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_set_priority,
  evtchn_expand_array,
  evtchn_fifo_control_block,
  evtchn_init_control,
  evtchn_set_priority,
} from './abi/event_channel.ts';
import { SCHEDOP_yield } from './abi/sched.ts';
import { __HYPERVISOR_event_channel_op, __HYPERVISOR_sched_op } from './abi/xen.ts';
import { PAGE_SIZE } from './abi/xenolith.ts';
import { type EvtchnPort, type Gfn, gfn } from './brands.ts';
import { errnoName, XenError } from './errors.ts';
import { setU64, struct } from './struct.ts';
import type { Vcpu } from './vcpu.ts';

const PENDING = 1 << EVTCHN_FIFO_PENDING;
const MASKED = 1 << EVTCHN_FIFO_MASKED;
const LINKED = 1 << EVTCHN_FIFO_LINKED;
const WORDS_PER_PAGE = PAGE_SIZE / 4;
const MAX_PAGES = EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE;
const READY = evtchn_fifo_control_block.at.ready / 4;
const HEAD = evtchn_fifo_control_block.at.head / 4;
const BLOCKS_PER_PAGE = Math.floor(PAGE_SIZE / evtchn_fifo_control_block.size);
/** `next` of a port that is in none of the vCPU's own queues, and of one that is the last of its queue. */
const NOWHERE = 0;
const LAST = -1;

/** A page of the domain's own, by which its vCPUs agree on the frames; the pages after it have the control blocks. */
const fifo_directory = struct('fifo_directory', 8 + 4 * MAX_PAGES, {
  lock: 'u32', // not 0 while a vCPU adds a page
  nr_pages: 'u32',
  gfn: { of: 'u32', count: MAX_PAGES },
});

export class FifoEvents {
  /** For the domain's other vCPUs. */
  readonly directory: Gfn;
  private readonly vcpu: Vcpu;
  private readonly words: Int32Array;
  private readonly control: number;
  /** Where the pages of event words begin, as indices of `words`. */
  private readonly pages: number[] = [];
  // The hypervisor's queues: those that may have something, and the next port of each where it is known.
  private ready = 0;
  private readonly heads = new Int32Array(EVTCHN_FIFO_MAX_QUEUES);
  // Our own.
  private ownReady = 0;
  private readonly ownHeads = new Int32Array(EVTCHN_FIFO_MAX_QUEUES);
  private readonly ownTails = new Int32Array(EVTCHN_FIFO_MAX_QUEUES);
  private next = new Int32Array(0);
  private priorities = new Uint8Array(0);

  /** Switches the domain over, or, with what another vCPU made, this vCPU. Throws XenError. */
  constructor(vcpu: Vcpu, directory = newDirectory(vcpu)) {
    this.vcpu = vcpu;
    this.words = vcpu.memory.words;
    this.directory = directory;
    const block = gfn(directory + 1 + Math.floor(vcpu.id / BLOCKS_PER_PAGE));
    const offset = (vcpu.id % BLOCKS_PER_PAGE) * evtchn_fifo_control_block.size;
    this.control = (block * PAGE_SIZE + offset) / 4;
    const { scratch } = vcpu;
    const at = scratch.reset().alloc(evtchn_init_control.size);
    setU64(scratch.view, at + evtchn_init_control.at.control_gfn, block);
    scratch.view.setUint32(at + evtchn_init_control.at.offset, offset, true);
    scratch.view.setUint32(at + evtchn_init_control.at.vcpu, vcpu.id, true);
    this.op(EVTCHNOP_init_control, at, `init_control of vcpu ${vcpu.id}`);
    this.learn();
  }

  // ---- ports ----

  /** See to it that there is an event word for `p`. */
  cover(p: number): void {
    while (p >= this.next.length) {
      this.learn();
      if (p >= this.next.length) this.grow();
    }
  }
  /** Of the events of `p` to come: 0 is the most urgent, 7 what every port begins with. Throws XenError. */
  setPriority(p: EvtchnPort, priority: number): void {
    const { scratch } = this.vcpu;
    const at = scratch.reset().alloc(evtchn_set_priority.size);
    scratch.view.setUint32(at + evtchn_set_priority.at.port, p, true);
    scratch.view.setUint32(at + evtchn_set_priority.at.priority, priority, true);
    this.op(EVTCHNOP_set_priority, at, `set_priority of port ${p} to ${priority}`);
    this.priorities[p] = priority;
  }
  /** `p` is another port from here on, or none. */
  forget(p: number): void {
    this.priorities[p] = EVTCHN_FIFO_PRIORITY_DEFAULT;
  }
  private wordOf(p: number): number {
    return this.pages[p >>> 10]! + (p & (WORDS_PER_PAGE - 1));
  }

  // ---- events ----

  /** A doorbell has told of `p`. True when there is something to take that was not there. */
  setPending(p: number): boolean {
    if ((Atomics.or(this.words, this.wordOf(p), PENDING) & (PENDING | MASKED)) !== 0) return false;
    this.lookAt(p);
    return true;
  }
  /** Let `p` be among those that `take` looks at. */
  lookAt(p: number): void {
    if (this.next[p] !== NOWHERE) return;
    const priority = this.priorities[p]!;
    this.next[p] = LAST;
    if ((this.ownReady & (1 << priority)) === 0) this.ownHeads[priority] = p;
    else this.next[this.ownTails[priority]!] = p;
    this.ownTails[priority] = p;
    this.ownReady |= 1 << priority;
  }
  /** The most urgent port that is pending and not masked, out of its queue; 0 when there is none. It stays pending. */
  take(): number {
    for (;;) {
      // order: what is ready, then the queues' heads. This is also the fence after the upcall flag.
      this.ready |= Atomics.exchange(this.words, this.control + READY, 0);
      const all = this.ready | this.ownReady;
      if (all === 0) return 0;
      const priority = 31 - Math.clz32(all & -all);
      const p = (this.ownReady & (1 << priority)) !== 0 ? this.takeOwn(priority) : this.takeLinked(priority);
      if (p !== 0 && (Atomics.load(this.words, this.wordOf(p)) & (PENDING | MASKED)) === PENDING) return p;
    }
  }
  /** True when it was pending. */
  clearPending(p: number): boolean {
    return (Atomics.and(this.words, this.wordOf(p), ~PENDING) & PENDING) !== 0;
  }
  pending(p: number): boolean {
    return (Atomics.load(this.words, this.wordOf(p)) & PENDING) !== 0;
  }
  private takeOwn(priority: number): number {
    const p = this.ownHeads[priority]!;
    const next = this.next[p]!;
    this.next[p] = NOWHERE;
    if (next === LAST) this.ownReady &= ~(1 << priority);
    else this.ownHeads[priority] = next;
    return p;
  }
  private takeLinked(priority: number): number {
    const p = this.heads[priority]! || Atomics.load(this.words, this.control + HEAD + priority);
    if (p >= this.next.length) this.learn();
    const link = p > 0 && p < this.next.length ? this.unlink(this.wordOf(p)) : 0;
    this.heads[priority] = link;
    if (link === 0) this.ready &= ~(1 << priority);
    return p < this.next.length ? p : 0;
  }
  /** Take a port out of its queue: the port after it, or 0. */
  private unlink(at: number): number {
    for (;;) {
      const seen = Atomics.load(this.words, at);
      const without = seen & ~(LINKED | EVTCHN_FIFO_LINK_MASK);
      if (Atomics.compareExchange(this.words, at, seen, without) === seen) return seen & EVTCHN_FIFO_LINK_MASK;
    }
  }

  // ---- pages ----

  private directoryWord(field: keyof typeof fifo_directory.at): number {
    return (this.directory * PAGE_SIZE + fifo_directory.at[field]) / 4;
  }
  /** Other vCPUs may have added pages. */
  private learn(): void {
    const { words, pages } = this;
    const nr = Math.min(MAX_PAGES, Atomics.load(words, this.directoryWord('nr_pages')));
    while (pages.length < nr) pages.push(words[this.directoryWord('gfn') + pages.length]! * WORDS_PER_PAGE);
    if (this.next.length === nr * WORDS_PER_PAGE) return;
    const { next, priorities } = this;
    this.next = new Int32Array(nr * WORDS_PER_PAGE);
    this.next.set(next);
    this.priorities = new Uint8Array(nr * WORDS_PER_PAGE).fill(EVTCHN_FIFO_PRIORITY_DEFAULT);
    this.priorities.set(priorities);
  }
  /** One more page. The hypervisor puts them in a row, and all vCPUs must see the same row. */
  private grow(): void {
    const { vcpu, words } = this;
    const { scratch } = vcpu;
    const lock = this.directoryWord('lock');
    while (Atomics.compareExchange(words, lock, 0, 1) !== 0) vcpu.hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield);
    try {
      const had = this.pages.length;
      this.learn();
      if (this.pages.length > had) return;
      const page = zeroedFrames(vcpu, 1);
      const at = scratch.reset().alloc(evtchn_expand_array.size);
      setU64(scratch.view, at + evtchn_expand_array.at.array_gfn, page);
      // order: the directory, then the call. It raises what was waiting for the page, and other vCPUs look for it.
      words[this.directoryWord('gfn') + had] = page;
      Atomics.store(words, this.directoryWord('nr_pages'), had + 1);
      this.op(EVTCHNOP_expand_array, at, `expand_array beyond ${had * WORDS_PER_PAGE} ports`);
      this.learn();
    } finally {
      Atomics.store(words, lock, 0);
    }
  }
  private op(cmd: number, at: number, what: string): void {
    const rc = this.vcpu.hypercall(__HYPERVISOR_event_channel_op, cmd, at);
    if (rc < 0) throw new XenError(errnoName(-rc), `dom${this.vcpu.domid}: ${what}`);
  }
}

function newDirectory(vcpu: Vcpu): Gfn {
  return zeroedFrames(vcpu, 1 + Math.ceil(vcpu.layout.maxVcpus / BLOCKS_PER_PAGE));
}
function zeroedFrames(vcpu: Vcpu, count: number): Gfn {
  const first = vcpu.frames.alloc(count);
  vcpu.memory.bytes.fill(0, first * PAGE_SIZE, (first + count) * PAGE_SIZE);
  return first;
}
