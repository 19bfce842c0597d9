// One connected vif: its rings, and a turn over them. Mapped and bound when made, until `release`.
import {
  BackRing,
  type Domid,
  domid,
  type EvtchnPort,
  GNTST_okay,
  type GrantMapping,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_more_data,
  NetifExtraInfo,
  NetifExtraInfoGso,
  NetifRxRequest,
  NetifRxResponse,
  NetifTxResponse,
  netif_extra_info,
  netif_rx_sring_entry,
  netif_tx_sring_entry,
  PAGE_SIZE,
  port,
  TRC_XENOLITH_NET,
  type Vcpu,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XenError,
  xen_netif_ctrl_sring_entry,
} from '#pvbus';
import type { GrantMaps } from '../../faults/faulty-grants.ts';
import type { Notifier } from '../../faults/faulty-notifier.ts';
import { type Bridge, type BridgePort, FRAME_OVERHEAD } from './bridge.ts';
import { ControlRing } from './control-ring.ts';
import type { Copies } from './copies.ts';
import { type Frame, pagesOf } from './frame.ts';
import type { VifConnection } from './messages.ts';
import { MulticastFilter } from './multicast-filter.ts';
import { RateLimit } from './rate-limit.ts';
import { TxPacket, TxReader } from './request.ts';
import { StaticGrants } from './static-grants.ts';
import { VifStats } from './stats.ts';
import type { PortVlans } from './vlans.ts';

/** Slots of one vif's tx ring that are served before the next vif's turn. */
export const TURN_SLOTS = 64;
/** Copies a turn should make at most; a guest that floods a large bridge gets fewer slots next time. */
const TURN_COPIES = 256;

const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;

/** What all vifs of a thread use, one after the other. */
export interface Turn {
  readonly vcpu: Vcpu;
  readonly copies: Copies;
  readonly frame: Frame;
  readonly packets: readonly TxPacket[];
  /** Vifs that frames were delivered to in this turn. */
  readonly delivered: Vif[];
  /** Whose part each planned copy is. */
  readonly copied: TxPacket[];
}

/** Where a vif's frames go, and what it stands behind. Others may take their place between two turns. */
export interface VifParts {
  /** What it sends goes here, */
  readonly uplink: Pick<Bridge, 'forward'>;
  /** and what it is to receive comes by this port of the bridge. */
  readonly port: BridgePort;
  readonly notifier: Notifier;
  /** What is done about an event of the frontend, `heard` when nothing else is to be. */
  readonly onEvent: (heard: () => void) => () => void;
  readonly grants: GrantMaps;
}

export const turnPackets = (): TxPacket[] => Array.from({ length: TURN_SLOTS }, () => new TxPacket());

export class Vif implements BridgePort {
  readonly domid: Domid;
  readonly handle: number;
  /** As Linux names it: vif<domid>.<handle>. */
  readonly name: string;
  readonly bridge: Bridge;
  readonly stats = new VifStats();
  readonly grants: StaticGrants;
  /** Why it was disabled. */
  broken: string | undefined;
  /** There may be requests. */
  private work = true;
  private readonly shared: Turn;
  private readonly mac: Uint8Array;
  private readonly maxFrame: number;
  private readonly scatterGather: boolean;
  private readonly checksumOffload: boolean;
  private readonly ipv6ChecksumOffload: boolean;
  private readonly gsoTcpv4: boolean;
  private readonly gsoTcpv6: boolean;
  private readonly multicast: MulticastFilter;
  private readonly rate: RateLimit | undefined;
  private readonly undo: (() => void)[] = [];
  private readonly tx: BackRing;
  private readonly rx: BackRing;
  private readonly control: ControlRing | undefined;
  private readonly controlRing: BackRing | undefined;
  private readonly txPort: EvtchnPort;
  private readonly rxPort: EvtchnPort;
  private readonly controlPort: EvtchnPort | undefined;
  private readonly reader: TxReader;
  private readonly txResponse: InstanceType<typeof NetifTxResponse>;
  private readonly rxRequest: InstanceType<typeof NetifRxRequest>;
  private readonly rxResponse: InstanceType<typeof NetifRxResponse>;
  private readonly rxExtra: InstanceType<typeof NetifExtraInfo>;
  private readonly gso: InstanceType<typeof NetifExtraInfoGso>;
  private readonly rxView: DataView;
  private readonly bridgePort: number;
  private uplink: Pick<Bridge, 'forward'>;
  private notifier: Notifier;
  private maps: GrantMaps;
  private readonly heard: EvtchnPort[] = [];
  private turnSlots = TURN_SLOTS;
  private isDelivered = false;
  private readonly onBroken: (vif: Vif, reason: string) => void;
  private readonly onRefused: (vif: Vif, packet: TxPacket) => void;

