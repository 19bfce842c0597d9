// The helper thread of a thread that sleeps as a vCPU: sleeps on its descriptors, and bumps a word the vCPU sleeps on.
import { workerData } from 'node:worker_threads';
import { Epoll, futexWake, viewOf } from '#pvbus';
import type { SocketWatchData } from './socket-watch.ts';

const { epoll, word } = workerData as SocketWatchData;
const sockets = new Epoll(epoll);
const words = new Int32Array(viewOf(word, 4));
for (;;) {
  // Told once, then not again before the vCPU's thread asks for it anew.
  if (sockets.wait(-1) === 0) continue;
  Atomics.add(words, 0, 1);
  futexWake(word);
}
