/** The byte at every place of a stream: no two streams, and no two places within 2^24, look alike. */
export function fillStream(bytes: Uint8Array, seed: number, position: number): void {
  for (let i = 0; i < bytes.length; i++) {
    const at = position + i;
    const word = Math.imul((at >>> 2) ^ seed, 0x9e3779b1);
    bytes[i] = (word ^ (word >>> 15)) >>> ((at & 3) * 8);
  }
}