  /** Throws XenError, with nothing left mapped or bound, when a gref or port is not what it should be. */
  constructor(
    connection: VifConnection,
    mac: Uint8Array,
    { bridge, vlans }: { readonly bridge: Bridge; readonly vlans: PortVlans | undefined },
    shared: Turn,
    nowNs: number,
    onBroken: (vif: Vif, reason: string) => void,
    onRefused: (vif: Vif, packet: TxPacket) => void,
    grants: GrantMaps = shared.vcpu.grants,
  ) {
    this.domid = domid(connection.domid);
    this.handle = connection.handle;
    this.name = `vif${connection.domid}.${connection.handle}`;
    this.bridge = bridge;
    this.shared = shared;
    this.mac = mac;
    this.uplink = bridge;
    this.notifier = shared.vcpu.events;
    this.onBroken = onBroken;
    this.onRefused = onRefused;
    this.maxFrame = connection.mtu + FRAME_OVERHEAD;
    this.scatterGather = connection.scatterGather;
    this.checksumOffload = connection.checksumOffload;
    this.ipv6ChecksumOffload = connection.ipv6ChecksumOffload;
    this.gsoTcpv4 = connection.gsoTcpv4;
    this.gsoTcpv6 = connection.gsoTcpv6;
    this.multicast = new MulticastFilter(connection.multicastControl);
    const { rate } = connection;
    this.rate = rate && new RateLimit(rate.bytes, rate.intervalUs * 1000, nowNs);
    this.maps = grants;
    this.grants = new StaticGrants(grants, this.domid);
    this.undo.push(() => this.grants.removeAll());
    try {
      const txPage = this.map(connection.txRingRef).page;
      const rxPage = this.map(connection.rxRingRef).page;
      this.tx = new BackRing(txPage, netif_tx_sring_entry.size, BackRing.attachIndex(txPage));
      this.rx = new BackRing(rxPage, netif_rx_sring_entry.size, BackRing.attachIndex(rxPage));
      this.tx.trace = shared.vcpu.trace.ring(TRC_XENOLITH_NET, connection.domid, connection.txRingRef);
      this.rx.trace = shared.vcpu.trace.ring(TRC_XENOLITH_NET, connection.domid, connection.rxRingRef);
      this.reader = new TxReader(this.tx, this.maxFrame);
      this.txResponse = new NetifTxResponse(txPage.view);
      this.rxRequest = new NetifRxRequest(rxPage.view);
      this.rxResponse = new NetifRxResponse(rxPage.view);
      this.rxExtra = new NetifExtraInfo(rxPage.view);
      this.gso = new NetifExtraInfoGso(rxPage.view);
      this.rxView = rxPage.view;
      this.txPort = this.bind(connection.txPort);
      this.rxPort = connection.rxPort === connection.txPort ? this.txPort : this.bind(connection.rxPort);
      if (connection.control) {
        const page = this.map(connection.control.ringRef).page;
        this.controlRing = new BackRing(page, xen_netif_ctrl_sring_entry.size, BackRing.attachIndex(page));
        this.control = new ControlRing(this.controlRing, page.view, this.domid, this.grants, shared.copies);
        this.controlPort = this.bind(connection.control.port);
      }
    } catch (error) {
      this.unwind();
      throw error;
    }
    this.bridgePort = bridge.attach(this, mac, vlans);
    this.undo.push(() => {
      // One that was disabled has left the bridge already, and another one may have its number since.
      if (this.broken === undefined) bridge.detach(this.bridgePort);
    });
  }

  /** Is the address at byte `at` of a frame's header its guest's? */
  macIsAt(header: Uint8Array, at: number): boolean {
    return this.mac.every((octet, i) => header[at + i] === octet);
  }

  /** The ones it begins with. */
  get plainParts(): VifParts {
    return {
      uplink: this.bridge,
      port: this,
      notifier: this.shared.vcpu.events,
      onEvent: heard => heard,
      grants: this.shared.vcpu.grants,
    };
  }
  /** These in place of those that it had. */
  use({ uplink, port: bridgePort, notifier, onEvent, grants }: VifParts): void {
    this.uplink = uplink;
    this.notifier = notifier;
    this.maps = grants;
    this.grants.mapBy(grants);
    if (this.broken === undefined) this.bridge.replace(this.bridgePort, bridgePort);
    for (const channel of this.heard) this.shared.vcpu.events.on(channel, onEvent(this.onHeard));
    this.work = true;
  }
  private readonly onHeard = (): void => {
    this.work = true;
  };

  /** Nothing of the frontend is mapped or bound afterwards. */
  release(): void {
    this.unwind();
  }

