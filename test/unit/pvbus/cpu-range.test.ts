import { describe, expect, it } from 'vitest';
import { cpuRangeText, parseCpuRange } from '#pvbus';
import fc from '../../support/properties.ts';

describe('a set of pCPUs as text', () => {
  it.each([
    ['0', [0]],
    ['0-3', [0, 1, 2, 3]],
    ['0-3,^2', [0, 1, 3]],
    ['3,1, 2', [1, 2, 3]],
    ['all', [0, 1, 2, 3, 4, 5, 6, 7]],
    ['all,^0-6', [7]],
    ['^1', []],
    ['^1,1', [1]],
    ['node:0', [0, 1, 2, 3, 4, 5, 6, 7]],
    ['nodes:0-0,^node:0', []],
  ])('%s', (text, cpus) => {
    expect(parseCpuRange(text, 8)).toEqual(cpus);
  });
  it.each(['', ',', '1,', '-1', '1-', 'a', '0-1-2', '3-2', '8', '0-8', 'node:1', 'nodes:0-1', '1-^2', '0x1'])(
    'not %j',
    text => {
      expect(() => parseCpuRange(text, 8)).toThrow(/^(invalid range|there is no) /);
    },
  );
  it('prints what reads as the same set', () => {
    expect(cpuRangeText([], 4)).toBe('none');
    expect(cpuRangeText([0, 1, 2, 3], 4)).toBe('all');
    expect(cpuRangeText([1, 2, 4], 8)).toBe('1-2,4');
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(15), { minLength: 1 }), cpus => {
        const sorted = cpus.sort((a, b) => a - b);
        expect(parseCpuRange(cpuRangeText(sorted, 16), 16)).toEqual(sorted);
      }),
    );
  });
});
