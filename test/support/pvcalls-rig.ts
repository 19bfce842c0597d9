// The pvcalls backend's worker and a guest's frontend in one thread on the real hypervisor core, with real
// sockets of this host. Nothing of the two moves but in `pump`.
import {
  domid,
  FrontRing,
  type Gref,
  type SharedPages,
  type Vcpu,
  type XenError,
  xen_pvcalls_sring_entry,
} from '#pvbus';
import { type PvcallsEvent, PvcallsWorker } from '../../dom0/backends/pvcalls/worker.ts';
import { PvcallsFrontStats } from '../../domu-kernel/drivers/pvcallsfront/stats.ts';
import { type Attachment, PvcallsFront } from '../../domu-kernel/drivers/pvcallsfront/worker.ts';
import { CoreRig, type Guest, LineLog } from './core-rig.ts';

/** The vCPU of dom0 that the pvcalls thread is. */
const PVCALLS_VCPU = 4;
const GUEST_PAGES = 2048;

export class PvcallsRig {
  readonly core = new CoreRig({ dom0Pages: 512 });
  readonly log = new LineLog();
  readonly events: PvcallsEvent[] = [];
  readonly vcpu: Vcpu;
  readonly worker: PvcallsWorker;
  readonly guests: PvcallsGuest[] = [];

  constructor() {
    this.vcpu = this.core.dom0.kernel(PVCALLS_VCPU);
    this.worker = new PvcallsWorker({
      vcpu: this.vcpu,
      log: this.log,
      clock: this.core.clock,
      tell: event => this.events.push(event as PvcallsEvent),
      wake: () => {},
    });
  }
  guest({ pages = GUEST_PAGES }: { readonly pages?: number } = {}): PvcallsGuest {
    const guest = new PvcallsGuest(this, pages);
    this.guests.push(guest);
    return guest;
  }

  /** Every vCPU has its turn until none has anything to do. */
  pump(): void {
    for (let moved = true; moved; ) {
      moved = this.vcpu.events.poll();
      if (this.worker.step() === 'progress') moved = true;
      for (const guest of this.guests) if (guest.step() === 'progress') moved = true;
    }
  }
  /** Pump, with turns of the event loop for the host's sockets, until `work` is settled. */
  async run<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const done = work.finally(() => {
      settled = true;
    });
    done.catch(() => {});
    await this.until(() => settled);
    return done;
  }
  async until(condition: () => boolean): Promise<void> {
    const deadline = Date.now() + 60_000;
    while (!condition()) {
      this.pump();
      await new Promise(resolve => setImmediate(resolve));
      if (Date.now() > deadline) throw new Error('what the test waits for has not happened');
    }
  }
  /** Some turns in which things could happen that should not. */
  async turns(n = 50): Promise<void> {
    for (let i = 0; i < n; i++) {
      this.pump();
      await new Promise(resolve => setImmediate(resolve));
    }
  }
  /** Is it settled after some turns? */
  async isOver(work: Promise<unknown>): Promise<boolean> {
    let over = false;
    const done = (): void => {
      over = true;
    };
    work.then(done, done);
    await this.turns();
    return over;
  }
  /** Mappings of others' pages that dom0 has. */
  get mapped(): number {
    return this.core.dom0.domain.grants.mappings;
  }
  stop(): void {
    for (const guest of this.guests) this.worker.handle({ op: 'disconnect', device: guest.device });
  }
}

export class PvcallsGuest {
  readonly rig: PvcallsRig;
  readonly guest: Guest;
  readonly vcpu: Vcpu;
  readonly log = new LineLog();
  readonly stats = new PvcallsFrontStats();
  readonly broken: XenError[] = [];
  front: PvcallsFront | undefined;

  constructor(rig: PvcallsRig, pages: number) {
    this.rig = rig;
    this.guest = rig.core.guest({ pages });
    this.vcpu = this.guest.kernel();
  }
  get device(): string {
    return `/local/domain/0/backend/pvcalls/${this.guest.domid}/0`;
  }
  step(): 'progress' | 'idle' {
    // As in the kernel: sockets of the host are driven by their events alone.
    return this.vcpu.events.poll() ? 'progress' : 'idle';
  }

  /** What device.ts does of both ends. */
  connect(listen = '', connect = '', allow = ''): PvcallsFront {
    const front = new PvcallsFront(this.vcpu, domid(0), 4, this.log, this.stats, error => this.broken.push(error));
    this.attach(front.attachment, listen, connect, allow);
    front.start(true);
    this.front = front;
    return front;
  }
  attach({ ref, port }: Attachment, listen: string, connect: string, allow = ''): void {
    this.rig.worker.handle({
      op: 'connect',
      device: this.device,
      label: `pvcalls 0 of dom${this.guest.domid}`,
      frontend: this.guest.domid,
      ref,
      evtchn: port,
      ports: { listen, connect, allow, resolver: '' },
    });
  }
  detach(): void {
    this.rig.worker.handle({ op: 'disconnect', device: this.device });
  }

  /** A command ring that no driver owns, for a frontend that misbehaves. */
  rawRing(): { ring: FrontRing; pages: SharedPages; attachment: Attachment } {
    const pages = this.vcpu.grants.allocShared(domid(0), 1);
    const ref: Gref = this.vcpu.grants.grantAccess(domid(0), pages.gfn);
    const port = this.vcpu.events.allocUnbound(domid(0));
    this.vcpu.events.on(port, () => {});
    return { ring: FrontRing.init(pages.page(0), xen_pvcalls_sring_entry.size), pages, attachment: { ref, port } };
  }
}