  /** When it is to be served although nobody notifies it: it has requests but had used up its rate. */
  deadline(nowNs: number): number | undefined {
    if (!this.work || this.broken !== undefined) return undefined;
    return this.rate?.blockedUntil(nowNs) ?? nowNs;
  }

  /** Serve some requests. False: there was nothing to do. */
  turn(nowNs: number): boolean {
    if (!this.work || this.broken !== undefined) return false;
    const controlled = this.controlTurn();
    const available = this.tx.unconsumedRequests();
    if (available < 0) {
      this.fail('its tx ring claims more requests than it can hold');
      return true;
    }
    if (available === 0) {
      if (controlled) return true;
      this.work = false;
      // order: a request that slipped in before req_event was armed is found here; a later one notifies.
      if (this.tx.finalCheckForRequests() !== 0 || this.controlTurn()) this.work = true;
      return this.work;
    }
    if (this.rate?.blockedUntil(nowNs) !== undefined) return controlled;
    this.serve(available, nowNs);
    return true;
  }

  /** Take a copy of a frame. */
  deliver(frame: Frame): boolean {
    const { rx, stats } = this;
    if (this.broken !== undefined) return false;
    if (frame.gsoSize > 0 && !this.takesWhole(frame)) return this.deliverSegments(frame);
    const pages = pagesOf(frame.length);
    if ((frame.length > this.maxFrame && frame.gsoSize === 0) || (pages > 1 && !this.scatterGather)) {
      stats.rxTooBig++;
      return false;
    }
    if (!this.multicast.passes(frame.header)) {
      stats.rxFiltered++;
      return false;
    }
    const posted = rx.unconsumedRequests();
    const extras = frame.gsoSize > 0 ? 1 : 0;
    if (posted < pages + extras) {
      // Xen: XSA-392. A guest that takes no frames loses them; nobody waits for it, nothing is kept for it.
      if (posted < 0) this.fail('its rx ring claims more requests than it can hold');
      else stats.rxDropped++;
      return false;
    }
    if ((frame.flags & NETRXF_csum_blank) !== 0 && extras === 0 && !this.takesBlank(frame)) frame.complete();
    for (let page = 0; page < pages; page++) {
      this.fill(frame, page * PAGE_SIZE, page === pages - 1);
      // Xen: right behind the packet's first slot.
      if (page === 0 && extras > 0) this.putGso(frame);
    }
    stats.rxFrames++;
    stats.rxBytes += frame.length;
    if (!this.isDelivered) {
      this.isDelivered = true;
      this.shared.delivered.push(this);
    }
    return true;
  }

  private takesWhole({ gsoType }: Frame): boolean {
    return gsoType === XEN_NETIF_GSO_TYPE_TCPV4 ? this.gsoTcpv4 : this.gsoTcpv6;
  }
  private takesBlank({ header }: Frame): boolean {
    const type = (header[12]! << 8) | header[13]!;
    if (type === ETH_P_IP) return this.checksumOffload;
    if (type === ETH_P_IPV6) return this.ipv6ChecksumOffload;
    return this.checksumOffload && this.ipv6ChecksumOffload;
  }
  private deliverSegments(frame: Frame): boolean {
    const count = frame.cut();
    if (count === 0) this.stats.rxTooBig++;
    let done = count > 0;
    for (let i = 0; i < count; i++) if (!this.deliver(frame.segment(i))) done = false;
    return done;
  }
  /** The page that was posted there comes back empty-handed, as Xen has it: the frontend posts it again. */
  private putGso({ gsoSize, gsoType }: Frame): void {
    const { rx, rxExtra } = this;
    rx.req_cons = (rx.req_cons + 1) >>> 0;
    rxExtra.base = rx.responseOffset();
    rxExtra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    rxExtra.flags = 0;
    const { gso } = this;
    gso.base = rxExtra.base + netif_extra_info.at.u;
    gso.size = gsoSize;
    gso.type = gsoType;
    gso.pad = 0;
    gso.features = 0;
    rx.rsp_prod_pvt = (rx.rsp_prod_pvt + 1) >>> 0;
  }

  /** Publish what was delivered; the copies into its pages are done. */
  publishRx(): void {
    this.isDelivered = false;
    if (this.broken === undefined && this.rx.pushResponses()) this.notify(this.rxPort);
  }

