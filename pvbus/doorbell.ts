// How one domain wakes another without the hypervisor, and how the hypervisor wakes a vCPU. The
// only file that knows which words are bumped in which order.
import {
  DOORBELL_HALF,
  DOORBELL_SLEEPING,
  DOORBELL_SLOTS,
  DOORBELL_WAKE,
  type DomainLayout,
  PAGE_SIZE,
  vcpu_page,
  vcpuFrame,
} from './abi/xenolith.ts';
import type { Arena } from './arena.ts';
import { futexWake } from './linux.ts';

/** One domain's side of the doorbell page it shares with `peer`. */
export class Doorbell {
  readonly peer: number;
  /** Written by this domain alone, read by the peer. */
  readonly mine: Int32Array;
  /** Written by the peer alone. untrusted: it may hold anything, at any time. */
  readonly theirs: Int32Array;
  private readonly mineAddress: number;
  readonly theirsAddress: number;
  private readonly arena: Arena;

  constructor(arena: Arena, self: number, peer: number) {
    const lower = self < peer;
    const mineAt = lower ? 0 : DOORBELL_HALF;
    const theirsAt = lower ? DOORBELL_HALF : 0;
    this.arena = arena;
    this.peer = peer;
    this.mine = arena.words.subarray(mineAt / 4, (mineAt + DOORBELL_HALF) / 4);
    this.theirs = arena.words.subarray(theirsAt / 4, (theirsAt + DOORBELL_HALF) / 4);
    this.mineAddress = arena.address + mineAt;
    this.theirsAddress = arena.address + theirsAt;
  }
  /** Notify the channel at `slot`, heard by the peer's `vcpu`. */
  ring(slot: number, vcpu: number): void {
    // order: slot, wake word, then their sleeping flag. The sleeper sets its flag first and sleeps only
    // while the wake word is the one it saw: one of the two sides always sees the other.
    Atomics.add(this.mine, DOORBELL_SLOTS + slot, 1);
    Atomics.add(this.mine, DOORBELL_WAKE + vcpu, 1);
    if (Atomics.load(this.theirs, DOORBELL_SLEEPING + vcpu) !== 0)
      futexWake(this.mineAddress + 4 * (DOORBELL_WAKE + vcpu));
  }
  release(): void {
    this.arena.release();
  }
}

const EVENT_SEQ = vcpu_page.at.event_seq / 4;
const EVENT_SLEEPING = vcpu_page.at.event_sleeping / 4;

/** Bump a vCPU's event word, and wake it when it sleeps. The hypervisor's side. */
export function wakeVcpu(memory: Arena, layout: DomainLayout, vcpu: number): void {
  const word = (vcpuFrame(layout, vcpu) * PAGE_SIZE) / 4;
  Atomics.add(memory.words, word + EVENT_SEQ, 1);
  if (Atomics.load(memory.words, word + EVENT_SLEEPING) !== 0) futexWake(memory.address + 4 * (word + EVENT_SEQ));
}
