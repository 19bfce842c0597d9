// A network in one thread: the real hypervisor core, a xenstored, netback on its vCPU of dom0, guests with netfront.
// Nothing runs by itself: a test alternates their steps.
import { domid, type Vcpu, XEN_DOMCTL_destroydomain, XenbusState } from '#pvbus';
import type { Backend } from '../../dom0/backends/backend-device.ts';
import { createNetback } from '../../dom0/backends/netback/device.ts';
import type { NetbackMessage, NetbackReport } from '../../dom0/backends/netback/messages.ts';
import { type NetbackSurroundings, NetbackWorker } from '../../dom0/backends/netback/worker.ts';
import { Netfront, type Vif } from '../../domu-kernel/drivers/netfront/device.ts';
import { parseIpParameter } from '../../domu-kernel/net/ip-config.ts';
import { CoreRig, type Guest } from './core-rig.ts';
import { Stack } from './stack.ts';
import { type DeviceNodes, PaperToolstack, settle } from './xenbus-device.ts';
import { ListLog, XenstoreRig } from './xenstore-rig.ts';

/** netback's vCPU of domain 0, as dom0 has it. */
const NETBACK_VCPU = 3;

export interface Stepper {
  step(): 'progress' | 'idle';
}

/** Numbers in [0, 1) that are the same in every run. */
export function seeded(seed: number): () => number {
  let s = seed;
  return () => {
    s = (s * 48271) % 0x7fffffff;
    return s / 0x7fffffff;
  };
}

/** A guest with the real driver. */
export class NetGuest implements Stepper {
  readonly guest: Guest;
  readonly vcpu: Vcpu;
  readonly log = new ListLog();
  readonly nodes: DeviceNodes;
  readonly netfront: Netfront;
  net: Stack | undefined;
  private readonly rig: NetRig;

  constructor(rig: NetRig, guest: Guest, nodes: DeviceNodes, maxQueues = 1) {
    this.rig = rig;
    this.guest = guest;
    this.nodes = nodes;
    this.vcpu = guest.kernel(0);
    const xs = rig.toolstack.client(this.log);
    this.netfront = new Netfront({ xs, vcpu: this.vcpu, log: this.log, maxQueues });
  }
  get domid(): number {
    return this.guest.domid;
  }
  get vif(): Vif {
    return this.netfront.interfaces()[0]!;
  }
  /** Give the interface an address, as `ip=` would. */
  configure(ip: string): Stack {
    const config = parseIpParameter(`${ip}:::255.255.255.0`)!;
    const { clock } = this.rig.core;
    this.net = new Stack({ device: this.vif, config, clock, random: seeded(this.domid), log: this.log });
    return this.net;
  }
  step(): 'progress' | 'idle' {
    let progress = this.vcpu.events.poll();
    if (this.netfront.step() === 'progress') progress = true;
    if (this.net?.step() === 'progress') progress = true;
    return progress ? 'progress' : 'idle';
  }
}

export class NetRig implements Stepper {
  readonly core = new CoreRig({ dom0Pages: 4096 });
  readonly xenstore = new XenstoreRig();
  readonly toolstack = new PaperToolstack(this.xenstore);
  readonly log = new ListLog();
  readonly vcpu: Vcpu;
  readonly worker: NetbackWorker;
  backend: Backend;
  readonly guests: NetGuest[] = [];
  private readonly listeners: ((event: unknown) => void)[] = [];

  constructor(outside: NetbackSurroundings = {}) {
    this.vcpu = this.core.dom0.kernel(NETBACK_VCPU);
    const { vcpu, log } = this;
    const tell = (event: unknown): void => {
      for (const listener of this.listeners) listener(event);
    };
    this.worker = new NetbackWorker(
      { vcpu, log, clock: this.core.clock, tell, wake: () => {} },
      { random: seeded(42), ...outside },
    );
    this.backend = this.makeBackend();
  }
  private makeBackend(): Backend {
    return createNetback({
      xs: this.toolstack.client(this.log),
      log: this.log,
      thread: {
        call: async message => this.worker.handle(message),
        onEvent: listener => this.listeners.push(listener),
      },
    });
  }
  static async start(outside: NetbackSurroundings = {}): Promise<NetRig> {
    const rig = new NetRig(outside);
    await rig.backend.start();
    return rig;
  }

