// The helper thread of an event pump: sleeps on the words it is given, says when one was bumped.
import { parentPort, workerData } from 'node:worker_threads';
import {
  PUMP_ARMED,
  PUMP_COUNT,
  PUMP_ENTRY_WORDS,
  PUMP_FIRST,
  PUMP_IDLE,
  PUMP_STATE,
  PUMP_STOP,
} from './event-pump-words.ts';
import { FutexSet } from './linux.ts';

const shared = workerData as Int32Array;
const futexes = new FutexSet();
for (;;) {
  Atomics.wait(shared, PUMP_STATE, PUMP_IDLE);
  if (Atomics.load(shared, PUMP_STATE) === PUMP_STOP) break;
  futexes.clear();
  for (let i = 0; i < shared[PUMP_COUNT]!; i++) {
    const at = PUMP_FIRST + i * PUMP_ENTRY_WORDS;
    if (futexes.add((shared[at]! >>> 0) + shared[at + 1]! * 2 ** 32)) futexes.expect(i, shared[at + 2]!);
  }
  futexes.sleep();
  // A stop that came meanwhile must not be overwritten.
  if (Atomics.compareExchange(shared, PUMP_STATE, PUMP_ARMED, PUMP_IDLE) === PUMP_STOP) break;
  parentPort!.postMessage(0);
}
