// One vCPU as its own thread sees it: memory, hypercalls, events, sleep.
import {
  type DomainLayout,
  domainLayout,
  KIND_FOREIGN,
  PAGE_SIZE,
  VCPU_FRAMES,
  vcpu_page,
  vcpuFrame,
  XENOLITH_GRANT_contended,
  XENOLITH_SLEEPS_poll,
  XENOLITH_WANT_nothing,
  XENOLITH_WANT_run,
} from './abi/xenolith.ts';
import type { Arena } from './arena.ts';
import type { Domid, EvtchnPort } from './brands.ts';
import { XenError } from './errors.ts';
import { EventChannels } from './event-channel.ts';
import type { ForeignMemory } from './foreign-window.ts';
import { FrameAllocator } from './frames.ts';
import { GrantTable } from './grant-table.ts';
import { type ControlMessage, closeFd, FutexSet, monotonicNow } from './linux.ts';
import { TRC_XENOLITH_BLOCK, TRC_XENOLITH_WAKE } from './trace-events.ts';
import { VcpuTrace } from './vcpu-trace.ts';
import { AdaptiveSpin, WakeWords } from './wake-words.ts';

/** How a vCPU reaches the hypervisor; another process, or in a simulation the same thread. */
export interface Machine {
  /** Trap: `nr` and its arguments; what the hypercall returns, >= 0 or -errno. */
  trap(nr: number, a0: number, a1: number, a2: number, a3: number, a4: number): number;
  /** The next control message the hypervisor has sent to this vCPU, if there is one. Never waits. */
  receive(): ControlMessage | undefined;
  /** Tell the hypervisor what this vCPU wants (XENOLITH_WANT_*). Does not wait. */
  note(want: number): void;
  /** This vCPU has no pCPU: tell the hypervisor that it wants one, and return when its page says that it has. */
  awaitGrant(): void;
}

/** Memory for one hypercall's arguments, at an address the hypervisor can read. */
export class Scratch {
  /** Over all of the domain's memory: address = offset. */
  readonly view: DataView;
  readonly bytes: Uint8Array;
  private readonly start: number;
  private readonly end: number;
  private next: number;

  constructor(memory: Arena, layout: DomainLayout, vcpu: number) {
    this.view = memory.view;
    this.bytes = memory.bytes;
    this.start = (vcpuFrame(layout, vcpu) + 1) * PAGE_SIZE;
    this.end = (vcpuFrame(layout, vcpu) + VCPU_FRAMES) * PAGE_SIZE;
    this.next = this.start;
  }
  /** Bytes one hypercall's arguments may take together. */
  get size(): number {
    return this.end - this.start;
  }
  /** The address of `bytes` zeroed bytes; they are the caller's until the next `reset`. */
  alloc(bytes: number): number {
    const at = this.next;
    if (at + bytes > this.end) throw new Error(`a hypercall's arguments need more than ${this.size} bytes`);
    this.next = at + ((bytes + 7) & ~7);
    this.bytes.fill(0, at, at + bytes);
    return at;
  }
  /** Begin a new hypercall: everything given out before is free. Returns this. */
  reset(): this {
    this.next = this.start;
    return this;
  }
}

export class Vcpu {
  readonly domid: Domid;
  readonly id: number;
  /** All frames of the domain: gfn g is at byte g * 4096. */
  readonly memory: Arena;
  readonly layout: DomainLayout;
  readonly scratch: Scratch;
  readonly trace: VcpuTrace;
  readonly events: EventChannels;
  readonly grants: GrantTable;
  /** Free RAM. Its owner sets it once it knows what the domain builder has put where. */
  frames: FrameAllocator;
  /** The words a bump of which ends a sleep of this vCPU. */
  readonly wakeWords = new WakeWords();
  private readonly machine: Machine;
  private readonly futexes = new FutexSet();
  private readonly spin = new AdaptiveSpin();
  private readonly foreign = new Map<number, ForeignMemory>();
  private readonly words: Int32Array;
  private readonly grantWord: number;

  constructor(machine: Machine, memory: Arena, layout: DomainLayout, domid: Domid, id: number) {
    this.machine = machine;
    this.memory = memory;
    this.layout = layout;
    this.domid = domid;
    this.id = id;
    this.scratch = new Scratch(memory, layout, id);
    this.trace = new VcpuTrace(memory, layout, domid, id);
    const slice = Math.floor(layout.maxPages / layout.maxVcpus);
    this.frames = new FrameAllocator(id * slice, (id + 1) * slice);
    const page = vcpuFrame(layout, id) * PAGE_SIZE;
    this.words = memory.words;
    this.grantWord = (page + vcpu_page.at.grant) / 4;
    this.wakeWords.add(memory.words, memory.address, page + vcpu_page.at.event_seq, {
      array: memory.words,
      index: (page + vcpu_page.at.event_sleeping) / 4,
    });
    this.grants = new GrantTable(this);
    this.events = new EventChannels(this);
    this.takeControlMessages();
  }

