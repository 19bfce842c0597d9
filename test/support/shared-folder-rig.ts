// A folder of this machine's, a backend that shares it and a guest's client, in one thread.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { domid, type Injected, type Planted, type Vcpu, XenError } from '#pvbus';
import { type P9Event, P9Worker } from '../../dom0/backends/p9/worker.ts';
import { P9Client } from '../../domu-kernel/drivers/p9front/client.ts';
import { P9FileSystem } from '../../domu-kernel/fs/p9-file-system.ts';
import { CoreRig, LineLog } from './core-rig.ts';

const ORDER = 4;
const DEVICE = '/local/domain/0/backend/9pfs/1/0';
const LABEL = '9pfs 0 of dom1';
/** Turns without an answer that are the backend's silence. */
const PATIENCE = 100;

export class SharedFolderRig {
  readonly folder: string;
  /** Protocol errors that either end found. */
  readonly broken: XenError[] = [];
  readonly guest: Vcpu;
  readonly dom0: Vcpu;
  readonly client: P9Client;
  readonly core = new CoreRig();
  readonly worker: P9Worker;
  /** What faults have done. */
  readonly injected: Injected[] = [];
  /** The guest's number of its channel. */
  port = 0;
  /** What the backend makes of the connections that come. */
  readOnly = false;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'xenolith-shared-'));
    this.guest = this.core.guest({ pages: 1024 }).kernel();
    this.dom0 = this.core.dom0.kernel(4);
    const { dom0: vcpu } = this;
    const tell = (event: unknown): void => this.#hear(event as P9Event);
    this.worker = new P9Worker({ vcpu, log: new LineLog(), clock: this.core.clock, tell, wake: () => {} });
    const blocking = { waitUntil: (condition: () => boolean) => this.#turnUntil(condition) };
    this.client = new P9Client('9pfs 0', blocking, error => this.broken.push(error));
    this.connect();
  }
  connect(): void {
    const { ref, port } = this.client.makeRing(this.guest, domid(0), ORDER);
    this.port = port;
    this.worker.handle({
      op: 'connect',
      device: DEVICE,
      label: LABEL,
      frontend: this.guest.domid,
      path: this.folder,
      readOnly: this.readOnly,
      rings: [{ ref, evtchn: port }],
    });
    this.client.connected();
  }
  plant(planted: readonly Planted[]): void {
    this.worker.handle({ op: 'faults', device: DEVICE, label: LABEL, planted });
  }
  #hear(event: P9Event): void {
    if (event.event === 'injected') this.injected.push(event.injected);
    else this.broken.push(new XenError(event.code, event.message));
  }
  /** As a backend's process that dies. */
  disconnect(): void {
    this.client.disconnect();
    this.#letGo();
  }
  #letGo(): void {
    this.worker.handle({ op: 'disconnect', device: DEVICE });
  }
  mount(): P9FileSystem {
    return new P9FileSystem(this.client, 'shared');
  }
  #turnUntil(condition: () => boolean): void {
    for (let silent = 0; !condition(); silent++) {
      if (silent === PATIENCE) throw new Error('nobody answers');
      this.turn();
    }
  }
  turn(): void {
    this.dom0.events.poll();
    this.worker.step();
    this.guest.events.poll();
  }
  end(): void {
    this.client.end(new XenError('ENODEV', 'the end'));
    this.#letGo();
    rmSync(this.folder, { recursive: true });
  }
}
