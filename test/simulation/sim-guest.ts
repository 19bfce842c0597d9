// One guest: the real drivers on a vCPU of its own, and programs that check all they get.
import {
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  type EvtchnPort,
  FrameAllocator,
  sring,
  type Vcpu,
  XenstoreClient,
} from '#pvbus';
import { Blkfront } from '../../domu-kernel/drivers/blkfront/device.ts';
import type { Disk } from '../../domu-kernel/drivers/blkfront/disk.ts';
import type { BlkfrontWorker } from '../../domu-kernel/drivers/blkfront/worker.ts';
import { Netfront, type Vif } from '../../domu-kernel/drivers/netfront/device.ts';
import { LOOK_NS } from '../../domu-kernel/drivers/patience.ts';
import type { Guest } from '../support/core-rig.ts';
import type { BlockModel, FlushPromise } from './block-model.ts';
import type { Sometimes } from './coverage.ts';
import { EVERYBODY, MAX_PACKET } from './packet-ledger.ts';
import type { Part } from './part.ts';
import { SECTOR } from './sim-disk.ts';
import type { SimHost } from './sim-host.ts';
import { SimProcess } from './sim-process.ts';
import { SteppedRing } from './stepped-ring.ts';
import { Violation } from './violation.ts';

export const GUEST_PAGES = 640;
const SHAPE = { small: 8, large: 2, largePages: 4 };
/** Where its xenstore page is. */
export const STORE_GFN = 0;
export const COUNTER = '/sim/counter';
/** Twice as much, since whoever changes the one changes the other in the same transaction. */
export const TWICE = '/sim/twice';
const MAX_STORE_OPS = 3;

const ANSWERED: Readonly<Record<number, Sometimes>> = {
  [BLKIF_OP_READ]: 'read answered',
  [BLKIF_OP_WRITE]: 'write answered',
  [BLKIF_OP_FLUSH_DISKCACHE]: 'flush answered',
};
export type RingIndex = 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event';

interface BlockOp {
  readonly operation: number;
  readonly sector: number;
  readonly count: number;
  readonly version: number;
  readonly promise: FlushPromise | undefined;
}

export class SimGuest implements Part {
  readonly name: string;
  readonly slot: number;
  readonly guest: Guest;
  readonly process: SimProcess;
  /** It has broken a protocol on purpose: what becomes of it is not judged. */
  hostile = false;
  /** The device it attacked. */
  attacked: 'vbd' | 'vif' | undefined;
  /** A map of its backend's was made to fail: it may have lost a device. */
  excused = false;
  readonly xs: XenstoreClient;
  readonly blkfront: Blkfront;
  readonly netfront: Netfront;
  /** What it has last read of the counter, because the counter had changed. */
  counterSeen = -1;
  storeOps = 0;
  /** Increments that are asked for and not answered. */
  increments = 0;
  readonly #host: SimHost;
  readonly #model: BlockModel;
  readonly #vcpu: Vcpu;
  readonly #ring: SteppedRing;
  readonly #drivers: readonly [Blkfront, Netfront];
  readonly #inFlight = new Map<number, BlockOp>();
  readonly #packet = new Uint8Array(MAX_PACKET);
  #looked: number;
  #progress = true;
  #reading = false;
  #listening = false;
  /** The process of dom0 that it has asked to be woken by, having nothing to do. */
  #diskSleeps: SimProcess | undefined;
  /** The ports of which events came in this step. */
  readonly #rang = new Set<number>();
  #ownSeq = 0;

