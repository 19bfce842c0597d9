// Rounds of what takes microseconds, and thousands of them where others have the processors.

/** Of so many together: the clock is read seldom, and on a busy machine soon enough. */
const TOGETHER = 64;
const ENOUGH_MS = 2000;

/** Microseconds that one of `rounds` calls of `body` takes, or of as many as there are in two seconds. */
export function inTime(rounds: number, body: () => void): number {
  const from = performance.now();
  let ms = 0;
  let done = 0;
  while (done < rounds && ms < ENOUGH_MS) {
    for (const end = Math.min(rounds, done + TOGETHER); done < end; done++) body();
    ms = performance.now() - from;
  }
  return (ms * 1000) / done;
}
