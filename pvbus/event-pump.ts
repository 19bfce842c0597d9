// Events for a thread with an event loop: a helper thread sleeps on the vCPU's words in its stead.
import { Worker } from 'node:worker_threads';
import {
  type EventPumpData,
  PUMP_ARMED,
  PUMP_COUNT,
  PUMP_ENTRY_WORDS,
  PUMP_FIRST,
  PUMP_STATE,
  PUMP_WHO,
} from './event-pump-words.ts';
import { futexWake, mapPrivate, viewOf } from './linux.ts';
import { threadFile } from './thread-file.ts';
import type { Vcpu } from './vcpu.ts';

/** The helper thread, which sleeps until it has a pump. */
export interface PumpThread {
  readonly worker: Worker;
  readonly shared: Int32Array;
}
/** For a pump that is to be made later, when there is no time for this. */
export function startPumpThread(): PumpThread {
  const shared = new Int32Array(new SharedArrayBuffer(4096));
  const worker = new Worker(threadFile('event-pump-thread', import.meta.url), {
    workerData: { shared } satisfies EventPumpData,
  });
  worker.on('error', error => {
    throw error;
  });
  return { worker, shared };
}

export class EventPump {
  private readonly vcpu: Vcpu;
  private readonly shared: Int32Array;
  private readonly kickAddress = mapPrivate(4096);
  private readonly kick = new Int32Array(viewOf(this.kickAddress, 4096));
  private readonly afterPoll: () => void;
  private asleep = false;
  private drowsy = false;

  /** Polls `vcpu.events` in this thread's event loop whenever there is something; then calls `afterPoll`. */
  constructor(vcpu: Vcpu, afterPoll: () => void = () => {}, thread = startPumpThread()) {
    this.vcpu = vcpu;
    this.shared = thread.shared;
    this.shared[PUMP_WHO] = vcpu.domid * 2 ** 16 + vcpu.id;
    this.afterPoll = afterPoll;
    vcpu.wakeWords.add(this.kick, this.kickAddress, 0);
    vcpu.wakeWords.onChange = () => this.poke();
    thread.worker.on('message', () => this.turn());
    this.turn();
  }
  private turn(): void {
    const { vcpu } = this;
    vcpu.wakeWords.announce(0);
    if (this.asleep) vcpu.wakeUp();
    this.asleep = false;
    // Bounded, so that a storm of events leaves the event loop its turn.
    for (let i = 0; i < 8 && vcpu.events.poll(); i++);
    this.afterPoll();
    vcpu.wakeWords.announce(1);
    if (vcpu.events.pending()) this.poke();
    const { addresses, seen } = vcpu.wakeWords.snapshot();
    const { shared } = this;
    addresses.forEach((address, i) => {
      const at = PUMP_FIRST + i * PUMP_ENTRY_WORDS;
      shared[at] = (address % 2 ** 32) | 0;
      shared[at + 1] = Math.floor(address / 2 ** 32);
      shared[at + 2] = seen[i]!;
    });
    shared[PUMP_COUNT] = addresses.length;
    Atomics.store(shared, PUMP_STATE, PUMP_ARMED);
    Atomics.notify(shared, PUMP_STATE);
    // What the events have led to, promises for the most part, is done first.
    if (!this.drowsy) setImmediate(this.fallAsleep);
    this.drowsy = true;
  }
  private readonly fallAsleep = (): void => {
    this.drowsy = false;
    this.asleep = true;
    this.vcpu.fallAsleep();
  };
  /** Have a turn soon: the words, or what there is to deliver, have changed from within. */
  poke(): void {
    Atomics.add(this.kick, 0, 1);
    futexWake(this.kickAddress);
  }
}
