// What the guests of a reliability run write and send, so that whoever reads it knows what it must be.

export const SECTOR_BYTES = 512;
const WORDS = SECTOR_BYTES / 4;
const MAGIC = 0x6b6f6f6c;

/** Fills `words`, a sector of 128, with what number `seq`, part `part` is. */
export function stamp(words: Uint32Array, seq: number, part: number): void {
  words[0] = MAGIC;
  words[1] = seq;
  words[2] = part;
  let state = (Math.imul(seq, 0x9e3779b1) ^ Math.imul(part + 1, 0x85ebca6b)) >>> 0 || 1;
  for (let i = 3; i < WORDS; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state >>> 0;
  }
}

/** The number a sector holds as part `part`: -1 for zeros, undefined for anything nobody wrote. */
export function stampOf(words: Uint32Array, part: number): number | undefined {
  if (words.every(word => word === 0)) return -1;
  const wanted = new Uint32Array(WORDS);
  stamp(wanted, words[1]!, part);
  return wanted.every((word, i) => word === words[i]) ? words[1]! : undefined;
}

/** The disk of a guest: so many blocks of so many sectors, which its writes go round. */
export const BLOCKS = 256;
export const BLOCK_SECTORS = 8;
/** Writes in flight; a flush follows each such batch. */
export const DEPTH = 32;
