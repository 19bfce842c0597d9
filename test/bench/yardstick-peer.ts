// The other process of the futex and spin yardsticks. Memory on descriptor 3: word 0 comes from the
// bench, word 16 goes back; word 32 holds the mode: 0 asleep, 1 spinning.
import { dieWithParent, futexWait, futexWake, mapShared, viewOf } from '#pvbus';

dieWithParent(process.ppid);
const address = mapShared(3, 4096);
const words = new Int32Array(viewOf(address, 4096));
Atomics.store(words, 48, 1);
for (let last = 0; ; ) {
  let now = Atomics.load(words, 0);
  while (now === last) {
    if (Atomics.load(words, 32) === 0) futexWait(address, last);
    now = Atomics.load(words, 0);
  }
  last = now;
  if (now === -1) break;
  Atomics.store(words, 16, now);
  if (Atomics.load(words, 32) === 0) futexWake(address + 64);
}