  /** Trap into the hypervisor. Returns >= 0 or -errno. */
  hypercall(nr: number, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0): number {
    const result = this.machine.trap(nr, a0, a1, a2, a3, a4);
    this.yieldIfAsked();
    this.takeControlMessages();
    return result;
  }

  // ---- the pCPU ----

  /**
   * Does the hypervisor let this vCPU run? A plain load of a word that the hypervisor writes: where the answer matters,
   * there is a call or an atomic operation between two questions.
   */
  mayRun(): boolean {
    return this.words[this.grantWord] !== 0;
  }
  /** A safe point: when another vCPU is to have the pCPU, sleep until this one has one again. */
  yieldIfAsked(): void {
    if (this.words[this.grantWord] === 0) this.machine.awaitGrant();
  }
  /** For whoever sleeps in this vCPU's stead: it does from now on, and others may have its pCPU. */
  fallAsleep(): void {
    if (this.contended) this.machine.note(XENOLITH_WANT_nothing);
  }
  /** ... and no longer: returns when it has a pCPU. */
  wakeUp(): void {
    if (this.contended) this.machine.note(XENOLITH_WANT_run);
    this.yieldIfAsked();
  }
  private get contended(): boolean {
    return (this.words[this.grantWord]! & XENOLITH_GRANT_contended) !== 0;
  }

  /** Act on what the hypervisor has sent: pages that are now shared with this domain, or no longer. */
  takeControlMessages(): void {
    for (let m = this.machine.receive(); m !== undefined; m = this.machine.receive()) {
      this.events.control(m);
      this.grants.control(m);
      if (m.kind === KIND_FOREIGN) this.addForeign(m);
    }
  }
  private addForeign(m: ControlMessage): void {
    const layout = domainLayout(m.b % 2 ** 32, Math.floor(m.b / 2 ** 32));
    const untaken = this.foreign.get(m.a);
    if (untaken && untaken.fd >= 0) closeFd(untaken.fd);
    this.foreign.set(m.a, { fd: m.fd, layout });
  }
  /** What the map_foreign before this call has brought. */
  takeForeign(domid: Domid): ForeignMemory {
    const taken = this.foreign.get(domid);
    if (!taken) throw new Error(`the hypervisor has not sent the memory of dom${domid}`);
    this.foreign.delete(domid);
    if (taken.fd < 0) throw new XenError('EMFILE', `no descriptor was left for the memory of dom${domid}`);
    return taken;
  }

  /**
   * SCHEDOP_block: sleep until an event, a doorbell or the deadline (monotonic ns). Returns at once
   * when something has come since the last `events.poll()`, so no wake-up is ever lost.
   */
  block(deadlineNs?: number): void {
    const words = this.wakeWords;
    if (!this.events.pending() && !words.changed()) this.sleep(words, deadlineNs);
    this.yieldIfAsked();
  }
  /**
   * SCHEDOP_poll with upcalls off: sleep until one of the ports is pending, masked or not, or the deadline has passed.
   * Other events stay pending, and no handler runs; they do not end it.
   */
  poll(ports: readonly EvtchnPort[], deadlineNs?: number): void {
    this.polled = ports;
    for (;;) {
      // order: what has come is taken off the wake words before the ports are looked at.
      this.events.gather();
      if (this.events.anyPending(ports)) break;
      if (deadlineNs !== undefined && deadlineNs <= monotonicNow()) break;
      this.sleep(this.wakeWords, deadlineNs);
      this.yieldIfAsked();
    }
    this.polled = undefined;
    this.yieldIfAsked();
  }
  private polled: readonly EvtchnPort[] | undefined;
  private readonly polledPending = (): boolean => this.events.anyPending(this.polled!);

  private sleep(words: WakeWords, deadlineNs: number | undefined): void {
    if (this.contended) {
      this.sleepContended(words, deadlineNs);
      return;
    }
    const from = monotonicNow();
    this.trace.tick(from);
    if (this.spin.until(words, from, deadlineNs)) return;
    const asleep = monotonicNow();
    this.doze(words, deadlineNs);
    this.spin.slept(monotonicNow() - asleep);
  }
  /** Others wait for the pCPU: no spinning, and the hypervisor hears that it can give it to one of them. */
  private sleepContended(words: WakeWords, deadlineNs: number | undefined): void {
    this.machine.note(XENOLITH_WANT_nothing);
    this.doze(words, deadlineNs);
    // Without a grant, asking for one says that it is awake.
    if (this.contended) this.machine.note(XENOLITH_WANT_run);
  }
  private doze(words: WakeWords, deadlineNs: number | undefined): void {
    if (this.trace.admits()) this.trace.record(TRC_XENOLITH_BLOCK, 0);
    if (this.polled === undefined) words.sleep(this.futexes, deadlineNs);
    else words.sleep(this.futexes, deadlineNs, XENOLITH_SLEEPS_poll, this.polledPending);
    if (this.trace.admits()) this.trace.record(TRC_XENOLITH_WAKE, 0);
  }
}
