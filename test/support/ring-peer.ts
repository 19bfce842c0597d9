// The backend process of the ring stress: answers every request with its words, each turned over.
import { Arena, BackRing, DOORBELL_SLEEPING, DOORBELL_WAKE, Doorbell, FutexSet, WakeWords } from '#pvbus';

const ENTRY_BYTES = 112;
const arena = Arena.adopt(3, 2 * 4096);
const bell = new Doorbell(arena, 2, 1);
const ring = new BackRing(arena.page(1), ENTRY_BYTES);
const words = new WakeWords();
const futexes = new FutexSet();
words.add(bell.theirs, bell.theirsAddress, 4 * DOORBELL_WAKE, { array: bell.mine, index: DOORBELL_SLEEPING });
const request = new Int32Array(ENTRY_BYTES / 4);
const { view } = arena.page(1);

for (let left = Number(process.argv[2]); left > 0; ) {
  words.take(0);
  const ready = ring.finalCheckForRequests();
  if (ready < 0) throw new Error('an impossible request index');
  if (ready === 0) {
    words.sleep(futexes);
    continue;
  }
  for (let i = 0; i < ready; i++) {
    ring.copyRequest(request);
    ring.req_cons = (ring.req_cons + 1) >>> 0;
    const at = ring.responseOffset();
    for (let w = 0; w < request.length; w++) view.setInt32(at + 4 * w, ~request[w]!, true);
    ring.rsp_prod_pvt = (ring.rsp_prod_pvt + 1) >>> 0;
    left--;
  }
  if (ring.pushResponses()) bell.ring(0, 0);
}
