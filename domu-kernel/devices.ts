// The devices this domain was given: disks, network interfaces, sockets of the host.
import { type Clock, type Log, type Vcpu, XenError, type XenstoreClient } from '#pvbus';
import type { BlockDevice, Blocking } from './block-device.ts';
import type { Arguments } from './cmdline.ts';
import { Blkfront } from './drivers/blkfront/device.ts';
import { Frontend, findDevices } from './drivers/frontend-device.ts';
import { Netfront } from './drivers/netfront/device.ts';
import { P9Device } from './drivers/p9front/device.ts';
import { PvcallsDevice } from './drivers/pvcallsfront/device.ts';
import { NetInterface } from './net/interface.ts';
import { type IpConfig, parseIpParameter, parseNameservers } from './net/ip-config.ts';
import { parseIp6Parameter } from './net/ip6/config.ts';
import { loopbackInterface } from './net/loopback.ts';
import type { Timers } from './timers.ts';

export interface DevicesParts {
  readonly xs: XenstoreClient;
  readonly log: Log;
  readonly vcpu: Vcpu;
  readonly args: Arguments;
  readonly clock: Clock;
  readonly random: () => number;
  readonly blocking: Blocking;
}

/** A program starts without the devices whose backends need longer. */
const READY_MS = 30_000;
/** And without an address that a DHCP server needs longer to give. */
const LEASE_MS = 20_000;
/** As long a server of an interface before it may take, when one has given an address. */
const PRECEDENCE_MS = 1000;

export class Devices {
  /** The interface that `ip=` configures, once its device is there. */
  net: NetInterface | undefined;
  /** As in Linux, `ip=dhcp` without a device's name asks on each, and the first that is answered is the one. */
  private asking: readonly NetInterface[] = [];
  /** Once somebody has asked for it. */
  private own: NetInterface | undefined;
  /** What the domain has started without, in words. */
  missing: string | undefined;
  private readonly parts: DevicesParts;
  private readonly blkfront: Blkfront;
  private readonly netfront: Netfront;
  private readonly pvcalls: Frontend;
  private readonly p9: Frontend;
  private readonly frontends: readonly Frontend[];

  constructor(parts: DevicesParts) {
    const { xs, log, vcpu, clock, blocking } = parts;
    this.parts = parts;
    this.blkfront = new Blkfront({ xs, log, clock, vcpu, blocking });
    this.netfront = new Netfront({ xs, log, clock, vcpu });
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
    let waited = false;
    const late = new Promise<void>(resolve => {
      const timer = timers.after(READY_MS, () => {
        waited = true;
        resolve();
      });
      all.then(
        () => timers.cancel(timer),
        () => timers.cancel(timer),
      );
    });
    await Promise.race([all, late]);
    if (waited) log.warn(`some backend has not connected within ${READY_MS / 1000} s; starting without it`);
    this.configureNet();
    if (!this.net) return;
    let tired = false;
    await new Promise<void>(resolve => {
      const timer = timers.after(LEASE_MS, () => {
        tired = true;
        resolve();
      });
      // However late: until then all are asked.
      void this.answered(timers).then(() => {
        this.choose();
        timers.cancel(timer);
        resolve();
      });
    });
    if (!tired) return;
    const seconds = LEASE_MS / 1000;
    this.missing = `no DHCP server or router has answered within ${seconds} s; starting without an address, they are asked on`;
    log.warn(this.missing);
  }

  /** Resolves when an interface is configured, and those before it have had their time. */
  private async answered(timers: Timers): Promise<void> {
    const [first, ...others] = this.asking.map(net => net.configured());
    await Promise.race([
      first,
      ...others.map(async other => {
        await other;
        await new Promise<void>(resolve => void timers.after(PRECEDENCE_MS, resolve));
      }),
    ]);
  }
  /** The first that is configured, or the first. */
  private choose(): void {
    this.net = this.asking.find(net => net.isConfigured) ?? this.net;
    for (const other of this.asking) {
      if (other === this.net) continue;
      other.leave();
      other.device.onFrame(() => {});
    }
    this.asking = this.net === undefined ? [] : [this.net];
  }

  private async foldersReady(): Promise<void> {
    await Promise.allSettled(this.p9.devices().map(device => device.ready()));
  }
  private configureNet(): void {
    const { args, clock, random, log } = this.parts;
    const { ip, ip6: text } = args;
    const given: IpConfig | undefined = typeof ip === 'string' ? parseIpParameter(ip) : undefined;
    const ip6 = typeof text === 'string' ? parseIp6Parameter(text) : undefined;
    if (!given && !ip6) return;
    const config: IpConfig = { address: 0, netmask: 0, ...given, ...(ip6 === undefined ? {} : { ip6 }) };
    const devices = this.netfront.interfaces();
    const { device: name, dhcp } = config;
    // An address that is given is claimed on one alone.
    const all = dhcp && ip6?.address === undefined;
    const meant =
      name === undefined ? devices.slice(0, all ? devices.length : 1) : devices.filter(d => d.name === name);
    if (meant.length === 0)
      throw new XenError('ENODEV', `ip=${ip ?? ''} ip6=${text ?? ''}: this domain has no such network device`);
    const { nameserver } = args;
    const named = typeof nameserver === 'string' ? parseNameservers(nameserver) : {};
    this.asking = meant.map(
      device => new NetInterface({ device, config: { ...config, ...named }, clock, random, log }),
    );
    this.net = this.asking[0];
  }

  /** For the processes of a guest without an interface among themselves. */
  loopback(): NetInterface {
    this.own ??= loopbackInterface(this.parts);
    return this.own;
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
    const { asking } = this;
    for (let i = 0; i < asking.length; i++) if (asking[i]!.step() === 'progress') progress = true;
    if (this.own?.step() === 'progress') progress = true;
    return progress ? 'progress' : 'idle';
  }
  deadline(): number | undefined {
    let first = this.own?.deadline();
    const { asking, frontends } = this;
    for (let i = 0; i < asking.length; i++) {
      const deadline = asking[i]!.deadline();
      if (deadline !== undefined && (first === undefined || deadline < first)) first = deadline;
    }
    for (let i = 0; i < frontends.length; i++) {
      const deadline = frontends[i]!.deadline();
      if (deadline !== undefined && (first === undefined || deadline < first)) first = deadline;
    }
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
