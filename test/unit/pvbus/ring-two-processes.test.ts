import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import {
  Arena,
  DOORBELL_SLEEPING,
  DOORBELL_WAKE,
  Doorbell,
  FrontRing,
  FutexSet,
  monotonicNow,
  WakeWords,
} from '#pvbus';

const ENTRY_BYTES = 112;
const REQUESTS = 500_000;
/** The other process may be a while in coming. */
const PATIENCE_NS = 60e9;

// What arena.ts claims and JavaScript does not promise: between processes, slot bytes written before an
// atomic index are seen by whoever reads the index first.
it(`${REQUESTS} requests through a ring between two processes come back whole and in order`, {
  timeout: 300_000,
}, async () => {
  const arena = Arena.create('ring-stress', 2 * 4096);
  const page = arena.page(1);
  const ring = FrontRing.init(page, ENTRY_BYTES);
  const bell = new Doorbell(arena, 1, 2);
  const words = new WakeWords();
  const futexes = new FutexSet();
  words.add(bell.theirs, bell.theirsAddress, 4 * DOORBELL_WAKE, { array: bell.mine, index: DOORBELL_SLEEPING });
  const child = spawn(process.execPath, ['--import', 'tsx', 'test/support/ring-peer.ts', String(REQUESTS)], {
    stdio: ['ignore', 'inherit', 'inherit', arena.fd],
  });
  const exited = once(child, 'exit');
  const response = new Int32Array(ENTRY_BYTES / 4);
  try {
    let sent = 0;
    let answered = 0;
    let wrong = 0;
    while (answered < REQUESTS) {
      // Bursts of different lengths, so that every distance between the indices occurs.
      for (let burst = 1 + (sent % 32); burst > 0 && sent < REQUESTS && !ring.full(); burst--) {
        const at = ring.requestOffset();
        for (let w = 0; w < response.length; w++) page.view.setInt32(at + 4 * w, sent * 31 + w, true);
        ring.req_prod_pvt = (ring.req_prod_pvt + 1) >>> 0;
        sent++;
      }
      if (ring.pushRequests()) bell.ring(0, 0);
      words.take(0);
      const ready = ring.finalCheckForResponses();
      if (ready < 0) throw new Error('an impossible response index');
      for (let i = 0; i < ready; i++) {
        ring.copyResponse(response);
        ring.rsp_cons = (ring.rsp_cons + 1) >>> 0;
        for (let w = 0; w < response.length; w++) if (response[w] !== ~(answered * 31 + w)) wrong++;
        answered++;
      }
      if (ready === 0 && (ring.full() || sent === REQUESTS)) {
        const deadline = monotonicNow() + PATIENCE_NS;
        words.sleep(futexes, deadline);
        if (monotonicNow() >= deadline)
          throw new Error(`asleep for a minute after ${answered} answers: a wake-up was lost`);
      }
    }
    expect(wrong).toBe(0);
    await exited;
    expect(child.exitCode).toBe(0);
  } finally {
    child.kill('SIGKILL');
    arena.release();
  }
});
