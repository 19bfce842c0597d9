// A wire between two network devices on a virtual clock: frames take a time, and some are lost, doubled or overtaken.
import type { Clock } from '#pvbus';
import type { FrameHandler, NetDevice } from '../../domu-kernel/net-device.ts';

export class VirtualClock implements Clock {
  ns = 1e12;
  now(): number {
    return this.ns;
  }
  wallMs(): number {
    return this.ns / 1e6;
  }
}

export interface WireFaults {
  /** Of a frame, in [0, 1]. */
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  /** How long a frame takes, and by how much one that is overtaken is late. */
  readonly delayNs: number;
  readonly lateNs: number;
}
export const PERFECT: WireFaults = { loss: 0, duplicate: 0, reorder: 0, delayNs: 50e3, lateNs: 0 };

interface Flying {
  readonly atNs: number;
  readonly order: number;
  readonly to: LossyDevice;
  readonly frame: Uint8Array;
  readonly flags: number;
}

export class LossyDevice implements NetDevice {
  readonly name = 'eth0';
  readonly mac: Uint8Array;
  /** Another backend may carry another one. */
  mtu: number;
  readonly checksumOffload: boolean;
  readonly ipv6ChecksumOffload = false;
  readonly gsoTcpv4 = false;
  readonly gsoTcpv6 = false;
  peer: LossyDevice | undefined;
  /** Frames it takes before it is full; given back as they leave. */
  room: number;
  /** Sees every frame that is sent, before anything happens to it. False: it is lost. */
  tap: (frame: Uint8Array) => boolean = () => true;
  sent = 0;
  private readonly wire: LossyWire;
  private handler: FrameHandler = () => {};
  private writers: (() => void)[] = [];
  private readonly page = new Uint8Array(4096);

  constructor(wire: LossyWire, mac: readonly number[], mtu: number, checksumOffload: boolean, room: number) {
    this.wire = wire;
    this.mac = Uint8Array.from(mac);
    this.mtu = mtu;
    this.checksumOffload = checksumOffload;
    this.room = room;
  }
  send(frame: Uint8Array, length: number, flags = 0): boolean {
    if (this.room === 0 || this.peer === undefined) return false;
    if (length > this.mtu + 14) return true; // and lost, as by netfront
    this.room--;
    this.sent++;
    const copy = frame.slice(0, length);
    if (this.tap(copy)) this.wire.carry(this, this.peer, copy, flags);
    else this.left();
    return true;
  }
  txBuffer(): Uint8Array {
    return this.page;
  }
  txCommit(length: number, flags?: number): void {
    this.send(this.page, length, flags);
  }
  onFrame(handler: FrameHandler): void {
    this.handler = handler;
  }
  whenWritable(ready: () => void): void {
    if (this.room > 0) ready();
    else this.writers.push(ready);
  }
  left(): void {
    this.room++;
    for (const ready of this.writers.splice(0)) ready();
  }
  arrive(frame: Uint8Array, flags: number): void {
    this.handler(frame, 0, frame.length, flags);
  }
}

export class LossyWire {
  readonly clock: VirtualClock;
  readonly a: LossyDevice;
  readonly b: LossyDevice;
  readonly stats = { lost: 0, doubled: 0, late: 0, carried: 0 };
  faults: WireFaults;
  private readonly random: () => number;
  private readonly heap: Flying[] = [];
  private nextOrder = 0;

  constructor(
    random: () => number,
    faults: WireFaults = PERFECT,
    { mtu = 1500, offload = false, room = 256, clock = new VirtualClock() } = {},
  ) {
    this.random = random;
    this.faults = faults;
    this.clock = clock;
    this.a = new LossyDevice(this, [0, 0x16, 0x3e, 0, 0, 1], mtu, offload, room);
    this.b = new LossyDevice(this, [0, 0x16, 0x3e, 0, 0, 2], mtu, offload, room);
    this.a.peer = this.b;
    this.b.peer = this.a;
  }

  carry(from: LossyDevice, to: LossyDevice, frame: Uint8Array, flags: number): void {
    const { faults, random, stats } = this;
    const copies = random() < faults.duplicate ? 2 : 1;
    if (copies === 2) stats.doubled++;
    for (let i = 0; i < copies; i++) {
      if (random() < faults.loss) {
        stats.lost++;
        continue;
      }
      const late = random() < faults.reorder;
      if (late) stats.late++;
      stats.carried++;
      const atNs = this.clock.ns + faults.delayNs + (late ? faults.lateNs * (0.2 + random()) : 0);
      this.push({ atNs, order: this.nextOrder++, to, frame, flags });
    }
    from.left();
  }

  /** When the next frame arrives. */
  get deadline(): number | undefined {
    return this.heap[0]?.atNs;
  }
  /** Hand over what has arrived by now. */
  step(): 'progress' | 'idle' {
    let progress = false;
    for (let first = this.heap[0]; first !== undefined && first.atNs <= this.clock.ns; first = this.heap[0]) {
      this.pop();
      first.to.arrive(first.frame, first.flags);
      progress = true;
    }
    return progress ? 'progress' : 'idle';
  }

  private push(flying: Flying): void {
    const { heap } = this;
    let at = heap.push(flying) - 1;
    for (let parent = (at - 1) >> 1; at > 0 && isEarlier(heap[at]!, heap[parent]!); parent = (at - 1) >> 1) {
      [heap[at], heap[parent]] = [heap[parent]!, heap[at]!];
      at = parent;
    }
  }
  private pop(): void {
    const { heap } = this;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    heap[0] = last;
    for (let at = 0; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && isEarlier(heap[child]!, heap[least]!)) least = child;
      }
      if (least === at) return;
      [heap[at], heap[least]] = [heap[least]!, heap[at]!];
      at = least;
    }
  }
}

const isEarlier = (a: Flying, b: Flying): boolean => a.atNs < b.atNs || (a.atNs === b.atNs && a.order < b.order);
