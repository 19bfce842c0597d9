// The hot path of one interface: its queues, and which of them a frame goes by.
import { type FrameBytes, flowHash, type VcpuTrace } from '#pvbus';
import type { FrameHandler } from '../../net-device.ts';
import { NetQueue, type QueueLink } from './queue.ts';
import { NetfrontStats } from './stats.ts';
import type { TxOffer } from './transmit.ts';

export class NetfrontWorker {
  readonly stats = new NetfrontStats();
  /** Those of this connection, at least one. */
  private queues: readonly NetQueue[];
  /** Who found no room last. */
  private full: NetQueue;
  private readonly broken: (what: string) => void;
  private handler: FrameHandler = () => {};
  private readonly frame = new OwnFrame();

  /** `onBroken`: what to do about a backend that broke the protocol. */
  constructor(onBroken: (what: string) => void) {
    this.broken = what => {
      for (const queue of this.queues) queue.giveUp();
      onBroken(what);
    };
    this.full = this.make();
    this.queues = [this.full];
  }
  private make(): NetQueue {
    const queue = new NetQueue(this.stats, this.broken);
    queue.onFrame(this.handler);
    return queue;
  }

  /** New rings, with every rx page posted. Nothing is sent before `resume`. `trace`: who hears of what is handed over. */
  attach(links: readonly QueueLink[], trace?: VcpuTrace): void {
    const before = this.queues;
    this.queues = links.map((_, i) => before[i] ?? this.make());
    for (const [i, link] of links.entries()) this.queues[i]!.attach(link, trace);
    this.full = this.first;
    for (const queue of before.slice(links.length)) {
      queue.detach();
      // Who waits there goes on waiting where there is a ring.
      for (const ready of queue.tx.takeWaiting()) this.full.tx.whenWritable(ready);
    }
  }
  private get first(): NetQueue {
    return this.queues[0]!;
  }
  /** The backend serves the rings. */
  resume(offer: TxOffer): void {
    for (const queue of this.queues) queue.tx.resume(offer);
  }
  /** Notify a backend that did not ask for it. */
  remind(): void {
    for (const queue of this.queues) queue.remind();
  }
  /** Send nothing more. What has come in may still be taken. */
  suspend(): void {
    for (const queue of this.queues) queue.tx.suspend();
  }
  detach(): void {
    for (const queue of this.queues) queue.detach();
  }

  // ---- what a program sees ----

  get gsoTcpv4(): boolean {
    return this.first.tx.takesTcpv4;
  }
  get gsoTcpv6(): boolean {
    return this.first.tx.takesTcpv6;
  }
  get up(): boolean {
    return this.first.tx.up;
  }
  get inFlight(): number {
    return this.queues.reduce((sum, { tx }) => sum + tx.inFlight, 0);
  }
  get answered(): number {
    return this.queues.reduce((sum, { tx }) => sum + tx.answered, 0);
  }
  send(frame: Uint8Array, length: number, flags?: number): boolean {
    const { queues } = this;
    const queue = queues.length === 1 ? this.first : queues[flowHash(this.frame.of(frame, length)) % queues.length]!;
    if (queue.tx.send(frame, length, flags)) return true;
    this.full = queue;
    return false;
  }
  /** By the first queue, whatever it will be. */
  txBuffer(): Uint8Array | undefined {
    const page = this.first.tx.txBuffer();
    if (page === undefined) this.full = this.first;
    return page;
  }
  txCommit(length: number, flags?: number): void {
    this.first.tx.txCommit(length, flags);
  }
  onFrame(handler: FrameHandler): void {
    this.handler = handler;
    for (const queue of this.queues) queue.onFrame(handler);
  }
  /** `ready` is called once, when there is room to send by the queue that had none. */
  whenWritable(ready: () => void): void {
    this.full.tx.whenWritable(ready);
  }

  /** Take what has come. 'idle': nothing, and the backend was asked to notify of the next frame. */
  step(): 'progress' | 'idle' {
    const { queues } = this;
    let progress = false;
    for (let i = 0; i < queues.length; i++) if (queues[i]!.step() === 'progress') progress = true;
    return progress ? 'progress' : 'idle';
  }
}

/** A frame that is about to be sent, as flowHash looks at it. */
class OwnFrame implements FrameBytes {
  length = 0;
  private bytes: Uint8Array = new Uint8Array();

  of(bytes: Uint8Array, length: number): this {
    this.bytes = bytes;
    this.length = length;
    return this;
  }
  byteAt(i: number): number {
    return this.bytes[i]!;
  }
}
