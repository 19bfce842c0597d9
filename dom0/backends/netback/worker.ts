// All vifs and bridges of a backend domain, served by one thread: each vif gets a bounded turn.
import { type Clock, type Epoll, type Log, type Planted, XenError } from '#pvbus';
import { DeviceFaults } from '../../faults/device-faults.ts';
import { FaultyGrants } from '../../faults/faulty-grants.ts';
import { FaultyNotifier } from '../../faults/faulty-notifier.ts';
import { LateWork } from '../../faults/late-work.ts';
import type { BackendContext, BackendWorker } from '../backend-thread.ts';
import { Bridge } from './bridge.ts';
import { Capture, type Captured, CapturedLink } from './capture.ts';
import { Copies } from './copies.ts';
import { FaultyLink } from './faulty-link.ts';
import { Frame } from './frame.ts';
import type { NetbackEvent, NetbackMessage, NetbackReport, VifConnection } from './messages.ts';
import { ExternalPorts } from './ports/external-ports.ts';
import { HelperReadiness, type Readiness } from './ports/readiness.ts';
import type { TxPacket } from './request.ts';
import { turnPackets } from './tx-queue.ts';
import { type Turn, Vif, type VifParts } from './vif.ts';
import { parseBridge } from './vlans.ts';

/** Refused packets of one vif that are logged one by one. */
const LOGGED_ERRORS = 4;

const makeBridge = (name: string, mtu: number, random: () => number): Bridge => new Bridge(name, mtu, { random });

/** Captures that are on at once. */
const MAX_CAPTURES = 16;

/** What the thread has of the world outside, for a test to own. */
export interface NetbackSurroundings {
  readonly random?: () => number;
  /** A bridge that loses frames, for one. */
  readonly newBridge?: typeof makeBridge;
  /** How it hears of the host's descriptors. */
  readonly readinessOf?: (epoll: Epoll) => Readiness;
  readonly wallMs?: () => number;
}

export class NetbackWorker implements BackendWorker {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly tell: (event: NetbackEvent) => void;
  private readonly random: () => number;
  private readonly newBridge: typeof makeBridge;
  private readonly shared: Turn;
  private readonly bridges = new Map<string, Bridge>();
  private readonly vifs: Vif[] = [];
  /** By `domid/handle`. */
  private readonly faults = new Map<string, DeviceFaults>();
  private readonly links = new Map<Vif, Pick<FaultyLink, 'letGo'>>();
  private readonly late = new LateWork();
  /** Once there is one. */
  private external: ExternalPorts | undefined;
  private readonly readinessOf: (epoll: Epoll) => Readiness;
  private readonly wallMs: () => number;
  private readonly captures = new Map<number, Capture>();

  constructor(context: BackendContext, outside: NetbackSurroundings = {}) {
    const { vcpu } = context;
    this.readinessOf = outside.readinessOf ?? (epoll => new HelperReadiness(epoll, vcpu.wakeWords));
    this.wallMs = outside.wallMs ?? Date.now;
    this.clock = context.clock;
    this.log = context.log;
    this.tell = event => context.tell(event);
    this.random = outside.random ?? Math.random;
    this.newBridge = outside.newBridge ?? makeBridge;
    this.shared = {
      vcpu,
      copies: new Copies(vcpu),
      frame: new Frame(),
      packets: turnPackets(),
      full: undefined,
      delivered: [],
      copied: [],
    };
  }

  handle(message: unknown): unknown {
    const m = message as NetbackMessage; // device.ts is the only one who sends any
    switch (m.op) {
      case 'connect':
        return this.connect(m.vif);
      case 'disconnect':
        return this.disconnect(m.domid, m.handle);
      case 'faults':
        return this.plant(m.domid, m.handle, m.label, m.planted);
      case 'createBridge':
        return this.createBridge(m.name, m.mtu);
      case 'deleteBridge':
        return this.deleteBridge(m.name);
      case 'addPort':
        return this.addPort(m.bridge, m.port, m.patient);
      case 'removePort':
        return this.removePort(m.bridge, m.port);
      case 'capture':
        return this.capture(m.id, m.what, m.limit);
      case 'captureTaken':
        return this.captures.get(m.id)?.taken();
      case 'endCapture':
        return this.endCapture(m.id);
      case 'report':
        return this.report();
    }
  }

  step(): 'progress' | 'idle' {
    const now = this.clock.now();
    let result: 'progress' | 'idle' = 'idle';
    if (this.late.length > 0 && this.late.step(now)) {
      result = 'progress';
      this.publish();
    }
    for (const vif of this.vifs) {
      if (!vif.turn(now)) continue;
      result = 'progress';
      this.publish();
    }
    if (this.external?.turn(now)) {
      result = 'progress';
      this.publish();
    }
    if (this.captures.size > 0) for (const capture of this.captures.values()) capture.step(now);
    if (this.faults.size > 0) for (const faults of this.faults.values()) faults.flush();
    return result;
  }

