import { expect, it } from 'vitest';
import { sipHash } from '../../../../../domu-kernel/net/tcp/siphash.ts';

it('gives the low halves of the published vectors (SipHash, appendix A and its reference code)', () => {
  const words = [0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c] as const;
  const hashes = [0, 1, 2, 3].map(count => sipHash(words, words.slice(0, count)));
  expect(hashes).toEqual([0xdd0e0e31, 0x277187b7, 0x9a932462, 0x860ee5fb]);
});
