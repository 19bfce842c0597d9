// Pages and event channel of a pair of byte streams, granted to the backend. Sets of pages are kept for the next pair, so that
// a busy server asks the hypervisor for memory once.
import {
  type Domid,
  dataRing,
  type EvtchnPort,
  type FlexRingReader,
  type FlexRingWriter,
  type Gref,
  PAGE_SIZE,
  pvcalls_data_intf,
  type SharedPages,
  type Vcpu,
} from '#pvbus';

/** Sets kept although nobody uses them. */
const MAX_KEPT = 16;

export interface DataRing {
  readonly ref: Gref;
  readonly port: EvtchnPort;
  readonly reader: FlexRingReader;
  readonly writer: FlexRingWriter;
  notify(): void;
  /** True when the backend had let go of every page. */
  free(): boolean;
}

export class DataRings {
  private readonly vcpu: Vcpu;
  private readonly peer: Domid;
  private readonly order: number;
  private readonly kept: SharedPages[] = [];
  private closed = false;

  constructor(vcpu: Vcpu, peer: Domid, order: number) {
    this.vcpu = vcpu;
    this.peer = peer;
    this.order = order;
  }

  /** Throws ENOMEM, ENOSPC. `onEvent`: the backend moved something. */
  make(onEvent: () => void): DataRing {
    const { vcpu, peer, order } = this;
    const { grants, events } = vcpu;
    const count = 1 + (1 << order);
    const pages = this.kept.pop() ?? grants.allocShared(peer, count);
    const refs: Gref[] = [];
    const giveBack = (): boolean => {
      const all = refs.map(ref => grants.endAccess(ref));
      if (!all.every(Boolean)) return false; // quarantine: the backend can still write there
      if (this.kept.length < MAX_KEPT && !this.closed) this.kept.push(pages);
      else pages.release();
      return true;
    };
    try {
      const intf = pages.page(0);
      intf.bytes.fill(0);
      for (let i = 0; i < count; i++) refs.push(grants.grantAccess(peer, pages.gfn + i));
      intf.view.setUint32(pvcalls_data_intf.at.ring_order, order, true);
      for (let i = 1; i < count; i++) intf.view.setUint32(pvcalls_data_intf.size + 4 * (i - 1), refs[i]!, true);
      const data = Array.from({ length: count - 1 }, (_, i) =>
        pages.bytes.subarray((i + 1) * PAGE_SIZE, (i + 2) * PAGE_SIZE),
      );
      const port = events.allocUnbound(peer);
      events.on(port, onEvent);
      return {
        ...dataRing(intf, data, 'front'),
        ref: refs[0]!,
        port,
        notify: () => events.notify(port),
        free: () => {
          events.close(port);
          return giveBack();
        },
      };
    } catch (error) {
      giveBack();
      throw error;
    }
  }
  close(): void {
    this.closed = true;
    for (const pages of this.kept.splice(0)) pages.release();
  }
}