  /** A vif that has used up its rate is served again then. */
  deadline(): number | undefined {
    const now = this.clock.now();
    let earliest = this.late.deadline;
    if (this.faults.size > 0)
      for (const { deadline } of this.faults.values())
        if (deadline !== undefined && (earliest === undefined || deadline < earliest)) earliest = deadline;
    const retry = this.external?.deadline();
    if (retry !== undefined && (earliest === undefined || retry < earliest)) earliest = retry;
    for (const { deadline } of this.captures.values()) {
      if (deadline !== undefined && (earliest === undefined || deadline < earliest)) earliest = deadline;
    }
    for (const vif of this.vifs) {
      const own = vif.deadline(now);
      if (own !== undefined && (earliest === undefined || own < earliest)) earliest = own;
    }
    return earliest;
  }

  /** Let receivers see the frames of the turn that has ended. */
  private publish(): void {
    const { copies, delivered } = this.shared;
    copies.runOut();
    for (const queue of delivered) queue.publish();
    delivered.length = 0;
    this.external?.flush(this.clock.now());
  }

  private connect(connection: VifConnection): void {
    const { domid, handle } = connection;
    if (this.find(domid, handle)) throw new XenError('EEXIST', `vif${domid}.${handle} is connected already`);
    // A bridge may be called as a VLAN of another one would be.
    const whole = { name: connection.bridge, vlans: undefined };
    const { name, vlans } = this.bridges.has(connection.bridge) ? whole : parseBridge(connection.bridge);
    let bridge = this.bridges.get(name);
    if (!bridge) {
      bridge = this.makeBridge(name, connection.mtu);
      this.log.info(`bridge ${bridge.name}: made for vif${domid}.${handle}`);
    }
    const mac = Uint8Array.from(connection.mac.split(':'), octet => Number.parseInt(octet, 16));
    const onBroken = (which: Vif, reason: string): void => {
      this.log.error(`${which.name}: disabled: dom${which.domid} broke the protocol: ${reason}`);
      this.tell({ event: 'broken', domid: which.domid, handle: which.handle, reason });
    };
    const faults = this.faults.get(`${domid}/${handle}`);
    const plain = this.shared.vcpu.grants;
    // What it maps as it connects, too.
    const grants = faults === undefined ? plain : new FaultyGrants(plain, faults);
    const vif = new Vif(
      connection,
      mac,
      { bridge, vlans },
      this.shared,
      this.clock.now(),
      onBroken,
      this.refused,
      grants,
    );
    this.vifs.push(vif);
    this.arrange(vif);
  }

  /** Said of the first few, then of every doubling: a guest must not fill the log with them. */
  private readonly refused = (
    { name, domid, stats: { txErrors } }: Vif,
    { multicast, parts, length }: TxPacket,
  ): void => {
    if (txErrors > LOGGED_ERRORS && (txErrors & (txErrors - 1)) !== 0) return;
    const what =
      multicast !== 0 ? 'a multicast group too many, or none' : `a packet of ${parts} slots and ${length} bytes`;
    this.log.warn(`${name}: dom${domid} sent ${what} that cannot be taken (error ${txErrors})`);
  };

  private disconnect(domid: number, handle: number): void {
    const vif = this.find(domid, handle);
    if (!vif) return;
    this.vifs.splice(this.vifs.indexOf(vif), 1);
    this.links.delete(vif);
    vif.release();
  }

  private plant(domid: number, handle: number, label: string, planted: readonly Planted[]): void {
    const key = `${domid}/${handle}`;
    const known = this.faults.get(key);
    const vif = this.find(domid, handle);
    if (vif) {
      this.links.get(vif)?.letGo();
      this.publish();
    }
    if (known !== undefined && planted.length > 0) {
      known.plant(planted);
      return;
    }
    known?.plant([]);
    this.faults.delete(key);
    if (planted.length > 0) {
      const faults = new DeviceFaults(label, this.clock, injected =>
        this.tell({ event: 'injected', domid, handle, injected }),
      );
      faults.plant(planted);
      this.faults.set(key, faults);
    }
    if (vif) this.arrange(vif);
  }
  /** What there is between the vif, its bridge and its frontend: captures next to the guest, then faults. */
  private arrange(vif: Vif): void {
    const plain = vif.plainParts;
    const captures = [...this.captures.values()].filter(capture => capture.isOf(vif));
    const heard = captures.length === 0 ? plain : { port: new CapturedLink(plain.port, plain.uplink, captures) };
    const faults = this.faults.get(`${vif.domid}/${vif.handle}`);
    this.links.get(vif)?.letGo();
    this.links.delete(vif);
    const parts = faults === undefined ? { ...plain, ...heard } : this.befall(vif, faults, { ...plain, ...heard });
    const sent = captures.length === 0 ? parts.uplink : new CapturedLink(plain.port, parts.uplink, captures);
    vif.use({ ...parts, uplink: sent });
  }
  private befall(vif: Vif, faults: DeviceFaults, plain: VifParts): VifParts {
    const { clock, late } = this;
    const notifier = new FaultyNotifier(plain.notifier, { faults, late, clock });
    const isOf = (header: Uint8Array, at: number, peer: string | number): boolean =>
      this.vifs.some(other => other.domid === peer && other.macIsAt(header, at));
    const link = new FaultyLink(plain, { faults, late, clock, isOf, isThere: () => this.vifs.includes(vif) });
    this.links.set(vif, {
      letGo: () => {
        link.letGo();
        notifier.letGo();
      },
    });
    const grants = new FaultyGrants(plain.grants, faults);
    return { uplink: link, port: link, notifier, onEvent: (...heard) => notifier.hears(...heard), grants };
  }

