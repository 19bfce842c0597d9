// Guests with blkfront whose disks an NBD server has, and the worker between them, in one thread.
import { NbdWorker } from '../../dom0/backends/nbd/worker.ts';
import { parseNbdTarget } from '../../pvbus/nbd-target.ts';
import { BlkRig, type ConnectOptions, type ImageFile, type RingEnd } from './blk-rig.ts';
import type { PlayNbdServer } from './play-nbd-server.ts';

export class NbdRig extends BlkRig {
  readonly nbd: NbdWorker;
  readonly server: PlayNbdServer;
  readonly pick: (below: number) => number;
  opened: Promise<unknown> | undefined;
  /** The worker wants a step. */
  woken = false;

  constructor(server: PlayNbdServer, pick: (below: number) => number) {
    super();
    this.server = server;
    this.pick = pick;
    const { vcpu, log, core } = this;
    this.nbd = new NbdWorker(
      {
        ...{ vcpu, log, clock: core.clock, tell: event => this.failures.push(event as never) },
        wake: () => {
          this.woken = true;
        },
      },
      server.connect,
    );
  }

  /** Begin to open the disk of `key`; it is open when `opened` resolves. */
  open(key: string, target = 'nbd:unix:/play', openMs = 1000): void {
    this.opened = this.nbd.handle({
      op: 'open',
      key,
      label: key,
      target: parseNbdTarget(target),
      openMs,
    }) as Promise<unknown>;
    this.opened.catch(() => {});
  }
  /** The disk's server has said what it is. */
  async settled(): Promise<void> {
    let opened = false;
    const done = (): void => {
      opened = true;
    };
    this.opened?.then(done, done);
    while (!opened) {
      this.step();
      await Promise.resolve(); // the worker goes on in promises
    }
    await this.opened;
  }
  override connect(ring: RingEnd, image: Pick<ImageFile, 'sizeBytes'>, options: ConnectOptions = {}): string {
    const connection = {
      ...{ key: `dom${ring.domid}`, label: `vbd 51712 of dom${ring.domid}`, frontendDomid: ring.domid },
      ...{ rings: ring.rings, persistent: true, fd: -1 },
      ...{ sizeBytes: image.sizeBytes, readOnly: false, discard: true, ...options },
    };
    this.nbd.handle({ op: 'connect', connection });
    return connection.key;
  }
  override disconnect(key: string): Promise<void> | undefined {
    return this.nbd.handle({ op: 'disconnect', key }) as Promise<void> | undefined;
  }
  override stats(key: string) {
    return (this.nbd.handle({ op: 'stats' }) as Record<string, never>)[key];
  }

  override step(): 'progress' | 'idle' {
    const polled = this.vcpu.events.poll();
    const served = this.server.step(this.pick) === 'progress';
    const turned = this.nbd.step() === 'progress';
    return polled || served || turned ? 'progress' : 'idle';
  }
}
