// What a guest sends by one of its queues: packets are read off the tx ring, found or copied, forwarded, answered.
import {
  type BackRing,
  type Domid,
  GNTST_okay,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NetifTxResponse,
} from '#pvbus';
import type { Copies } from './copies.ts';
import type { Frame } from './frame.ts';
import { TxPacket, TxReader } from './request.ts';
import type { StaticGrants } from './static-grants.ts';
import type { VifStats } from './stats.ts';

/** Slots of one tx ring that are served before the next vif's turn. */
export const TURN_SLOTS = 64;
/** Copies a turn should make at most; a guest that floods a large bridge gets fewer slots next time. */
const TURN_COPIES = 256;

/** What all queues of a thread send with, one after the other. */
export interface TxTurn {
  readonly copies: Copies;
  readonly frame: Frame;
  readonly packets: readonly TxPacket[];
  /** Whose part each planned copy is. */
  readonly copied: TxPacket[];
}
export const turnPackets = (): TxPacket[] => Array.from({ length: TURN_SLOTS }, () => new TxPacket());

/** Whose queue it is, and what it does with what is sent. */
export interface Sender {
  readonly domid: Domid;
  readonly stats: VifStats;
  /** Returns how many copies were made. */
  forward(frame: Frame): number;
  /** Has a multicast group been added or removed as asked? */
  changeMulticast(packet: TxPacket): boolean;
  refused(packet: TxPacket): void;
  /** The frontend has broken the protocol. */
  fail(reason: string): void;
}

export class TxQueue {
  private readonly sender: Sender;
  private readonly shared: TxTurn;
  private readonly grants: StaticGrants;
  private readonly ring: BackRing;
  private readonly reader: TxReader;
  private readonly response: InstanceType<typeof NetifTxResponse>;
  private turnSlots = TURN_SLOTS;

  /** `view`: of the ring's page. */
  constructor(ring: BackRing, view: DataView, maxFrame: number, grants: StaticGrants, sender: Sender, shared: TxTurn) {
    this.ring = ring;
    this.reader = new TxReader(ring, maxFrame);
    this.response = new NetifTxResponse(view);
    this.grants = grants;
    this.sender = sender;
    this.shared = shared;
  }

  /** Slots that have come, -1 when there cannot be so many. */
  get available(): number {
    return this.ring.unconsumedRequests();
  }
  /** Ask to be notified of the next one. True: one has slipped in. */
  arm(): boolean {
    return this.ring.finalCheckForRequests() !== 0;
  }

  /** Serve some of what is available. True: the frontend wants to hear of the answers. */
  serve(available: number, nowNs: number): boolean {
    const { packets } = this.shared;
    let count = 0;
    let slots = 0;
    while (slots < this.turnSlots && available > 0 && count < packets.length) {
      const packet = packets[count]!;
      const taken = this.reader.read(available, packet);
      if (taken === 0) break;
      available -= taken;
      slots += taken;
      count++;
      if (packet.status === NETIF_RSP_OKAY && packet.multicast === 0) this.locate(packet);
    }
    this.copyIn();
    let copied = 0;
    for (let i = 0; i < count; i++) copied += this.finish(packets[i]!, nowNs);
    this.turnSlots = copied <= TURN_COPIES ? TURN_SLOTS : Math.max(1, Math.floor((slots * TURN_COPIES) / copied));
    if (this.reader.fault === undefined) return this.ring.pushResponses();
    this.sender.fail(`it sent ${this.reader.fault}`);
    return false;
  }

  /** Find the pages of a packet, or plan to copy them. */
  private locate(packet: TxPacket): void {
    const { domid, stats } = this.sender;
    for (let part = 0; part < packet.parts; part++) {
      const size = packet.sizes[part]!;
      if (size === 0) continue;
      const gref = packet.grefs[part]!;
      let page = this.grants.find(gref)?.source;
      if (page === undefined) {
        if (this.grants.refusesCopy(gref)) {
          packet.status = NETIF_RSP_ERROR;
          continue;
        }
        page = this.shared.copies.planIn(domid, gref, packet.offsets[part]!, size);
        this.shared.copied.push(packet);
        stats.txCopied++;
      }
      packet.pages[part] = page;
    }
  }

  private copyIn(): void {
    const { copied, copies } = this.shared;
    if (copied.length === 0) return;
    const statuses = copies.runIn();
    for (const [i, packet] of copied.entries()) if (statuses[i] !== GNTST_okay) packet.status = NETIF_RSP_ERROR;
    copied.length = 0;
  }

  /** Forward a packet and answer its slots. Returns the copies that were made of it. */
  private finish(packet: TxPacket, nowNs: number): number {
    const { sender } = this;
    let copies = 0;
    if (packet.multicast !== 0) {
      if (!sender.changeMulticast(packet)) packet.status = NETIF_RSP_ERROR;
    } else if (packet.status === NETIF_RSP_OKAY) {
      const { frame } = this.shared;
      // A packet that is to be cut has no checksum of its own, whether its sender says so or not.
      const flags = packet.gsoSize > 0 ? NETRXF_csum_blank | NETRXF_data_validated : packet.rxFlags;
      frame.begin(flags, nowNs, packet.gsoSize, packet.gsoType);
      for (let part = 0; part < packet.parts; part++) {
        const size = packet.sizes[part]!;
        if (size > 0) frame.add(packet.pages[part]!, packet.offsets[part]!, size);
      }
      frame.readHeader();
      sender.stats.txFrames++;
      sender.stats.txBytes += packet.length;
      copies = sender.forward(frame);
      if (packet.gsoSize > 0) copies *= Math.ceil(packet.length / packet.gsoSize);
    }
    if (packet.status !== NETIF_RSP_OKAY) {
      sender.stats.txErrors++;
      sender.refused(packet);
    }
    // order: the guest reuses its pages when it sees the responses; every copy out of them is made by now.
    this.respond(packet.ids[0]!, packet.status);
    for (let i = 0; i < packet.extras; i++) this.respond(0, NETIF_RSP_NULL);
    for (let part = 1; part < packet.parts; part++) this.respond(packet.ids[part]!, packet.status);
    return copies;
  }

  private respond(id: number, status: number): void {
    const { ring, response } = this;
    response.base = ring.responseOffset();
    response.id = id;
    response.status = status;
    ring.rsp_prod_pvt = (ring.rsp_prod_pvt + 1) >>> 0;
  }
}
