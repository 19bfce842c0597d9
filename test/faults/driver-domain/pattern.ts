// What the guests of this test write, so that the test can tell from an image alone whether it holds what it must.

export const SECTOR = 512;
/** Sectors of a block, which is written by one request. */
export const BLOCK_SECTORS = 4;
export const BLOCK_BYTES = BLOCK_SECTORS * SECTOR;
export const BLOCKS = 48;

/** The bytes of a block of the guest `who` after its `version`-th write; version 0 is never written. */
export function fillBlock(into: Uint8Array, who: number, block: number, version: number): void {
  const words = new Uint32Array(into.buffer, into.byteOffset, BLOCK_BYTES / 4);
  const seed = Math.imul(who + 1, 0x9e3779b1) ^ Math.imul(block + 1, 0x85ebca6b) ^ Math.imul(version, 0xc2b2ae35);
  for (let i = 0; i < words.length; i++) words[i] = version === 0 ? 0 : Math.imul(seed ^ i, 0x27d4eb2f) >>> 0;
}
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);
