// How the netback thread hears that a descriptor is ready. It sleeps on words: a helper thread sleeps on the descriptors,
// and is there only once there is one. A thread without such ports pays nothing.
import { EPOLLIN, EPOLLONESHOT, type Epoll, type WakeWords } from '#pvbus';
import { SocketWatch } from '../../../socket-watch.ts';

export interface Readiness {
  /** Something may have become ready since `rearm`. */
  told(): boolean;
  /** Nothing is ready any more: tell when something is. */
  rearm(): void;
}

export class HelperReadiness implements Readiness {
  readonly #epoll: Epoll;
  readonly #watch = new SocketWatch();
  #armedAt: number;

  constructor(epoll: Epoll, words: WakeWords) {
    this.#epoll = epoll;
    this.#armedAt = Atomics.load(this.#watch.word, 0);
    words.add(this.#watch.word, this.#watch.address, 0);
    this.#watch.epoll.add(epoll.fd, EPOLLIN | EPOLLONESHOT);
  }
  told(): boolean {
    // A plain load: what the thread has polled for before this was an atomic one.
    return this.#watch.word[0] !== this.#armedAt;
  }
  rearm(): void {
    this.#armedAt = Atomics.load(this.#watch.word, 0);
    // What is ready by now is told of at once.
    this.#watch.epoll.change(this.#epoll.fd, EPOLLIN | EPOLLONESHOT);
  }
}
