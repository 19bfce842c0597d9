import { expect, it } from 'vitest';
import { parseSize } from '../../../hypervisor/size.ts';

it.each([
  ['512M', 512 * 2 ** 20],
  ['2g', 2 * 2 ** 30],
  ['1T', 2 ** 40],
  ['4096B', 4096],
  ['64k', 65_536],
  ['0x10K', 16_384],
  ['1024', 2 ** 20], // KiB
])('%s is %d bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});
it.each(['', 'M', '-1M', '12x', '1.5G', ' 4M'])('%o is no size', text => {
  expect(parseSize(text)).toBeNaN();
});
