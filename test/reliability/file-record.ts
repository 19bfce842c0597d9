// What the guests of a run of kills append to their files: nobody else could have written it.

export const RECORD_BYTES = 64;

/** Number `n` of a run. */
export function fileRecord(run: number, n: number): Uint8Array {
  const words = new Uint32Array(RECORD_BYTES / 4);
  words[0] = run;
  words[1] = n;
  let state = (Math.imul(run + 1, 0x9e3779b1) ^ Math.imul(n + 1, 0x85ebca6b)) >>> 0 || 1;
  for (let i = 2; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state >>> 0;
  }
  return new Uint8Array(words.buffer);
}
