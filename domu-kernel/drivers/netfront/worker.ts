// The hot path of one interface: a ring for frames out, one for frames in, and what happens to both at once.
import type { VcpuTrace } from '#pvbus';
import type { FrameHandler } from '../../net-device.ts';
import type { NetBuffers } from './buffers.ts';
import { Receiver } from './receive.ts';
import { NetfrontStats } from './stats.ts';
import { Transmitter, type TxOffer } from './transmit.ts';

export class NetfrontWorker {
  readonly stats = new NetfrontStats();
  readonly tx: Transmitter;
  private readonly rx: Receiver;
  private notify: (() => void) | undefined;

  /** `onBroken`: what to do about a backend that broke the protocol. */
  constructor(onBroken: (what: string) => void) {
    const broken = (what: string): void => {
      this.tx.giveUp();
      this.rx.giveUp();
      onBroken(what);
    };
    this.tx = new Transmitter(this.stats, broken);
    this.rx = new Receiver(this.stats, broken);
  }

  /** New rings, with every rx page posted. Nothing is sent before `resume`. `trace`: who hears of what is handed over. */
  attach(buffers: NetBuffers, notify: () => void, trace?: VcpuTrace): void {
    this.notify = notify;
    this.tx.attach(buffers, notify, trace);
    this.rx.attach(buffers, notify, trace);
  }
  /** The backend serves the rings. */
  resume(offer: TxOffer): void {
    this.tx.resume(offer);
  }
  /** Notify a backend that did not ask for it. */
  remind(): void {
    this.notify?.();
  }
  /** Send nothing more. What has come in may still be taken. */
  suspend(): void {
    this.tx.suspend();
  }
  detach(): void {
    this.tx.detach();
    this.rx.detach();
    this.notify = undefined;
  }
  onFrame(handler: FrameHandler): void {
    this.rx.onFrame(handler);
  }

  /** Take what has come. 'idle': nothing, and the backend was asked to notify of the next frame. */
  step(): 'progress' | 'idle' {
    const taken = this.tx.takeResponses();
    this.tx.callWritable();
    return this.rx.step() === 'progress' || taken ? 'progress' : 'idle';
  }
}
