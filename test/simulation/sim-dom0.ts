// dom0's process: its main thread, which negotiates, and the threads of blkback and netback. It may be killed at any
// system call; the next one closes what it inherits for its backends, and every device negotiates anew.
import { domid, type EvtchnPort, inherited, requestReconnect, type Vcpu, XenbusState, XenstoreClient } from '#pvbus';
import type { Backend } from '../../dom0/backends/backend-device.ts';
import type { BackendThread, BackendWorker } from '../../dom0/backends/backend-thread.ts';
import { createBlkback } from '../../dom0/backends/blkback/device.ts';
import { BlkbackWorker } from '../../dom0/backends/blkback/worker.ts';
import { createNetback } from '../../dom0/backends/netback/device.ts';
import { NetbackWorker } from '../../dom0/backends/netback/worker.ts';
import { LossyBridge } from './lossy-bridge.ts';
import type { Part } from './part.ts';
import { diskFiles } from './sim-disk.ts';
import type { SimHost } from './sim-host.ts';
import { Killed, SimProcess } from './sim-process.ts';
import { SteppedRing } from './stepped-ring.ts';

const MAIN_VCPU = 0;
const BLKBACK_VCPU = 2;
const NETBACK_VCPU = 3;

/** One vCPU of a process, and what it does in a turn. */
class Thread implements Part {
  readonly name: string;
  readonly vcpu: Vcpu;
  progress = true;
  readonly #process: SimProcess;
  readonly #turn: () => boolean;
  readonly #wanted: () => boolean;
  readonly #deadline: () => number;

  constructor(
    name: string,
    process: SimProcess,
    vcpu: Vcpu,
    turn: () => boolean,
    wanted: () => boolean,
    deadline: () => number = () => Number.POSITIVE_INFINITY,
  ) {
    this.name = name;
    this.vcpu = vcpu;
    this.#process = process;
    this.#turn = turn;
    this.#wanted = wanted;
    this.#deadline = deadline;
  }
  ready(): boolean {
    if (this.progress || this.vcpu.events.pending() || this.vcpu.wakeWords.changed()) return true;
    return this.#wanted();
  }
  deadline(): number {
    return this.#deadline();
  }
  step(): boolean {
    try {
      const polled = this.vcpu.events.poll();
      this.progress = this.#turn() || polled;
      return this.progress;
    } catch (error) {
      if (!(error instanceof Killed) && this.#process.alive) throw error;
      return true;
    }
  }
}

/** A backend's thread as the main thread sees it: messages there, answers back, both in the turns of who reads them. */
class Link implements Pick<BackendThread, 'call' | 'onEvent'> {
  readonly inbox: (() => void)[] = [];
  readonly outbox: (() => void)[] = [];
  readonly listeners: ((event: unknown) => void)[] = [];
  worker!: BackendWorker;

  call(message: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.inbox.push(() => {
        try {
          const answer = this.worker.handle(message);
          this.outbox.push(() => resolve(answer));
        } catch (error) {
          if (error instanceof Killed) throw error;
          this.outbox.push(() => reject(error));
        }
      });
    });
  }
  onEvent(listener: (event: unknown) => void): void {
    this.listeners.push(listener);
  }
  readonly tell = (event: unknown): void => {
    this.outbox.push(() => {
      for (const listener of this.listeners) listener(event);
    });
  };
  turn(): boolean {
    const message = this.inbox.shift();
    message?.();
    return this.worker.step() === 'progress' || message !== undefined;
  }
}

/** Stands for one of dom0's threads, whichever process it is of. */
class Seat implements Part {
  readonly name: string;
  readonly #dom0: SimDom0;
  readonly #thread: () => Thread;

  constructor(name: string, dom0: SimDom0, thread: () => Thread) {
    this.name = name;
    this.#dom0 = dom0;
    this.#thread = thread;
  }
  ready(): boolean {
    return this.#dom0.process.alive && this.#thread().ready();
  }
  step(): boolean {
    return this.#thread().step();
  }
  deadline(): number {
    return this.#dom0.process.alive ? this.#thread().deadline() : Number.POSITIVE_INFINITY;
  }
}

export class SimDom0 implements Part {
  readonly name = 'dom0';
  readonly parts: readonly Part[];
  process!: SimProcess;
  /** The devices that were there when it began are known. */
  started = false;
  readonly #host: SimHost;
  #main!: Thread;
  #blk!: Thread;
  #net!: Thread;
  #vbds!: Backend;
  #vifs!: Backend;
  #storePort: EvtchnPort | undefined;
  #storeFrame = 0;
  #restartAt = 0;

