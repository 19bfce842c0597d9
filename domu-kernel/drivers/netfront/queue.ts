// One queue of an interface: a pair of rings with its event channel and its pages, twin of dom0/backends/netback/vif-queue.ts.

import type { VcpuTrace } from '#pvbus';
import type { FrameHandler } from '../../net-device.ts';
import type { NetBuffers } from './buffers.ts';
import { Receiver } from './receive.ts';
import type { NetfrontStats } from './stats.ts';
import { Transmitter, type TxOffer } from './transmit.ts';

/** What a queue is made of for one connection. */
export interface QueueLink {
  readonly buffers: NetBuffers;
  readonly notify: () => void;
}

export class NetQueue {
  readonly tx: Transmitter;
  private readonly rx: Receiver;
  private notify: (() => void) | undefined;

  /** `onBroken`: what to do about a backend that broke the protocol. */
  constructor(stats: NetfrontStats, onBroken: (what: string) => void) {
    this.tx = new Transmitter(stats, onBroken);
    this.rx = new Receiver(stats, onBroken);
  }

  attach({ buffers, notify }: QueueLink, trace: VcpuTrace | undefined): void {
    this.notify = notify;
    this.tx.attach(buffers, notify, trace);
    this.rx.attach(buffers, notify, trace);
  }
  resume(offer: TxOffer): void {
    this.tx.resume(offer);
  }
  /** Notify a backend that did not ask for it. */
  remind(): void {
    if (this.tx.inFlight > 0) this.notify?.();
  }
  detach(): void {
    this.tx.detach();
    this.rx.detach();
    this.notify = undefined;
  }
  giveUp(): void {
    this.tx.giveUp();
    this.rx.giveUp();
  }
  onFrame(handler: FrameHandler): void {
    this.rx.onFrame(handler);
  }

  step(): 'progress' | 'idle' {
    const taken = this.tx.takeResponses();
    this.tx.callWritable();
    return this.rx.step() === 'progress' || taken ? 'progress' : 'idle';
  }
}
