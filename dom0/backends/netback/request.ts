// One packet a guest sends: its slots, copied once from the ring and checked.
// Xen: io/netif.h, "Guest transmit". A first slot with the size of the whole packet, extra infos, more slots.
import {
  type BackRing,
  type Cursor,
  NETIF_RSP_ERROR,
  NETIF_RSP_OKAY,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  NetifExtraInfo,
  NetifExtraInfoGso,
  NetifTxRequest,
  netif_extra_info,
  netif_tx_request,
  PAGE_SIZE,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_MAX,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
  XEN_NETIF_EXTRA_TYPE_MCAST_DEL,
  XEN_NETIF_EXTRA_TYPE_NONE,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
  XEN_NETIF_NR_SLOTS_MIN,
} from '#pvbus';
import { ETH_HLEN, type SourcePage } from './frame.ts';
import { MAX_SEGMENTS } from './segments.ts';

/** Slots a tx ring of one page has: no packet can have more. */
const RING_SLOTS = 256;

/** A packet that breaks the protocol itself: nothing behind it can be understood, so its ring ends here. */
export type TxFault =
  | 'a packet whose last slot announces another'
  | 'an extra info that never comes'
  | 'an extra info of an unknown type'
  | 'a GSO extra info without a segment size'
  | 'a GSO extra info of an unknown type'
  | 'a packet with two GSO extra infos';

export class TxPacket {
  /** Slots of data, and of extra infos: one response each. */
  parts = 0;
  extras = 0;
  readonly ids = new Uint16Array(RING_SLOTS);
  readonly grefs = new Uint32Array(XEN_NETIF_NR_SLOTS_MIN);
  readonly offsets = new Uint16Array(XEN_NETIF_NR_SLOTS_MIN);
  readonly sizes = new Uint16Array(XEN_NETIF_NR_SLOTS_MIN);
  /** Where each part's bytes can be read, once that was found out. */
  readonly pages: (SourcePage | undefined)[] = new Array(XEN_NETIF_NR_SLOTS_MIN).fill(undefined);
  /** The whole packet's. */
  length = 0;
  /** As the receiver gets them: NETRXF_*. */
  rxFlags = 0;
  /** Not 0: it is to be cut into segments of so much payload; `gsoType` is XEN_NETIF_GSO_TYPE_*. */
  gsoSize = 0;
  gsoType = 0;
  /** What the slots are answered with: NETIF_RSP_OKAY while nothing is wrong with the packet. */
  status = NETIF_RSP_OKAY;
  /** Not 0: no packet, but XEN_NETIF_EXTRA_TYPE_MCAST_ADD or _DEL of the address in `group`. */
  multicast = 0;
  readonly group = new Uint8Array(6);
}

/** Reads packets off one tx ring. */
export class TxReader {
  private readonly ring: BackRing;
  /** untrusted: the slot, copied once; everything below looks at this copy. */
  private readonly slot = new Int32Array(netif_tx_request.size / 4);
  private readonly request: Cursor<typeof netif_tx_request.fields>;
  private readonly extra: Cursor<typeof netif_extra_info.fields>;
  private readonly gso: InstanceType<typeof NetifExtraInfoGso>;
  private readonly bytes: Uint8Array;
  private readonly maxFrame: number;
  fault: TxFault | undefined;

  /** `maxFrame`: bytes of the longest frame that is let through. */
  constructor(ring: BackRing, maxFrame: number) {
    const view = new DataView(this.slot.buffer);
    this.ring = ring;
    this.maxFrame = maxFrame;
    this.request = new NetifTxRequest(view);
    this.extra = new NetifExtraInfo(view);
    this.gso = new NetifExtraInfoGso(view, netif_extra_info.at.u);
    this.bytes = new Uint8Array(this.slot.buffer);
  }

