import { expect, it } from 'vitest';
import { cpuKhz, cpuKhzOf } from '../../../hypervisor/cpu-frequency.ts';

const info = (model: string, mhz?: string): string =>
  `processor\t: 0\nmodel name\t: ${model}\n${mhz === undefined ? '' : `cpu MHz\t\t: ${mhz}\n`}cache size\t: 512 KB\n\nprocessor\t: 1\n`;

it.each([
  [info('AMD EPYC', '2596.134'), 2_596_134],
  [info('Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz', '1200.000'), 1_200_000],
  [info('Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz'), 2_500_000],
  [info('Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz', '0.000'), 2_500_000],
  [info('QEMU Virtual CPU version 2.5+', '0.000'), 1_000_000],
  ['processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\n', 1_000_000],
  ['', 1_000_000],
])('of %j it is %i kHz', (text, khz) => {
  expect(cpuKhzOf(text)).toBe(khz);
});
it('this machine’s is not 0', () => {
  expect(cpuKhz()).toBeGreaterThan(0);
});
