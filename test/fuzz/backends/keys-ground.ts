// Dom0 with the backend of one kind of device, a guest whose driver it serves as ever, and one that writes what it likes: all in
// one thread, over a real xenstored and the real core. Nothing moves but in `step`.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  domid,
  type EvtchnPort,
  pvcalls_data_intf,
  type SharedPages,
  type Vcpu,
  XEN_DOMCTL_destroydomain,
  XenbusState,
  XenError,
  XenstoreClient,
} from '#pvbus';
import type { Backend } from '../../../dom0/backends/backend-device.ts';
import type { BackendContext, BackendThread, BackendWorker } from '../../../dom0/backends/backend-thread.ts';
import { createBlkback } from '../../../dom0/backends/blkback/device.ts';
import { RawFile } from '../../../dom0/backends/blkback/disk-image.ts';
import { BlkbackWorker } from '../../../dom0/backends/blkback/worker.ts';
import { createNetback } from '../../../dom0/backends/netback/device.ts';
import { NetbackWorker } from '../../../dom0/backends/netback/worker.ts';
import { p9Backend } from '../../../dom0/backends/p9/device.ts';
import { P9Worker } from '../../../dom0/backends/p9/worker.ts';
import { pvcallsBackend } from '../../../dom0/backends/pvcalls/device.ts';
import { PvcallsWorker } from '../../../dom0/backends/pvcalls/worker.ts';
import { CoreRig, type Guest } from '../../support/core-rig.ts';
import { ScratchFolder } from '../../support/scratch-folder.ts';
import { type DeviceNodes, PaperToolstack } from '../../support/xenbus-device.ts';
import { type DomainClient, ListLog, rigTransport, XenstoreRig } from '../../support/xenstore-rig.ts';
import { INNOCENTS, type Innocent, type Kind } from './innocents.ts';

const BACKEND_VCPU = 2;
/** Of the guest that writes: what it may offer as rings. */
export const PAGES = 20;
export const PORTS = 4;
/** Its first page says of the rings of 9pfs that they are these. */
const DATA_RING = { order: 1, from: 4 };
const IMAGE_BYTES = 1 << 16;
/** Steps that are more than an answer takes. */
const MANY = 10_000;
/** For what hangs: the host's threads have looked at a folder by then. */
const PATIENCE_MS = 60_000;

/** The guest that writes: its pages, its ports and its connection to xenstored. */
export class Writer {
  readonly guest: Guest;
  readonly client: DomainClient;
  readonly vcpu: Vcpu;
  readonly refs: readonly number[];
  ports: EvtchnPort[] = [];
  readonly #pages: SharedPages;

