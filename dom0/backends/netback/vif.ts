// One connected vif: a port of its bridge, what may pass it, and the queues of its frontend. Mapped and bound when made,
// until `release`.
import {
  BackRing,
  type Domid,
  domid,
  type EvtchnPort,
  flowHash,
  type GrantMapping,
  NETRXF_csum_blank,
  type Page,
  port,
  type RingTrace,
  TRC_XENOLITH_NET,
  type Vcpu,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XenError,
  xen_netif_ctrl_sring_entry,
} from '#pvbus';
import type { GrantMaps } from '../../faults/faulty-grants.ts';
import type { Notifier } from '../../faults/faulty-notifier.ts';
import { type Bridge, type BridgePort, FRAME_OVERHEAD } from './bridge.ts';
import { ControlRing } from './control-ring.ts';
import { type Frame, pagesOf } from './frame.ts';
import type { QueueConnection, VifConnection } from './messages.ts';
import { MulticastFilter } from './multicast-filter.ts';
import { RateLimit } from './rate-limit.ts';
import type { TxPacket } from './request.ts';
import type { Recipient, RxQueue, RxTurn } from './rx-queue.ts';
import { StaticGrants } from './static-grants.ts';
import { VifStats } from './stats.ts';
import type { Sender, TxTurn } from './tx-queue.ts';
import { VifQueue } from './vif-queue.ts';
import type { PortVlans } from './vlans.ts';

/** Queues a frontend may have. One thread serves them all: more of them are more room, not more speed. */
export const MAX_QUEUES = 4;

const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;

/** What all vifs of a thread use, one after the other. */
export interface Turn extends TxTurn, RxTurn {
  readonly vcpu: Vcpu;
}

/** Where a vif's frames go, and what it stands behind. Others may take their place between two turns. */
export interface VifParts {
  /** What it sends goes here, */
  readonly uplink: Pick<Bridge, 'forward'>;
  /** and what it is to receive comes by this port of the bridge. */
  readonly port: BridgePort;
  readonly notifier: Notifier;
  /** What is done about an event of the frontend, `heard` when nothing else is to be. */
  readonly onEvent: (heard: () => void, port: EvtchnPort, remote: number) => () => void;
  readonly grants: GrantMaps;
}

