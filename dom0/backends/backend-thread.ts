// A backend's worker in a thread of its own, on a vCPU of its own: what a worker is, and how dom0's main
// thread starts one and talks to it. The thread's side is backend-loop.ts.
import { Worker } from 'node:worker_threads';
import { type Clock, type Log, Mailbox, type MailboxSeed, threadFile, type Vcpu, XenError } from '#pvbus';

/** What the driver of the thread hands to a worker. */
export interface BackendContext {
  readonly vcpu: Vcpu;
  readonly log: Log;
  readonly clock: Clock;
  /** Tell the main thread something it did not ask for; it arrives at BackendThread.onEvent. */
  tell(event: unknown): void;
  /** Have step() run soon: for callbacks of the event loop (a host socket is readable). */
  wake(): void;
}

/**
 * A backend's ring loops: one worker serves every ring of its kind. Nothing in it blocks.
 * Messages come from dom0's main thread and are plain data.
 */
export interface BackendWorker {
  /** Answer one call; a throw or a rejection is the caller's error. */
  handle(message: unknown): Promise<unknown> | unknown;
  /** One turn over all rings, a bounded budget each. 'idle': nothing to do before the next event. */
  step(): 'progress' | 'idle';
  /** When step() must run again although nothing happened (monotonic ns). */
  deadline?(): number | undefined;
}

/** A worker's file is dist/<name>-thread.js, built from <name>/thread.ts. */
export type BackendName = 'blkback' | 'netback' | 'pvcalls' | 'nbd' | 'p9' | 'slow-blkback';

/** A running backend thread, as dom0's main thread sees it. */
export interface BackendThread {
  readonly name: BackendName;
  readonly vcpu: number;
  /** Ask the worker; resolves with what its handle() answered. Rejects when the thread ends first. */
  call(message: unknown): Promise<unknown>;
  /** What the worker tells unasked. */
  onEvent(listener: (event: unknown) => void): void;
  /** The thread finishes its turn and ends. */
  stop(): Promise<void>;
}

/** What the thread is started with. */
export interface BackendThreadData {
  readonly name: BackendName;
  /** The vCPU's control socket. */
  readonly fd: number;
  readonly mailbox: MailboxSeed;
}
/** To the thread. */
export type BackendRequest = { readonly id: number; readonly message: unknown } | { readonly stop: true };
/** From the thread. */
export type BackendReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string } }
  | { readonly event: unknown }
  | { readonly stopped: true };

/** Start the worker called `name` on the vCPU whose control socket is `fd`. */
export function startBackendThread(name: BackendName, vcpu: number, fd: number): BackendThread {
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: unknown): void }>();
  const listeners: ((event: unknown) => void)[] = [];
  let nextId = 1;
  let over: XenError | undefined;
  let hasStopped: () => void = () => {};

  const end = (error: XenError): void => {
    over ??= error;
    for (const { reject } of waiting.values()) reject(over);
    waiting.clear();
  };
  const mailbox = new Mailbox(raw => {
    const reply = raw as BackendReply; // our own thread's, not a peer's
    if ('stopped' in reply) {
      end(new XenError('ECANCELED', `the ${name} thread has stopped`));
      hasStopped();
    } else if ('event' in reply) for (const listener of listeners) listener(reply.event);
    else {
      const call = waiting.get(reply.id);
      waiting.delete(reply.id);
      if ('error' in reply) call?.reject(new XenError(reply.error.code, reply.error.message));
      else call?.resolve(reply.result);
    }
  });
  const data: BackendThreadData = { name, fd, mailbox: mailbox.seed };
  const worker = new Worker(threadFile(`${name}-thread`, import.meta.url), {
    workerData: data,
    transferList: [mailbox.seed.port],
  });
  // A thread that runs ends the process itself when it fails; here are those that never came to run.
  worker.on('error', error => {
    throw error;
  });
  return {
    name,
    vcpu,
    call(message) {
      if (over !== undefined) return Promise.reject(over);
      return new Promise((resolve, reject) => {
        const id = nextId++;
        waiting.set(id, { resolve, reject });
        mailbox.post({ id, message } satisfies BackendRequest);
      });
    },
    onEvent(listener) {
      listeners.push(listener);
    },
    async stop() {
      if (over !== undefined) return;
      await new Promise<void>(resolve => {
        hasStopped = resolve;
        mailbox.post({ stop: true } satisfies BackendRequest);
      });
      mailbox.close();
    },
  };
}
