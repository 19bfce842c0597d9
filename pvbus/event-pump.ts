// Events for a thread with an event loop: a helper thread sleeps on the vCPU's words in its stead.
import { Worker } from 'node:worker_threads';
import { systemClock } from './clock.ts';
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
import type { StormGuard } from './storm-guard.ts';
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
  private readonly storms: Pick<StormGuard, 'rest'>;
  private asleep = false;
  private drowsy = false;
  private timer: NodeJS.Timeout | undefined;

  /**
   * Polls `vcpu.events` in this thread's event loop whenever there is something; then calls `afterPoll`. `storms` is told by
   * whoever finds work that events have announced.
   */
  constructor(
    vcpu: Vcpu,
    storms: Pick<StormGuard, 'rest'>,
    afterPoll: () => void = () => {},
    thread = startPumpThread(),
  ) {
    this.vcpu = vcpu;
    this.storms = storms;
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
    // What the events have led to, promises for the most part, is done first.
    if (!this.drowsy) setImmediate(this.fallAsleep);
    this.drowsy = true;
  }
  private readonly fallAsleep = (): void => {
    const { vcpu } = this;
    this.drowsy = false;
    clearTimeout(this.timer);
    const until = this.storms.rest();
    if (until !== undefined) {
      this.timer = setTimeout(this.hearAgain, Math.max(1, (until - systemClock.now()) / 1e6));
      this.timer.unref(); // what else there is keeps the thread
    }
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
    this.asleep = true;
    vcpu.fallAsleep();
  };
  /** Whoever was not heard for a while is from now on. */
  private readonly hearAgain = (): void => this.poke();
  /** Have a turn soon: the words, or what there is to deliver, have changed from within. */
  poke(): void {
    Atomics.add(this.kick, 0, 1);
    futexWake(this.kickAddress);
  }
}
