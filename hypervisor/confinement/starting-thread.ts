// A thread that starts processes, as the hypervisor's main thread has it. With it ends what it has started.
import { Worker } from 'node:worker_threads';

export type ToStartingThread = { readonly op: 'kill'; readonly id: number } | { readonly op: 'kill-all' };
export type FromStartingThread = { readonly op: 'all-killed' };

interface Callbacks<From> {
  heard(message: From): void;
  failed(error: Error): void;
}

export class StartingThread<To, From extends { readonly op: string }> {
  readonly #thread: Worker;
  #allKilled = (): void => {};
  #ended = false;

  constructor(file: URL, workerData: unknown, { heard, failed }: Callbacks<From>) {
    this.#thread = new Worker(file, { workerData });
    this.#thread.on('message', (message: From | FromStartingThread) => {
      if (isOurs(message)) this.#allKilled();
      else heard(message);
    });
    this.#thread.on('error', failed);
    this.#thread.on('exit', () => {
      this.#ended = true;
      this.#allKilled();
    });
  }
  post(message: To | ToStartingThread): void {
    this.#thread.postMessage(message);
  }
  /** SIGKILL to each that there is; resolves when all have been reaped. */
  async killAll(): Promise<void> {
    if (this.#ended) return;
    await new Promise<void>(resolve => {
      this.#allKilled = resolve;
      this.post({ op: 'kill-all' });
    });
  }
}

const isOurs = (message: { readonly op: string }): message is FromStartingThread => message.op === 'all-killed';