  /** One page of a frame into the next page the guest has posted. */
  private fill(frame: Frame, from: number, last: boolean): void {
    const { rx, rxRequest, rxResponse } = this;
    rxRequest.base = rx.requestOffset();
    const { id, gref } = rxRequest; // untrusted: each read once
    rx.req_cons = (rx.req_cons + 1) >>> 0;
    const length = Math.min(frame.length - from, PAGE_SIZE);
    // Xen: a response is in the slot of its request; frontends rely on that.
    const responseAt = rx.responseOffset();
    rxResponse.base = responseAt;
    rxResponse.id = id;
    rxResponse.offset = 0;
    const first = frame.gsoSize > 0 ? frame.flags | NETRXF_extra_info : frame.flags;
    rxResponse.flags = (from === 0 ? first : 0) | (last ? 0 : NETRXF_more_data);
    rxResponse.status = length;
    rx.rsp_prod_pvt = (rx.rsp_prod_pvt + 1) >>> 0;
    const grant = this.grants.find(gref);
    if (grant !== undefined && !grant.readonly) {
      frame.copy(from, length, grant.source.bytes, 0);
    } else if (grant !== undefined) {
      rxResponse.status = NETIF_RSP_ERROR;
      this.stats.rxErrors++;
    } else {
      this.stats.rxCopied++;
      const failed = (): void => {
        this.stats.rxErrors++;
      };
      const staging = this.shared.copies.planOut(this.domid, gref, length, { ring: this.rxView, responseAt, failed });
      frame.copy(from, length, staging, 0);
    }
  }

  private serve(available: number, nowNs: number): void {
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
    if (this.reader.fault !== undefined) this.fail(`it sent ${this.reader.fault}`);
    else if (this.broken === undefined && this.tx.pushResponses()) this.notify(this.txPort);
  }

  /** Find the pages of a packet, or plan to copy them. */
  private locate(packet: TxPacket): void {
    for (let part = 0; part < packet.parts; part++) {
      const size = packet.sizes[part]!;
      if (size === 0) continue;
      const gref = packet.grefs[part]!;
      let page = this.grants.find(gref)?.source;
      if (page === undefined) {
        page = this.shared.copies.planIn(this.domid, gref, packet.offsets[part]!, size);
        this.shared.copied.push(packet);
        this.stats.txCopied++;
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
    let copies = 0;
    if (packet.multicast !== 0) {
      const add = packet.multicast === XEN_NETIF_EXTRA_TYPE_MCAST_ADD;
      const done = add ? this.multicast.add(packet.group) : this.multicast.remove(packet.group);
      if (!done) packet.status = NETIF_RSP_ERROR;
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
      this.stats.txFrames++;
      this.stats.txBytes += packet.length;
      this.rate?.spend(packet.length);
      copies = this.uplink.forward(frame, this.bridgePort);
      if (packet.gsoSize > 0) copies *= Math.ceil(packet.length / packet.gsoSize);
    }
    if (packet.status !== NETIF_RSP_OKAY) {
      this.stats.txErrors++;
      this.onRefused(this, packet);
    }
    // order: the guest reuses its pages when it sees the responses; every copy out of them is made by now.
    this.respond(packet.ids[0]!, packet.status);
    for (let i = 0; i < packet.extras; i++) this.respond(0, NETIF_RSP_NULL);
    for (let part = 1; part < packet.parts; part++) this.respond(packet.ids[part]!, packet.status);
    return copies;
  }

  private respond(id: number, status: number): void {
    const { tx, txResponse } = this;
    txResponse.base = tx.responseOffset();
    txResponse.id = id;
    txResponse.status = status;
    tx.rsp_prod_pvt = (tx.rsp_prod_pvt + 1) >>> 0;
  }

  private controlTurn(): boolean {
    if (!this.control) return false;
    const result = this.control.turn();
    if (result < 0) this.fail('its control ring claims more requests than it can hold');
    else if (result > 0 && this.controlRing!.pushResponses()) this.notify(this.controlPort!);
    return result !== 0;
  }

  /** untrusted: the frontend has broken the protocol. Its rings are not looked at again. */
  private fail(reason: string): void {
    if (this.broken !== undefined) return;
    this.broken = reason;
    this.bridge.detach(this.bridgePort);
    this.onBroken(this, reason);
  }

  private notify(channel: EvtchnPort): void {
    try {
      this.notifier.notify(channel);
    } catch (error) {
      // The hypervisor refuses when the other end is gone for good.
      this.fail(`its event channel is dead (${error instanceof XenError ? error.code : error})`);
    }
  }

  private map(ref: number): GrantMapping {
    const [mapping] = this.maps.map(this.domid, [ref]);
    this.undo.push(() => this.maps.unmap([mapping!]));
    return mapping!;
  }

  private bind(remote: number): EvtchnPort {
    const { events } = this.shared.vcpu;
    const local = events.bindInterdomain(this.domid, port(remote));
    this.undo.push(() => events.close(local));
    events.on(local, this.onHeard);
    this.heard.push(local);
    return local;
  }

  /** Every step is taken, also when one before it failed. */
  private unwind(): void {
    const errors: unknown[] = [];
    for (let step = this.undo.pop(); step; step = this.undo.pop()) {
      try {
        step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw new XenError('EIO', `${this.name}: not all of it was given back`, errors[0]);
  }
}