  private capture(id: number, what: Captured, limit: number | null): void {
    if (this.captures.size >= MAX_CAPTURES) throw new XenError('EBUSY', `${MAX_CAPTURES} captures are on already`);
    const capture = new Capture({
      ...{ what, limit, clock: this.clock, wallMs: this.wallMs },
      tell: chunk => this.tell({ event: 'captured', id, chunk }),
    });
    if ('bridge' in what) this.bridge(what.bridge);
    else if (!this.vifs.some(vif => capture.isOf(vif))) {
      const name = what.handle === null ? `no vif of dom${what.domid}` : `no vif${what.domid}.${what.handle}`;
      throw new XenError('ENODEV', `${name} is connected to a backend of dom${this.shared.vcpu.domid}`);
    }
    this.captures.set(id, capture);
    this.arrangeFor(capture);
  }
  private endCapture(id: number): void {
    const capture = this.captures.get(id);
    if (!capture) return;
    this.captures.delete(id);
    this.arrangeFor(capture);
    capture.end();
  }
  private arrangeFor(capture: Capture): void {
    const { what } = capture;
    if ('bridge' in what) {
      const bridge = this.bridges.get(what.bridge);
      const own = [...this.captures.values()].filter(one => 'bridge' in one.what && one.what.bridge === what.bridge);
      if (bridge) bridge.mirror = own.length === 0 ? undefined : frame => own.forEach(one => void one.record(frame));
      return;
    }
    for (const vif of this.vifs) if (capture.isOf(vif)) this.arrange(vif);
    this.publish();
  }

  private createBridge(name: string, mtu: number): void {
    const known = this.bridges.get(name);
    if (known === undefined) this.makeBridge(name, mtu);
    else if (known.mtu !== mtu) throw new XenError('EEXIST', `bridge ${name} exists and its MTU is ${known.mtu}`);
  }

  private deleteBridge(name: string): void {
    const bridge = this.bridge(name);
    const user = this.vifs.find(vif => vif.bridge === bridge);
    if (user) throw new XenError('EBUSY', `bridge ${name} is in use by ${user.name}`);
    this.external?.removeAll(bridge);
    this.bridges.delete(name);
  }

  private addPort(name: string, spec: string, patient: boolean): void {
    this.external ??= new ExternalPorts(this.readinessOf, this.shared, this.log);
    this.external.add(this.bridge(name), spec, patient, this.clock.now());
  }
  private removePort(name: string, spec: string): void {
    const bridge = this.bridge(name);
    if (this.external === undefined) throw new XenError('ENOENT', `bridge ${name} has no port ${spec}`);
    this.external.remove(bridge, spec);
  }
  private bridge(name: string): Bridge {
    const bridge = this.bridges.get(name);
    if (bridge === undefined) throw new XenError('ENOENT', `there is no bridge ${name}`);
    return bridge;
  }

  private makeBridge(name: string, mtu: number): Bridge {
    const bridge = this.newBridge(name, mtu, this.random);
    this.bridges.set(name, bridge);
    return bridge;
  }

  private find(domid: number, handle: number): Vif | undefined {
    return this.vifs.find(vif => vif.domid === domid && vif.handle === handle);
  }

  private report(): NetbackReport {
    return {
      bridges: [...this.bridges.values()].map(bridge => ({
        name: bridge.name,
        mtu: bridge.mtu,
        stats: structuredClone(bridge.stats),
        ports: (this.external?.of(bridge) ?? []).map(({ name, down, stats }) => ({
          ...{ port: name, down, stats: { ...stats } },
        })),
      })),
      vifs: this.vifs.map(vif => ({
        name: vif.name,
        domid: vif.domid,
        handle: vif.handle,
        bridge: vif.bridge.name,
        queues: vif.queueCount,
        staticGrants: vif.staticGrants,
        stats: structuredClone(vif.stats),
      })),
    };
  }
}
