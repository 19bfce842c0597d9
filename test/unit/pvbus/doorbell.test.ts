import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import {
  Arena,
  DOORBELL_SLEEPING,
  DOORBELL_SLOTS,
  DOORBELL_WAKE,
  Doorbell,
  FutexSet,
  monotonicNow,
  WakeWords,
} from '#pvbus';

/** The other process may be a while in coming. */
const PATIENCE_NS = 60e9;
const ROUNDS = Number(process.env.XENOLITH_TEST_ROUNDS ?? 200_000);

function sleeper(bell: Doorbell): { words: WakeWords; futexes: FutexSet } {
  const words = new WakeWords();
  words.add(bell.theirs, bell.theirsAddress, 4 * DOORBELL_WAKE, { array: bell.mine, index: DOORBELL_SLEEPING });
  return { words, futexes: new FutexSet() };
}

describe('doorbells between two processes', () => {
  it(`no wake-up is lost in ${ROUNDS} round trips, asleep and spinning`, { timeout: 300_000 }, async () => {
    const arena = Arena.create('doorbell-stress', 4096);
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/support/doorbell-peer.ts', String(ROUNDS)], {
      stdio: ['ignore', 'inherit', 'inherit', arena.fd],
    });
    const exited = once(child, 'exit');
    const bell = new Doorbell(arena, 1, 2);
    const { words, futexes } = sleeper(bell);
    try {
      for (let round = 1; round <= ROUNDS; round++) {
        bell.ring(0, 0);
        // Every other thousand rounds this end spins a little first, so that both orders of wake and sleep occur.
        let spins = round % 2000 < 1000 ? 0 : 200;
        for (;;) {
          words.take(0);
          if (Atomics.load(bell.theirs, DOORBELL_SLOTS) === round) break;
          if (spins-- > 0) continue;
          const deadline = monotonicNow() + PATIENCE_NS;
          words.sleep(futexes, deadline);
          if (monotonicNow() >= deadline) throw new Error(`round ${round}: asleep for a minute, a wake-up was lost`);
        }
      }
      expect(Atomics.load(bell.theirs, DOORBELL_SLOTS)).toBe(ROUNDS);
      await exited;
      expect(child.exitCode).toBe(0);
    } finally {
      child.kill('SIGKILL');
      arena.release();
    }
  });

  it('a domain writes its own half only', () => {
    const arena = Arena.create('doorbell-halves', 4096);
    const lower = new Doorbell(arena, 3, 7);
    const higher = new Doorbell(arena, 7, 3);
    const before = Int32Array.from(lower.theirs);
    lower.ring(5, 1);
    expect(Int32Array.from(lower.theirs)).toEqual(before);
    expect(higher.theirs[DOORBELL_SLOTS + 5]).toBe(1);
    expect(higher.theirs[DOORBELL_WAKE + 1]).toBe(1);
    arena.release();
  });

  it('a bump between the last look and the sleep ends the sleep at once', () => {
    const arena = Arena.create('doorbell-race', 4096);
    const sender = new Doorbell(arena, 1, 2);
    const { words, futexes } = sleeper(new Doorbell(arena, 2, 1));
    words.take(0);
    sender.ring(0, 0);
    words.sleep(futexes, monotonicNow() + 30e9);
    expect(words.take(0)).toBe(true);
    arena.release();
  });

  it('without futex_waitv a sleep still ends by itself, soon, and at the deadline', () => {
    const arena = Arena.create('doorbell-poll', 4096);
    const { words } = sleeper(new Doorbell(arena, 2, 1));
    words.take(0);
    const polling = new FutexSet(false);
    words.sleep(polling);
    words.sleep(polling, monotonicNow() - 1);
    expect(words.changed()).toBe(false);
    arena.release();
  });
});
