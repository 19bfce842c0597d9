// The guest's end of a pvcalls device: negotiation, and what a program sees of it.
import { all, type Log, type Routine, type Vcpu, XenError } from '#pvbus';
import type { FrontendDevice, FrontendInstance, Keys } from '../frontend-device.ts';
import type { HostConnection } from './connection.ts';
import type { HostListener } from './listener.ts';
import { PvcallsFrontStats } from './stats.ts';
import { MAX_QUARANTINED, PvcallsFront } from './worker.ts';

const MAX_ORDER = 9; // Xen: more makes no ring that any backend maps

export class PvcallsDevice implements FrontendInstance {
  readonly stats = new PvcallsFrontStats();
  private readonly device: FrontendDevice;
  private readonly vcpu: Vcpu;
  private readonly log: Log;
  /** It will not come back. */
  private gone: XenError | undefined;
  private front: PvcallsFront | undefined;
  private usable = false;
  /** Who asks for sockets while there is no backend. */
  private waiting: { resolve(front: PvcallsFront): void; reject(error: XenError): void }[] = [];

  constructor(device: FrontendDevice, vcpu: Vcpu, log: Log) {
    this.device = device;
    this.vcpu = vcpu;
    this.log = log;
  }

  *setup(): Routine<Keys> {
    const { device } = this;
    this.front?.end(new XenError('ECONNRESET', `${device.label}: the backend was replaced`));
    if (this.stats.quarantined >= MAX_QUARANTINED) {
      throw new XenError('ENOMEM', `${device.label}: the backend keeps everything that was ever shared with it`);
    }
    const [versions = '', calls, order, dataOrder] = yield* all([
      device.backendKey('versions'),
      device.backendNumber('function-calls'),
      device.backendNumber('max-page-order', MAX_ORDER),
      device.backendNumber('max-dataring-page-order', MAX_ORDER, -1),
    ]);
    if (!versions.split(',').includes('1')) {
      throw new XenError(
        'EOPNOTSUPP',
        `${device.label}: the backend speaks versions ${JSON.stringify(versions.slice(0, 40))}`,
      );
    }
    if (calls !== 1) {
      throw new XenError('EOPNOTSUPP', `${device.label}: the backend has no function calls`);
    }
    const onBroken = (error: XenError): void => device.fail(error);
    this.front = new PvcallsFront(
      this.vcpu,
      device.backendDomid,
      dataOrder < 0 ? order : dataOrder,
      this.log,
      this.stats,
      onBroken,
    );
    const { ref, port } = this.front.attachment;
    return { version: '1', 'ring-ref': ref, port };
  }
  *connected(): Routine<void> {
    this.front?.start((yield* this.device.backendNumber('feature-half-close', 1, 0)) === 1);
    this.usable = true;
    for (const { resolve } of this.waiting.splice(0)) resolve(this.front!); // made by setup
  }
  disconnect(): void {
    this.usable = false;
    this.front?.end(new XenError('ECONNRESET', `${this.device.label}: the backend is gone`));
    this.front = undefined;
  }
  remove(reason: XenError): void {
    this.usable = false;
    this.front?.end(reason);
    this.front = undefined;
    this.gone = reason;
    for (const { reject } of this.waiting.splice(0)) reject(reason);
  }

  get waits(): boolean {
    return this.front?.waits ?? false;
  }
  look(): void {
    this.front?.look();
  }

  takeMoved(): boolean {
    return this.front?.takeMoved() ?? false;
  }
  step(): 'progress' | 'idle' {
    return this.front?.step() ?? 'idle';
  }

  /** See HostConnection.deliver. */
  async deliver(): Promise<void> {
    await this.front?.deliver();
  }
  async listen(port: number, backlog?: number): Promise<HostListener> {
    return (await this.ready()).listen(port, backlog);
  }
  async connect(port: number, address?: number): Promise<HostConnection> {
    return (await this.ready()).connect(port, address);
  }
  /** Programs may start before the backend is there, and outlive it. */
  private async ready(): Promise<PvcallsFront> {
    await this.device.ready();
    if (this.gone) throw this.gone;
    if (this.usable && this.front) return this.front;
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }
}
