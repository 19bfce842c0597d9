// The other process of the doorbell stress: domain 2, which answers every notification with one.
import { Arena, DOORBELL_SLEEPING, DOORBELL_SLOTS, DOORBELL_WAKE, Doorbell, FutexSet, WakeWords } from '#pvbus';

const bell = new Doorbell(Arena.adopt(3, 4096), 2, 1);
const words = new WakeWords();
const futexes = new FutexSet();
words.add(bell.theirs, bell.theirsAddress, 4 * DOORBELL_WAKE, { array: bell.mine, index: DOORBELL_SLEEPING });
const rounds = Number(process.argv[2]);
for (let seen = 0; seen < rounds; ) {
  words.take(0);
  const count = Atomics.load(bell.theirs, DOORBELL_SLOTS);
  if (count === seen) {
    words.sleep(futexes);
    continue;
  }
  if (count !== seen + 1) throw new Error(`round ${seen + 1}: the slot counts ${count}`);
  seen = count;
  bell.ring(0, 0);
}
