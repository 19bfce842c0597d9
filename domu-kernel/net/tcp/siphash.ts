// SipHash-2-4 (Aumasson, Bernstein): a keyed hash that says nothing of its key. In halves of 32 bits.

/** Four words of secret. */
export type SipKey = readonly [number, number, number, number];

export function sipKey(random: () => number): SipKey {
  const word = (): number => Math.floor(random() * 0x1_0000_0000) >>> 0;
  return [word(), word(), word(), word()];
}

/** The hash of some words, little endian as they are; the low 32 bits of it. */
export function sipHash(key: SipKey, words: readonly number[]): number {
  state(key);
  for (let i = 0; i + 1 < words.length; i += 2) compress(words[i]! | 0, words[i + 1]! | 0);
  const odd = words.length % 2 === 1 ? words[words.length - 1]! | 0 : 0;
  compress(odd, (words.length * 4) << 24);
  v2l ^= 0xff;
  for (let i = 0; i < 4; i++) round();
  return (v0l ^ v1l ^ v2l ^ v3l) >>> 0;
}

let [v0l, v0h, v1l, v1h, v2l, v2h, v3l, v3h] = [0, 0, 0, 0, 0, 0, 0, 0];

function state([k0l, k0h, k1l, k1h]: SipKey): void {
  v0l = k0l ^ 0x70736575;
  v0h = k0h ^ 0x736f6d65;
  v1l = k1l ^ 0x6e646f6d;
  v1h = k1h ^ 0x646f7261;
  v2l = k0l ^ 0x6e657261;
  v2h = k0h ^ 0x6c796765;
  v3l = k1l ^ 0x79746573;
  v3h = k1h ^ 0x74656462;
}
function compress(low: number, high: number): void {
  v3l ^= low;
  v3h ^= high;
  round();
  round();
  v0l ^= low;
  v0h ^= high;
}
const carry = (sum: number, part: number): number => (sum >>> 0 < part >>> 0 ? 1 : 0);

function round(): void {
  let t: number;
  v0l = (v0l + v1l) | 0;
  v0h = (v0h + v1h + carry(v0l, v1l)) | 0;
  t = v1l;
  v1l = (v1l << 13) | (v1h >>> 19);
  v1h = (v1h << 13) | (t >>> 19);
  v1l ^= v0l;
  v1h ^= v0h;
  t = v0l;
  v0l = v0h;
  v0h = t;
  v2l = (v2l + v3l) | 0;
  v2h = (v2h + v3h + carry(v2l, v3l)) | 0;
  t = v3l;
  v3l = (v3l << 16) | (v3h >>> 16);
  v3h = (v3h << 16) | (t >>> 16);
  v3l ^= v2l;
  v3h ^= v2h;
  v0l = (v0l + v3l) | 0;
  v0h = (v0h + v3h + carry(v0l, v3l)) | 0;
  t = v3l;
  v3l = (v3l << 21) | (v3h >>> 11);
  v3h = (v3h << 21) | (t >>> 11);
  v3l ^= v0l;
  v3h ^= v0h;
  v2l = (v2l + v1l) | 0;
  v2h = (v2h + v1h + carry(v2l, v1l)) | 0;
  t = v1l;
  v1l = (v1l << 17) | (v1h >>> 15);
  v1h = (v1h << 17) | (t >>> 15);
  v1l ^= v2l;
  v1h ^= v2h;
  t = v2l;
  v2l = v2h;
  v2h = t;
}