export class Vif implements BridgePort, Sender, Recipient {
  readonly domid: Domid;
  readonly handle: number;
  /** As Linux names it: vif<domid>.<handle>. */
  readonly name: string;
  readonly bridge: Bridge;
  readonly stats = new VifStats();
  /** Why it was disabled. */
  broken: string | undefined;
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
  private readonly queues: VifQueue[] = [];
  /** Whose turn is next. */
  private next = 0;
  private readonly control: ControlRing | undefined;
  private readonly controlRing: BackRing | undefined;
  private readonly controlPort: EvtchnPort | undefined;
  /** There may be requests on the control ring. */
  private controlWork = true;
  private readonly bridgePort: number;
  private uplink: Pick<Bridge, 'forward'>;
  private notifier: Notifier;
  private maps: GrantMaps;
  private readonly heard = new Map<EvtchnPort, { heard: () => void; remote: number }>();
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
    try {
      this.checkRefs(connection);
      for (const queue of connection.queues) this.queues.push(this.makeQueue(queue));
      if (connection.control) {
        const page = this.map(connection.control.ringRef).page;
        this.controlRing = new BackRing(page, xen_netif_ctrl_sring_entry.size, BackRing.attachIndex(page));
        const mapped = this.queues.map(queue => queue.grants);
        this.control = new ControlRing(this.controlRing, page.view, this.domid, mapped, shared.copies);
        this.controlPort = this.bind(connection.control.port, () => {
          this.controlWork = true;
        });
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
  /** untrusted: a page that is two rings at once would be understood as neither. */
  private checkRefs({ queues, control }: VifConnection): void {
    const refs = queues.flatMap(({ txRingRef, rxRingRef }) => [txRingRef, rxRingRef]);
    if (control) refs.push(control.ringRef);
    if (new Set(refs).size < refs.length) throw new XenError('EINVAL', `${this.name}: two of its rings are one page`);
  }
  private makeQueue({ txRingRef, rxRingRef, txPort, rxPort }: QueueConnection): VifQueue {
    const { trace } = this.shared.vcpu;
    const ringTrace = (gref: number): RingTrace => trace.ring(TRC_XENOLITH_NET, this.domid, gref);
    const grants = new StaticGrants(this.maps, this.domid);
    this.undo.push(() => grants.removeAll());
    const txPage: Page = this.map(txRingRef).page;
    const rxPage: Page = this.map(rxRingRef).page;
    const heard = (): void => {
      queue.work = true;
      this.controlWork = true;
    };
    const tx = this.bind(txPort, heard);
    const rx = rxPort === txPort ? tx : this.bind(rxPort, heard);
    const queue: VifQueue = new VifQueue(
      {
        ...{ txPage, rxPage, txPort: tx, rxPort: rx, grants, maxFrame: this.maxFrame },
        ...{ txTrace: ringTrace(txRingRef), rxTrace: ringTrace(rxRingRef) },
        notify: channel => this.notify(channel),
      },
      this,
      this.shared,
    );
    this.undo.push(() => queue.rx.end());
    return queue;
  }

  /** Is the address at byte `at` of a frame's header its guest's? */
  macIsAt(header: Uint8Array, at: number): boolean {
    return this.mac.every((octet, i) => header[at + i] === octet);
  }
  /** Pages that are kept mapped. */
  get staticGrants(): number {
    return this.queues.reduce((sum, { grants }) => sum + grants.size, 0);
  }
  get queueCount(): number {
    return this.queues.length;
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
    if (this.broken === undefined) this.bridge.replace(this.bridgePort, bridgePort);
    for (const queue of this.queues) {
      queue.grants.mapBy(grants);
      queue.work = true;
    }
    this.controlWork = true;
    for (const [channel, { heard, remote }] of this.heard)
      this.shared.vcpu.events.on(channel, onEvent(heard, channel, remote));
  }

  /** Nothing of the frontend is mapped or bound afterwards. */
  release(): void {
    this.unwind();
  }

  /** When it is to be served although nobody notifies it: it has requests but had used up its rate. */
  deadline(nowNs: number): number | undefined {
    if (this.broken !== undefined) return undefined;
    if (!this.controlWork && !this.queues.some(queue => queue.work)) return undefined;
    return this.rate?.blockedUntil(nowNs) ?? nowNs;
  }

  /** Serve some requests: of one queue, so that a vif with several has no more turns than others. False: nothing to do. */
  turn(nowNs: number): boolean {
    if (this.broken !== undefined) return false;
    let done = this.controlWork && this.controlTurn();
    const { queues } = this;
    const isHeldBack = this.rate?.blockedUntil(nowNs) !== undefined;
    for (let i = 0; i < queues.length && this.broken === undefined; i++) {
      const queue = queues[this.next]!;
      this.next = this.next + 1 === queues.length ? 0 : this.next + 1;
      if (!queue.turn(nowNs, isHeldBack)) continue;
      done = true;
      break;
    }
    return done;
  }

  // ---- what the guest sends ----

  forward(frame: Frame): number {
    this.rate?.spend(frame.length);
    return this.uplink.forward(frame, this.bridgePort);
  }
  changeMulticast({ multicast, group }: TxPacket): boolean {
    return multicast === XEN_NETIF_EXTRA_TYPE_MCAST_ADD ? this.multicast.add(group) : this.multicast.remove(group);
  }
  refused(packet: TxPacket): void {
    this.onRefused(this, packet);
  }

  // ---- what it receives ----

  /** Take a copy of a frame. */
  deliver(frame: Frame): boolean {
    const { stats } = this;
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
    const rx = this.rxQueueOf(frame);
    if (!rx.hasRoom(frame)) return false;
    if ((frame.flags & NETRXF_csum_blank) !== 0 && frame.gsoSize === 0 && !this.takesBlank(frame)) frame.complete();
    rx.put(frame);
    return true;
  }
  private rxQueueOf(frame: Frame): RxQueue {
    const { queues } = this;
    return queues[queues.length === 1 ? 0 : flowHash(frame) % queues.length]!.rx;
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
  private controlTurn(): boolean {
    const result = this.control?.turn() ?? 0;
    this.controlWork = result !== 0;
    if (result < 0) this.fail('its control ring claims more requests than it can hold');
    else if (result > 0 && this.controlRing!.pushResponses()) this.notify(this.controlPort!);
    return this.controlWork;
  }

  /** untrusted: the frontend has broken the protocol. Its rings are not looked at again. */
  fail(reason: string): void {
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

  private bind(remote: number, heard: () => void): EvtchnPort {
    const { events } = this.shared.vcpu;
    const local = events.bindInterdomain(this.domid, port(remote));
    this.undo.push(() => events.close(local));
    events.on(local, heard);
    this.heard.set(local, { heard, remote });
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
