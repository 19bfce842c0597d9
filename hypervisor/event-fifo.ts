// The FIFO ABI: an event word per port, in pages that the guest gives one by one, linked into a queue per vCPU and
// priority. Xen: public/event_channel.h, common/event_fifo.c.
import {
  EVTCHN_FIFO_BUSY,
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_MAX_QUEUES,
  EVTCHN_FIFO_NR_CHANNELS,
  EVTCHN_FIFO_PENDING,
  evtchn_fifo_control_block,
  PAGE_SIZE,
  XEN_EINVAL,
  XEN_ENOSPC,
} from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';
import { type EventAbi, NEWLY_PENDING, TELL } from './event-abi.ts';
import { FRAME_RAM } from './memory.ts';
import type { Port } from './port-table.ts';

const PENDING = 1 << EVTCHN_FIFO_PENDING;
const MASKED = 1 << EVTCHN_FIFO_MASKED;
const LINKED = 1 << EVTCHN_FIFO_LINKED;
const BUSY = 1 << EVTCHN_FIFO_BUSY;
const WORDS_PER_PAGE = PAGE_SIZE / 4;
const MAX_PAGES = EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE;
const READY = evtchn_fifo_control_block.at.ready / 4;
const HEAD = evtchn_fifo_control_block.at.head / 4;
/** A guest changes a linked word four times at most while the hypervisor links it; one that changes it more is hostile. */
const TRIES = 4;

/**
 * invariant: nothing that the guest can write says where the hypervisor writes. Words and control blocks are in
 * frames that it has checked and holds; which port is the last of a queue is known here alone; LINK is never read.
 */
export class FifoEvents implements EventAbi {
  readonly nrPorts = EVTCHN_FIFO_NR_CHANNELS;
  private readonly domain: Domain;
  /** Frames with event words, and the control block of each vCPU as an index of the memory's words. */
  private readonly pages: number[] = [];
  private readonly controls: number[];
  /** The last port of each queue, vcpu * 16 + priority: 0 before the first. */
  private readonly tails: Int32Array;

  constructor(domain: Domain) {
    this.domain = domain;
    this.controls = domain.vcpus.map(() => -1);
    this.tails = new Int32Array(domain.vcpus.length * EVTCHN_FIFO_MAX_QUEUES);
  }

  // ---- what the guest gives ----

  /** The control block of a vCPU is at `offset` of frame `gfn`. 0 or -errno. */
  place(vcpu: Vcpu, gfn: number, offset: number): number {
    const { physmap } = this.domain;
    if (offset > PAGE_SIZE - evtchn_fifo_control_block.size || offset % 8 !== 0) return -XEN_EINVAL;
    if (this.controls[vcpu.id]! >= 0 || physmap.kind(gfn) !== FRAME_RAM) return -XEN_EINVAL;
    physmap.hold(gfn);
    this.controls[vcpu.id] = (gfn * PAGE_SIZE + offset) / 4;
    return 0;
  }
  /** Frame `gfn` has the words of the next 1024 ports. The first of them, or -errno. */
  addPage(gfn: number): number {
    const { physmap } = this.domain;
    if (this.pages.length === MAX_PAGES) return -XEN_ENOSPC;
    if (physmap.kind(gfn) !== FRAME_RAM) return -XEN_EINVAL;
    physmap.hold(gfn);
    return (this.pages.push(gfn) - 1) * WORDS_PER_PAGE;
  }
  /** The guest has its frames back. */
  release(): void {
    const { physmap } = this.domain;
    for (const gfn of this.pages) physmap.letGo(gfn);
    for (const at of this.controls) if (at >= 0) physmap.letGo(Math.floor(at / WORDS_PER_PAGE));
  }

  // ---- a port ----

