// The helper thread of an event pump: sleeps on the words it is given, says when one was bumped.
import { parentPort, workerData } from 'node:worker_threads';
import { PUMP_COUNT, PUMP_ENTRY_WORDS, PUMP_FIRST, PUMP_IDLE, PUMP_STATE } from './event-pump-words.ts';
import { FutexSet } from './linux.ts';

const shared = workerData as Int32Array;
const futexes = new FutexSet();
for (;;) {
  Atomics.wait(shared, PUMP_STATE, PUMP_IDLE);
  futexes.clear();
  for (let i = 0; i < shared[PUMP_COUNT]!; i++) {
    const at = PUMP_FIRST + i * PUMP_ENTRY_WORDS;
    if (futexes.add((shared[at]! >>> 0) + shared[at + 1]! * 2 ** 32)) futexes.expect(i, shared[at + 2]!);
  }
  futexes.sleep();
  Atomics.store(shared, PUMP_STATE, PUMP_IDLE);
  parentPort!.postMessage(0);
}
