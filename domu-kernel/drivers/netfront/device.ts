// One network interface of this domain: negotiation with its backend, twin of dom0/backends/netback/device.ts.
// Xen: io/netif.h and the keys in its comments.
import {
  all,
  type Clock,
  type EvtchnPort,
  type Log,
  messageOf,
  parseDecimal,
  type Routine,
  type Vcpu,
  XEN_NETIF_MAX_TX_SIZE,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import { parseMac } from '../../net/address.ts';
import type { FrameHandler, NetDevice } from '../../net-device.ts';
import { Frontend, type FrontendDevice, type FrontendInstance, findDevices, type Keys } from '../frontend-device.ts';
import { NetBuffers } from './buffers.ts';
import { ControlRing } from './control.ts';
import type { NetfrontStats } from './stats.ts';
import { NetfrontWorker } from './worker.ts';

const ETH_HLEN = 14;
const DEFAULT_MTU = 1500;
/** Turns that take all that a ring holds, twice. */
const DRAIN_TURNS = 8;
/** RFC 791: every link carries this much. */
const MIN_MTU = 68;

export interface NetfrontOptions {
  readonly xs: XenstoreClient;
  readonly vcpu: Vcpu;
  readonly log: Log;
  readonly clock?: Clock;
  /** As Linux's xen_netfront.max_queues; 1. */
  readonly maxQueues?: number;
  /** An interface is in use for the first time; for those plugged in later. */
  readonly onInterface?: (device: Vif) => void;
  /** It will not come back. */
  readonly onRemoved?: (device: Vif) => void;
}

/** An interface, as its driver has it and as a program sees it. */
export class Vif implements FrontendInstance, NetDevice {
  readonly name: string;
  mac: Uint8Array = new Uint8Array(6);
  mtu = DEFAULT_MTU;
  /** What the toolstack says of it. */
  private configuredMtu = DEFAULT_MTU;
  /** untrusted: which addresses it is to have, where its configuration says so. */
  ip: string | undefined;
  /** A backend that cannot forward a blank checksum fills it in. Xen: io/netif.h, on by default for IPv4. */
  readonly checksumOffload = true;
  ipv6ChecksumOffload = false;
  private readonly device: FrontendDevice;
  private readonly vcpu: Vcpu;
  private readonly log: Log;
  private readonly worker: NetfrontWorker;
  private readonly onRemoved: () => void;
  private readonly maxQueues: number;
  /** Of each queue. */
  private buffers: readonly NetBuffers[] = [];
  private control: ControlRing | undefined;
  private ports: EvtchnPort[] = [];
  /** What the worker had done when it was last looked at. */
  private seen = 0;
  /** The backend broke the protocol: its rings are not looked at again. */
  private givenUp = false;

  constructor(device: FrontendDevice, options: NetfrontOptions, onRemoved: () => void) {
    this.device = device;
    this.vcpu = options.vcpu;
    this.log = options.log;
    this.maxQueues = options.maxQueues ?? 1;
    this.onRemoved = onRemoved;
    this.name = `eth${device.devid}`;
    this.worker = new NetfrontWorker(what => this.broken(what));
  }

  get stats(): NetfrontStats {
    return this.worker.stats;
  }

  // ---- what a program sees ----

  get gsoTcpv4(): boolean {
    return this.worker.gsoTcpv4;
  }
  get gsoTcpv6(): boolean {
    return this.worker.gsoTcpv6;
  }
  send(frame: Uint8Array, length: number, flags?: number): boolean {
    return this.worker.send(frame, length, flags);
  }
  txBuffer(): Uint8Array | undefined {
    return this.worker.txBuffer();
  }
  txCommit(length: number, flags?: number): void {
    this.worker.txCommit(length, flags);
  }
  onFrame(handler: FrameHandler): void {
    this.worker.onFrame(handler);
  }
  whenWritable(ready: () => void): void {
    this.worker.whenWritable(ready);
  }

  step(): 'progress' | 'idle' {
    if (this.givenUp) return 'idle';
    const fault = this.control?.step();
    if (fault !== undefined) {
      this.broken(fault);
      return 'progress';
    }
    if (this.control) this.stats.staticGrants = this.control.mapped;
    return this.worker.step();
  }

  // ---- negotiation ----

  *setup(): Routine<Keys> {
    const { device, vcpu, worker } = this;
    const [mac, mtu, ip, mostQueues, rxCopy, controlRing] = yield* all([
      device.key('mac'),
      device.key('mtu'),
      device.backendKey('ip'),
      device.backendKey('multi-queue-max-queues'),
      device.backendNumber('feature-rx-copy', 1, 0),
      device.backendNumber('feature-ctrl-ring', 1, 0),
    ]);
    const address = parseMac(mac ?? '');
    if (!address) throw new XenError('EINVAL', `${device.label}: its mac is ${JSON.stringify(mac ?? null)}`);
    if (rxCopy !== 1) {
      throw new XenError('EOPNOTSUPP', `${device.label}: the backend does not copy into our pages (feature-rx-copy)`);
    }
    this.mac = address;
    this.ip = ip;
    this.configuredMtu = Math.max(MIN_MTU, parseDecimal(mtu, XEN_NETIF_MAX_TX_SIZE - ETH_HLEN) ?? DEFAULT_MTU);
    this.drain();
    this.closePorts();
    const old = this.buffers;
    this.buffers = this.allocate(Math.min(this.maxQueues, parseDecimal(mostQueues) || 1));
    const { buffers } = this;
    const ports = buffers.map(() => this.openPort());
    const links = buffers.map((each, i) => ({ buffers: each, notify: () => vcpu.events.notify(ports[i]!) }));
    worker.attach(links, vcpu.trace);
    for (const each of old) if (!buffers.includes(each)) worker.stats.quarantined += each.release();
    let keys: Keys = {
      'request-rx-copy': 1,
      'feature-rx-notify': 1,
      'feature-sg': 1,
      'feature-ipv6-csum-offload': 1,
      'feature-gso-tcpv4': 1,
      'feature-gso-tcpv6': 1,
    };
    if (mostQueues !== undefined) keys = { ...keys, 'multi-queue-num-queues': buffers.length };
    for (const [i, each] of buffers.entries()) {
      const under = buffers.length === 1 ? '' : `queue-${i}/`;
      keys = {
        ...keys,
        [`${under}tx-ring-ref`]: each.txRingRef,
        [`${under}rx-ring-ref`]: each.rxRingRef,
        [`${under}event-channel`]: ports[i]!,
      };
    }
    this.control = undefined;
    if (controlRing !== 1) return keys;
    const controlPort = this.openPort();
    this.control = new ControlRing(buffers, () => vcpu.events.notify(controlPort));
    return { ...keys, 'ctrl-ring-ref': buffers[0]!.controlRingRef, 'event-channel-ctrl': controlPort };
  }
  /** Those of the connection before, where they are for this backend. As Linux, fewer where there is no room for as many. */
  private allocate(count: number): NetBuffers[] {
    const { vcpu, device } = this;
    const peer = device.backendDomid;
    const made = this.buffers.filter(each => each.peer === peer).slice(0, count);
    try {
      while (made.length < count) made.push(new NetBuffers(vcpu.grants, peer));
    } catch (error) {
      if (made.length === 0) throw error;
      this.log.warn(`${device.label}: ${made.length} of ${count} queues: ${messageOf(error)}`);
    }
    return made;
  }

  *connected(): Routine<void> {
    const { device } = this;
    const [sg, ipv6Checksum, tcpv4, tcpv6] = yield* all([
      device.backendKey('feature-sg'),
      device.backendKey('feature-ipv6-csum-offload'),
      device.backendKey('feature-gso-tcpv4'),
      device.backendKey('feature-gso-tcpv6'),
    ]);
    // untrusted: a backend that does not say that it takes something gets none of it.
    const scatterGather = sg === '1';
    // As Linux: a frame has one page there. What is longer would wait for room for ever.
    this.mtu = scatterGather ? this.configuredMtu : Math.min(this.configuredMtu, DEFAULT_MTU);
    this.ipv6ChecksumOffload = ipv6Checksum === '1';
    this.control?.start();
    this.worker.resume({
      maxFrame: this.mtu + ETH_HLEN,
      scatterGather,
      // Xen: a packet that is to be cut has several pages and a blank checksum.
      gsoTcpv4: scatterGather && tcpv4 === '1',
      gsoTcpv6: scatterGather && this.ipv6ChecksumOffload && tcpv6 === '1',
    });
  }

  disconnect(): void {
    this.worker.suspend();
  }

  remove(): void {
    this.drain();
    this.closePorts();
    this.worker.detach();
    this.control = undefined;
    this.onRemoved();
  }

  release(): void {
    for (const each of this.buffers) this.stats.quarantined += each.release();
    this.buffers = [];
  }

  /** Frames may come at any time. */
  get waits(): boolean {
    return this.worker.up;
  }
  /** Frames that nobody has taken: the notification may have been lost. */
  look(): void {
    this.worker.remind();
  }
  get unanswered(): number {
    return this.worker.inFlight;
  }
  get answered(): number {
    return this.worker.answered;
  }

  /** The last frames of a backend that is leaving may have come after it said so. */
  private drain(): void {
    // untrusted: one that is not leaving could go on for ever.
    for (let turn = 0; turn < DRAIN_TURNS && this.step() === 'progress'; turn++);
    const { rxFrames, txFrames } = this.stats;
    if (rxFrames + txFrames > this.seen) this.device.healthy();
    this.seen = rxFrames + txFrames;
  }

  private openPort(): EvtchnPort {
    const { events } = this.vcpu;
    const port = events.allocUnbound(this.device.backendDomid);
    this.ports.push(port);
    events.on(port, () => {}); // only to be woken: step looks at the rings itself
    return port;
  }
  private closePorts(): void {
    for (const port of this.ports.splice(0)) this.vcpu.events.close(port);
  }

  private broken(what: string): void {
    if (this.givenUp) return;
    this.givenUp = true;
    const error = new XenError('EPROTO', `${this.device.label}: the backend sent ${what}`);
    this.log.error(`${error.message}; the interface is given up`);
    this.worker.suspend();
    this.device.fail(error);
  }
}

/** Every network interface of this domain. */
export class Netfront {
  readonly frontend: Frontend;
  private readonly find: () => Promise<void>;
  private vifs: Vif[] = [];

  constructor(options: NetfrontOptions) {
    const { xs, log, clock, vcpu, onInterface } = options;
    this.frontend = new Frontend({
      xs,
      log,
      clock,
      type: 'vif',
      domid: vcpu.domid,
      create: device => this.create(device, options),
      onConnected: device => onInterface?.(vifOf(device)),
    });
    this.find = () => findDevices(xs, vcpu.domid, [this.frontend]);
  }

  /** Find the interfaces of a domain that has no other devices, and wait for them. */
  async start(): Promise<void> {
    await this.find();
    await this.ready();
  }
  /** Wait until each that was found is connected or has failed. */
  async ready(): Promise<void> {
    await Promise.allSettled(this.frontend.devices().map(device => device.ready()));
  }
  /** In the order of their numbers. */
  interfaces(): Vif[] {
    return this.frontend.devices().map(vifOf);
  }
  /** Resolves when every change in xenstore seen so far has been acted on. */
  settled(): Promise<void> {
    return this.frontend.settled();
  }
  step(): 'progress' | 'idle' {
    const { vifs } = this;
    let progress = false;
    for (let i = 0; i < vifs.length; i++) if (vifs[i]!.step() === 'progress') progress = true;
    return progress ? 'progress' : 'idle';
  }
  close(): Promise<void> {
    return this.frontend.close();
  }

  private create(device: FrontendDevice, options: NetfrontOptions): Vif {
    const vif = new Vif(device, options, () => {
      this.vifs = this.vifs.filter(other => other !== vif);
      options.onRemoved?.(vif);
    });
    this.vifs = [...this.vifs, vif];
    return vif;
  }
}

const vifOf = (device: FrontendDevice): Vif => device.instance as Vif; // made by create above
