// The bits of event channels in a domain's shared_info and its vCPUs' vcpu_info: real bytes in Xen's
// layout, which the guest shares and may scribble on. Nothing here is ever trusted, only set.
import { type Arena, PAGE_SIZE, privatePage, shared_info, vcpu_info } from '#pvbus';

const PENDING = shared_info.at.evtchn_pending / 4;
const MASK = shared_info.at.evtchn_mask / 4;
const SEL = vcpu_info.at.evtchn_pending_sel / 4;

export class SharedInfoPage {
  // Before the domain has memory, its page is private; what happened meanwhile moves with it.
  private words: Int32Array = privatePage().words;
  private at = 0;

  /** The page is frame `gfn` of the domain's memory from here on. */
  moveTo(arena: Arena, gfn: number): void {
    const at = (gfn * PAGE_SIZE) / 4;
    arena.words.set(this.words.subarray(this.at, this.at + PAGE_SIZE / 4), at);
    this.words = arena.words;
    this.at = at;
  }

  /** True when it was set before. */
  testAndSetPending(port: number): boolean {
    const bit = 1 << (port & 31);
    return (Atomics.or(this.words, this.at + PENDING + (port >>> 5), bit) & bit) !== 0;
  }
  pending(port: number): boolean {
    return (Atomics.load(this.words, this.at + PENDING + (port >>> 5)) & (1 << (port & 31))) !== 0;
  }
  clearPending(port: number): void {
    Atomics.and(this.words, this.at + PENDING + (port >>> 5), ~(1 << (port & 31)));
  }
  masked(port: number): boolean {
    return (Atomics.load(this.words, this.at + MASK + (port >>> 5)) & (1 << (port & 31))) !== 0;
  }
  /** True when it was set before. */
  testAndClearMask(port: number): boolean {
    const bit = 1 << (port & 31);
    return (Atomics.and(this.words, this.at + MASK + (port >>> 5), ~bit) & bit) !== 0;
  }
}

/** Where one vCPU's vcpu_info is. */
export class VcpuInfoArea {
  private words: Int32Array = new Int32Array(vcpu_info.size / 4);
  private bytes: Uint8Array = new Uint8Array(this.words.buffer);
  private at = 0;
  private view: DataView = new DataView(this.words.buffer);

  /** It is at byte `address` of the domain's memory from here on; its content moves along. */
  moveTo(arena: Arena, address: number): void {
    arena.bytes.set(this.bytes.subarray(this.at, this.at + vcpu_info.size), address);
    this.words = arena.words;
    this.bytes = arena.bytes;
    this.view = arena.view;
    this.at = address;
  }

  /** Select the word of `port`. True when it was selected before. */
  testAndSelect(port: number): boolean {
    const bit = 1 << ((port >>> 6) & 31);
    return (Atomics.or(this.words, this.at / 4 + SEL + (port >>> 11), bit) & bit) !== 0;
  }
  selectAll(): void {
    Atomics.store(this.words, this.at / 4 + SEL, -1);
    Atomics.store(this.words, this.at / 4 + SEL + 1, -1);
  }
  get upcallPending(): boolean {
    return Atomics.load(this.bytes, this.at + vcpu_info.at.evtchn_upcall_pending) !== 0;
  }
  raiseUpcall(): void {
    Atomics.store(this.bytes, this.at + vcpu_info.at.evtchn_upcall_pending, 1);
  }
  clearUpcallMask(): void {
    Atomics.store(this.bytes, this.at + vcpu_info.at.evtchn_upcall_mask, 0);
  }
  get timeAddress(): { words: Int32Array; view: DataView; at: number } {
    return { words: this.words, view: this.view, at: this.at + vcpu_info.at.time };
  }
}