  /** What the worker tells unasked. */
  onEvent(listener: (event: unknown) => void): void {
    this.listeners.push(listener);
  }
  /** After `backend.stop()`: another one takes its place, as after a crash. */
  async restartBackend(): Promise<void> {
    this.listeners.length = 0;
    this.backend = this.makeBackend();
    await this.backend.start();
  }

  /** What the toolstack does for `vif = ['mac=..., bridge=...']`. */
  async plug(
    guest: Guest,
    keys: Readonly<Record<string, string | number>> = {},
    backendKeys: Readonly<Record<string, string | number>> = {},
  ): Promise<DeviceNodes> {
    if (!this.xenstore.door.domains.has(domid(guest.domid))) this.xenstore.domain(guest.domid);
    const mac = keys.mac ?? this.mac(guest.domid);
    const all = { mac, bridge: 'xenbr0', handle: 0, ...backendKeys };
    const nodes = await this.toolstack.plug('vif', guest.domid, 0, all);
    const frontend = { mac, handle: 0, mtu: 1500, trusted: 1, ...keys };
    for (const [key, value] of Object.entries(frontend)) {
      await this.toolstack.xs.write(`${nodes.frontend}/${key}`, String(value));
    }
    return nodes;
  }
  mac(id: number): string {
    return `00:16:3e:00:00:${id.toString(16).padStart(2, '0')}`;
  }

  /** A running guest whose interface is connected and has its pages mapped. */
  async guest(
    keys: Readonly<Record<string, string | number>> = {},
    backendKeys: Readonly<Record<string, string | number>> = {},
    { maxQueues = 1 }: { readonly maxQueues?: number } = {},
  ): Promise<NetGuest> {
    const guest = this.core.guest({ pages: 512 + 512 * maxQueues });
    const nodes = await this.plug(guest, keys, backendKeys);
    const made = new NetGuest(this, guest, nodes, maxQueues);
    this.guests.push(made);
    await made.netfront.start();
    await this.until(async () => (await this.state(nodes.backend)) === XenbusState.Connected);
    await this.until(() => made.vif.txBuffer() !== undefined);
    this.settle();
    return made;
  }

  step(): 'progress' | 'idle' {
    const polled = this.vcpu.events.poll();
    return this.worker.step() === 'progress' || polled ? 'progress' : 'idle';
  }
  /** Alternate everybody's steps until nobody has anything to do. */
  settle(...only: readonly Stepper[]): void {
    const all = only.length > 0 ? only : [this, ...this.guests];
    for (let i = 0; i < 1_000_000; i++) {
      let progress = false;
      for (const one of all) if (one.step() === 'progress') progress = true;
      if (!progress) return;
    }
    throw new Error('the network never falls silent');
  }
  /** Let xenstore and everybody run until `condition` holds. */
  until(condition: () => boolean | Promise<boolean>): Promise<void> {
    return settle(() => {
      this.settle();
      return condition();
    });
  }
  async state(path: string): Promise<XenbusState> {
    return Number(await this.toolstack.state(path)) as XenbusState; // one of them: our own ends wrote it
  }
  report(): NetbackReport {
    return this.worker.handle({ op: 'report' } satisfies NetbackMessage) as NetbackReport;
  }
  statsOf(guest: { readonly domid: number }): NetbackReport['vifs'][number] | undefined {
    return this.report().vifs.find(vif => vif.domid === guest.domid);
  }
  /** Mappings and ports the backend's domain holds: what must be back where it was. */
  held(): { mappings: number; ports: number } {
    const { domain } = this.core.dom0;
    return { mappings: domain.grants.mappings, ports: domain.ports.open };
  }
  /** The domain ends, and xenstored hears of it. */
  destroy(guest: NetGuest): void {
    this.guests.splice(this.guests.indexOf(guest), 1);
    this.core.dom0.reset().domctl(XEN_DOMCTL_destroydomain, guest.domid);
    this.core.settle();
    this.toolstack.destroy(guest.domid);
  }
}
