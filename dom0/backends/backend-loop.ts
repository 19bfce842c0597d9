// The driver of a backend thread: the only place in it that blocks.
import { writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import {
  attachVcpu,
  crashExit,
  crashOnUncaught,
  dropInherited,
  EventPump,
  earlier,
  type Log,
  MailboxReader,
  StormGuard,
  startPumpThread,
  streamLog,
  systemClock,
  type Vcpu,
} from '#pvbus';
import type {
  BackendContext,
  BackendReply,
  BackendRequest,
  BackendThreadData,
  BackendWorker,
} from './backend-thread.ts';

/** The event loop gets a turn this often, for what the engine does between turns (finalisation). */
const EVENT_LOOP_NS = 100e6;
/** Steps in a row before a thread with an event loop lets it have a turn. */
const STEPS_PER_TURN = 16;

type CreateWorker = (context: BackendContext) => BackendWorker;

/**
 * Run the worker in a thread that sleeps on its vCPU's words: lowest latency, no event loop.
 * A handle() that returns a promise is given turns of the event loop until it has settled.
 */
export function runBlocking(create: CreateWorker): void {
  const thread = new ThreadSide(create, () => {});
  let lastTurn = systemClock.now();
  const drive = (): void => {
    try {
      for (;;) {
        const progress = thread.turn();
        if (thread.stopped) return; // nothing is left that would keep the thread
        if (thread.pending > 0) return void setImmediate(drive);
        if (progress) continue;
        const now = systemClock.now();
        if (now - lastTurn > EVENT_LOOP_NS) {
          lastTurn = now;
          return void setImmediate(drive);
        }
        thread.vcpu.block(thread.rest());
      }
    } catch (error) {
      crashExit(thread.vcpu, error);
    }
  };
  drive();
}

/** Run the worker in a thread with an event loop, for backends that use Node's own sockets. */
export function runWithEventLoop(create: CreateWorker): void {
  let scheduled = false;
  let timer: NodeJS.Timeout | undefined;
  const turn = (): void => {
    scheduled = false;
    let progress = true;
    for (let i = 0; i < STEPS_PER_TURN && progress; i++) progress = thread.turn();
    if (thread.stopped) return;
    clearTimeout(timer);
    if (progress) wake();
    else {
      const deadline = thread.deadline();
      if (deadline !== undefined) timer = setTimeout(wake, Math.max(0, (deadline - systemClock.now()) / 1e6));
    }
  };
  const wake = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(turn);
  };
  // order: before the vCPU, for which a process that waits has to wait.
  const pumpThread = startPumpThread();
  const thread = new ThreadSide(create, wake);
  new EventPump(thread.vcpu, thread.storms, wake, pumpThread);
}

/** What both drivers share: the vCPU, the mailbox and the worker. */
class ThreadSide {
  readonly vcpu: Vcpu;
  readonly storms: StormGuard;
  stopped = false;
  /** Calls whose answer is still being made. */
  pending = 0;
  readonly #worker: BackendWorker;
  readonly #mailbox: MailboxReader;

  constructor(create: CreateWorker, wake: () => void) {
    const { name, fd, mailbox } = workerData as BackendThreadData;
    this.vcpu = attachVcpu(fd);
    crashOnUncaught(this.vcpu);
    // Rings are not gone on with in the middle: each device negotiates anew.
    dropInherited(this.vcpu);
    this.#mailbox = new MailboxReader(mailbox, this.vcpu);
    // Not process.stderr: in a worker that is a message to the main thread, which this thread outlives.
    const { domid } = this.vcpu;
    const who = domid === 0 ? name : `dom${domid} ${name}`;
    const log: Log = streamLog({ write: text => writeSync(2, text) }, who, systemClock);
    this.storms = new StormGuard(this.vcpu.wakeWords, systemClock, log);
    const tell = (event: unknown): void => this.#reply({ event });
    this.#worker = create({ vcpu: this.vcpu, log, clock: systemClock, tell, wake });
  }

  /** Events, messages, rings, once each. True when there was something. */
  turn(): boolean {
    // order: poll first. It takes the mailbox's wake word, so a message that comes later wakes us again.
    const polled = this.vcpu.events.poll();
    let progress = false;
    for (let mail = this.#mailbox.receive(); mail !== undefined; mail = this.#mailbox.receive()) {
      this.#hear(mail.message as BackendRequest); // our own main thread's
      progress = true;
    }
    if (this.#worker.step() === 'progress') progress = true;
    return this.storms.turn(polled, progress);
  }
  /** Before a sleep: when it has to end. */
  rest(): number | undefined {
    return earlier(this.storms.rest(), this.deadline());
  }
  deadline(): number | undefined {
    return this.#worker.deadline?.();
  }

  #hear(request: BackendRequest): void {
    if ('stop' in request) {
      this.stopped = true;
      this.#reply({ stopped: true });
      return;
    }
    const { id } = request;
    try {
      const answer = this.#worker.handle(request.message);
      if (answer instanceof Promise) void this.#later(id, answer);
      else this.#reply({ id, result: answer });
    } catch (error) {
      this.#reply({ id, error: describe(error) });
    }
  }
  async #later(id: number, answer: Promise<unknown>): Promise<void> {
    this.pending++;
    try {
      this.#reply({ id, result: await answer });
    } catch (error) {
      this.#reply({ id, error: describe(error) });
    } finally {
      this.pending--;
    }
  }
  #reply(reply: BackendReply): void {
    this.#mailbox.reply(reply);
  }
}

function describe(error: unknown): { code: string; message: string } {
  const code = (error as { code?: unknown }).code;
  return {
    code: typeof code === 'string' ? code : 'EIO',
    message: error instanceof Error ? error.message : String(error),
  };
}