  setPending(port: number, here: Port): number {
    const at = this.wordOf(port);
    if (at < 0) return saved(here);
    const { words } = this.domain.memory;
    const was = Atomics.or(words, at, PENDING);
    const told = (was & (MASKED | LINKED)) === 0 && this.link(words, port, here, at);
    return ((was & PENDING) === 0 ? NEWLY_PENDING : 0) | (told ? TELL : 0);
  }
  setPendingAgain(port: number, here: Port): boolean {
    this.setPending(port, here);
    return !this.masked(port);
  }
  clearPending(port: number, here: Port): void {
    here.pendingSaved = false;
    const at = this.wordOf(port);
    if (at >= 0) Atomics.and(this.domain.memory.words, at, ~PENDING);
  }
  pending(port: number, here: Port): boolean {
    return here.pendingSaved || this.has(port, PENDING);
  }
  masked(port: number): boolean {
    return this.has(port, MASKED);
  }
  unmask(port: number, here: Port): boolean {
    const at = this.wordOf(port);
    if (at < 0) return false;
    const was = Atomics.and(this.domain.memory.words, at, ~MASKED);
    return (was & PENDING) !== 0 && (this.setPending(port, here) & TELL) !== 0;
  }
  lingers(port: number): boolean {
    return this.has(port, LINKED);
  }
  private has(port: number, bit: number): boolean {
    const at = this.wordOf(port);
    return at >= 0 && (Atomics.load(this.domain.memory.words, at) & bit) !== 0;
  }
  /** Its event word, as an index of the memory's words; -1 while there is no page for it. */
  private wordOf(port: number): number {
    const gfn = this.pages[Math.floor(port / WORDS_PER_PAGE)];
    return gfn === undefined ? -1 : gfn * WORDS_PER_PAGE + (port % WORDS_PER_PAGE);
  }

  // ---- a queue ----

  /** Put a port at the end of its vCPU's queue. True when the vCPU is to be told. */
  private link(words: Int32Array, port: number, here: Port, at: number): boolean {
    const control = this.controls[here.notify_vcpu]!;
    if (control < 0) return false; // Xen: nobody will ever look; the port stays pending
    if ((Atomics.or(words, at, LINKED) & LINKED) !== 0) return false;
    // Xen: it was unlinked, so the queue it was the last of is empty. Linked anywhere else, as it is about to be,
    // it must not be taken for the end of that one.
    if (this.tails[here.queue] === port) this.tails[here.queue] = 0;
    const queue = here.notify_vcpu * EVTCHN_FIFO_MAX_QUEUES + here.priority;
    here.queue = queue;
    const tail = this.tails[queue]!;
    this.tails[queue] = port;
    if (tail !== 0 && this.setLink(words, tail, port)) return false;
    // The guest has emptied the queue: this is its first.
    Atomics.store(words, control + HEAD + here.priority, port);
    const bit = 1 << here.priority;
    // order: head, then ready, then the upcall.
    return (Atomics.or(words, control + READY, bit) & bit) === 0;
  }
  /** Let `port` follow `tail`, if that is still in its queue. */
  private setLink(words: Int32Array, tail: number, port: number): boolean {
    const at = this.wordOf(tail);
    if (this.tryLink(words, at, port)) return true;
    // Xen: BUSY asks the guest not to unmask meanwhile. Whether it does as it is asked is its own affair.
    if ((Atomics.or(words, at, BUSY) & LINKED) !== 0 && this.tryLink(words, at, port)) return true;
    Atomics.and(words, at, ~BUSY);
    return false;
  }
  private tryLink(words: Int32Array, at: number, port: number): boolean {
    let seen = Atomics.load(words, at);
    for (let i = 0; i < TRIES && (seen & LINKED) !== 0; i++) {
      const now = Atomics.compareExchange(words, at, seen, (seen & ~(BUSY | EVTCHN_FIFO_LINK_MASK)) | port);
      if (now === seen) return true;
      seen = now;
    }
    return false;
  }
}

/** There is no word for it yet: it is raised when there is. */
function saved(here: Port): number {
  const did = here.pendingSaved ? 0 : NEWLY_PENDING;
  here.pendingSaved = true;
  return did;
}
