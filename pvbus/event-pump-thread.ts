// The helper thread of an event pump: sleeps on the words it is given, says when one was bumped. An event loop that does
// not take what it was told of is reported, since nobody else would notice that it stands still.
import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from './clock.ts';
import {
  type EventPumpData,
  PUMP_COUNT,
  PUMP_ENTRY_WORDS,
  PUMP_FIRST,
  PUMP_IDLE,
  PUMP_STATE,
  PUMP_UNMADE,
  PUMP_WHO,
} from './event-pump-words.ts';
import { FutexSet } from './linux.ts';
import { type Log, streamLog } from './log.ts';

const { shared } = workerData as EventPumpData;
function log(): Log {
  const who = shared[PUMP_WHO]!;
  return streamLog({ write: text => writeSync(2, text) }, `dom${who >>> 16} vcpu${who & 0xffff}`, systemClock);
}
/** How often it is looked whether the event loop has turned, and how often in vain before that is worth a line. */
const LOOK_MS = 1000;
const LOOKS = 10;

/** Until the event loop has taken what it was told of. A process that was stopped has missed one look, however long. */
function untilTaken(): void {
  let looks = 0;
  while (Atomics.wait(shared, PUMP_STATE, PUMP_IDLE, LOOK_MS) === 'timed-out')
    if (++looks === LOOKS) log().error(`the event loop has stood still for ${LOOKS} s, and events wait`);
  if (looks >= LOOKS) log().warn(`the event loop goes on after ${looks} s`);
}

Atomics.wait(shared, PUMP_STATE, PUMP_UNMADE);
const futexes = new FutexSet();
for (;;) {
  untilTaken();
  futexes.clear();
  for (let i = 0; i < shared[PUMP_COUNT]!; i++) {
    const at = PUMP_FIRST + i * PUMP_ENTRY_WORDS;
    if (futexes.add((shared[at]! >>> 0) + shared[at + 1]! * 2 ** 32)) futexes.expect(i, shared[at + 2]!);
  }
  futexes.sleep();
  Atomics.store(shared, PUMP_STATE, PUMP_IDLE);
  parentPort!.postMessage(0);
}
