// The pages through which two domains notify each other without a hop through the hypervisor. The
// hypervisor makes them and gives out their slots; it writes none of their words but for the dead (see pvbus/doorbell.ts).
import {
  Arena,
  DOORBELL_HALF,
  DOORBELL_SLEEPING,
  DOORBELL_SLOTS,
  FUTEX_WAITV_MAX,
  KIND_DOORBELL,
  KIND_FORGET,
  NR_DOORBELL_SLOTS,
  PAGE_SIZE,
  SystemCallError,
} from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';

/** A vCPU sleeps on its own word, on one per peer, and needs one to spare; peers beyond that are mediated. */
export const MAX_DIRECT_PEERS = FUTEX_WAITV_MAX - 2;

/** The page of one pair of domains. */
export class DoorbellPair {
  readonly lower: Domain;
  readonly upper: Domain;
  private readonly arena: Arena;
  private readonly used = new Uint8Array(NR_DOORBELL_SLOTS);
  private readonly sentTo = new Set<Vcpu>();
  usedSlots = 0;

  constructor(lower: Domain, upper: Domain) {
    this.lower = lower;
    this.upper = upper;
    this.arena = Arena.create(`xenolith-doorbell-${lower.domid}-${upper.domid}`, PAGE_SIZE);
  }

  /** A slot for a channel between the two, or -1. It is the same slot in both halves. */
  alloc(): number {
    const slot = this.used.indexOf(0);
    if (slot < 0) return -1;
    this.used[slot] = 1;
    this.usedSlots++;
    return slot;
  }
  free(slot: number): void {
    this.used[slot] = 0;
    this.usedSlots--;
  }
  /** How often `writer` says it has notified the channel at `slot`. untrusted: it may say anything. */
  count(writer: Domain, slot: number): number {
    const half = writer === this.lower ? 0 : DOORBELL_HALF / 4;
    return Atomics.load(this.arena.words, half + DOORBELL_SLOTS + slot);
  }
  /** Hand the page to a vCPU of either domain, once. */
  send(vcpu: Vcpu): void {
    if (this.sentTo.has(vcpu)) return;
    const peer = vcpu.domain === this.lower ? this.upper : this.lower;
    if (vcpu.tell(KIND_DOORBELL, peer.domid, 0, this.arena)) this.sentTo.add(vcpu);
  }
  /** The vCPU has got another thread, which has nothing yet. */
  forgetSent(vcpu: Vcpu): void {
    this.sentTo.delete(vcpu);
  }
  /** Does it say that it sleeps until the peer rings? */
  sleeping(vcpu: Vcpu): boolean {
    return Atomics.load(this.arena.words, this.sleepingWord(vcpu)) !== 0;
  }
  /** Nobody sleeps there any more, whatever the thread last said that is gone. */
  clearSleeping(vcpu: Vcpu): void {
    Atomics.store(this.arena.words, this.sleepingWord(vcpu), 0);
  }
  private sleepingWord(vcpu: Vcpu): number {
    return (vcpu.domain === this.lower ? 0 : DOORBELL_HALF / 4) + DOORBELL_SLEEPING + vcpu.id;
  }
  release(): void {
    this.arena.release();
  }
}

export class DoorbellPages {
  readonly mediated: boolean;
  private pairs = 0;

  /** `mediated`: no pages at all, every send traps. */
  constructor(mediated: boolean) {
    this.mediated = mediated;
  }

  get size(): number {
    return this.pairs;
  }

  /** The page of two domains; undefined when their channels have to be mediated. */
  pair(a: Domain, b: Domain): DoorbellPair | undefined {
    if (this.mediated || a === b) return undefined;
    const known = a.doorbells.get(b);
    if (known) return known;
    try {
      const made = a.domid < b.domid ? new DoorbellPair(a, b) : new DoorbellPair(b, a);
      a.doorbells.set(b, made);
      b.doorbells.set(a, made);
      this.pairs++;
      return made;
    } catch (error) {
      // The host has no descriptor or memory left: the channel works through the hypervisor instead.
      if (error instanceof SystemCallError) return undefined;
      throw error;
    }
  }

  /** `gone` is no more: everybody who shared a page with it forgets it and its pools. */
  forget(gone: Domain, others: Iterable<Domain>): void {
    for (const [peer, pair] of gone.doorbells) {
      peer.doorbells.delete(gone);
      pair.release();
      this.pairs--;
    }
    gone.doorbells.clear();
    for (const other of others) {
      for (const vcpu of other.vcpus) {
        if (!vcpu.knows(gone)) continue;
        vcpu.tell(KIND_FORGET, gone.domid, 0);
        // One that sleeps, perhaps for ever, would hold on to the mappings.
        vcpu.wake();
      }
    }
  }
}
