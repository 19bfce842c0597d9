import { expect, it } from 'vitest';
import { parseMemorySize } from '../../../../tools/config/memory-size.ts';

it.each([
  ['64', 65_536],
  ['64m', 65_536],
  ['64M', 65_536],
  ['2g', 2 << 20],
  ['1T', 2 ** 30],
  ['8k', 8],
  ['8192b', 8],
  ['1023b', 0],
  ['0', 0],
])('%s is %d KiB', (text, kib) => {
  expect(parseMemorySize(text)).toBe(kib);
});

it.each(['', 'm', '12x', '12mb', '1.5g', '-1', '99999999999999999', '0x10'])('%o is no size', text => {
  expect(parseMemorySize(text)).toBeNull();
});