  constructor(guest: Guest, client: DomainClient) {
    this.guest = guest;
    this.client = client;
    this.vcpu = guest.kernel();
    const { grants } = this.vcpu;
    this.#pages = grants.allocShared(domid(0), PAGES);
    this.refs = Array.from({ length: PAGES }, (_, i) => grants.grantAccess(domid(0), this.#pages.gfn + i));
  }
  /** Rings as of a driver that starts. */
  begin(): void {
    for (let i = 0; i < PAGES; i++) this.#pages.page(i).bytes.fill(0);
    const { view } = this.#pages.page(0);
    view.setUint32(pvcalls_data_intf.at.ring_order, DATA_RING.order, true);
    for (let i = 0; i < 1 << DATA_RING.order; i++)
      view.setUint32(pvcalls_data_intf.size + 4 * i, this.refs[DATA_RING.from + i]!, true);
    this.ports = Array.from({ length: PORTS }, () => this.vcpu.events.allocUnbound(domid(0)));
  }
  scribble(page: number, word: number, value: number): void {
    this.#pages.page(page).words[word] = value;
  }
  notify(port: number): void {
    this.vcpu.events.notify(this.ports[port]!);
  }
  end(): void {
    for (const port of this.ports.splice(0)) this.vcpu.events.close(port);
  }
}

export class Ground {
  readonly kind: Kind;
  readonly devid: number;
  readonly core = new CoreRig({ dom0Pages: 1024 });
  readonly store = new XenstoreRig();
  readonly tools = new PaperToolstack(this.store);
  readonly log = new ListLog();
  readonly backend: Backend;
  readonly innocent: Innocent;
  readonly innocentDomid: number;
  writer: Writer;
  /** What no backend may throw. */
  readonly thrown: unknown[] = [];
  cases = 0;
  readonly #vcpu: Vcpu;
  readonly #worker: BackendWorker;
  readonly #xenstored = rigTransport(this.store, () => this.store.run());
  readonly #folder = new ScratchFolder();
  readonly #listeners: ((event: unknown) => void)[] = [];
  /** Threads of backends that were started. */
  #threads = 0;

  private constructor(kind: Kind) {
    this.kind = kind;
    this.devid = kind === 'vbd' ? 51712 : 0;
    this.#vcpu = this.core.dom0.kernel(BACKEND_VCPU);
    this.#worker = this.#makeWorker({
      ...{ vcpu: this.#vcpu, log: this.log, clock: this.core.clock, wake: () => {} },
      tell: event => {
        for (const listener of this.#listeners) listener(event);
      },
    });
    this.backend = this.#makeBackend();
    writeFileSync(join(this.#folder.path, 'a'), '');
    const guest = this.core.guest({ pages: 2048 });
    this.store.domain(guest.domid);
    this.innocentDomid = guest.domid;
    this.innocent = INNOCENTS[kind]({
      ...{ xs: this.tools.client(), vcpu: guest.kernel(), devid: this.devid },
      blocking: {
        waitUntil: condition => {
          for (let i = 0; !condition(); i++) {
            if (i > MANY) throw new Error('the innocent is not answered');
            this.step();
          }
        },
      },
      until: condition => this.until(condition),
    });
    this.writer = this.#makeWriter();
  }
  /** With the innocent's device connected. */
  static async of(kind: Kind): Promise<Ground> {
    const ground = new Ground(kind);
    await ground.backend.start();
    await ground.plug(ground.innocentDomid);
    let [started, failed] = [false, undefined as unknown];
    ground.innocent.start().then(
      () => {
        started = true;
      },
      error => {
        failed = error;
      },
    );
    await ground.until(() => started || failed !== undefined);
    if (failed !== undefined) throw failed;
    await ground.settled();
    await ground.innocent.serve();
    ground.log.lines.length = 0;
    return ground;
  }
  #makeWriter(): Writer {
    const guest = this.core.guest({ pages: 128 });
    return new Writer(guest, this.store.domain(guest.domid));
  }
  #makeWorker(context: BackendContext): BackendWorker {
    if (this.kind === 'vbd') return new BlkbackWorker(context, ({ fd, sizeBytes }) => new RawFile(fd, sizeBytes));
    if (this.kind === 'vif') return new NetbackWorker(context, { random: () => 0.5 });
    return this.kind === 'pvcalls' ? new PvcallsWorker(context) : new P9Worker(context);
  }
  #makeBackend(): Backend {
    const { log, kind } = this;
    const xs = new XenstoreClient(this.#xenstored, log);
    const thread: Pick<BackendThread, 'call' | 'onEvent'> = {
      call: async message => {
        try {
          return await this.#worker.handle(message);
        } catch (error) {
          if (!(error instanceof XenError)) this.thrown.push(error);
          throw error;
        }
      },
      onEvent: listener => void this.#listeners.push(listener),
    };
    const startThread = (): BackendThread => {
      this.#threads++;
      return thread as BackendThread; // no more of it is used
    };
    if (kind === 'vbd') return createBlkback({ xs, log, thread });
    if (kind === 'vif') return createNetback({ xs, log, thread });
    return kind === 'pvcalls' ? pvcallsBackend({ xs, log, startThread }) : p9Backend({ xs, log, startThread });
  }

  /** What the toolstack writes of a device. */
  async plug(frontend: number): Promise<DeviceNodes> {
    const { kind, tools, devid } = this;
    const image = join(this.#folder.path, `image-${frontend === this.innocentDomid ? 'innocent' : 'writer'}`);
    if (kind === 'vbd') writeFileSync(image, new Uint8Array(IMAGE_BYTES));
    const mac = `00:16:3e:00:00:${frontend === this.innocentDomid ? '01' : '02'}`;
    const keys: Readonly<Record<Kind, Readonly<Record<string, string | number>>>> = {
      vbd: { params: image, mode: 'w', dev: 'xvda' },
      vif: { mac, bridge: 'xenbr0', handle: 0 },
      pvcalls: { listen: '', connect: '', allow: '', resolver: '' },
      '9pfs': { path: this.#folder.path, security_model: 'none', 'read-only': 1 },
    };
    const nodes = await tools.plug(kind, frontend, devid, keys[kind]);
    if (kind === 'vif') await tools.xs.write(`${nodes.frontend}/mac`, mac);
    return nodes;
  }
  step(): void {
    this.#vcpu.events.poll();
    this.#worker.step();
    this.innocent.step();
  }
  async turn(): Promise<void> {
    this.step();
    await new Promise(resolve => setImmediate(resolve));
  }
  async until(condition: () => boolean): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    while (!condition()) {
      await this.turn();
      if (Date.now() > deadline) throw new Error('what is waited for does not happen');
    }
  }
  /** Everything that has been heard of has been acted on. */
  async settled(): Promise<void> {
    let settled = false;
    void this.backend.settled().then(() => {
      settled = true;
    });
    await this.until(() => settled);
  }
  /** The guest that writes ends, and there is another one. */
  replaceWriter(): void {
    const { domid: id } = this.writer.guest;
    this.core.dom0.reset().domctl(XEN_DOMCTL_destroydomain, id);
    this.core.settle();
    this.tools.destroy(id);
    this.writer = this.#makeWriter();
  }
  get innocentServed(): boolean {
    const device = this.backend.find(this.innocentDomid, this.devid);
    return device?.connected === true && device.state === XenbusState.Connected && device.failures === 0;
  }
  /** What must be again as it was when a device has gone. */
  held(): Readonly<Record<string, number>> {
    const { domain } = this.core.dom0;
    return {
      mappings: domain.grants.mappings,
      ports: domain.ports.open,
      devices: this.backend.devices().length,
      watches: this.store.server.watches.count(this.#xenstored.connection),
      files: this.#folder.open,
      threads: this.#threads,
    };
  }
  async remove(): Promise<void> {
    await this.backend.stop();
    this.#folder.remove();
  }
}