  /**
   * Take one packet, of at most `available` slots. Returns how many it took; 0 after a fault. A packet whose
   * contents are wrong is taken whole and has its status set to NETIF_RSP_ERROR.
   */
  read(available: number, packet: TxPacket): number {
    const { request } = this;
    let taken = this.next();
    let flags = request.flags;
    packet.parts = 0;
    packet.extras = 0;
    packet.multicast = 0;
    packet.gsoSize = 0;
    packet.status = NETIF_RSP_OKAY;
    packet.length = request.size;
    packet.rxFlags =
      flags & NETTXF_csum_blank
        ? NETRXF_csum_blank | NETRXF_data_validated
        : flags & NETTXF_data_validated
          ? NETRXF_data_validated
          : 0;
    this.addPart(packet);
    if (flags & NETTXF_extra_info) {
      const extras = this.readExtras(available - taken, packet);
      if (extras === 0) return 0;
      taken += extras;
    }
    let rest = 0;
    while (flags & NETTXF_more_data) {
      if (taken === available) return this.failed('a packet whose last slot announces another');
      taken += this.next();
      flags = request.flags;
      rest += request.size;
      this.addPart(packet);
    }
    // The first slot's own size is what the others leave of the whole.
    packet.sizes[0] = packet.length - rest;
    if (packet.multicast === 0 && !this.isSane(packet, rest)) packet.status = NETIF_RSP_ERROR;
    return taken;
  }

  private next(): number {
    this.ring.copyRequest(this.slot);
    this.ring.req_cons = (this.ring.req_cons + 1) >>> 0;
    return 1;
  }

  private addPart(packet: TxPacket): void {
    const { request } = this;
    const part = packet.parts++;
    packet.ids[part] = request.id;
    if (part >= XEN_NETIF_NR_SLOTS_MIN) return; // refused by isSane; it is answered all the same
    packet.grefs[part] = request.gref;
    packet.offsets[part] = request.offset;
    packet.sizes[part] = request.size;
  }

  private isSane(packet: TxPacket, rest: number): boolean {
    if (packet.parts > XEN_NETIF_NR_SLOTS_MIN || rest > packet.length) return false;
    if (packet.length < ETH_HLEN) return false;
    if (packet.gsoSize === 0) {
      if (packet.length > this.maxFrame) return false;
    } else if (packet.gsoSize > this.maxFrame || packet.length > packet.gsoSize * MAX_SEGMENTS) return false;
    for (let part = 0; part < packet.parts; part++) {
      if (packet.offsets[part]! + packet.sizes[part]! > PAGE_SIZE) return false;
    }
    return true;
  }

  /** Returns how many slots the extra infos took; 0 after a fault. */
  private readExtras(available: number, packet: TxPacket): number {
    const { extra, gso } = this;
    let taken = 0;
    let seenGso = false;
    do {
      if (taken === available) return this.failed('an extra info that never comes');
      taken += this.next();
      const { type } = extra;
      if (type === XEN_NETIF_EXTRA_TYPE_NONE || type >= XEN_NETIF_EXTRA_TYPE_MAX) {
        return this.failed('an extra info of an unknown type');
      }
      if (type === XEN_NETIF_EXTRA_TYPE_GSO) {
        if (seenGso) return this.failed('a packet with two GSO extra infos');
        if (gso.size === 0) return this.failed('a GSO extra info without a segment size');
        if (gso.type !== XEN_NETIF_GSO_TYPE_TCPV4 && gso.type !== XEN_NETIF_GSO_TYPE_TCPV6) {
          return this.failed('a GSO extra info of an unknown type');
        }
        seenGso = true;
        packet.gsoSize = gso.size;
        packet.gsoType = gso.type;
      } else if (type === XEN_NETIF_EXTRA_TYPE_MCAST_ADD || type === XEN_NETIF_EXTRA_TYPE_MCAST_DEL) {
        packet.multicast = type;
        packet.group.set(this.bytes.subarray(netif_extra_info.at.u, netif_extra_info.at.u + 6));
      }
      // A hash is of no use to a backend with one queue.
    } while (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE);
    packet.extras = taken;
    return taken;
  }

  private failed(fault: TxFault): 0 {
    this.fault = fault;
    return 0;
  }
}
