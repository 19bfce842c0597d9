// The devices this domain was given: disks, network interfaces, sockets of the host.
import { type Clock, earlier, type Log, messageOf, type Vcpu, type XenstoreClient } from '#pvbus';
import type { BlockDevice, Blocking } from './block-device.ts';
import { Blkfront } from './drivers/blkfront/device.ts';
import { Frontend, findDevices } from './drivers/frontend-device.ts';
import { Netfront, type Vif } from './drivers/netfront/device.ts';
import { P9Device } from './drivers/p9front/device.ts';
import { PvcallsDevice } from './drivers/pvcallsfront/device.ts';
import { InterfaceConfigs } from './net/interface-configs.ts';
import type { IpConfig } from './net/ip-config.ts';
import { Network } from './net/network.ts';
import type { Timers } from './timers.ts';

export interface DevicesParts {
  readonly xs: XenstoreClient;
  readonly log: Log;
  readonly vcpu: Vcpu;
  readonly cmdline: string;
  readonly maxQueues: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly blocking: Blocking;
}

/** A program starts without the devices whose backends need longer. */
const READY_MS = 30_000;
/** And without an address that a DHCP server needs longer to give. */
const LEASE_MS = 20_000;
/** And, when one interface has its address, those of the others. */
const MORE_MS = 1000;

export class Devices {
  private made: Network | undefined;
  private configs: InterfaceConfigs | undefined;
  /** Interfaces that have been connected. */
  private readonly usable = new Set<Vif>();
  /** What the domain has started without, in words. */
  missing: string | undefined;
  private readonly parts: DevicesParts;
  private readonly blkfront: Blkfront;
  private readonly netfront: Netfront;
  private readonly pvcalls: Frontend;
  private readonly p9: Frontend;
  private readonly frontends: readonly Frontend[];

  constructor(parts: DevicesParts) {
    const { xs, log, vcpu, clock, blocking, maxQueues } = parts;
    this.parts = parts;
    this.blkfront = new Blkfront({ xs, log, clock, vcpu, blocking });
    this.netfront = new Netfront({
      xs,
      log,
      clock,
      vcpu,
      maxQueues,
      onInterface: device => this.plugged(device),
      onRemoved: device => this.unplugged(device),
    });
    this.pvcalls = new Frontend({
      xs,
      log,
      clock,
      type: 'pvcalls',
      domid: vcpu.domid,
      create: device => new PvcallsDevice(device, vcpu, log),
    });
    this.p9 = new Frontend({
      xs,
      log,
      clock,
      type: '9pfs',
      domid: vcpu.domid,
      create: device => new P9Device(device, vcpu, blocking),
    });
    this.frontends = [this.blkfront.frontend, this.netfront.frontend, this.pvcalls, this.p9];
  }

  /** Resolves when every device is connected, has failed, or has taken too long. */
  async start(timers: Timers): Promise<void> {
    const { xs, vcpu, log } = this.parts;
    await findDevices(xs, vcpu.domid, this.frontends);
    const all = Promise.all([this.blkfront.ready(), this.netfront.ready(), this.foldersReady()]);
    if (!(await within(timers, READY_MS, all)))
      log.warn(`some backend has not connected within ${READY_MS / 1000} s; starting without it`);
    this.configureNet();
    await this.addressed(timers);
  }

  /** Resolves when each interface is configured; when one is, the others have a second, and all of them have 20. */
  private async addressed(timers: Timers): Promise<void> {
    const { log } = this.parts;
    const interfaces = this.made?.interfaces ?? [];
    if (interfaces.length === 0) return;
    const each = interfaces.map(own => own.configured());
    await within(timers, LEASE_MS, Promise.race(each));
    await within(timers, MORE_MS, Promise.all(each));
    const late = interfaces.filter(own => !own.isConfigured);
    if (late.length === 0) return;
    const seconds = LEASE_MS / 1000;
    const silent = 'no DHCP server or router has answered';
    if (late.length < interfaces.length)
      log.warn(`${late.map(({ name }) => name).join(', ')}: ${silent}; starting without, they are asked on`);
    else {
      this.missing = `${silent} within ${seconds} s; starting without an address, they are asked on`;
      log.warn(this.missing);
    }
  }

  private async foldersReady(): Promise<void> {
    await Promise.allSettled(this.p9.devices().map(device => device.ready()));
  }
  private configureNet(): void {
    this.configs = new InterfaceConfigs(this.parts.cmdline);
    const devices = this.netfront.interfaces();
    this.configs.require(devices.map(({ name }) => name));
    for (const device of devices) if (this.usable.has(device)) this.plugged(device);
  }
  /** It is connected: at the start, or later. */
  private plugged(device: Vif): void {
    this.usable.add(device);
    // order: those of the start by their numbers, whichever is connected first.
    if (this.configs === undefined) return;
    let config: IpConfig | undefined;
    try {
      config = this.configs.of(device);
    } catch (error) {
      this.parts.log.warn(`${device.name}: ${messageOf(error)}; it is not used`);
    }
    if (config) this.network.add(device, config);
  }
  private unplugged(device: Vif): void {
    this.usable.delete(device);
    const own = this.made?.interfaces.find(each => each.device === device);
    if (own) this.network.remove(own);
  }

  /** With the loopback alone in a domain without an interface, once somebody asks for it. */
  get network(): Network {
    const { clock, random, log } = this.parts;
    this.made ??= new Network({ clock, random, log, nameservers: this.configs?.nameservers });
    return this.made;
  }
  /** The same where there is an interface with an address, or the command line wants one, connected or not. */
  get net(): Network | undefined {
    const { made, configs } = this;
    return made?.interfaces.length || configs?.isAsked ? this.network : undefined;
  }
  disks(): BlockDevice[] {
    return this.blkfront.disks();
  }
  /** The host's folders that are shared with this domain. */
  folders(): P9Device[] {
    return this.p9.devices().map(device => device.instance as P9Device); // made by create above
  }
  /** The sockets of the host that this domain was given; undefined when none. */
  host(): PvcallsDevice | undefined {
    return this.pvcalls.devices()[0]?.instance as PvcallsDevice | undefined; // made by create above
  }

  /** Sockets of the host are moved by their events alone. */
  step(): 'progress' | 'idle' {
    let progress = this.blkfront.step() === 'progress';
    if (this.netfront.step() === 'progress') progress = true;
    if (this.pvcalls.takeMoved()) progress = true;
    if (this.made?.step() === 'progress') progress = true;
    return progress ? 'progress' : 'idle';
  }
  deadline(): number | undefined {
    let first = this.made?.deadline();
    const { frontends } = this;
    for (let i = 0; i < frontends.length; i++) first = earlier(first, frontends[i]!.deadline());
    return first;
  }
  /** Something of a backend's is waited for. */
  waits(): boolean {
    const { frontends } = this;
    for (let i = 0; i < frontends.length; i++) if (frontends[i]!.waits()) return true;
    return false;
  }
  /** Time has passed. */
  tick(now: number): void {
    for (const frontend of this.frontends) frontend.tick(now);
  }
}

/** False: it has taken longer. */
async function within(timers: Timers, ms: number, done: Promise<unknown>): Promise<boolean> {
  let timer: ReturnType<Timers['after']> | undefined;
  const late = new Promise<false>(resolve => {
    timer = timers.after(ms, () => resolve(false));
  });
  try {
    return await Promise.race([done.then(() => true), late]);
  } finally {
    if (timer !== undefined) timers.cancel(timer);
  }
}
