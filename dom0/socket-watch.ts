// For a thread that sleeps on words: a helper thread sleeps on descriptors in its stead, and bumps one of the words.
import { Worker } from 'node:worker_threads';
import { Epoll, mapPrivate, threadFile, viewOf } from '#pvbus';

/** For the helper thread: the epoll it sleeps in, the address of the word it bumps. */
export interface SocketWatchData {
  readonly epoll: number;
  readonly word: number;
}

/**
 * The helper is asleep on an epoll of its own with one entry, another epoll that is its owner's, which tells it once. It
 * takes longer to start than a client is to wait: a daemon has it before it serves.
 */
export class SocketWatch {
  readonly epoll = new Epoll();
  readonly address = mapPrivate(4096);
  /** Bumped when something is ready. */
  readonly word = new Int32Array(viewOf(this.address, 4096));

  constructor() {
    const workerData: SocketWatchData = { epoll: this.epoll.fd, word: this.address };
    new Worker(threadFile('socket-watch-thread', import.meta.url), { workerData }).on('error', error => {
      throw error;
    });
  }
}
