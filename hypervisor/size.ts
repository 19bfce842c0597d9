// Sizes on the hypervisor's command line. Xen: docs/misc/xen-command-line, <size>.

const SHIFTS: Readonly<Record<string, number>> = { B: 0, K: 10, '': 10, M: 20, G: 30, T: 40 };

/** Bytes; without a unit they are KiB. NaN: no size. */
export function parseSize(text: string): number {
  const [, digits, unit] = /^(\d+|0x[0-9a-f]+)([bkmgt]?)$/i.exec(text) ?? [];
  return digits === undefined ? Number.NaN : Number(digits) * 2 ** SHIFTS[unit!.toUpperCase()]!;
}