  constructor(host: SimHost, slot: number, guest: Guest, storePort: EvtchnPort) {
    this.#host = host;
    this.slot = slot;
    this.name = `g${slot}`;
    this.guest = guest;
    this.#model = host.models[slot]!;
    this.process = new SimProcess(host.core, this.name);
    const vcpu = this.process.thread(guest, 0);
    this.#vcpu = vcpu;
    this.process.onTrapped = (...call) => host.guestTrapped(this, ...call);
    vcpu.frames = new FrameAllocator(STORE_GFN + 1, GUEST_PAGES);
    // A backend that was not notified is asked again only after a minute (drivers/patience.ts).
    host.events.install(this.process, vcpu, () => true);
    const on = vcpu.events.on.bind(vcpu.events);
    vcpu.events.on = (port, heard) => {
      on(port, () => {
        this.#rang.add(port);
        heard();
      });
    };
    const log = host.logOf(this.name, this.process);
    const { clock } = host;
    this.#looked = clock.now();
    this.#ring = new SteppedRing(vcpu.memory.page(STORE_GFN), () => vcpu.events.notify(storePort));
    vcpu.events.on(storePort, () => {}); // only to be woken
    this.xs = new XenstoreClient(this.#ring, log);
    const blocking = {
      waitUntil: () => {
        throw new Error('nothing here waits');
      },
    };
    this.blkfront = new Blkfront({ xs: this.xs, vcpu, log, clock, blocking, shape: SHAPE });
    this.netfront = new Netfront({ xs: this.xs, vcpu, log, clock });
    this.#drivers = [this.blkfront, this.netfront];
    const start = async (): Promise<void> => {
      await this.xs.watch(COUNTER, 'counter', () => void this.#readCounter());
      await Promise.all([this.blkfront.start(), this.netfront.start()]);
    };
    start().catch(error => this.#failed(error));
  }
  get domid(): number {
    return this.guest.domid;
  }
  get disk(): Disk | undefined {
    return this.blkfront.disks()[0];
  }
  get vif(): Vif | undefined {
    return this.netfront.interfaces()[0];
  }

  ready(): boolean {
    if (!this.process.alive) return false;
    const vcpu = this.#vcpu;
    if (this.#progress || this.#ring.wanted || vcpu.events.pending() || vcpu.wakeWords.changed()) return true;
    return this.deadline() <= this.#host.clock.now();
  }
  /** As the kernel has it: the frontends' own, and once a second while it waits for somebody. */
  deadline(): number {
    if (!this.process.alive) return Number.POSITIVE_INFINITY;
    let first = Number.POSITIVE_INFINITY;
    let waits = this.xs.outstanding > 0;
    for (const { frontend } of this.#drivers) {
      const deadline = frontend.deadline();
      if (deadline !== undefined && deadline < first) first = deadline;
      if (frontend.waits()) waits = true;
    }
    return waits ? Math.min(first, this.#looked + LOOK_NS) : first;
  }
  step(): boolean {
    if (!this.process.alive) return false;
    const now = this.#host.clock.now();
    this.#rang.clear();
    let progress = this.#vcpu.events.poll();
    if (this.deadline() <= now) {
      this.#looked = now;
      // order: what is answered is taken; what is notified because of this look is not yet.
      if (this.#stepDisk()) progress = true;
      if ((this.disk?.worker.inFlight ?? 0) > 0 && this.#host.dom0.sleepsOver(this.domid)) this.#missed('requests');
      for (const { frontend } of this.#drivers) frontend.tick(now);
    }
    if (this.#ring.step()) {
      progress = true;
      this.#host.promised = true;
    }
    if (this.#stepDisk()) progress = true;
    if (this.netfront.step() === 'progress') progress = true;
    this.#listen();
    this.#progress = progress;
    return progress;
  }
  #stepDisk(): boolean {
    const answers = (): number => this.disk?.worker.stats.responses ?? 0;
    const before = answers();
    const progress = this.blkfront.step() === 'progress';
    const { process } = this.#host.dom0;
    const lives = process.alive && process === this.#diskSleeps;
    if (lives && answers() !== before && !this.#rang.has(this.#diskPort)) this.#missed('answers');
    this.#diskSleeps = progress ? undefined : process;
    if ((this.disk?.worker.failed ?? 0) !== 0) this.#failed(new Error('its disk was given up'));
    return progress;
  }
  get #diskPort(): number {
    return Number(this.#host.valueOf(`/local/domain/${this.domid}/device/vbd/51712/event-channel`));
  }
  /** What was there was only found because somebody looked, although no notification was lost. */
  #missed(what: string): void {
    if (this.hostile || this.excused || this.#host.eventsFaulty) return;
    this.#host.fail(new Violation('wake-up', `nobody was woken for ${what} of ${this.name}'s disk`));
  }
  #listen(): void {
    if (this.#listening) return;
    const { vif } = this;
    if (vif === undefined) return;
    this.#listening = true;
    vif.onFrame((bytes, offset, length) => {
      this.#judge(() => {
        this.#host.note('packet', this.slot, this.#host.ledger.receive(this.slot, bytes, offset, length));
      });
    });
  }
  #judge(what: () => void): void {
    try {
      what();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      if (!this.hostile) this.#host.fail(error);
    }
  }
  #failed(error: unknown): void {
    if (!this.process.alive || this.hostile || this.excused) return;
    const what = error instanceof Error ? error.message : String(error);
    this.#host.fail(new Violation('innocent', `${this.name} (dom${this.domid}): ${what}`));
  }

  // ---- its disk ----

  /** A program writes `count` sectors. False when there is no room, or no disk. */
  write(sector: number, count: number): boolean {
    return this.#submit(BLKIF_OP_WRITE, sector, count);
  }
  read(sector: number, count: number): boolean {
    return this.#submit(BLKIF_OP_READ, sector, count);
  }
  flush(): boolean {
    return this.#submit(BLKIF_OP_FLUSH_DISKCACHE, 0, 0);
  }
  #submit(operation: number, sector: number, wanted: number): boolean {
    const worker = this.disk?.worker;
    if (!worker || !this.process.alive || this.hostile || worker.failed !== 0) return false;
    if (wanted > 0 && this.#overlaps(operation, sector, wanted)) return false;
    const slot = worker.acquire(wanted * SECTOR);
    if (slot < 0) return false;
    const count = Math.min(wanted, worker.capacity(slot) / SECTOR);
    const model = this.#model;
    const version = operation === BLKIF_OP_WRITE ? model.write(sector, count, worker.buffer(slot)) : 0;
    const promise = operation === BLKIF_OP_FLUSH_DISKCACHE ? model.flush() : undefined;
    this.#inFlight.set(slot, { operation, sector, count, version, promise });
    worker.queue(slot, operation, sector, count * SECTOR, {
      settled: (which, status) => this.#judge(() => this.#settled(worker, which, status)),
    });
    worker.push();
    return true;
  }
  /** Reads and writes of a sector have no order among them; writes have. */
  #overlaps(operation: number, sector: number, count: number): boolean {
    for (const op of this.#inFlight.values()) {
      if (op.operation === BLKIF_OP_FLUSH_DISKCACHE || op.operation === operation) continue;
      if (op.sector < sector + count && sector < op.sector + op.count) return true;
    }
    return false;
  }
  #settled(worker: BlkfrontWorker, slot: number, status: number): void {
    const op = this.#inFlight.get(slot);
    if (!op) throw new Violation('I3', `${this.name}: the request in slot ${slot} was answered before`);
    this.#inFlight.delete(slot);
    const host = this.#host;
    const ok = status === 0;
    const { operation, sector, count, version, promise } = op;
    // After a flush that failed no other one may promise anything.
    const expected = promise !== undefined && host.disks[this.slot]!.flushFailed;
    if (!ok && !expected) host.diskErrorSeen(this);
    if (ok) host.saw(ANSWERED[operation]!);
    let seen = 0;
    if (operation === BLKIF_OP_WRITE) this.#model.written(sector, count, version, ok);
    else if (promise !== undefined) {
      if (ok) this.#model.flushed(promise);
    } else if (ok) seen = this.#model.read(sector, count, worker.buffer(slot).subarray(0, count * SECTOR));
    host.note('block', (this.slot << 8) | operation, seen + version + status);
    worker.release(slot);
  }

  // ---- its network ----

  send(to: number, length: number): boolean {
    const { vif } = this;
    if (!vif || !this.process.alive || this.hostile || vif.txBuffer() === undefined) return false;
    this.#host.ledger.send(this.slot, to === this.slot ? EVERYBODY : to, length, this.#packet);
    return vif.send(this.#packet, length);
  }

  // ---- its part of xenstore ----

  /** A program counts up what all guests count up, or writes what is its own. */
  store(which: number): boolean {
    if (!this.process.alive || this.hostile || this.storeOps >= MAX_STORE_OPS) return false;
    this.storeOps++;
    this.#host.promised = true;
    const work = which === 0 ? this.#increment() : this.#writeOwn();
    work
      .catch(error => this.#failed(error))
      .finally(() => {
        this.storeOps--;
      });
    return true;
  }
  async #increment(): Promise<void> {
    const { xs } = this;
    this.increments++;
    await xs.transaction(async tx => {
      const value = Number(await xs.read(COUNTER, tx));
      await xs.write(COUNTER, String(value + 1), tx);
      await xs.write(TWICE, String(2 * (value + 1)), tx);
    });
    this.increments--;
    this.#host.counted();
  }
  async #writeOwn(): Promise<void> {
    const { xs } = this;
    const seq = ++this.#ownSeq;
    const path = `/local/domain/${this.domid}/data/k${seq % 4}`;
    await xs.write(path, String(seq));
    const read = Number(await xs.read(path));
    if (read < seq) throw new Violation('I7', `${this.name} wrote ${seq} to ${path} and reads ${read}`);
    this.#host.note('store', this.slot, read);
  }
  async #readCounter(): Promise<void> {
    if (this.#reading) {
      this.#readAgain = true;
      return;
    }
    this.#reading = true;
    try {
      do {
        this.#readAgain = false;
        this.counterSeen = Number(await this.xs.read(COUNTER));
      } while (this.#readAgain);
    } catch (error) {
      this.#failed(error);
    }
    this.#reading = false;
  }
  #readAgain = false;

  // ---- its end ----

  /** Write nonsense to an index of a ring of its own, and notify. */
  attack(ring: 'blk' | 'net', index: RingIndex, distance: number): boolean {
    const path = ring === 'blk' ? 'vbd/51712/ring-ref' : 'vif/0/tx-ring-ref';
    const ref = this.#host.valueOf(`/local/domain/${this.domid}/device/${path}`);
    if (ref === undefined || !this.process.alive) return false;
    const frame = this.guest.view.getUint32(this.guest.entryAt(Number(ref)) + 4, true);
    const { words } = this.#vcpu.memory.page(frame);
    this.hostile = true;
    this.attacked = ring === 'blk' ? 'vbd' : 'vif';
    Atomics.add(words, sring.at[index] / 4, distance);
    return true;
  }
  kill(): void {
    if (!this.process.alive) return;
    this.process.kill();
    this.#model.writerGone();
    this.#seeReplays();
    this.#host.lostIncrements(this.increments);
    this.#host.core.hypervisor.domainExited(this.domid, { signal: 'SIGKILL' });
  }

  #seeReplays(): void {
    if ((this.disk?.worker.stats.replayed ?? 0) > 0) this.#host.saw('requests replayed');
  }

  // ---- judging ----

  /** Nothing that was asked for is still to come. */
  get settled(): boolean {
    return this.#inFlight.size === 0 && this.storeOps === 0 && !this.#reading;
  }
  get waiting(): string {
    const ops = [...this.#inFlight.values()].map(op => `${op.operation} of ${op.count} at ${op.sector}`);
    return `${ops.length} requests (${ops.join(', ')}), ${this.storeOps} store operations`;
  }
}
