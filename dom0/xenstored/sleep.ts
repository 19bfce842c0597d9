// How the daemon's thread sleeps until there is something to do: the two ways, behind one interface.
import { EPOLLIN, EPOLLONESHOT, type Epoll, FutexSet, monotonicNow, type Vcpu } from '#pvbus';
import type { SocketWatch } from '../socket-watch.ts';

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