  constructor(host: SimHost) {
    this.#host = host;
    this.#start();
    this.parts = [this, new Seat('blkback', this, () => this.#blk), new Seat('netback', this, () => this.#net)];
  }
  /** What xenstored is to be told. */
  get store(): { readonly frame: number; readonly port: EvtchnPort } {
    return { frame: this.#storeFrame, port: this.#storePort! };
  }

  #start(): void {
    const host = this.#host;
    const { core, events, clock, mutations } = host;
    const first = this.#storePort === undefined;
    const process = new SimProcess(core, this.name);
    this.process = process;
    process.onDeath = inCall => this.#died(inCall);
    process.onTrap = (...call) => host.mapFault(process, ...call);
    this.started = false;
    const vcpuOf = (id: number): Vcpu => {
      if (!first) core.replaceThread(core.dom0.domain.vcpus[id]!);
      const vcpu = process.thread(core.dom0, id);
      if (!first) this.#closeInherited(vcpu);
      // A guest that waits for no answer, only for packets, does not look for itself.
      events.install(process, vcpu, port => port === this.#storePort || id === NETBACK_VCPU);
      return vcpu;
    };
    const log = host.logOf('dom0', process);
    const main = vcpuOf(MAIN_VCPU);
    const blk = new Link();
    const net = new Link();
    const context = (vcpu: Vcpu, link: Link) => ({ vcpu, log, clock, tell: link.tell, wake: () => {} });
    const blkVcpu = vcpuOf(BLKBACK_VCPU);
    blk.worker = new BlkbackWorker(context(blkVcpu, blk), ({ fd }) => {
      const image = host.disks[fd]!.image(process, sectors => host.draw.below(sectors + 1));
      return mutations.image?.(image, process) ?? image;
    });
    const netVcpu = vcpuOf(NETBACK_VCPU);
    const random = (): number => host.draw.u32() / 2 ** 32;
    net.worker = new NetbackWorker(context(netVcpu, net), {
      random,
      newBridge: (name, mtu, draw) =>
        mutations.bridge?.(name, mtu, draw, host.wire) ?? new LossyBridge(name, mtu, draw, host.wire),
    });
    const ring = this.#storeRing(main, first);
    const xs = new XenstoreClient(ring, log);
    this.#vbds = createBlkback({ xs, log, thread: blk, files: diskFiles(process, host.disks) });
    this.#vifs = createNetback({ xs, log, thread: net });
    const links = [blk, net];
    const hear = (): boolean => {
      const answers = links.flatMap(link => link.outbox.splice(0));
      for (const answer of answers) answer();
      return answers.length > 0;
    };
    this.#main = new Thread(
      'dom0',
      process,
      main,
      () => {
        const heard = hear();
        const moved = ring.step();
        if (heard || moved) host.promised = true;
        return heard || moved;
      },
      () => ring.wanted || links.some(link => link.outbox.length > 0),
    );
    const deadlineOf = (link: Link) => () => link.worker.deadline?.() ?? Number.POSITIVE_INFINITY;
    const wanted = (link: Link) => () => link.inbox.length > 0 || deadlineOf(link)() <= clock.now();
    this.#blk = new Thread('blkback', process, blkVcpu, () => blk.turn(), wanted(blk), deadlineOf(blk));
    this.#net = new Thread('netback', process, netVcpu, () => net.turn(), wanted(net), deadlineOf(net));
    const ready = Promise.all([this.#vbds.start(), this.#vifs.start()]);
    void ready.then(() => {
      if (process.alive) this.started = true;
    });
  }
  /** What the one before had mapped and bound, for devices that negotiate anew. */
  #closeInherited(vcpu: Vcpu): void {
    const { ports, mappings } = inherited(vcpu);
    for (const { port } of ports) if (port !== this.#storePort) vcpu.events.close(port);
    vcpu.grants.unmap(mappings.map(mapping => vcpu.grants.adopt(mapping)));
  }
  #storeRing(vcpu: Vcpu, first: boolean): SteppedRing {
    this.#storeFrame = vcpu.frames.alloc(1);
    const page = vcpu.memory.page(this.#storeFrame);
    if (first) page.bytes.fill(0);
    this.#storePort ??= vcpu.events.allocUnbound(domid(0));
    const port = this.#storePort;
    const notify = (): void => vcpu.events.notify(port);
    vcpu.events.on(port, () => {}); // only to be woken: step looks at the ring itself
    if (!first) requestReconnect(page, notify);
    return new SteppedRing(page, notify);
  }
  #died(inCall: boolean): void {
    this.#host.saw('dom0 died');
    if (inCall) this.#host.saw('dom0 died in a system call');
    this.started = false;
    this.#restartAt = this.#host.clock.now() + this.#host.absenceNs();
  }

  ready(): boolean {
    return this.process.alive ? this.#main.ready() : this.#host.clock.now() >= this.#restartAt;
  }
  deadline(): number {
    return this.process.alive ? Number.POSITIVE_INFINITY : this.#restartAt;
  }
  step(): boolean {
    if (this.process.alive) return this.#main.step();
    try {
      this.#start();
      this.#host.saw('dom0 came back');
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
    }
    return true;
  }

  // ---- judging ----

  #devicesOf(id: number) {
    return [...this.#vbds.devices(), ...this.#vifs.devices()].filter(device => device.frontendDomid === id);
  }
  /** Nothing of that domain is served, and nothing will be. */
  hasLeft(id: number): boolean {
    return this.started && this.#devicesOf(id).every(device => device.state === XenbusState.Closed);
  }
  /** It knows no device of that domain. */
  hasForgotten(id: number): boolean {
    return this.started && this.#devicesOf(id).length === 0;
  }
  /** For a reader. */
  tellOf(id: number): string {
    return this.#devicesOf(id)
      .map(device => `${device.label} is in state ${device.state}`)
      .join(', ');
  }
  /** A disk of that domain is served, and its backend sleeps until it is notified. */
  sleepsOver(id: number): boolean {
    if (!this.started || !this.process.alive || !this.connected(id, 'vbd')) return false;
    return !this.#main.ready() && !this.#blk.ready() && this.#blk.deadline() === Number.POSITIVE_INFINITY;
  }
  connected(id: number, type: 'vbd' | 'vif'): boolean {
    return this.#devicesOf(id).some(device => device.type === type && device.connected);
  }
}
