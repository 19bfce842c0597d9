// One of a disk's rings: which slots wait for room in it, requests into it, responses out of it.
import { blkif_sring_entry, type EvtchnPort, FrontRing, TRC_XENOLITH_BLK, type Vcpu } from '#pvbus';
import type { SharedBuffers } from './buffers.ts';
import { RequestWriter, ResponseReader } from './request.ts';
import type { RingPages } from './rings.ts';

/** Slots in the order in which they were queued. */
class SlotQueue {
  readonly #slots: Int32Array;
  #head = 0;
  length = 0;

  constructor(capacity: number) {
    this.#slots = new Int32Array(capacity);
  }
  add(slot: number): void {
    this.#slots[(this.#head + this.length++) % this.#slots.length] = slot;
  }
  take(): number {
    const slot = this.#slots[this.#head]!;
    this.#head = (this.#head + 1) % this.#slots.length;
    this.length--;
    return slot;
  }
}

/** What a queue has while there is a backend. */
export interface QueueEnd {
  readonly ring: FrontRing;
  readonly writer: RequestWriter;
  readonly reader: ResponseReader;
  readonly port: EvtchnPort;
}

export class BlkQueue {
  readonly index: number;
  readonly waiting: SlotQueue;
  readonly end: QueueEnd | undefined;

  /** `slots`: so many may wait. */
  constructor(index: number, slots: number, end?: QueueEnd) {
    this.index = index;
    this.waiting = new SlotQueue(slots);
    this.end = end;
  }
}

/** The end of an empty ring, of requests for `buffers`. */
export function newEnd(
  vcpu: Vcpu,
  { page, refs }: RingPages,
  buffers: SharedBuffers,
  port: EvtchnPort,
  vdev: number,
): QueueEnd {
  const ring = FrontRing.init(page, blkif_sring_entry.size);
  ring.trace = vcpu.trace.ring(TRC_XENOLITH_BLK, vcpu.domid, refs[0]!);
  return { ring, port, writer: new RequestWriter(buffers, page, vdev), reader: new ResponseReader(page) };
}
