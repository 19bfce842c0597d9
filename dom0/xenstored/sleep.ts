// How the daemon's thread sleeps until there is something to do: the two ways, behind one interface.
import { Worker } from 'node:worker_threads';
import {
  EPOLLIN,
  EPOLLONESHOT,
  Epoll,
  FutexSet,
  mapPrivate,
  monotonicNow,
  threadFile,
  type Vcpu,
  viewOf,
} from '#pvbus';

export interface Sleep {
  /** Until something has come since it was last looked for, or the deadline (monotonic ns) has passed. */
  until(deadlineNs: number): void;
}

/** Without a hypervisor there is nothing but sockets. */
export class EpollSleep implements Sleep {
  readonly #sockets: Epoll;

  constructor(sockets: Epoll) {
    this.#sockets = sockets;
  }
  until(deadlineNs: number): void {
    this.#sockets.wait(Math.max(0, Math.ceil((deadlineNs - monotonicNow()) / 1e6)));
  }
}

/** For the helper thread: the epoll it sleeps in, the address of the word it bumps. */
export interface SocketWatchData {
  readonly epoll: number;
  readonly word: number;
}

/**
 * A helper thread, asleep on an epoll of its own with one entry, the daemon's epoll, which tells it once. It takes
 * longer to start than a client is to wait: a daemon has it before it serves.
 */
export class SocketWatch {
  readonly epoll = new Epoll();
  readonly address = mapPrivate(4096);
  /** Bumped when something is ready. */
  readonly word = new Int32Array(viewOf(this.address, 4));

  constructor() {
    const workerData: SocketWatchData = { epoll: this.epoll.fd, word: this.address };
    new Worker(threadFile('socket-watch-thread', import.meta.url), { workerData }).on('error', error => {
      throw error;
    });
  }
}

/** With one: on the words of a vCPU, so that a domain wakes the daemon without a hop; the sockets bump another. */
export class VcpuSleep implements Sleep {
  readonly #vcpu: Vcpu;
  readonly #sockets: Epoll;
  readonly #watch: SocketWatch;
  readonly #futexes = new FutexSet();
  /** What the word was when the helper was last asked to tell. */
  #armedAt = 0;

  constructor(vcpu: Vcpu, sockets: Epoll, watch: SocketWatch) {
    this.#vcpu = vcpu;
    this.#sockets = sockets;
    this.#watch = watch;
    vcpu.wakeWords.add(watch.word, watch.address, 0);
    watch.epoll.add(sockets.fd, EPOLLIN | EPOLLONESHOT);
  }

  until(deadlineNs: number): void {
    const { events, wakeWords } = this.#vcpu;
    const told = Atomics.load(this.#watch.word, 0);
    if (told !== this.#armedAt) {
      this.#armedAt = told;
      // order: before the words are compared. What is ready by now is told of at once.
      this.#watch.epoll.change(this.#sockets.fd, EPOLLIN | EPOLLONESHOT);
    }
    if (!events.pending() && !wakeWords.changed()) wakeWords.sleep(this.#futexes, deadlineNs);
  }
}
