// How traps reach the hypervisor from other processes: each vCPU's page, looked at in turn.
import {
  AdaptiveSpin,
  type Arena,
  type DomainLayout,
  FutexSet,
  futexWake,
  monotonicNow,
  PAGE_SIZE,
  vcpu_page,
  vcpuFrame,
  WakeWords,
  XENOLITH_NOTE,
} from '#pvbus';

const REPLY_SEQ = vcpu_page.at.reply_seq / 4;
const REPLY_SLEEPING = vcpu_page.at.reply_sleeping / 4;
const OP = vcpu_page.at.op / 4;
const ARG = vcpu_page.at.arg / 4;
const RESULT = vcpu_page.at.result / 4;
const TRAP_SEQ = vcpu_page.at.trap_seq / 4;
const WANT = vcpu_page.at.want / 4;

/** Serves a hypercall; its result goes back through TrapPage.reply, at once or later. */
export type TrapHandler = (
  page: TrapPage,
  op: number,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
  a4: number,
) => void;

/** A vCPU has said what it wants (XENOLITH_WANT_*, or anything else: it is the guest's word). */
export type NoteHandler = (page: TrapPage, want: number) => void;

/** One vCPU's page, seen from the hypervisor. */
export class TrapPage {
  readonly domid: number;
  readonly vcpu: number;
  readonly address: number;
  readonly words: Int32Array;
  private taken: number;

  constructor(memory: Arena, layout: DomainLayout, domid: number, vcpu: number) {
    const at = vcpuFrame(layout, vcpu) * PAGE_SIZE;
    this.domid = domid;
    this.vcpu = vcpu;
    this.address = memory.address + at;
    this.words = memory.words.subarray(at / 4, (at + PAGE_SIZE) / 4);
    this.taken = Atomics.load(this.words, TRAP_SEQ);
  }
  /** Hand the note and the trap that wait here, if they do, to their handlers. */
  take(handler: TrapHandler, onNote: NoteHandler): boolean {
    const { words } = this;
    const seq = Atomics.load(words, TRAP_SEQ);
    if (seq === this.taken) return false;
    const changed = seq ^ this.taken;
    this.taken = seq;
    if (changed >>> 0 >= XENOLITH_NOTE) onNote(this, words[WANT]!);
    if ((changed & (XENOLITH_NOTE - 1)) === 0) return true;
    // untrusted: read once; the numbers may be anything.
    handler(this, words[OP]! >>> 0, this.arg(0), this.arg(1), this.arg(2), this.arg(3), this.arg(4));
    return true;
  }
  /** The thread is gone that may have trapped: what it asked and was not served is not to be, nor to be answered. */
  forget(): void {
    this.taken = Atomics.load(this.words, TRAP_SEQ);
  }
  private arg(i: number): number {
    return (this.words[ARG + 2 * i]! >>> 0) + (this.words[ARG + 2 * i + 1]! >>> 0) * 2 ** 32;
  }
  /** Answer the trap taken last. */
  reply(result: number): void {
    const { words } = this;
    words[RESULT] = (result % 2 ** 32) | 0;
    words[RESULT + 1] = Math.floor(result / 2 ** 32) | 0;
    // order: result, reply word, then their sleeping flag; the vCPU raises the flag before it compares the word.
    Atomics.store(words, REPLY_SEQ, this.taken);
    if (Atomics.load(words, REPLY_SLEEPING) !== 0) futexWake(this.address + 4 * REPLY_SEQ);
  }
}

/** Pages beyond those one futex_waitv can hold are looked at this often. */
const POLL_NS = 1_000_000;
const MAX_WORDS = 120;

/** All vCPUs that can trap, and the sleep until one does. */
export class TrapLoop {
  /** Word 0 is the mailbox of the core thread; then one per page. */
  readonly words = new WakeWords();
  onNote: NoteHandler = () => {};
  private pages: TrapPage[] = [];
  private readonly futexes = new FutexSet();
  private readonly spin = new AdaptiveSpin();

  add(page: TrapPage): void {
    this.pages.push(page);
    const flag = { array: page.words, index: vcpu_page.at.trap_sleeping / 4 };
    this.words.add(page.words, page.address, vcpu_page.at.trap_seq, flag);
  }
  remove(domid: number): void {
    for (const page of this.pages) if (page.domid === domid) this.words.remove(page.address, vcpu_page.at.trap_seq);
    this.pages = this.pages.filter(page => page.domid !== domid);
  }
  /** Serve every vCPU that has trapped, once each. */
  step(handler: TrapHandler): boolean {
    let progress = false;
    for (let i = 0; i < this.words.count; i++) this.words.take(i);
    const { pages, onNote } = this;
    for (let i = 0; i < pages.length; i++) if (pages[i]!.take(handler, onNote)) progress = true;
    return progress;
  }
  /** Sleep until a trap, a message or the deadline (monotonic ns). */
  sleep(deadlineNs: number | undefined): void {
    const { words } = this;
    if (words.changed()) return;
    const from = monotonicNow();
    if (this.spin.until(words, from, deadlineNs)) return;
    const until =
      words.count > MAX_WORDS ? Math.min(deadlineNs ?? Number.POSITIVE_INFINITY, from + POLL_NS) : deadlineNs;
    const asleep = monotonicNow();
    words.sleep(this.futexes, until);
    this.spin.slept(monotonicNow() - asleep);
  }
}
