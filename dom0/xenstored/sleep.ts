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
export interface SocketWatch {
  readonly epoll: number;
  readonly word: number;
}

/**
 * With one: on the words of a vCPU, so that a domain wakes the daemon without a hop. The sockets are watched by
 * a helper thread, asleep on an epoll of its own with one entry, the daemon's epoll, which tells it once.
 */
export class VcpuSleep implements Sleep {
  readonly #vcpu: Vcpu;
  readonly #sockets: Epoll;
  readonly #watch = new Epoll();
  readonly #address = mapPrivate(4096);
  readonly #word = new Int32Array(viewOf(this.#address, 4));
  readonly #futexes = new FutexSet();
  /** What the word was when the helper was last asked to tell. */
  #armedAt = 0;

  constructor(vcpu: Vcpu, sockets: Epoll) {
    this.#vcpu = vcpu;
    this.#sockets = sockets;
    vcpu.wakeWords.add(this.#word, this.#address, 0);
    this.#watch.add(sockets.fd, EPOLLIN | EPOLLONESHOT);
    const workerData: SocketWatch = { epoll: this.#watch.fd, word: this.#address };
    new Worker(threadFile('socket-watch-thread', import.meta.url), { workerData }).on('error', error => {
      throw error;
    });
  }

  until(deadlineNs: number): void {
    const { events, wakeWords } = this.#vcpu;
    const told = Atomics.load(this.#word, 0);
    if (told !== this.#armedAt) {
      this.#armedAt = told;
      // order: before the words are compared. What is ready by now is told of at once.
      this.#watch.change(this.#sockets.fd, EPOLLIN | EPOLLONESHOT);
    }
    if (!events.pending() && !wakeWords.changed()) wakeWords.sleep(this.#futexes, deadlineNs);
  }
}
