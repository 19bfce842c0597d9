// A guest's end of the FIFO ABI, written from public/event_channel.h alone: event words in frames of a test guest's
// RAM, one control block, and a consumer of the queues.
import {
  EVTCHN_FIFO_LINK_MASK,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_set_priority,
  EVTCHNOP_unmask,
  evtchn_expand_array,
  evtchn_init_control,
  evtchn_set_priority,
  evtchn_unmask,
  PAGE_SIZE,
} from '#pvbus';
import type { Guest } from './core-rig.ts';

export const PENDING = 0x80000000;
export const MASKED = 0x40000000;
export const LINKED = 0x20000000;
export const BUSY = 0x10000000;

export class FifoGuest {
  readonly guest: Guest;
  /** Frame of the control blocks, and those of event words as they were given. */
  readonly controlGfn: number;
  readonly arrays: number[] = [];
  private nextGfn: number;
  private readonly heads: number[] = new Array<number>(16).fill(0);

  /** Takes frames of the guest's RAM from `firstGfn` on. */
  constructor(guest: Guest, firstGfn = 8) {
    this.guest = guest;
    this.controlGfn = firstGfn;
    this.nextGfn = firstGfn + 1;
  }
  init(vcpu = 0, gfn = this.controlGfn, offset = vcpu * 72): { rc: number; linkBits: number } {
    const at = this.guest.reset().put(evtchn_init_control, { control_gfn: gfn, offset, vcpu });
    const rc = this.guest.evtchn(EVTCHNOP_init_control, at);
    return { rc, linkBits: this.guest.get(evtchn_init_control, at, 'link_bits') };
  }
  expand(gfn?: number): number {
    const frame = gfn ?? this.nextGfn++;
    const at = this.guest.reset().put(evtchn_expand_array, { array_gfn: frame });
    const rc = this.guest.evtchn(EVTCHNOP_expand_array, at);
    if (rc === 0) this.arrays.push(frame);
    return rc;
  }
  setPriority(port: number, priority: number): number {
    const at = this.guest.reset().put(evtchn_set_priority, { port, priority });
    return this.guest.evtchn(EVTCHNOP_set_priority, at);
  }
  unmask(port: number): number {
    return this.guest.evtchn(EVTCHNOP_unmask, this.guest.reset().put(evtchn_unmask, { port }));
  }

  private at(port: number): number {
    return this.arrays[port >> 10]! * PAGE_SIZE + 4 * (port & 1023);
  }
  word(port: number): number {
    return this.guest.view.getUint32(this.at(port), true);
  }
  setWord(port: number, value: number): void {
    this.guest.view.setUint32(this.at(port), value >>> 0, true);
  }
  is(port: number, bits: number): boolean {
    return (this.word(port) & bits) >>> 0 === bits >>> 0;
  }
  mask(port: number): void {
    this.setWord(port, this.word(port) | MASKED);
  }
  private control(vcpu: number): number {
    return this.controlGfn * PAGE_SIZE + vcpu * 72;
  }
  ready(vcpu = 0): number {
    return this.guest.view.getUint32(this.control(vcpu), true);
  }

  /** What a kernel does in its upcall on `vcpu`: the ports with an event, in the order they come. */
  consume(vcpu = 0): number[] {
    const { view } = this.guest;
    const seen: number[] = [];
    this.guest.clearUpcall(vcpu);
    let ready = this.ready(vcpu);
    view.setUint32(this.control(vcpu), 0, true);
    while (ready !== 0) {
      const priority = 31 - Math.clz32(ready & -ready);
      const port = this.heads[priority]! || view.getUint32(this.control(vcpu) + 8 + 4 * priority, true);
      const word = this.word(port);
      this.setWord(port, word & ~(LINKED | EVTCHN_FIFO_LINK_MASK));
      this.heads[priority] = word & EVTCHN_FIFO_LINK_MASK;
      if (this.heads[priority] === 0) ready &= ~(1 << priority);
      if (this.is(port, PENDING) && !this.is(port, MASKED)) {
        this.setWord(port, this.word(port) & ~PENDING);
        seen.push(port);
      }
      ready |= this.ready(vcpu);
      view.setUint32(this.control(vcpu), 0, true);
    }
    return seen;
  }
}
